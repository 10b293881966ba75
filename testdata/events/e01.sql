-- A filter and a count of rows: the scan's output is needed for its length alone.
select count(*) as events
from events
where is_mobile and latency_us > 1000

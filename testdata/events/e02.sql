-- Rows without columns: a constant for each row that passes a filter.
select 1 as one
from events
where error_code is not null and not is_mobile

-- Cross joins with small sides: a literal table and a one-row aggregate.
-- ordered
select f.factor, e.device, count(*) as events, sum(e.latency_us * f.factor) as scaled, max(t.events) as total
from events e
cross join (values (1), (2), (5)) as f (factor)
cross join (select count(*) as events from events) as t
where e.latency_us > f.factor * 1000
group by f.factor, e.device
order by f.factor, e.device

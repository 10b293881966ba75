-- Scalar subqueries: in the select list, in WHERE, in HAVING, in an aggregate and in ORDER BY.
-- ordered
select
    country,
    count(*) as events,
    count(*) * 100 / (select count(*) from events) as percent,
    max(latency_us - (select min(latency_us) from events)) as above_least
from events
where latency_us >= (select min(latency_us) + 1 from events where is_mobile)
group by country
having count(*) > (select count(*) / 100 from events)
order by abs(count(*) - (select count(*) / 20 from events)), country nulls last

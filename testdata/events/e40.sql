-- Empty inputs: a grouped aggregate gives no row, a plain one a row of nulls.
select 'plain' as kind, count(*) as events, sum(e.latency_us) as latency, max(e.page_url) as page, avg(e.revenue) as revenue
from events e
join (select user_id from events where event_date < date '1900-01-01') as nobody on nobody.user_id = e.user_id
union all
select 'grouped', count(*), sum(latency_us), max(page_url), avg(revenue)
from events
where event_date < date '1900-01-01'
group by country
union all
select 'anti', count(*), sum(latency_us), max(page_url), avg(revenue)
from events
where user_id not in (select user_id from events where event_date < date '1900-01-01')

-- High-cardinality GROUP BY with HAVING over several aggregates, then a top-k.
-- ordered
select
    user_id,
    count(*) as events,
    count(distinct session_id) as sessions,
    sum(revenue) as revenue,
    max(event_time) as last_seen
from events
group by user_id
having count(*) >= 3 and (sum(revenue) > 10 or max(latency_us) > 1000)
order by events desc, user_id
limit 50

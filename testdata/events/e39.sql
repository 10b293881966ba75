-- FILTER clauses beside plain, distinct and ordered aggregates.
-- ordered
select
    event_date,
    count(*) as events,
    count(*) filter (where event_type = 'purchase') as purchases,
    sum(revenue) filter (where currency = 'USD') as dollars,
    count(distinct user_id) filter (where is_mobile) as mobile_users,
    max(latency_us) filter (where error_code is not null) as slowest_error,
    avg(duration_ms) filter (where duration_ms > 1000000000) as never
from events
group by event_date
order by event_date

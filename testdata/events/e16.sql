-- Moving frames: rows around, rows ahead, and a range of time.
-- ordered
select
    event_id,
    sum(latency_us) over (order by event_id rows between 3 preceding and 3 following) as around,
    max(latency_us) over (partition by device order by event_id rows between 1 following and 5 following) as ahead,
    count(*) over (order by event_date range between interval '1' day preceding and current row) as two_days,
    first_value(user_id) over (partition by country order by event_id) as first_user,
    last_value(user_id) over (
        partition by country order by event_id rows between unbounded preceding and unbounded following
    ) as last_user,
    nth_value(user_id, 2) over (partition by country order by event_id) as second_user
from events
where event_type in ('purchase', 'add_to_cart', 'search')
order by event_id

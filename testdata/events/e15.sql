-- Running sums of decimals and running counts, one window without partitions.
-- ordered
select
    event_id, user_id, revenue,
    sum(revenue) over (partition by user_id order by event_time, event_id rows unbounded preceding) as spent,
    count(*) over (partition by user_id order by event_time, event_id rows unbounded preceding) as purchases,
    sum(quantity) over (order by event_time, event_id rows unbounded preceding) as items
from events
where revenue > 0
order by event_id

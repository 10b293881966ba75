-- row_number: the first event of each user, by partition over a high-cardinality key.
-- ordered
select user_id, event_id, event_time, event_type
from (
    select
        user_id, event_id, event_time, event_type,
        row_number() over (partition by user_id order by event_time, event_id) as position
    from events
) as numbered
where position = 1
order by event_time desc, event_id desc
limit 100

-- lag and lead: the gaps between the events of a session.
-- ordered
select
    session_id,
    count(*) as events,
    sum(case when event_type = previous_type then 1 else 0 end) as repeats,
    sum(date_part('epoch', event_time) - date_part('epoch', coalesce(previous_time, event_time))) as seconds,
    count(next_id) as followed
from (
    select
        session_id, event_type, event_time,
        lag(event_type) over (partition by session_id order by event_time, event_id) as previous_type,
        lag(event_time) over (partition by session_id order by event_time, event_id) as previous_time,
        lead(event_id) over (partition by session_id order by event_time, event_id) as next_id
    from events
) as stepped
group by session_id
having count(*) > 2
order by events desc, session_id
limit 100

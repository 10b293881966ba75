-- Semi and anti joins, left and right, written as joins.
-- ordered
select 'left semi' as kind, a.event_type as event_type, count(*) as events
from events a
left semi join (select * from events where error_code is not null) b on a.session_id = b.session_id
group by a.event_type
union all
select 'left anti', a.event_type, count(*)
from events a
left anti join (select * from events where latency_us % 7 = 0) b on a.user_id = b.user_id and a.event_id <> b.event_id
group by a.event_type
union all
select 'right semi', b.event_type, count(*)
from (select * from events where quantity > 1) a
right semi join events b on a.user_id = b.user_id
group by b.event_type
union all
select 'right anti', b.event_type, count(*)
from (select * from events where quantity > 1) a
right anti join events b on a.user_id = b.user_id
group by b.event_type
order by kind, event_type

-- LIMIT inside subqueries: in a derived table, in IN, and in a build side.
-- ordered
select recent.event_id, recent.user_id, busy.events
from (
    select event_id, user_id, country
    from events
    order by event_time desc, event_id
    limit 2000
) as recent
join (
    select user_id, count(*) as events
    from events
    group by user_id
    order by events desc, user_id
    limit 40 offset 1
) as busy on busy.user_id = recent.user_id
where recent.country in (
    select country
    from events
    where country is not null
    group by country
    order by count(*) desc, country
    limit 5
)
order by recent.event_id

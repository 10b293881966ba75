-- A left join with a condition on each side, keeping rows without a match.
-- ordered
select u.user_id, u.events, p.purchases, coalesce(p.revenue, 0) as revenue
from (select user_id, count(*) as events from events group by user_id) as u
left join (
    select user_id, count(*) as purchases, sum(revenue) as revenue
    from events
    where event_type = 'purchase'
    group by user_id
) as p on p.user_id = u.user_id and u.events < 50
order by u.events desc, u.user_id
limit 200

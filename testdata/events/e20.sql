-- EXISTS and NOT EXISTS, correlated, with an inequality beside the key.
-- ordered
select e.device, count(*) as events, count(distinct e.user_id) as users
from events e
where exists (
    select 1
    from events p
    where p.user_id = e.user_id and p.event_type = 'purchase' and p.event_id > e.event_id
  )
  and not exists (
    select 1
    from events f
    where f.session_id = e.session_id and f.error_code is not null
  )
group by e.device
order by e.device

-- IN with a subquery on a high-cardinality key, and IN with a list.
-- ordered
select event_type, count(*) as events, count(distinct user_id) as users
from events
where user_id in (select user_id from events where revenue > 100)
  and browser in ('Chrome', 'Safari', 'Firefox', 'chrome', 'safari', 'firefox')
group by event_type
order by event_type

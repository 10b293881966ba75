-- INTERSECT and EXCEPT, distinct and with duplicates kept.
-- ordered
select 'intersect' as kind, count(*) as users, sum(user_id) as checksum
from (
    select user_id from events where event_type = 'search'
    intersect
    select user_id from events where event_type = 'purchase'
) as a
union all
select 'except', count(*), sum(user_id)
from (
    select user_id from events where event_type = 'search'
    except
    select user_id from events where event_type = 'purchase'
) as b
union all
select 'intersect all', count(*), sum(user_id)
from (
    select user_id from events where is_mobile
    intersect all
    select user_id from events where event_type = 'purchase'
) as c
union all
select 'except all', count(*), sum(user_id)
from (
    select user_id from events where is_mobile
    except all
    select user_id from events where event_type = 'purchase'
) as d
order by kind

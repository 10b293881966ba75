-- array_agg, string_agg and first_value with their own orders; unnest.
-- ordered
select
    tag,
    count(*) as events,
    array_agg(event_id order by event_id desc) as ids,
    string_agg(event_type, '>' order by event_time, event_id) as path,
    first_value(user_id order by event_time, event_id) as first_user,
    last_value(user_id order by event_time, event_id) as last_user,
    array_length(array_agg(distinct user_id)) as users
from (
    select event_id, event_time, event_type, user_id, unnest(string_to_array(tags, ',')) as tag
    from events
    where user_id % 10 = 3
) as tagged
group by tag
order by tag

-- A full join of two aggregates, each with keys that the other lacks.
-- ordered
select
    coalesce(m.city, d.city) as city,
    m.events as evening_events,
    d.events as mobile_events,
    m.city is null as only_mobile
from (
    select city, count(*) as events
    from events
    where city is not null and date_part('hour', event_time) >= 20 and user_id % 3 = 0
    group by city
) as m
full join (
    select city, count(*) as events
    from events
    where city is not null and is_mobile and user_id % 3 = 1
    group by city
) as d on d.city = m.city
order by city

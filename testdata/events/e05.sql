-- Distinct counts in groups, with a null group.
-- ordered
select
    country,
    count(*) as events,
    count(distinct user_id) as users,
    count(distinct event_type) as types,
    sum(distinct screen_width) as widths
from events
group by country
order by country nulls last

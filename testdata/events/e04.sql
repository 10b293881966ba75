-- Several exact distinct counts at once, without groups.
select
    count(*) as events,
    count(distinct user_id) as users,
    count(distinct session_id) as sessions,
    count(distinct page_url) as pages,
    count(distinct city) as cities,
    count(distinct product_id) as products,
    count(distinct event_date) as days
from events

-- DISTINCT ON: the dearest purchase of each country; DISTINCT under it.
-- ordered
select distinct on (country) country, revenue, event_id, user_id
from events
where revenue is not null
  and product_id in (select distinct product_id from events where quantity > 1)
order by country nulls first, revenue desc, event_id

-- NOT IN: once without nulls in the subquery, once with a null, which leaves no row.
select 'without nulls' as how, count(*) as events, count(distinct product_id) as products
from events
where product_id not in (select product_id from events where product_id is not null and quantity > 2)
union all
select 'with a null', count(*), count(distinct product_id)
from events
where product_id not in (select case when quantity > 3 then product_id end from events)

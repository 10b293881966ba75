-- UNION and UNION ALL with the same table on every side.
-- ordered
select source, count(*) as items, min(item) as first_item, max(item) as last_item
from (
    select 'all' as source, city as item from events where is_mobile
    union all
    select 'all', browser from events where not is_mobile
    union all
    select 'distinct', item
    from (
        select country as item from events
        union
        select category from events
        union
        select city from events where user_id % 2 = 0
    ) as united
) as everything
group by source
order by source

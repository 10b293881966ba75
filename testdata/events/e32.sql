-- ROLLUP and CUBE, with grouping() to tell a total from a null.
-- ordered
select *
from (
    select
        'rollup' as kind, device, category, grouping(device) as no_device, grouping(category) as no_category,
        count(*) as events, count(distinct user_id) as users
    from events
    group by rollup (device, category)
    union all
    select 'cube', device, category, grouping(device), grouping(category), count(*), count(distinct user_id)
    from events
    group by cube (device, category)
) as totals
order by kind, no_device, no_category, device, category nulls first

-- rank, dense_rank and ntile over aggregates.
-- ordered
select
    country, category, events,
    rank() over (partition by country order by events desc) as place,
    dense_rank() over (partition by country order by events desc) as dense_place,
    ntile(4) over (order by events, country nulls first, category nulls first) as quarter
from (
    select country, category, count(*) as events
    from events
    group by country, category
) as counted
order by country nulls first, category nulls first

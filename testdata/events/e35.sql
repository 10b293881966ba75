-- Decimals: sums, products, averages, rounding and casts, grouped by currency.
-- ordered
select
    currency,
    count(revenue) as paid,
    sum(revenue) as revenue,
    avg(revenue) as mean,
    sum(revenue * quantity) as gross,
    sum(revenue * cast(0.19 as decimal(4, 2))) as tax,
    sum(cast(revenue as decimal(18, 4)) / 3) as thirds,
    min(round(revenue, 1)) as least,
    sum(cast(round(revenue) as bigint)) as whole
from events
group by currency
order by currency nulls last

-- GROUPING SETS with grouping().
-- ordered
select
    device, browser, country,
    grouping(device) as no_device, grouping(browser) as no_browser, grouping(country) as no_country,
    count(*) as events, sum(revenue) as revenue
from events
group by grouping sets ((device, browser), (country), (device), ())
order by no_device, no_browser, no_country, device, browser, country nulls first

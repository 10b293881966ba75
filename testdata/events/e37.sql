-- Exact medians and moments, in groups.
-- ordered
select
    event_type,
    median(latency_us) as median_latency,
    median(revenue) as median_revenue,
    median(distinct screen_width) as median_width,
    round(stddev(latency_us) / 1000.0, 6) as spread,
    round(var_pop(screen_width), 6) as width_variance,
    round(corr(screen_width, screen_height), 6) as shape
from events
group by event_type
order by event_type

-- CASE in both forms as a key and inside aggregates.
-- ordered
select
    case when duration_ms is null then 'none' when duration_ms < 1000 then 'short' when duration_ms < 60000 then 'medium' else 'long' end
        as length,
    case device when 'mobile' then 'hand' when 'tablet' then 'hand' else 'desk' end as held,
    count(*) as events,
    sum(case when revenue > 0 then 1 else 0 end) as paid,
    sum(case when is_mobile then latency_us else -latency_us end) as signed_latency
from events
group by 1, 2
order by 1, 2

-- Time: date_trunc, extract, date_bin, intervals, dates and timestamps compared.
-- ordered
select
    date_trunc('week', event_time) as week,
    extract(dow from event_time) as weekday,
    date_bin(interval '6 hours', event_time) as quarter_day,
    count(*) as events,
    sum(case when cast(event_time as date) = event_date then 1 else 0 end) as same_day,
    max(event_time + interval '90 minutes') as later,
    min(event_date - interval '1 month') as earlier
from events
where event_date >= (select max(event_date) - interval '10' day from events)
group by 1, 2, 3
order by 1, 2, 3

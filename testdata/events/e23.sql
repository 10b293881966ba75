-- A self join on the user: searches and the purchases that follow them.
-- ordered
select
    s.search_phrase,
    count(*) as pairs,
    count(distinct p.event_id) as purchases,
    sum(p.revenue) as revenue
from events s
join events p on p.user_id = s.user_id and p.event_time > s.event_time and p.event_type = 'purchase'
where s.event_type = 'search' and s.search_phrase <> ''
group by s.search_phrase
order by pairs desc, s.search_phrase
limit 50

-- LIKE, NOT LIKE and ILIKE in one grouped query.
-- ordered
select browser, count(*) as events, count(distinct page_url) as pages
from events
where page_url like '%/%?%'
  and user_agent not like '%bot%'
  and (os ilike '%wIN%' or os ilike 'a%' or referrer like 'https://%')
group by browser
order by browser

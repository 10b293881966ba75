-- regexp_like as a filter and regexp_replace as a grouping key.
-- ordered
select
    regexp_replace(page_url, '^https?://([^/?]+).*$', '\1') as host,
    count(*) as events,
    min(length(page_url)) as shortest
from events
where regexp_like(page_url, '[?&][a-z_]+=')
group by host
order by events desc, host
limit 30

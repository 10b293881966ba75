-- Nulls: coalesce, nullif, IS DISTINCT FROM, null in keys, joins and order.
-- ordered
select
    e.campaign,
    e.experiment,
    count(*) as events,
    count(e.referrer) as referred,
    count(nullif(e.search_phrase, '')) as searched,
    sum(case when e.is_logged_in is not true then 1 else 0 end) as not_logged_in,
    sum(case when e.city is distinct from e.country then 1 else 0 end) as apart,
    coalesce(max(e.error_code), -1) as error_code,
    count(n.campaign) as joined
from events e
left join (values ('none'), (null)) as n (campaign) on n.campaign is not distinct from e.campaign
group by e.campaign, e.experiment
order by e.campaign nulls first, e.experiment nulls last

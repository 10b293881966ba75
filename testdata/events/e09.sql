-- regexp_match: a list value taken apart; rows without a match give null.
-- ordered
select (regexp_match(page_url, '[?&]([a-z_]+)='))[1] as first_parameter, count(*) as events, min(event_id) as first_event
from events
group by first_parameter
order by first_parameter nulls first

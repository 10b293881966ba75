-- Top-k of wide rows with OFFSET; nulls last, ties broken by the key.
-- ordered
select event_id, event_time, user_id, page_url, user_agent, duration_ms, scroll_depth
from events
order by duration_ms desc nulls last, event_id
limit 20 offset 15

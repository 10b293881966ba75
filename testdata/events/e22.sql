-- One wide aggregate without groups over every kind of column.
select
    count(*) as events,
    count(duration_ms) as with_duration,
    sum(duration_ms) as duration,
    avg(duration_ms) as mean_duration,
    min(event_time) as first_event,
    max(event_time) as last_event,
    min(event_date) as first_day,
    max(revenue) as dearest,
    sum(revenue) as revenue,
    avg(scroll_depth) as mean_depth,
    min(search_phrase) as first_phrase,
    max(page_url) as last_page,
    min(user_id) as least_user,
    sum(screen_width) as widths,
    bool_and(is_mobile) as all_mobile,
    bool_or(is_logged_in) as any_logged_in,
    bit_xor(event_id) as parity
from events

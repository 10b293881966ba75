-- String functions over ASCII and Unicode text.
-- ordered
select
    event_id,
    upper(event_type) as kind,
    initcap(coalesce(city, 'nowhere')) as city,
    length(search_phrase) as characters,
    octet_length(search_phrase) as octets,
    reverse(search_phrase) as reversed,
    split_part(tags, ',', 1) as first_tag,
    strpos(page_url, '?') as query_at,
    lpad(cast(screen_width as varchar), 6, '0') as width,
    left(session_id, 4) || '-' || right(session_id, 4) as session,
    replace(trim(both ' ' from search_phrase), ' ', '+') as phrase,
    concat_ws('/', device, os, country, browser) as client,
    substr(user_agent, 3, 10) as agent
from events
where search_phrase is not null
order by event_id
limit 200

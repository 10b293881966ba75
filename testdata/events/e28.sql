-- Nested-loop joins: inner and left, on inequalities alone.
-- ordered
select 'inner' as kind, band.name as name, count(*) as events, min(e.event_id) as first_event
from events e
join (values ('narrow', 0, 800), ('middle', 800, 1600), ('wide', 1600, 100000)) as band (name, low, high)
    on e.screen_width >= band.low and e.screen_width < band.high
group by band.name
union all
select 'left', band.name, count(e.event_id), min(e.event_id)
from (values ('small', 0, 10), ('none', -20, -10), ('some', 40, 60)) as band (name, low, high)
left join (select event_id, quantity from events where quantity is not null) as e
    on e.quantity >= band.low and e.quantity < band.high
group by band.name
order by kind, name

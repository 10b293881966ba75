//! One random query: its sources and joins, then one of a few shapes over them.
//!
//! Every query has one answer whatever the partitions: a `LIMIT` comes with an `ORDER BY` of all output columns, windows
//! that number rows are ordered by all keys of all sources, and no aggregate adds up fractions of floats.

use rand::Rng;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::scope::{Scope, Source};
use super::tables::{Column, GROUPED, Kind, RELATIONS, Table, tpch};

/// Rows that a join may make, by estimate. Larger ones become semi joins.
const JOIN_ROWS_MAX: u64 = 120_000;
/// Rows that are compared one by one; queries that would give more get a `LIMIT`.
const ANSWER_ROWS_MAX: u64 = 3_000;

/// Rows that are grouped by several sets, because their answers cannot be cut by a `LIMIT`.
const SETS_ROWS_MAX: u64 = 20_000;

pub fn query(seed: u64) -> String {
    let mut random = StdRng::seed_from_u64(seed);
    let mut generator = Generator { random: &mut random, tables: tpch(), aliases: 0 };
    generator.statement()
}

pub struct Generator<'a> {
    pub random: &'a mut StdRng,
    pub tables: Vec<Table>,
    aliases: usize,
}

impl Generator<'_> {
    fn statement(&mut self) -> String {
        match self.random.random_range(0..100) {
            0..30 => self.rows(),
            30..70 => self.groups(),
            70..82 => self.windows(),
            82..94 => self.set_operation(),
            _ => self.common_table(),
        }
    }

    pub fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    pub fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items.choose(self.random).expect("there is something to pick from").clone()
    }

    pub fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("t{}", self.aliases)
    }

    pub fn table(&mut self, name: &str) -> Table {
        self.tables.iter().find(|t| t.name == name).expect("relations name tables").clone()
    }

    /// Rows as they are, perhaps distinct.
    fn rows(&mut self) -> String {
        let scope = self.scope(4);
        let distinct = if self.chance(25) { "distinct " } else { "" };
        let columns = self.random.random_range(1..=5);
        let mut list: Vec<String> = (0..columns).map(|_| self.expression(&scope)).collect();
        if self.chance(10) {
            list.push(self.scalar_subquery());
        }
        let end = self.end(list.len(), scope.rows, scope.can_be_ordered);
        format!("select {distinct}{} from {}{}{end}", named(&list), scope.from, self.filter(&scope))
    }

    fn groups(&mut self) -> String {
        let scope = self.scope(4);
        let keys: Vec<String> = (0..self.pick(&[0, 1, 1, 1, 2, 2, 3]))
            .map(|_| if self.chance(75) { self.column(&scope).0 } else { self.expression(&scope) })
            .collect();
        let mut list = keys.clone();
        list.extend((0..self.random.random_range(1..=4)).map(|_| self.aggregate(&scope)));
        let sets = keys.len() > 1 && scope.rows <= SETS_ROWS_MAX && self.chance(25);
        let grouping = match keys.len() {
            0 => String::new(),
            _ if sets => {
                let kind = self.pick(&["rollup", "cube"]);
                // Grouping sets want plain columns, each once: an expression that repeats one is not the same key there.
                let mut plain: Vec<String> = keys.iter().map(|_| self.column(&scope).0).collect();
                plain.sort();
                plain.dedup();
                list.splice(..keys.len(), plain.iter().cloned());
                format!(" group by {kind} ({})", plain.join(", "))
            }
            n => format!(" group by {}", (1..=n).map(|i| i.to_string()).collect::<Vec<_>>().join(", ")),
        };
        let having = if self.chance(25) {
            let least = self.random.random_range(0..5);
            match self.pick(&[0, 1]) {
                0 => format!(" having count(*) > {least}"),
                _ => format!(" having {} is not null and count(*) <> {least}", self.aggregate(&scope)),
            }
        } else {
            String::new()
        };
        let rows = if keys.is_empty() { 1 } else { scope.rows };
        // DataFusion 55 drops keys of an ORDER BY over grouping sets too: columns that are equal or constant below the
        // aggregate are neither above it.
        let end = self.end(list.len(), rows, scope.can_be_ordered && !sets);
        format!("select {} from {}{}{grouping}{having}{end}", named(&list), scope.from, self.filter(&scope))
    }

    fn windows(&mut self) -> String {
        let scope = self.scope(2);
        let mut list: Vec<String> = (0..self.random.random_range(1..=3)).map(|_| self.column(&scope).0).collect();
        list.extend((0..self.random.random_range(1..=2)).map(|_| self.window(&scope)));
        // DataFusion 55 can lose a LIMIT over a window over a grouped subquery.
        let end = self.end(list.len(), scope.rows, scope.can_be_ordered && !scope.has_grouped());
        let inner = format!("select {} from {}{}", named(&list), scope.from, self.filter(&scope));
        if self.chance(30) {
            let last = list.len() - 1;
            return format!("select * from ({inner}) as w where c{last} is not null and c{last} <> 1{end}");
        }
        format!("{inner}{end}")
    }

    fn window(&mut self, scope: &Scope) -> String {
        let partition = if self.chance(70) { format!("partition by {} ", self.column(scope).0) } else { String::new() };
        let total = scope.keys().join(", ");
        let first = self.column(scope).0;
        let direction = self.pick(&["", " desc", " desc nulls last", " nulls first"]);
        let (number, frame) = (self.random.random_range(0..4), self.random.random_range(0..5));
        match self.random.random_range(0..7) {
            0 => format!("row_number() over ({partition}order by {first}{direction}, {total})"),
            1 => format!("rank() over ({partition}order by {first}{direction})"),
            2 => format!("dense_rank() over ({partition}order by {first}{direction})"),
            3 => {
                let (function, value) = (self.pick(&["lag", "lead"]), self.column(scope).0);
                format!("{function}({value}, {}) over ({partition}order by {first}{direction}, {total})", number + 1)
            }
            4 => {
                let value = self.exact_number(scope);
                // Peers of the default RANGE frame come and go together, so ties do no harm.
                format!("sum({value}) over ({partition}order by {first}{direction})")
            }
            5 => {
                let (function, value) = (self.pick(&["sum", "min", "max", "count"]), self.exact_number(scope));
                format!(
                    "{function}({value}) over ({partition}order by {first}{direction}, {total} \
                     rows between {number} preceding and {frame} following)"
                )
            }
            _ => format!("count(*) over ({partition})"),
        }
    }

    fn set_operation(&mut self) -> String {
        let kinds: Vec<Kind> = (0..self.random.random_range(1..=3))
            .map(|_| self.pick(&[Kind::Integer, Kind::Integer, Kind::Text, Kind::Date, Kind::Decimal]))
            .collect();
        let sides: Vec<(String, Scope)> = (0..self.pick(&[2, 2, 3])).map(|_| self.side(&kinds)).collect();
        let mut text = sides[0].0.clone();
        for (side, _) in &sides[1..] {
            let operation =
                self.pick(&["union all", "union all", "union", "intersect", "except", "intersect all", "except all"]);
            // Parentheses: INTERSECT binds tighter, and is not to be taken for granted.
            text = format!("({text}) {operation} ({side})");
        }
        let rows = sides.iter().map(|(_, scope)| scope.rows).sum();
        let can_be_ordered = sides.iter().all(|(_, scope)| scope.can_be_ordered);
        if self.chance(40) {
            let end = self.end(2, rows, can_be_ordered);
            return format!("select c0, count(*) as n from ({text}) as s group by c0{end}");
        }
        let end = self.end(kinds.len(), rows, can_be_ordered);
        format!("select * from ({text}) as s{end}")
    }

    /// A select list of the given kinds over whatever sources have them.
    fn side(&mut self, kinds: &[Kind]) -> (String, Scope) {
        loop {
            let scope = self.scope(2);
            let list: Option<Vec<String>> = kinds.iter().map(|&kind| self.column_of(&scope, kind)).collect();
            if let Some(list) = list {
                let limit = if scope.can_be_ordered && self.chance(20) {
                    format!("{} limit {}", order_by_all(list.len()), self.random.random_range(1..200))
                } else {
                    String::new()
                };
                let text = format!("select {} from {}{}{limit}", named(&list), scope.from, self.filter(&scope));
                return (text, scope);
            }
        }
    }

    /// A grouped query used twice.
    fn common_table(&mut self) -> String {
        let scope = self.scope(2);
        let (key, _) = self.column(&scope);
        let first = self.aggregate(&scope);
        let kind = self.pick(&["join", "left join", "full join", "left semi join", "left anti join"]);
        let visible = if kind.contains("semi") || kind.contains("anti") { "a" } else { "b" };
        let shift = self.random.random_range(0..3);
        format!(
            "with w as (select {key} as k, count(*) as n, {first} as v from {}{} group by 1) \
             select a.k as c0, a.n as c1, {visible}.v as c2 from w a {kind} w b on a.k = b.k and a.n >= b.n - {shift} \
             where a.n > (select min(n) from w)",
            scope.from,
            self.filter(&scope),
        )
    }

    /// One to `most` sources, joined. The estimate of the rows stays below [`JOIN_ROWS_MAX`].
    fn scope(&mut self, most: usize) -> Scope {
        let first = self.source();
        let mut scope = Scope::of(first);
        for _ in 1..self.random.random_range(1..=most) {
            self.join(&mut scope);
        }
        scope
    }

    fn join(&mut self, scope: &mut Scope) {
        let related = if self.chance(75) { self.related(scope) } else { None };
        let (right, mut on, rows) = match related {
            Some(found) => found,
            None => self.unrelated(scope),
        };
        if self.chance(20) {
            on = format!("{on} and {}", self.comparison_between(scope, &right));
        }
        if self.chance(15) {
            let alone = Scope::of(right.clone());
            on = format!("{on} and {}", self.predicate(&alone));
        }
        let kind = if rows > JOIN_ROWS_MAX {
            self.pick(&["left semi join", "left anti join"])
        } else {
            self.pick(&[
                "join",
                "join",
                "join",
                "join",
                "join",
                "left join",
                "left join",
                "right join",
                "full join",
                "left semi join",
                "left anti join",
                "right semi join",
                "right anti join",
            ])
        };
        scope.join(kind, right, &on, rows);
    }

    /// A table along a relationship of one that is there, in either direction.
    fn related(&mut self, scope: &Scope) -> Option<(Source, String, u64)> {
        let there = self.pick(&scope.sources);
        let relations: Vec<(String, Vec<(&str, &str)>)> = RELATIONS
            .iter()
            .filter_map(|r| {
                if r.child == there.table.name {
                    Some((r.parent.to_owned(), r.columns.to_vec()))
                } else if r.parent == there.table.name {
                    Some((r.child.to_owned(), r.columns.iter().map(|&(child, parent)| (parent, child)).collect()))
                } else {
                    None
                }
            })
            .collect();
        let (other, columns) = relations.choose(self.random)?.clone();
        let table = self.table(&other);
        let distinct =
            columns.iter().map(|(a, b)| there.table.column(a).distinct.max(table.column(b).distinct)).max()?;
        let right = Source { alias: self.alias(), table };
        let on: Vec<String> =
            columns.iter().map(|(a, b)| format!("{}.{a} = {}.{b}", there.alias, right.alias)).collect();
        let rows = scope.rows * right.table.rows / distinct;
        Some((right, on.join(" and "), rows))
    }

    /// Any table, on any two integers; now and then with a small one on an inequality, or without a condition.
    fn unrelated(&mut self, scope: &Scope) -> (Source, String, u64) {
        if self.chance(30) {
            let name = self.pick(&["region", "nation"]);
            let right = Source { alias: self.alias(), table: self.table(name) };
            let on = if self.chance(25) { "true".to_owned() } else { self.comparison_between(scope, &right) };
            let rows = scope.rows * right.table.rows;
            return (right, on, rows);
        }
        let right = self.source();
        let pick = |generator: &mut Self, columns: Vec<(String, Column)>| {
            let integers: Vec<_> = columns.into_iter().filter(|(_, c)| c.kind == Kind::Integer).collect();
            generator.pick(&integers)
        };
        let (left_name, left) = pick(self, scope.columns());
        let (right_name, other) = pick(self, right.columns());
        let rows = scope.rows * right.table.rows / left.distinct.max(other.distinct);
        (right, format!("{left_name} = {right_name}"), rows)
    }

    /// A table, or a small subquery in its place.
    fn source(&mut self) -> Source {
        let tables = self.tables.clone();
        let table = self.pick(&tables);
        let alias = self.alias();
        match self.random.random_range(0..10) {
            0 => {
                let key = table.key.join(", ");
                let direction = self.pick(&["", " desc"]);
                let (limit, offset) = (self.random.random_range(1..400), self.random.random_range(0..50));
                let from =
                    format!("(select * from {} order by {key}{direction} limit {limit} offset {offset})", table.name);
                Source { alias, table: Table { from, rows: table.rows.min(limit), ..table } }
            }
            1 => Source { alias, table: self.grouped_table(table) },
            _ => Source { alias, table },
        }
    }

    fn grouped_table(&mut self, table: Table) -> Table {
        let integers: Vec<Column> = table.columns.iter().filter(|c| c.kind == Kind::Integer).cloned().collect();
        let (key, value) = (self.pick(&integers), self.pick(&integers));
        let inner = Scope::of(Source { alias: "i".to_owned(), table });
        let filter = self.simple_filter(&inner);
        let from = format!(
            "(select {} as k, count(*) as n, max({}) as m from {}{filter} group by {})",
            key.name, value.name, inner.from, key.name
        );
        Table {
            name: GROUPED.to_owned(),
            from,
            rows: key.distinct,
            key: vec!["k".to_owned()],
            columns: vec![
                Column { name: "k".to_owned(), ..key.clone() },
                Column::integer("n", 20, 30),
                Column { name: "m".to_owned(), ..value },
            ],
        }
    }

    /// `ORDER BY` and `LIMIT`: both or none, and always when the answer would be large.
    fn end(&mut self, columns: usize, rows: u64, can_be_ordered: bool) -> String {
        if !can_be_ordered || (rows <= ANSWER_ROWS_MAX && self.chance(50)) {
            return String::new();
        }
        let mut positions: Vec<usize> = (1..=columns).collect();
        let turn = self.random.random_range(0..columns);
        positions.rotate_left(turn);
        let keys: Vec<String> = positions
            .iter()
            .map(|position| format!("{position}{}", self.pick(&["", "", " desc", " nulls first", " desc nulls last"])))
            .collect();
        let limit = self.pick(&[1, 3, 10, 50, 200, 1000]);
        let offset =
            if self.chance(25) { format!(" offset {}", self.random.random_range(0..6)) } else { String::new() };
        format!(" order by {} limit {limit}{offset}", keys.join(", "))
    }
}

fn named(list: &[String]) -> String {
    list.iter().enumerate().map(|(i, expression)| format!("{expression} as c{i}")).collect::<Vec<_>>().join(", ")
}

fn order_by_all(columns: usize) -> String {
    format!(" order by {}", (1..=columns).map(|i| i.to_string()).collect::<Vec<_>>().join(", "))
}

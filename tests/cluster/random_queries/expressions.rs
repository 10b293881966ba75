//! Expressions, aggregates, predicates and subqueries over a scope.

use rand::Rng;

use super::generator::Generator;
use super::scope::{Scope, Source};
use super::tables::{Column, Kind, RELATIONS, Values};

impl Generator<'_> {
    pub fn column(&mut self, scope: &Scope) -> (String, Column) {
        self.pick(&scope.columns())
    }

    pub fn column_of(&mut self, scope: &Scope, kind: Kind) -> Option<String> {
        let columns: Vec<_> = scope.columns().into_iter().filter(|(_, c)| c.kind == kind).collect();
        (!columns.is_empty()).then(|| self.pick(&columns).0)
    }

    /// Something to add up without rounding.
    pub fn exact_number(&mut self, scope: &Scope) -> String {
        let kind = self.pick(&[Kind::Integer, Kind::Decimal]);
        self.column_of(scope, kind).unwrap_or_else(|| "1".to_owned())
    }

    pub fn expression(&mut self, scope: &Scope) -> String {
        let (name, column) = self.column(scope);
        if self.chance(45) {
            return name;
        }
        let number = self.random.random_range(2..9);
        let literal = match column.values {
            Values::Patterns(_) => "'none'".to_owned(),
            _ => column.literal(self.random),
        };
        if self.chance(15) {
            return format!("coalesce({name}, {literal})");
        }
        if self.chance(15) {
            return format!("case when {} then {name} else {literal} end", self.predicate(scope));
        }
        match column.kind {
            Kind::Integer => match self.random.random_range(0..5) {
                0 => format!("{name} % {number}"),
                1 => format!("{name} * {number} - 1"),
                2 => format!("abs({name} - {literal})"),
                3 => format!("cast({name} as varchar)"),
                _ => format!("-{name}"),
            },
            Kind::Decimal => match self.random.random_range(0..3) {
                0 => format!("{name} * (1 - 0.0{number})"),
                1 => format!("round({name}, 1)"),
                _ => format!("cast({name} as bigint)"),
            },
            Kind::Text => match self.random.random_range(0..6) {
                0 => format!("upper({name})"),
                1 => format!("length({name})"),
                2 => format!("substr({name}, {number}, 4)"),
                3 => format!("{name} || '-' || {literal}"),
                4 => format!("left({name}, {number})"),
                _ => format!("strpos({name}, 'e')"),
            },
            Kind::Date => match self.random.random_range(0..4) {
                0 => format!("extract(year from {name})"),
                1 => format!("date_trunc('month', {name})"),
                2 => format!("{name} + interval '{number} days'"),
                _ => format!("date_part('dow', {name})"),
            },
        }
    }

    /// Averages are of integers (exact in a double at this size) and decimals.
    pub fn aggregate(&mut self, scope: &Scope) -> String {
        let (any, number) = (self.column(scope).0, self.exact_number(scope));
        let plain = match self.random.random_range(0..9) {
            0 | 1 => "count(*)".to_owned(),
            2 => format!("count({any})"),
            3 => format!("count(distinct {any})"),
            4 => format!("sum({number})"),
            5 => format!("min({any})"),
            6 => format!("max({any})"),
            7 => format!("avg({number})"),
            _ => return format!("sum(case when {} then 1 else 0 end)", self.predicate(scope)),
        };
        if self.chance(12) { format!("{plain} filter (where {})", self.predicate(scope)) } else { plain }
    }

    /// `WHERE` with subqueries, or nothing.
    pub fn filter(&mut self, scope: &Scope) -> String {
        let mut conditions: Vec<String> = (0..self.pick(&[0, 0, 0, 1, 1, 2])).map(|_| self.predicate(scope)).collect();
        if self.chance(30) {
            conditions.push(self.subquery_predicate(scope));
        }
        if conditions.is_empty() { String::new() } else { format!(" where {}", conditions.join(" and ")) }
    }

    /// `WHERE` on columns alone, or nothing.
    pub fn simple_filter(&mut self, scope: &Scope) -> String {
        if self.chance(50) { format!(" where {}", self.predicate(scope)) } else { String::new() }
    }

    pub fn predicate(&mut self, scope: &Scope) -> String {
        match self.random.random_range(0..10) {
            0 => format!("({} or {})", self.comparison(scope), self.comparison(scope)),
            1 => format!("not ({})", self.comparison(scope)),
            _ => self.comparison(scope),
        }
    }

    fn comparison(&mut self, scope: &Scope) -> String {
        let (name, column) = self.column(scope);
        let mut literal = || column.literal(self.random);
        let (first, second, third) = (literal(), literal(), literal());
        let (low, high) = in_order(&first, &second);
        if let Values::Patterns(_) = column.values {
            return format!("{name} {} {first}", self.pick(&["like", "not like", "ilike"]));
        }
        match self.random.random_range(0..8) {
            0 => format!("{name} between {low} and {high}"),
            1 => format!("{name} in ({first}, {second}, {third})"),
            2 => format!("{name} not in ({first}, {second})"),
            3 if self.chance(40) => format!("({name} is null or {name} <> {first})"),
            // In parentheses, because the parser takes an AND behind it as a part of its operand.
            3 => format!("({name} is distinct from {first})"),
            _ => format!("{name} {} {first}", self.pick(&["<", "<=", ">", ">=", "<>", "<", ">", "<>", "="])),
        }
    }

    /// A condition that needs a row of each side, and no equality.
    pub fn comparison_between(&mut self, scope: &Scope, right: &Source) -> String {
        let kind = self.pick(&[Kind::Integer, Kind::Integer, Kind::Text, Kind::Date, Kind::Decimal]);
        let alone = Scope::of(right.clone());
        match (self.column_of(scope, kind), self.column_of(&alone, kind)) {
            (Some(a), Some(b)) => format!("{a} {} {b}", self.pick(&["<", "<=", ">", "<>"])),
            _ => {
                let a = self.column_of(scope, Kind::Integer).expect("every table has an integer");
                let b = self.column_of(&alone, Kind::Integer).expect("every table has an integer");
                format!("{a} < {b}")
            }
        }
    }

    fn subquery_predicate(&mut self, scope: &Scope) -> String {
        match self.random.random_range(0..6) {
            0..=2 => self.related_subquery(scope),
            3 => {
                let outer = self.column_of(scope, Kind::Integer).expect("every table has an integer");
                format!("{outer} {} {}", self.pick(&["<", ">=", "<>"]), self.scalar_subquery())
            }
            _ => self.correlated_scalar(scope),
        }
    }

    /// An integer, computed once: also empty inputs, which give null.
    pub fn scalar_subquery(&mut self) -> String {
        let (name, scope) = self.inner();
        let value = self.column_of(&scope, Kind::Integer).expect("every table has an integer");
        let function = self.pick(&["min", "max", "count"]);
        format!("(select {function}({value}) from {name}{})", self.simple_filter(&scope))
    }

    fn inner(&mut self) -> (String, Scope) {
        let tables = self.tables.clone();
        let source = Source { alias: self.alias(), table: self.pick(&tables) };
        let scope = Scope::of(source);
        (scope.from.clone(), scope)
    }

    /// `[NOT] IN` and `[NOT] EXISTS` along a relationship, or on any two integers.
    fn related_subquery(&mut self, scope: &Scope) -> String {
        let (outer, inner, inner_scope) = self.correlation(scope);
        let filter = self.simple_filter(&inner_scope);
        let not = if self.chance(25) { "not " } else { "" };
        if self.chance(50) {
            return format!("{outer} {not}in (select {inner} from {}{filter})", inner_scope.from);
        }
        let and = if filter.is_empty() { " where" } else { " and" };
        format!("{not}exists (select 1 from {}{filter}{and} {inner} = {outer})", inner_scope.from)
    }

    fn correlated_scalar(&mut self, scope: &Scope) -> String {
        let (outer, inner, inner_scope) = self.correlation(scope);
        let value = self.column_of(&inner_scope, Kind::Integer).expect("every table has an integer");
        let compared = self.column_of(scope, Kind::Integer).expect("every table has an integer");
        let (function, operator) = (self.pick(&["min", "max", "count", "sum"]), self.pick(&["<", ">=", "<>"]));
        format!("{compared} {operator} (select {function}({value}) from {} where {inner} = {outer})", inner_scope.from)
    }

    /// Columns to compare for equality, outer and inner, and the inner source.
    fn correlation(&mut self, scope: &Scope) -> (String, String, Scope) {
        let there = self.pick(&scope.sources);
        let related: Vec<(&str, &str, &str)> = RELATIONS
            .iter()
            .flat_map(|r| {
                let (child, parent) = r.columns[0];
                [(r.child, child, r.parent, parent), (r.parent, parent, r.child, child)]
            })
            .filter(|(from, ..)| *from == there.table.name)
            .map(|(_, outer, to, inner)| (outer, to, inner))
            .filter(|(outer, ..)| there.table.columns.iter().any(|c| c.name == *outer))
            .collect();
        if related.is_empty() || self.chance(15) {
            let outer = self.column_of(scope, Kind::Integer).expect("every table has an integer");
            let (_, inner_scope) = self.inner();
            let inner = self.column_of(&inner_scope, Kind::Integer).expect("every table has an integer");
            return (outer, inner, inner_scope);
        }
        let (outer, table, inner) = self.pick(&related);
        let source = Source { alias: self.alias(), table: self.table(table) };
        (format!("{}.{outer}", there.alias), format!("{}.{inner}", source.alias), Scope::of(source))
    }
}

/// Literals of one column: numbers by value, dates and words as text.
fn in_order<'a>(a: &'a str, b: &'a str) -> (&'a str, &'a str) {
    let swapped = match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(x), Ok(y)) => x > y,
        _ => a > b,
    };
    if swapped { (b, a) } else { (a, b) }
}

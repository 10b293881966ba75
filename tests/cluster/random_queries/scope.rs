//! What a `FROM` clause has made visible.

use super::tables::{Column, GROUPED, Table};

#[derive(Clone, Debug)]
pub struct Source {
    pub alias: String,
    pub table: Table,
}

impl Source {
    fn is_grouped(&self) -> bool {
        self.table.name == GROUPED
    }

    /// Names as they are written: `t1.l_orderkey`.
    pub fn columns(&self) -> Vec<(String, Column)> {
        self.table.columns.iter().map(|c| (format!("{}.{}", self.alias, c.name), c.clone())).collect()
    }
}

#[derive(Clone, Debug)]
pub struct Scope {
    pub from: String,
    /// Those whose columns can be named.
    pub sources: Vec<Source>,
    /// An estimate.
    pub rows: u64,
    /// False when `ORDER BY` over it cannot be relied on; see [`Scope::join`].
    pub can_be_ordered: bool,
}

impl Scope {
    pub fn of(source: Source) -> Self {
        let from = format!("{} as {}", source.table.from, source.alias);
        Self { from, rows: source.table.rows, sources: vec![source], can_be_ordered: true }
    }

    /// `rows` is the estimate of an inner join; the outer and semi kinds follow from it.
    ///
    /// DataFusion 55 takes the key of a grouped subquery for a key of the join that it is in, and then drops the other
    /// keys of an `ORDER BY` that names it: such answers must not depend on the order.
    pub fn join(&mut self, kind: &str, right: Source, on: &str, rows: u64) {
        self.can_be_ordered &= !self.has_grouped() && !right.is_grouped();
        self.from = format!("{} {kind} {} as {} on {on}", self.from, right.table.from, right.alias);
        match kind {
            "left semi join" | "left anti join" => {}
            "right semi join" | "right anti join" => {
                self.rows = right.table.rows;
                self.sources = vec![right];
            }
            _ => {
                self.rows = rows.max(self.rows).max(right.table.rows);
                self.sources.push(right);
            }
        }
    }

    pub fn has_grouped(&self) -> bool {
        self.sources.iter().any(Source::is_grouped)
    }

    pub fn columns(&self) -> Vec<(String, Column)> {
        self.sources.iter().flat_map(Source::columns).collect()
    }

    /// Unique together, outer joins included: a row is one choice of a row, or none, of each source.
    pub fn keys(&self) -> Vec<String> {
        self.sources.iter().flat_map(|s| s.table.key.iter().map(|k| format!("{}.{k}", s.alias))).collect()
    }
}

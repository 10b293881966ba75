//! What a client's tables must hold, and the statements that change it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use rand::Rng;
use rand::rngs::StdRng;

/// The objects of one client: nobody else changes them, but for `shared`, to which all clients append rows of their own.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Model {
    pub client: usize,
    /// `cN (k bigint not null, v bigint)`.
    pub rows: BTreeMap<i64, i64>,
    /// Whether `cN` has the column `x`.
    pub has_column: bool,
    /// `sN`, made by CREATE TABLE AS.
    pub side: Option<BTreeMap<i64, i64>>,
    /// What the last dropped `sN` held.
    pub dropped: Option<BTreeMap<i64, i64>>,
    /// Whether the database `dN` is there.
    pub has_database: bool,
    /// Whether the database `dN` was there once.
    pub had_database: bool,
    /// Whether the view `vN` is there.
    pub has_view: bool,
    /// Rows of ours in `shared`.
    pub shared: BTreeSet<i64>,
    /// Files of the stage `stN` that `lN (k bigint, v bigint)` has loaded.
    pub loaded: BTreeSet<i64>,
    next_key: i64,
}

/// A statement, and what holds when it was applied.
#[derive(Clone, Debug)]
pub struct Step {
    pub kind: &'static str,
    /// What comes before it in a transaction; `sql` is its COMMIT then.
    pub before: Vec<String>,
    pub sql: String,
    pub after: Model,
}

/// Beyond it a table is emptied soon.
const ROWS_MAX: usize = 4000;

/// Of a client's stage.
pub const FILES: i64 = 6;
const ROWS_OF_A_FILE: i64 = 700;

impl Model {
    pub fn new(client: usize) -> Self {
        Self { client, ..Self::default() }
    }

    /// What a table must show of a model, by [`Model::sums_of`].
    pub fn sums(rows: &BTreeMap<i64, i64>) -> Vec<i64> {
        let mixed = |(k, v): (&i64, &i64)| (k * 31 + v * 7) % 10_007 * (v % 101);
        vec![rows.len() as i64, rows.keys().sum(), rows.values().sum(), rows.iter().map(mixed).sum()]
    }

    pub fn sums_of(table: &str) -> String {
        format!(
            "select count(*), coalesce(sum(k), 0), coalesce(sum(v), 0), \
             coalesce(sum((k * 31 + v * 7) % 10007 * (v % 101)), 0) from {table}"
        )
    }

    /// A file of a client's stage, as CSV.
    pub fn staged(file: i64) -> String {
        Self::rows_of(file).map(|(k, v)| format!("{k},{v}\n")).collect()
    }

    fn rows_of(file: i64) -> impl Iterator<Item = (i64, i64)> {
        (file * ROWS_OF_A_FILE..(file + 1) * ROWS_OF_A_FILE).map(move |k| (k, k % 997 + file))
    }

    /// What `lN` holds.
    pub fn loaded_rows(&self) -> BTreeMap<i64, i64> {
        self.loaded.iter().flat_map(|file| Self::rows_of(*file)).collect()
    }

    /// Some files, or all that are not loaded; what is loaded already is left out by the statement itself.
    fn load(&mut self, random: &mut StdRng) -> (&'static str, String) {
        let n = self.client;
        if self.loaded.len() as i64 == FILES {
            self.loaded.clear();
            return ("truncate loaded", format!("truncate table l{n}"));
        }
        if random.random_range(0..3) == 0 {
            self.loaded = (0..FILES).collect();
            return ("copy into, all", format!("copy into l{n} from @st{n}"));
        }
        let (a, b) = (random.random_range(0..FILES), random.random_range(0..FILES));
        self.loaded.extend([a, b]);
        ("copy into", format!("copy into l{n} from @st{n} files = ('{a}.csv', '{b}.csv')"))
    }

    pub fn step(&self, random: &mut StdRng) -> Step {
        let n = self.client;
        let mut after = self.clone();
        let table = format!("c{n}");
        let mut before = Vec::new();
        let (kind, sql) = match random.random_range(0..27) {
            0..=3 => ("insert values", after.insert_values(&table, random)),
            4..=6 if !self.rows.is_empty() && self.rows.len() < ROWS_MAX => {
                let (offset, factor) = (self.next_key, random.random_range(2..5));
                let copies = self.rows.iter().map(|(k, v)| (k + offset, v % 1000 * factor));
                after.rows.extend(copies);
                after.next_key = 2 * offset;
                (
                    "insert select",
                    format!("insert into {table} (k, v) select k + {offset}, v % 1000 * {factor} from {table}"),
                )
            }
            7..=9 => {
                let (modulus, rest) = (random.random_range(2..6), random.random_range(0..2));
                let more = random.random_range(1..100);
                after.rows.iter_mut().filter(|(k, _)| *k % modulus == rest).for_each(|(_, v)| *v += more);
                ("update", format!("update {table} set v = v + {more} where k % {modulus} = {rest}"))
            }
            10..=11 => {
                let (modulus, rest) = (random.random_range(3..9), random.random_range(0..3));
                after.rows.retain(|k, _| k % modulus != rest);
                ("delete", format!("delete from {table} where k % {modulus} = {rest}"))
            }
            12 => {
                after.rows.clear();
                after.next_key = 0;
                ("truncate", format!("truncate table {table}"))
            }
            13 => {
                after.rows.retain(|k, _| k % 2 == 0);
                let columns = if self.has_column { "k, v, x" } else { "k, v" };
                ("insert overwrite", format!("insert overwrite {table} select {columns} from {table} where k % 2 = 0"))
            }
            14 => match self.side {
                None if self.dropped.is_some() && random.random() => {
                    after.side = after.dropped.take();
                    ("undrop table", format!("undrop table s{n}"))
                }
                None => {
                    after.side = Some(self.rows.clone());
                    ("create table as", format!("create table s{n} as select k, v from {table}"))
                }
                Some(_) => {
                    after.dropped = after.side.take();
                    ("drop table", format!("drop table s{n}"))
                }
            },
            15 => {
                after.has_column = !self.has_column;
                match self.has_column {
                    true => ("alter table", format!("alter table {table} drop column x")),
                    false => ("alter table", format!("alter table {table} add column x varchar default 'y'")),
                }
            }
            16 => {
                after.has_view = !self.has_view;
                match self.has_view {
                    true => ("drop view", format!("drop view v{n}")),
                    false => ("create view", format!("create view v{n} as select k, v from {table}")),
                }
            }
            17 if self.has_database => {
                after.has_database = false;
                ("drop database", format!("drop database d{n}"))
            }
            17 if self.had_database && random.random() => {
                after.has_database = true;
                ("undrop database", format!("undrop database d{n}"))
            }
            17 => {
                (after.has_database, after.had_database) = (true, true);
                ("create database", format!("create database d{n}"))
            }
            18 => {
                let more = random.random_range(1..100);
                let insert = after.insert_values(&table, random);
                after.rows.values_mut().for_each(|v| *v += more);
                let row = after.append();
                let update = format!("update {table} set v = v + {more}");
                before = vec!["begin".to_owned(), insert, update, format!("insert into shared values ({n}, {row})")];
                ("transaction", "commit".to_owned())
            }
            19..=20 if !self.rows.is_empty() && self.rows.len() < ROWS_MAX => {
                // Half of the source's keys are the table's.
                let (offset, more) = (self.next_key / 2, random.random_range(1..100));
                for (k, v) in &self.rows {
                    let merged = after.rows.entry(k + offset).or_default();
                    *merged = if self.rows.contains_key(&(k + offset)) { self.rows[&(k + offset)] + more } else { *v };
                }
                after.next_key = self.next_key + offset;
                let merge = format!(
                    "merge into {table} t using (select k + {offset} as k, v from {table}) s on t.k = s.k \
                     when matched then update set v = t.v + {more} \
                     when not matched then insert (k, v) values (s.k, s.v)"
                );
                ("merge", merge)
            }
            21..=24 => after.load(random),
            _ => {
                let row = after.append();
                ("append", format!("insert into shared values ({n}, {row})"))
            }
        };
        Step { kind, before, sql, after }
    }

    /// A further row of `shared`.
    fn append(&mut self) -> i64 {
        let row = self.shared.last().map_or(0, |last| last + 1);
        self.shared.insert(row);
        row
    }

    fn insert_values(&mut self, table: &str, random: &mut StdRng) -> String {
        let mut sql = format!("insert into {table} (k, v) values ");
        for index in 0..random.random_range(1..8) {
            let (k, v) = (self.next_key, random.random_range(0..1000));
            self.next_key += 1;
            self.rows.insert(k, v);
            write!(sql, "{}({k}, {v})", if index == 0 { "" } else { ", " }).expect("a string takes all");
        }
        sql
    }
}

//! `MERGE`, `UPDATE`, `DELETE` at random, against a model that keeps the table as a list of rows.
//!
//! Statement `i` of a run depends on what the ones before have left; `FRAZIL_SEED` repeats a run.

use std::fmt::Write as _;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::support::cluster::{Cluster, Options};
use crate::support::engine::{Answer, Engine, Request};

const PARTITIONS: [usize; 4] = [1, 2, 3, 7];

type Value = Option<i64>;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Row {
    k: Value,
    g: Value,
    v: i64,
}

/// A condition as SQL, and what it is for a row of the table and one of the source.
type Condition = (&'static str, fn(&Row, &Row) -> Option<bool>);
type NewRow = fn(&Row, &Row) -> Row;

fn equal(a: Value, b: Value) -> Option<bool> {
    Some(a? == b?)
}

const ON: [Condition; 7] = [
    ("t.k = s.k", |t, s| equal(t.k, s.k)),
    ("t.k = s.k", |t, s| equal(t.k, s.k)),
    ("t.k = s.k and t.g = s.g", |t, s| and(equal(t.k, s.k), equal(t.g, s.g))),
    ("t.k = s.k and t.v < s.v", |t, s| and(equal(t.k, s.k), Some(t.v < s.v))),
    ("t.k = s.k + 1 or t.k = s.g", |t, s| or(equal(t.k, s.k.map(|k| k + 1)), equal(t.k, s.g))),
    ("t.k > 110 and s.k > 110", |t, s| and(t.k.map(|k| k > 110), s.k.map(|k| k > 110))),
    ("1 = 0", |_, _| Some(false)),
];

fn and(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn or(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    and(a.map(|a| !a), b.map(|b| !b)).map(|both| !both)
}

const OF_BOTH: [Condition; 4] = [
    ("s.v > 50", |_, s| Some(s.v > 50)),
    ("t.v > s.v", |t, s| Some(t.v > s.v)),
    ("t.g = s.g", |t, s| equal(t.g, s.g)),
    ("t.g is null", |t, _| Some(t.g.is_none())),
];
const OF_TABLE: [Condition; 3] = [
    ("t.v > 50", |t, _| Some(t.v > 50)),
    ("t.g is null", |t, _| Some(t.g.is_none())),
    ("t.k % 3 = t.g", |t, _| equal(t.k.map(|k| k % 3), t.g)),
];
const OF_SOURCE: [Condition; 3] = [
    ("s.v > 50", |_, s| Some(s.v > 50)),
    ("s.k is not null", |_, s| Some(s.k.is_some())),
    ("s.g > 1", |_, s| s.g.map(|g| g > 1)),
];

const UPDATES_OF_BOTH: [(&str, NewRow); 3] = [
    ("v = s.v", |t, s| Row { v: s.v, ..*t }),
    ("g = t.g + s.g, v = t.v + s.v", |t, s| Row { g: t.g.zip(s.g).map(|(a, b)| a + b), v: t.v + s.v, ..*t }),
    ("k = s.k, g = null", |_t, s| Row { k: s.k, g: None, ..*_t }),
];
const UPDATES_OF_TABLE: [(&str, NewRow); 2] =
    [("v = t.v % 100 + 1", |t, _| Row { v: t.v % 100 + 1, ..*t }), ("g = 2", |t, _| Row { g: Some(2), ..*t })];
const INSERTS: [(&str, NewRow); 3] = [
    ("values (s.k, s.g, s.v)", |_, s| *s),
    ("(k) values (s.k)", |_, s| Row { k: s.k, g: None, v: 7 }),
    ("(v, k) values (s.v + 1, s.g)", |_, s| Row { k: s.g, g: None, v: s.v + 1 }),
];

#[derive(Clone, Copy)]
enum Action {
    Insert(NewRow),
    Update(NewRow),
    Delete,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Matched,
    ByTarget,
    BySource,
}

struct Clause {
    kind: Kind,
    condition: Option<Condition>,
    action: Action,
}

/// Rows inserted, updated and deleted.
#[derive(Default, PartialEq, Eq, Debug, Clone, Copy)]
struct Counts([i64; 3]);

struct Merge {
    sql: String,
    on: Condition,
    clauses: Vec<Clause>,
}

impl Merge {
    fn any(random: &mut StdRng) -> Self {
        let on = *ON.choose(random).expect("some");
        let mut sql = format!("merge into t using s on {}", on.0);
        let mut clauses = Vec::new();
        for _ in 0..random.random_range(1..=4) {
            let kind = *[Kind::Matched, Kind::Matched, Kind::ByTarget, Kind::BySource].choose(random).expect("some");
            let (name, conditions): (_, &[Condition]) = match kind {
                Kind::Matched => ("matched", &OF_BOTH),
                Kind::ByTarget => (*["not matched", "not matched by target"].choose(random).expect("some"), &OF_SOURCE),
                Kind::BySource => ("not matched by source", &OF_TABLE),
            };
            let condition = random.random_bool(0.6).then(|| *conditions.choose(random).expect("some"));
            let and = condition.map_or(String::new(), |(sql, _)| format!(" and {sql}"));
            let (then, action) = match kind {
                Kind::ByTarget => {
                    let (sql, row) = *INSERTS.choose(random).expect("some");
                    (format!("insert {sql}"), Action::Insert(row))
                }
                _ if random.random_bool(0.3) => ("delete".to_owned(), Action::Delete),
                kind => {
                    let updates: &[(&str, NewRow)] =
                        if kind == Kind::Matched { &UPDATES_OF_BOTH } else { &UPDATES_OF_TABLE };
                    let (sql, row) = *updates.choose(random).expect("some");
                    (format!("update set {sql}"), Action::Update(row))
                }
            };
            write!(sql, " when {name}{and} then {then}").expect("writing to a string");
            clauses.push(Clause { kind, condition, action });
        }
        Self { sql, on, clauses }
    }

    fn action(&self, kind: Kind, t: &Row, s: &Row) -> Option<Action> {
        let applies = |clause: &&Clause| {
            clause.kind == kind && clause.condition.is_none_or(|(_, holds)| holds(t, s) == Some(true))
        };
        self.clauses.iter().find(applies).map(|clause| clause.action)
    }

    /// The table afterwards and what is counted; `None` where a row would be changed twice.
    fn apply(&self, table: &[Row], source: &[Row]) -> Option<(Vec<Row>, Counts)> {
        let nothing = Row { k: None, g: None, v: 0 };
        let (mut after, mut counts) = (Vec::new(), Counts::default());
        let matches = |t: &Row, s: &Row| (self.on.1)(t, s) == Some(true);
        for t in table {
            let matching: Vec<&Row> = source.iter().filter(|s| matches(t, s)).collect();
            let mut actions: Vec<(Action, &Row)> = Vec::new();
            for s in &matching {
                actions.extend(self.action(Kind::Matched, t, s).map(|action| (action, *s)));
            }
            if matching.is_empty() {
                actions.extend(self.action(Kind::BySource, t, &nothing).map(|action| (action, &nothing)));
            }
            match actions[..] {
                [] => after.push(*t),
                [(Action::Update(row), s)] => {
                    after.push(row(t, s));
                    counts.0[1] += 1;
                }
                [(Action::Delete, _)] => counts.0[2] += 1,
                [(Action::Insert(_), _)] => unreachable!("rows of the table are not inserted"),
                _ => return None,
            }
        }
        for s in source {
            if table.iter().any(|t| matches(t, s)) {
                continue;
            }
            if let Some(Action::Insert(row)) = self.action(Kind::ByTarget, &nothing, s) {
                after.push(row(&nothing, s));
                counts.0[0] += 1;
            }
        }
        Some((after, counts))
    }
}

fn literal(value: Value) -> String {
    value.map_or("null".to_owned(), |value| value.to_string())
}

fn insert(table: &str, rows: &[Row]) -> String {
    let rows: Vec<_> = rows.iter().map(|row| format!("({}, {}, {})", literal(row.k), literal(row.g), row.v)).collect();
    format!("insert into {table} values {}", rows.join(", "))
}

fn any_rows(random: &mut StdRng, rows: usize, keys: i64) -> Vec<Row> {
    let mut row = || {
        let k = random.random_bool(0.95).then(|| random.random_range(0..keys));
        let g = random.random_bool(0.8).then(|| random.random_range(0..4));
        Row { k, g, v: random.random_range(0..100) }
    };
    (0..rows).map(|_| row()).collect()
}

fn rows_of(answer: &Answer) -> Vec<Row> {
    let mut rows = Vec::new();
    for batch in &answer.batches {
        let [k, g, v] = [0, 1, 2].map(|index| batch.column(index).as_primitive::<Int64Type>());
        let value = |column: &arrow::array::Int64Array, row| column.is_valid(row).then(|| column.value(row));
        rows.extend((0..batch.num_rows()).map(|row| Row { k: value(k, row), g: value(g, row), v: v.value(row) }));
    }
    rows.sort();
    rows
}

fn counts_of(answer: &Answer) -> Counts {
    let mut counts = Counts::default();
    let batch = answer.batches.iter().find(|batch| batch.num_rows() > 0).expect("a row that counts");
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let names = ["number of rows inserted", "number of rows updated", "number of rows deleted"];
        let index = names.iter().position(|name| name == field.name()).expect("a count");
        counts.0[index] = column.as_primitive::<Int64Type>().value(0);
    }
    counts
}

struct Run<'a> {
    cluster: &'a Cluster,
    random: StdRng,
    table: Vec<Row>,
    said: Vec<String>,
}

impl Run<'_> {
    async fn say(&mut self, sql: String) -> Result<Answer, crate::support::engine::Refusal> {
        let partitions = *PARTITIONS.choose(&mut self.random).expect("some");
        self.said.push(format!("-- {partitions} partitions\n{sql};"));
        self.cluster.run(&Request::new(sql).partitions(partitions)).await
    }

    async fn done(&mut self, sql: String) -> Answer {
        let answer = self.say(sql).await;
        answer.unwrap_or_else(|refusal| panic!("{refusal}\n{}", self.said.join("\n")))
    }

    async fn insert(&mut self, rows: Vec<Row>) {
        self.done(insert("t", &rows)).await;
        self.table.extend(rows);
    }

    /// Whether it was a change, or refused because a row would be changed twice.
    async fn merge(&mut self) -> bool {
        let distinct = self.random.random_bool(0.8);
        let size = self.random.random_range(0..40);
        let mut source = any_rows(&mut self.random, size, 120);
        if distinct {
            source.sort();
            source.dedup_by_key(|row| row.k);
        }
        self.done("create or replace table s (k bigint, g bigint, v bigint)".to_owned()).await;
        if !source.is_empty() {
            self.done(insert("s", &source)).await;
        }
        let merge = Merge::any(&mut self.random);
        let answer = self.say(merge.sql.clone()).await;
        match (merge.apply(&self.table, &source), answer) {
            (Some((after, counts)), Ok(answer)) => {
                self.table = after;
                assert_eq!(counts_of(&answer), counts, "{}", self.said.join("\n"));
                true
            }
            (None, Err(refusal)) => {
                assert_eq!(refusal.sql_state.as_deref(), Some("21000"), "{refusal}\n{}", self.said.join("\n"));
                false
            }
            (None, Ok(_)) => panic!("a row was changed twice\n{}", self.said.join("\n")),
            (Some(_), Err(refusal)) => panic!("{refusal}\n{}", self.said.join("\n")),
        }
    }

    async fn delete_or_update(&mut self) {
        let (condition, holds) = *OF_TABLE.choose(&mut self.random).expect("some");
        let holds = |row: &Row| holds(row, row) == Some(true);
        let matching = self.table.iter().filter(|row| holds(row)).count() as i64;
        let counts = if self.random.random_bool(0.4) {
            self.table.retain(|row| !holds(row));
            let answer = self.done(format!("delete from t where {condition}")).await;
            (counts_of(&answer), Counts([0, 0, matching]))
        } else {
            let (set, new) = *UPDATES_OF_TABLE.choose(&mut self.random).expect("some");
            self.table.iter_mut().filter(|row| holds(row)).for_each(|row| *row = new(row, row));
            let answer = self.done(format!("update t set {set} where {condition}")).await;
            (counts_of(&answer), Counts([0, matching, 0]))
        };
        assert_eq!(counts.0, counts.1, "{}", self.said.join("\n"));
    }

    async fn check(&mut self) {
        let answer = self.done("select * from t".to_owned()).await;
        self.table.sort();
        assert_eq!(rows_of(&answer), self.table, "{}", self.said.join("\n"));
        let count = self.done("select count(*), count(k), sum(v) from t".to_owned()).await;
        let counted = count.batches[0].column(0).as_primitive::<Int64Type>().value(0);
        assert_eq!(counted, self.table.len() as i64, "{}", self.said.join("\n"));
    }
}

async fn check(options: Options, default_seed: u64) {
    let seed = std::env::var("FRAZIL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(default_seed);
    eprintln!("random merges, seed {seed}");
    let cluster = Cluster::start(options.coordinator_option("small_scan", 0)).await;
    let mut run = Run { cluster: &cluster, random: StdRng::seed_from_u64(seed), table: Vec::new(), said: Vec::new() };
    run.done("create table t (k bigint, g bigint, v bigint not null default 7)".to_owned()).await;
    let (mut merged, mut refused) = (0, 0);
    for step in 0..60 {
        if run.table.len() < 40 {
            let rows = any_rows(&mut run.random, 50, 120);
            run.insert(rows).await;
        }
        match step % 4 {
            3 => run.delete_or_update().await,
            _ if run.merge().await => merged += 1,
            _ => refused += 1,
        }
        run.check().await;
    }
    assert!(merged >= 10 && refused >= 1, "{merged} merged, {refused} refused: that tests too little");
}

#[tokio::test(flavor = "multi_thread")]
async fn random_merges_on_one_executor() {
    check(Options::executors(1), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_merges_on_three_executors() {
    check(Options::executors(3), 2).await;
}

/// Every file from which rows go is written anew, or none.
#[tokio::test(flavor = "multi_thread")]
async fn random_merges_whatever_is_written_for_deletes() {
    check(Options::executors(3).coordinator_option("deleted_percent_max", 0), 3).await;
    check(Options::executors(3).coordinator_option("deleted_percent_max", 100), 4).await;
}

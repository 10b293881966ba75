//! Random statements that write, in and out of transactions, compared after each one with a model: rows in a list.

use std::fmt::Write as _;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::support::client::Client;
use crate::support::cluster::{Cluster, Options};
use crate::support::engine::{Answer, Engine, Request};

const PARTITIONS: [usize; 4] = [1, 2, 3, 7];

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Value {
    Null,
    Number(i64),
    Text(String),
}

impl Value {
    fn sql(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => format!("'{text}'"),
        }
    }

    fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Null | Self::Text(_) => None,
        }
    }
}

/// The table: `k` is a number and never null, `s` a text, all others numbers.
#[derive(Clone, Debug)]
struct Model {
    columns: Vec<String>,
    defaults: Vec<Value>,
    rows: Vec<Vec<Value>>,
}

impl Model {
    fn new() -> Self {
        let columns = ["k", "v", "s"].map(str::to_owned).to_vec();
        Self { columns, defaults: vec![Value::Null; 3], rows: vec![] }
    }

    fn at(&self, column: &str) -> usize {
        self.columns.iter().position(|name| name == column).expect("a column of the table")
    }
}

/// One of SQL's three values.
type Judge = Box<dyn Fn(&Model, &[Value]) -> Option<bool>>;
type Edit = Box<dyn Fn(&Value) -> Value>;

struct Predicate {
    sql: String,
    holds: Judge,
}

impl Predicate {
    fn selects(&self, model: &Model, row: &[Value]) -> bool {
        (self.holds)(model, row) == Some(true)
    }
}

fn predicate(rng: &mut StdRng, model: &Model) -> Predicate {
    let numbers: Vec<&String> = model.columns.iter().filter(|name| *name != "s").collect();
    let column = (*numbers.choose(rng).expect("there is k")).clone();
    let bound = rng.random_range(-5..60);
    let name = column.clone();
    let number = move |model: &Model, row: &[Value]| row[model.at(&name)].number();
    match rng.random_range(0..7) {
        0 => Predicate {
            sql: format!("{column} < {bound}"),
            holds: Box::new(move |model, row| number(model, row).map(|n| n < bound)),
        },
        1 => Predicate {
            sql: format!("{column} between {bound} and {}", bound + 12),
            holds: Box::new(move |model, row| number(model, row).map(|n| n >= bound && n <= bound + 12)),
        },
        2 => Predicate {
            sql: format!("{column} % 3 = 1"),
            holds: Box::new(move |model, row| number(model, row).map(|n| n % 3 == 1)),
        },
        3 => Predicate {
            sql: format!("{column} is null"),
            holds: Box::new(move |model, row| Some(number(model, row).is_none())),
        },
        4 => Predicate {
            sql: format!("not ({column} >= {bound})"),
            holds: Box::new(move |model, row| number(model, row).map(|n| n < bound)),
        },
        5 => {
            let text = text(rng);
            Predicate {
                sql: format!("s = '{text}'"),
                holds: Box::new(move |model, row| match &row[model.at("s")] {
                    Value::Text(value) => Some(*value == text),
                    _ => None,
                }),
            }
        }
        _ => Predicate {
            sql: format!("({column} = {bound} or s is null)"),
            holds: Box::new(move |model, row| {
                let equal = number(model, row).map(|n| n == bound);
                let null = row[model.at("s")] == Value::Null;
                if null { Some(true) } else { equal }
            }),
        },
    }
}

fn text(rng: &mut StdRng) -> String {
    (*["a", "b", "nan", "", "ein Fluß", "0"].choose(rng).expect("some")).to_owned()
}

fn value(rng: &mut StdRng, column: &str) -> Value {
    match column {
        "k" => Value::Number(rng.random_range(0..50)),
        _ if rng.random_ratio(1, 4) => Value::Null,
        "s" => Value::Text(text(rng)),
        _ => Value::Number(rng.random_range(-20..40)),
    }
}

/// A statement, and what the table is after it.
fn change(rng: &mut StdRng, model: &Model, step: usize) -> (String, Model) {
    let mut after = model.clone();
    let sql = match rng.random_range(0..100) {
        0..30 => insert(rng, &mut after),
        30..40 => {
            let chosen = predicate(rng, model);
            let columns = model.columns.join(", ");
            let copied: Vec<_> =
                model.rows.iter().filter(|row| chosen.selects(model, row)).take(200).cloned().collect();
            // Not more than so many, so that it does not grow without bound.
            if model.rows.len() > 400 {
                return remove(rng, model);
            }
            after.rows.extend(copied);
            format!("insert into t ({columns}) select {columns} from t where {}", chosen.sql)
        }
        40..55 => update(rng, model, &mut after),
        55..63 => merge(rng, model, &mut after),
        63..75 => return remove(rng, model),
        75..78 => {
            after.rows.clear();
            "truncate table t".to_owned()
        }
        78..83 => {
            let kept = predicate(rng, model);
            after.rows.retain(|row| kept.selects(model, row));
            format!("insert overwrite t select * from t where {}", kept.sql)
        }
        83..90 => {
            let name = format!("x{step}");
            let default = value(rng, "x");
            let clause = if default == Value::Null { String::new() } else { format!(" default {}", default.sql()) };
            after.rows.iter_mut().for_each(|row| row.push(default.clone()));
            after.columns.push(name.clone());
            after.defaults.push(default);
            format!("alter table t add column {name} bigint{clause}")
        }
        90..94 => match model.columns.iter().position(|name| name.starts_with('x')) {
            Some(at) => {
                let name = after.columns.remove(at);
                after.defaults.remove(at);
                after.rows.iter_mut().for_each(|row| {
                    row.remove(at);
                });
                format!("alter table t drop column {name}")
            }
            None => insert(rng, &mut after),
        },
        94..97 => match model.columns.iter().position(|name| name.starts_with('x')) {
            Some(at) => {
                let name = std::mem::replace(&mut after.columns[at], format!("x{step}r"));
                format!("alter table t rename column {name} to x{step}r")
            }
            None => insert(rng, &mut after),
        },
        _ => {
            let kept = predicate(rng, model);
            after.rows.retain(|row| kept.selects(model, row));
            after.defaults.iter_mut().for_each(|default| *default = Value::Null);
            format!("create or replace table t as select * from t where {}", kept.sql)
        }
    };
    (sql, after)
}

fn insert(rng: &mut StdRng, after: &mut Model) -> String {
    let given: Vec<usize> =
        (0..after.columns.len()).filter(|at| after.columns[*at] == "k" || rng.random_ratio(2, 3)).collect();
    let rows: Vec<Vec<Value>> =
        (0..rng.random_range(1..8)).map(|_| given.iter().map(|at| value(rng, &after.columns[*at])).collect()).collect();
    for row in &rows {
        let mut whole = after.defaults.clone();
        given.iter().zip(row).for_each(|(at, value)| whole[*at] = value.clone());
        after.rows.push(whole);
    }
    let names: Vec<&str> = given.iter().map(|at| after.columns[*at].as_str()).collect();
    let tuples: Vec<String> =
        rows.iter().map(|row| format!("({})", row.iter().map(Value::sql).collect::<Vec<_>>().join(", "))).collect();
    format!("insert into t ({}) values {}", names.join(", "), tuples.join(", "))
}

fn update(rng: &mut StdRng, model: &Model, after: &mut Model) -> String {
    let chosen = predicate(rng, model);
    let column = model.columns.choose(rng).expect("there is k").clone();
    let at = model.at(&column);
    let by = rng.random_range(-3..10);
    let (expression, new): (String, Edit) = match column.as_str() {
        "s" => {
            let text = text(rng);
            (format!("'{text}'"), Box::new(move |_| Value::Text(text.clone())))
        }
        "k" => (format!("k + {by}"), Box::new(move |old| old.number().map_or(Value::Null, |n| Value::Number(n + by)))),
        _ if rng.random_ratio(1, 4) => ("null".to_owned(), Box::new(|_| Value::Null)),
        name => {
            (format!("{name} + {by}"), Box::new(move |old| old.number().map_or(Value::Null, |n| Value::Number(n + by))))
        }
    };
    for row in &mut after.rows {
        if chosen.selects(model, row) {
            row[at] = new(&row[at]);
        }
    }
    format!("update t set {column} = {expression} where {}", chosen.sql)
}

/// Matched rows are deleted where the source has no value, and updated where it has; others are inserted.
fn merge(rng: &mut StdRng, model: &Model, after: &mut Model) -> String {
    let first = rng.random_range(0..50);
    let source: Vec<(i64, Value)> =
        (first..first + rng.random_range(1..10)).step_by(2).map(|k| (k, value(rng, "v"))).collect();
    let (k, v) = (model.at("k"), model.at("v"));
    let found = |row: &[Value]| source.iter().find(|(key, _)| row[k] == Value::Number(*key));
    after.rows.retain(|row| found(row).is_none_or(|(_, value)| *value != Value::Null));
    for row in &mut after.rows {
        if let Some((_, value)) = found(row) {
            row[v] = value.clone();
        }
    }
    for (key, value) in &source {
        if !model.rows.iter().any(|row| row[k] == Value::Number(*key)) {
            let mut new = after.defaults.clone();
            (new[k], new[v]) = (Value::Number(*key), value.clone());
            after.rows.push(new);
        }
    }
    let tuples: Vec<String> = source.iter().map(|(key, value)| format!("({key}, {})", value.sql())).collect();
    format!(
        "merge into t using (select column1 k, cast(column2 as bigint) v from (values {})) s on t.k = s.k \
         when matched and s.v is null then delete when matched then update set v = s.v \
         when not matched then insert (k, v) values (s.k, s.v)",
        tuples.join(", ")
    )
}

fn remove(rng: &mut StdRng, model: &Model) -> (String, Model) {
    let chosen = predicate(rng, model);
    let mut after = model.clone();
    after.rows.retain(|row| !chosen.selects(model, row));
    (format!("delete from t where {}", chosen.sql), after)
}

fn rows_of(answer: &Answer) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    for batch in &answer.batches {
        for row in 0..batch.num_rows() {
            let cell = |column: &dyn Array| {
                if column.is_null(row) {
                    return Value::Null;
                }
                if let Some(numbers) = column.as_primitive_opt::<Int64Type>() {
                    return Value::Number(numbers.value(row));
                }
                Value::Text(column.as_string_view_opt().map_or_else(
                    || column.as_string::<i32>().value(row).to_owned(),
                    |texts| texts.value(row).to_owned(),
                ))
            };
            rows.push(batch.columns().iter().map(|column| cell(column.as_ref())).collect());
        }
    }
    rows
}

/// The table is what the model says: by a scan, and by statistics.
async fn check(engine: &dyn Engine, model: &Model, partitions: usize, log: &str) {
    let names = model.columns.join(", ");
    let request = Request::new(format!("select {names} from t")).partitions(partitions);
    let answer = engine.run(&request).await.unwrap_or_else(|refusal| panic!("{refusal}\n{log}"));
    let (mut actual, mut expected) = (rows_of(&answer), model.rows.clone());
    actual.sort();
    expected.sort();
    if actual != expected {
        let missing: Vec<_> = expected.iter().filter(|row| !actual.contains(row)).take(5).collect();
        let further: Vec<_> = actual.iter().filter(|row| !expected.contains(row)).take(5).collect();
        panic!(
            "{} rows in place of {} at {partitions} partitions, missing {missing:?}, not expected {further:?}\n{log}",
            actual.len(),
            expected.len()
        );
    }
    let keys = || model.rows.iter().filter_map(|row| row[model.at("k")].number());
    let number = |value: Option<i64>| value.map_or(Value::Null, Value::Number);
    let expected = vec![vec![Value::Number(model.rows.len() as i64), number(keys().min()), number(keys().max())]];
    let answer = engine.run(&Request::new("select count(*), min(k), max(k) from t")).await;
    assert_eq!(rows_of(&answer.unwrap_or_else(|refusal| panic!("{refusal}\n{log}"))), expected, "\n{log}");
}

/// In a schema of its own, of a database that is there.
pub async fn run_seed(cluster: &Cluster, database: &str, seed: u64, steps: usize) {
    let mut rng = StdRng::seed_from_u64(seed);
    let schema = format!("s{seed}");
    let mut log = format!("seed {seed}\n");
    let run = async |client: &Client, request: &Request, log: &mut String| {
        let _ = writeln!(log, "{};", request.sql);
        client.run(request).await.unwrap_or_else(|refusal| panic!("{refusal}\n{log}"));
    };
    let writer = cluster.client().in_session().await.expect("a session");
    let observer = cluster.client().in_session().await.expect("a session");
    run(&writer, &Request::new(format!("create schema {database}.{schema}")), &mut log).await;
    for client in [&writer, &observer] {
        run(client, &Request::new(format!("use schema {database}.{schema}")), &mut log).await;
    }
    run(&writer, &Request::new("create table t (k bigint not null, v bigint, s varchar)"), &mut log).await;
    let mut committed = Model::new();
    let mut open: Option<Model> = None;
    for step in 0..steps {
        let partitions = *PARTITIONS.choose(&mut rng).expect("some");
        match rng.random_range(0..20) {
            0 | 1 if open.is_none() => {
                run(&writer, &Request::new("begin"), &mut log).await;
                open = Some(committed.clone());
            }
            0 | 1 => {
                let changed = open.take();
                match rng.random_bool(0.6) {
                    true => {
                        run(&writer, &Request::new("commit"), &mut log).await;
                        committed = changed.unwrap_or(committed);
                    }
                    false => run(&writer, &Request::new("rollback"), &mut log).await,
                }
            }
            2 if open.is_none() => {
                run(&writer, &Request::new("drop table t"), &mut log).await;
                run(&writer, &Request::new("undrop table t"), &mut log).await;
            }
            _ => {
                let (sql, after) = change(&mut rng, open.as_ref().unwrap_or(&committed), step);
                run(&writer, &Request::new(sql).partitions(partitions), &mut log).await;
                *open.as_mut().unwrap_or(&mut committed) = after;
            }
        }
        check(&writer, open.as_ref().unwrap_or(&committed), partitions, &log).await;
        if step % 5 == 4 {
            check(&observer, &committed, 1, &log).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_writes_do_what_a_list_of_rows_does() {
    let cluster = Cluster::start(Options::executors(2).coordinator_option("history_max", 100)).await;
    let seed = std::env::var("FRAZIL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(2026);
    for seed in seed..seed + 6 {
        run_seed(&cluster, "frazil", seed, 40).await;
    }
}

/// Of the long run: another seed each time.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn many_random_writes_do_what_a_list_of_rows_does() {
    let cluster = Cluster::start(Options::executors(3)).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let seed = std::env::var("FRAZIL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(now);
    for seed in seed..seed + 40 {
        run_seed(&cluster, "frazil", seed, 60).await;
    }
}

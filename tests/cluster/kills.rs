//! Processes killed with SIGKILL at any point of a commit, while clients write and ask again after lost answers: what was
//! acknowledged is there exactly once, what was not is there wholly or not at all.
//!
//! In each round every client sends statements about tables of its own, one after the other, until a process has died: at a named point
//! (`frazil_common::failpoint`), or at some time. Then the process is started anew, and everything is compared with the model.
//! A statement whose answer was lost left the state before it or the state after it; sent again under its request id, it
//! leaves the state after it.

mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use frazil_catalog::{At, Database, FileFilter};
use frazil_common::failpoint;
use futures::future::join_all;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use self::model::{FILES, Model, Step};
use crate::random_queries::seed_or;
use crate::support::client::Client;
use crate::support::cluster::{Cluster, Options};
use crate::support::engine::{Engine, Refusal, Request};

const CLIENTS: usize = 3;
const EXECUTORS: usize = 2;
/// For a statement to come by a point; after that the process is killed where it is.
const POINT_LIMIT: Duration = Duration::from_secs(4);
/// From a kill to a cluster that answers.
const RECOVERY_LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_dozen_kills() {
    kill(12, seed_or(7)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn two_hundred_kills() {
    let kills = std::env::var("FRAZIL_TEST_KILLS").map_or(200, |text| text.parse().expect("a number"));
    kill(kills, seed_or(1)).await;
}

/// Who dies, and where.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Death {
    CoordinatorAt(&'static str),
    ExecutorAt(&'static str),
    /// At some time.
    Coordinator,
    Executor,
}

/// A client between its statements.
struct Writer {
    client: Client,
    model: Model,
    random: StdRng,
    /// Sent, and not answered: the request id, what it was, and its session.
    in_doubt: Option<(String, Step, Option<String>)>,
    acknowledged: usize,
    /// Failures that say that nothing was done.
    refused: usize,
}

#[derive(Default, Debug)]
struct Report {
    deaths: BTreeMap<Death, usize>,
    /// Statements in doubt by kind: absent, present.
    in_doubt: BTreeMap<&'static str, (usize, usize)>,
    given_up: usize,
}

async fn kill(kills: usize, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let scratch = tempfile::tempdir().expect("a directory");
    let trigger = scratch.path().join("failpoint");
    let mut options = Options { slots: 1, ..Options::executors(EXECUTORS) }
        .coordinator_option("heartbeat_interval_ms", 200)
        .coordinator_option("heartbeat_limit_ms", 3000);
    options.environment.push(("FRAZIL_TEST_FAILPOINT".to_owned(), trigger.display().to_string()));
    let mut cluster = Cluster::start(options).await;
    let mut writers: Vec<Writer> = (0..CLIENTS)
        .map(|client| Writer {
            client: cluster.client().clone(),
            model: Model::new(client),
            random: StdRng::seed_from_u64(seed.wrapping_mul(1000) + client as u64),
            in_doubt: None,
            acknowledged: 0,
            refused: 0,
        })
        .collect();
    create_tables(&cluster, scratch.path()).await;
    let mut report = Report::default();
    let started = Instant::now();
    for round in 0..kills {
        let wanted = draw(&mut random);
        let pause = Duration::from_millis(random.random_range(0..300));
        let over = AtomicBool::new(false);
        let killing = async {
            let died = kill_one(&mut cluster, wanted, pause, &trigger, &mut random).await;
            over.store(true, Ordering::Release);
            died
        };
        let (died, ()) = futures::join!(killing, async {
            join_all(writers.iter_mut().map(|writer| writer.write_until(&over))).await;
        });
        *report.deaths.entry(died).or_default() += 1;
        cluster = recover(cluster, died).await;
        let context = format!("seed {seed}, kill {round} ({died:?})");
        for writer in &mut writers {
            writer.check(&mut report, &context).await;
        }
        if round % 10 == 9 || round + 1 == kills {
            check_files(cluster.directory(), &context).await;
        }
    }
    print(&report, &writers, started.elapsed(), cluster.directory());
    let points: BTreeSet<_> = failpoint::COORDINATOR.into_iter().chain(failpoint::EXECUTOR).collect();
    let reached = report.deaths.keys().filter(|death| matches!(death, Death::CoordinatorAt(_) | Death::ExecutorAt(_)));
    assert!(kills < 200 || reached.count() == points.len(), "not every point was reached: {report:?}");
}

/// And a stage of files for each client.
async fn create_tables(cluster: &Cluster, scratch: &Path) {
    let mut statements = vec!["create table shared (client int, row bigint)".to_owned()];
    for client in 0..CLIENTS {
        let stage = scratch.join(format!("st{client}"));
        std::fs::create_dir(&stage).expect("it is ours");
        for file in 0..FILES {
            std::fs::write(stage.join(format!("{file}.csv")), Model::staged(file)).expect("it is ours");
        }
        statements.push(format!("create table c{client} (k bigint not null, v bigint)"));
        statements.push(format!("create table l{client} (k bigint, v bigint)"));
        statements.push(format!("create stage st{client} url = '{}/' file_format = (type = csv)", stage.display()));
    }
    for sql in statements {
        cluster.run(&Request::new(&sql)).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
}

fn draw(random: &mut StdRng) -> Death {
    let of = |points: &[&'static str], random: &mut StdRng| points[random.random_range(0..points.len())];
    match random.random_range(0..10) {
        0..=5 => Death::CoordinatorAt(of(&failpoint::COORDINATOR, random)),
        6..=7 => Death::ExecutorAt(of(&failpoint::EXECUTOR, random)),
        8 => Death::Coordinator,
        _ => Death::Executor,
    }
}

/// Returns who has died, and where: a point that nothing came by is not it.
async fn kill_one(cluster: &mut Cluster, wanted: Death, pause: Duration, trigger: &Path, random: &mut StdRng) -> Death {
    tokio::time::sleep(pause).await;
    let at_some_time = match wanted {
        Death::CoordinatorAt(point) | Death::ExecutorAt(point) => {
            // Whole or not there, for those who look.
            let draft = PathBuf::from(format!("{}.draft", trigger.display()));
            std::fs::write(&draft, point).and_then(|()| std::fs::rename(&draft, trigger)).expect("it is ours");
            let deadline = Instant::now() + POINT_LIMIT;
            while trigger.exists() && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            if std::fs::remove_file(trigger).is_err() {
                wait_for_a_death(cluster, matches!(wanted, Death::CoordinatorAt(_))).await;
                return wanted;
            }
            if matches!(wanted, Death::CoordinatorAt(_)) { Death::Coordinator } else { Death::Executor }
        }
        other => other,
    };
    match at_some_time {
        Death::Coordinator => cluster.kill_coordinator(),
        _ => {
            let alive: Vec<usize> =
                (0..cluster.executors_started()).filter(|index| !cluster.executor_is_gone(*index)).collect();
            cluster.kill_executor(alive[random.random_range(0..alive.len())]);
        }
    }
    at_some_time
}

/// The point was reached, so the process that reached it ends.
async fn wait_for_a_death(cluster: &mut Cluster, of_the_coordinator: bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let gone = (0..cluster.executors_started()).filter(|index| cluster.executor_is_gone(*index)).count();
        let alive = cluster.executors_started() - gone;
        if (of_the_coordinator && cluster.coordinator_is_gone()) || (!of_the_coordinator && alive < EXECUTORS) {
            return;
        }
        assert!(Instant::now() < deadline, "a process took the point and lives");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Starts what has died, and waits until all executors are there.
async fn recover(mut cluster: Cluster, died: Death) -> Cluster {
    let restart = move || {
        match died {
            Death::Coordinator | Death::CoordinatorAt(_) => cluster.restart_coordinator(),
            Death::Executor | Death::ExecutorAt(_) => {
                cluster.start_executor_blocking();
            }
        }
        cluster
    };
    let cluster = tokio::task::spawn_blocking(restart).await.expect("it starts");
    let deadline = Instant::now() + RECOVERY_LIMIT;
    loop {
        if let Ok(state) = cluster.client().cluster().await {
            let executors = state["executors"].as_array().cloned().unwrap_or_default();
            if executors.iter().filter(|one| one["state"] == "live").count() >= EXECUTORS {
                return cluster;
            }
            assert!(Instant::now() < deadline, "the cluster does not recover: {state}");
        }
        assert!(Instant::now() < deadline, "the coordinator does not answer");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl Writer {
    /// One statement after the other, until a process has died or an answer is lost.
    async fn write_until(&mut self, over: &AtomicBool) {
        while !over.load(Ordering::Acquire) && self.in_doubt.is_none() {
            let step = self.model.step(&mut self.random);
            let id = request_id(&mut self.random);
            let mut session = None;
            if !step.before.is_empty() {
                match self.begin(&step.before).await {
                    Ok(begun) => session = Some(begun),
                    // It is not committed, whatever has become of it.
                    Err(refusal) if refusal.status.is_none() => return,
                    Err(refusal) if says_that_nothing_was_done(&refusal) => {
                        self.refused += 1;
                        continue;
                    }
                    Err(refusal) => panic!("client {}: {:?}: {refusal}", self.model.client, step.before),
                }
            }
            match self.send(&id, &step.sql, session.as_deref()).await {
                Ok(()) => {
                    self.model = step.after;
                    self.acknowledged += 1;
                }
                Err(refusal) if says_that_nothing_was_done(&refusal) => self.refused += 1,
                Err(refusal) if refusal.status.is_none() => self.in_doubt = Some((id, step, session)),
                Err(refusal) => panic!("client {}: {}: {refusal}", self.model.client, step.sql),
            }
        }
    }

    /// The statements of a transaction, in a session of their own; returns the session.
    async fn begin(&mut self, statements: &[String]) -> Result<String, Refusal> {
        let session = self.client.in_session().await?.session().expect("it was opened").to_owned();
        for sql in statements {
            let id = request_id(&mut self.random);
            self.send(&id, sql, Some(&session)).await?;
        }
        Ok(session)
    }

    async fn send(&self, id: &str, sql: &str, session: Option<&str>) -> Result<(), Refusal> {
        let mut body = json!({ "statement": sql, "parameters": { "partitions": "2" } });
        if let Some(session) = session {
            body["session"] = session.into();
        }
        self.client.submit_as(id, &body).await.map(|_| ())
    }

    async fn check(&mut self, report: &mut Report, context: &str) {
        let found = self.observe(context).await;
        let Some((id, step, session)) = self.in_doubt.take() else {
            assert_eq!(found, shown(&self.model), "{context}: client {}", self.model.client);
            return;
        };
        let context = format!("{context}: client {}: {}", self.model.client, step.sql);
        let (before, after) = (shown(&self.model), shown(&step.after));
        let counts = report.in_doubt.entry(step.kind).or_default();
        let present = found == after;
        if present {
            counts.1 += 1;
        } else {
            assert_eq!(found, before, "{context}: neither applied nor not, which would be {after:?}");
            counts.0 += 1;
        }
        if self.random.random_range(0..5) == 0 {
            report.given_up += 1;
            if present {
                self.model = step.after;
            }
            return;
        }
        match self.send(&id, &step.sql, session.as_deref()).await {
            Ok(()) => {}
            // The transaction ended with its coordinator, and says so.
            Err(refusal) if session.is_some() && !present && refusal.sql_state.as_deref() == Some("08003") => {
                assert_eq!(self.observe(&context).await, before, "{context}: its session is gone");
                return;
            }
            Err(refusal) => panic!("{context}: sent again (present: {present}): {refusal}"),
        }
        assert_eq!(self.observe(&context).await, after, "{context}: sent again");
        self.model = step.after;
    }

    /// What the client's objects hold, as [`shown`] says it of a model.
    async fn observe(&self, context: &str) -> Vec<Option<Vec<i64>>> {
        let n = self.model.client;
        let shared = format!(
            "select count(*), coalesce(sum(row), 0), coalesce(sum(row * row % 10007), 0) from shared where client = {n}"
        );
        let mut found = Vec::new();
        for sql in [
            Model::sums_of(&format!("c{n}")),
            format!("select count(*) from c{n} where x is null"),
            Model::sums_of(&format!("s{n}")),
            format!("select count(*) from d{n}.information_schema.schemata where schema_name = 'public'"),
            Model::sums_of(&format!("v{n}")),
            Model::sums_of(&format!("l{n}")),
            shared,
        ] {
            let answer = match self.client.arrow(&Request::new(&sql).partitions(2)).await {
                Ok(answer) => answer,
                Err(refusal) if is_undefined(&refusal) => {
                    found.push(None);
                    continue;
                }
                Err(refusal) => panic!("{context}: {sql}: {refusal}"),
            };
            let batch = answer.batches.iter().find(|batch| batch.num_rows() > 0).expect("an aggregate has a row");
            let values = batch.columns().iter().map(|column| column.as_primitive::<Int64Type>().value(0));
            found.push(Some(values.collect()));
        }
        found
    }
}

/// What [`Writer::observe`] must find.
fn shown(model: &Model) -> Vec<Option<Vec<i64>>> {
    let mixed = model.shared.iter().map(|row| row * row % 10_007).sum();
    vec![
        Some(Model::sums(&model.rows)),
        model.has_column.then(|| vec![0]),
        model.side.as_ref().map(Model::sums),
        model.has_database.then(|| vec![1]),
        model.has_view.then(|| Model::sums(&model.rows)),
        Some(Model::sums(&model.loaded_rows())),
        Some(vec![model.shared.len() as i64, model.shared.iter().sum(), mixed]),
    ]
}

fn is_undefined(refusal: &Refusal) -> bool {
    matches!(refusal.sql_state.as_deref(), Some("42P01" | "42703" | "3D000" | "3F000"))
}

/// An executor was lost for good, or none was there: the statement was not applied, and will not be.
fn says_that_nothing_was_done(refusal: &Refusal) -> bool {
    matches!(refusal.sql_state.as_deref(), Some("57P01" | "57P03"))
}

fn request_id(random: &mut StdRng) -> String {
    let bits = format!("{:032x}", random.random::<u128>());
    format!("{}-{}-{}-{}-{}", &bits[..8], &bits[8..12], &bits[12..16], &bits[16..20], &bits[20..])
}

/// Every file that a table has is there and can be read.
async fn check_files(cluster: &Path, context: &str) {
    let catalog = cluster.join("coordinator/catalog/frazil.ducklake");
    let database = Database::open_sqlite("frazil", &catalog).await.unwrap_or_else(|e| panic!("{context}: {e}"));
    let view = database.snapshot(At::Latest).await.expect("a snapshot");
    for table in view.tables() {
        let files = database.files(&view, table.id, &FileFilter::default()).await.expect("a list of files");
        for file in files {
            let opened = std::fs::File::open(&file.path).unwrap_or_else(|e| panic!("{context}: {}: {e}", file.path));
            let reader = ParquetRecordBatchReaderBuilder::try_new(opened).and_then(|builder| builder.build());
            let reader = reader.unwrap_or_else(|e| panic!("{context}: {}: {e}", file.path));
            let rows = reader.map(|batch| batch.map(|batch| batch.num_rows()));
            let rows: usize = rows.sum::<Result<_, _>>().unwrap_or_else(|e| panic!("{context}: {}: {e}", file.path));
            assert_eq!(rows as i64, file.record_count, "{context}: {}", file.path);
        }
    }
    database.close().await;
}

fn print(report: &Report, writers: &[Writer], elapsed: Duration, cluster: &Path) {
    let sum = |of: fn(&Writer) -> usize| writers.iter().map(of).sum::<usize>();
    println!(
        "{} kills in {elapsed:.0?}; {} statements acknowledged, {} refused for want of an executor, {} given up in doubt",
        report.deaths.values().sum::<usize>(),
        sum(|writer| writer.acknowledged),
        sum(|writer| writer.refused),
        report.given_up,
    );
    for (death, count) in &report.deaths {
        println!("{count:5}  {death:?}");
    }
    println!("in doubt, by kind: not applied, applied");
    for (kind, (absent, present)) in &report.in_doubt {
        println!("{absent:5} {present:5}  {kind}");
    }
    let mut files = Vec::new();
    list(&cluster.join("coordinator/warehouse"), &mut files);
    let staged = files.iter().filter(|path| path.to_string_lossy().contains('#')).count();
    println!("{} files in the warehouse, {staged} of them half written", files.len());
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => list(&path, files),
            path => files.push(path),
        }
    }
}

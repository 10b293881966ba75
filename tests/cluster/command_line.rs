//! The binary as a user meets it: what `load` writes can be queried, what `sql` prints can be read, and what is wrong is
//! said with an exit code. And `local`, which leaves nothing behind, however it ends.

use std::io::Cursor;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use arrow::ipc::reader::StreamReader;
use serde_json::{Value, json};

use crate::support::answers::{Order, compare};
use crate::support::cluster::{Cluster, Options, binary, wait_until_ready};
use crate::support::commands::{Ran, children, configure, frazil, frazil_with_input, is_running, wait_until_gone};
use crate::support::data::Table;
use crate::support::engine::{Answer, Engine, Request};
use crate::support::oracle::Oracle;
use crate::support::terminal::{CTRL_C, CTRL_D, Terminal};

const EVENTS: &str = "5000";
/// What DataFusion is to say about the events, with a total order.
const BY_TYPE: &str = "select event_type, count(*) as n, sum(revenue) as revenue, min(event_time) as first, \
                       max(duration_ms) as longest from events group by event_type order by event_type";

async fn directory_with_events() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let arguments = ["load", "events", "--rows", EVENTS, "--data", "data"];
    let said = frazil(directory.path(), &arguments, &[]).await.text();
    assert!(said.contains("5000 rows") && said.contains("sample.events_sf0_005.events"), "{said}");
    let arguments = ["load", "events", "--rows", EVENTS, "--to", "data/plain"];
    frazil(directory.path(), &arguments, &[]).await.output();
    directory
}

/// What single-process DataFusion says about what `load --to` has written.
async fn oracle(plain: &Path) -> Oracle {
    let events = Table { name: "events".to_owned(), directory: plain.join("events") };
    Oracle::over(&[events]).await
}

fn ipc(bytes: Vec<u8>) -> Answer {
    let reader = StreamReader::try_new(Cursor::new(bytes), None).expect("an IPC stream");
    let schema = reader.schema();
    Answer { schema, batches: reader.collect::<Result<_, _>>().expect("whole batches") }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_written_to_a_directory() {
    let cluster = Cluster::start(Options::executors(2)).await;
    let plain = cluster.directory().join("plain");
    let path = plain.to_str().expect("a plain path");
    let arguments = ["load", "events", "--rows", EVENTS, "--files", "3", "--to", path];
    frazil(cluster.directory(), &arguments, &[]).await.output();
    let files = std::fs::read_dir(plain.join("events")).expect("listed").count();
    assert_eq!(files, 3);
    let declare = format!("create external table events stored as parquet location '{path}/events/'");
    cluster.run(&Request::new(declare)).await.expect("declared");

    let expected = oracle(&plain).await.run(&Request::new(BY_TYPE)).await.expect("the oracle answers");
    assert!(expected.rows() > 2);
    for partitions in [1, 3] {
        let actual = cluster.run(&Request::new(BY_TYPE).partitions(partitions)).await.expect("it is a table");
        compare(&expected, &actual, Order::Total).unwrap_or_else(|e| panic!("at {partitions} partitions: {e}"));
    }
    let counted = cluster.client().json(&Request::new("select count(*) from events")).await;
    assert_eq!(counted.expect("it is a table")["data"], json!([["5000"]]));

    // The same again is there already; other rows are not mixed with it.
    let again = frazil(cluster.directory(), &arguments, &[]).await.text();
    assert!(again.contains("holds it already: 5000 rows"), "{again}");
    let other = frazil(cluster.directory(), &[&arguments[..], &["--seed", "1"]].concat(), &[]).await;
    assert_eq!(other.code(), Some(2), "{}", other.stderr);
    assert!(other.stderr.contains("holds 5000 events"), "{}", other.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_prints_arrow_csv_json_and_tables() {
    let directory = directory_with_events().await;
    let data = directory.path().join("data");
    let plain = data.join("plain");
    let in_schema = ["--database", "sample", "--schema", "events_sf0_005", "--data", "data"];
    let print = async |format: &str, sql: &str| -> Ran {
        let arguments = [&["sql", "--executors", "2", "--format", format, "-c", sql], &in_schema[..]].concat();
        frazil(directory.path(), &arguments, &[]).await
    };

    let expected = oracle(&plain).await.run(&Request::new(BY_TYPE)).await.expect("the oracle answers");
    let actual = ipc(print("arrow", BY_TYPE).await.output());
    compare(&expected, &actual, Order::Total).expect("the rows of the IPC stream");
    let all = ipc(print("arrow", "select * from events").await.output());
    let expected = oracle(&plain).await.run(&Request::new("select * from events")).await.expect("the oracle answers");
    compare(&expected, &all, Order::Any).expect("all rows and columns of the IPC stream");
    // A stream of no rows still has its columns.
    let none = ipc(print("arrow", "select user_id, tags from events where event_id < 0").await.output());
    assert_eq!((none.rows(), none.schema.fields().len()), (0, 2));

    let three =
        "select i, s, b from (values (1, 'a,\"b\"', true), (2, null, false), (3, 'c', null)) as t(i, s, b) order by i";
    assert_eq!(print("csv", three).await.text(), "i,s,b\n1,\"a,\"\"b\"\"\",true\n2,,false\n3,c,\n");
    let lines = print("csv", "select event_id, user_id from events").await.text();
    assert_eq!(lines.lines().count(), 1 + 5000);

    let objects = print("ndjson", three).await.text();
    let objects: Vec<Value> = objects.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let wanted = [
        json!({"i": 1, "s": "a,\"b\"", "b": true}),
        json!({"i": 2, "s": null, "b": false}),
        json!({"i": 3, "s": "c", "b": null}),
    ];
    assert_eq!(objects, wanted);
    let list = print("json", three).await.text();
    assert_eq!(serde_json::from_str::<Vec<Value>>(&list).expect("a list"), wanted);
    assert_eq!(print("ndjson", "select event_id from events").await.text().lines().count(), 5000);

    let table = print("table", three).await.text();
    for shown in ["i", "s", "b", "a,\"b\"", "true", "c"] {
        assert!(table.contains(shown), "{shown:?} is not in\n{table}");
    }
    assert!(table.lines().count() > 3, "a header and three rows:\n{table}");
    assert_eq!(print("table", "select 1").await.stderr, "", "nothing but rows, where nobody watches");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_sql_ends_with_1_and_its_place() {
    let directory = tempfile::tempdir().expect("a directory");
    let run = async |arguments: &[&str], input: &str| {
        let arguments = [&["sql", "--format", "csv", "--data", "data"], arguments].concat();
        frazil_with_input(directory.path(), &arguments, &[], input).await
    };
    let ran = run(&["-c", "select 1,\n  2 form t"], "").await;
    assert_eq!((ran.code(), ran.stdout.len()), (Some(1), 0), "{}", ran.stderr);
    assert!(ran.stderr.contains("(line 2, column 10)") && ran.stderr.contains("42601"), "{}", ran.stderr);
    // The line, and a mark below the place.
    assert!(ran.stderr.ends_with("\n    2 form t\n           ^\n"), "{}", ran.stderr);

    // Places are those of the whole text, and what comes after a failure is not run.
    let script =
        "select 1 as one;\n\nselect 2 as two;\nselect\n  nothing from (select 3 as three);\nselect 4 as four;\n";
    std::fs::write(directory.path().join("script.sql"), script).expect("written");
    for (arguments, input) in [(&["-f", "script.sql"][..], ""), (&[][..], script)] {
        let ran = run(arguments, input).await;
        assert_eq!(ran.code(), Some(1), "{}", ran.stderr);
        assert_eq!(String::from_utf8_lossy(&ran.stdout), "one\n1\ntwo\n2\n");
        assert!(ran.stderr.contains("(line 5, column 3)") && ran.stderr.contains("42703"), "{}", ran.stderr);
    }
    assert_eq!(run(&[], "select 1; select 2;").await.code(), Some(0));
    // What is wrong with the call itself is another code.
    assert_eq!(run(&["-f", "no-such-file.sql"], "").await.code(), Some(2));
    assert_eq!(run(&["--format", "xml", "-c", "select 1"], "").await.code(), Some(2));
}

/// The layers themselves are tested where they are merged; here, that the binary reads all of them.
#[tokio::test(flavor = "multi_thread")]
async fn options_come_from_defaults_file_environment_and_flags() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = "[executor]\nslots = 5\nspill = \"5GB\"\nmemory = \"5GB\"\n[client]\nformat = \"csv\"\n";
    std::fs::write(directory.path().join("frazil.toml"), file).expect("written");
    let environment = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
    };
    let layers = environment(&[
        ("FRAZIL_EXECUTOR_SPILL", "6GB"),
        ("FRAZIL_EXECUTOR_MEMORY", "6GB"),
        ("FRAZIL_LOG_LEVEL", "info"),
    ]);
    let shown = frazil(directory.path(), &["config", "--log-level", "error"], &layers).await.text();
    let values: toml::Table = shown.parse().expect("it is shown as a file is written");
    let value = |section: &str, key: &str| values[section][key].to_string();
    assert_eq!(value("executor", "drain_limit_s"), "30", "a default");
    assert_eq!(value("executor", "slots"), "5", "the file");
    assert_eq!(value("executor", "spill"), "\"6442450944B\"", "the environment covers the file");
    assert_eq!(value("log", "level"), "\"error\"", "a flag covers the environment");

    let refused = frazil(directory.path(), &["config"], &environment(&[("FRAZIL_EXECUTOR_SLOT", "3")])).await;
    assert_eq!(refused.code(), Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("FRAZIL_EXECUTOR_SLOT"), "{}", refused.stderr);
    std::fs::write(directory.path().join("other.toml"), "[executor]\nslot = 5\n").expect("written");
    let refused = frazil(directory.path(), &["config", "--config", "other.toml"], &[]).await;
    assert_eq!(refused.code(), Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("executor.slot") && refused.stderr.contains("other.toml"), "{}", refused.stderr);
}

const READY_LIMIT: Duration = Duration::from_secs(30);
const END_LIMIT: Duration = Duration::from_secs(20);

fn local(directory: &Path) -> Command {
    let mut command = Command::new(binary());
    command.args(["local", "--executors", "2", "--slots", "1", "--data", "data", "--http-listen", "127.0.0.1:0"]);
    command.current_dir(directory);
    configure(directory, &[], |name, value| {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    });
    command
}

/// `frazil local` without a terminal. Its processes are killed when a test panics.
struct Local {
    child: Child,
    pids: Vec<u32>,
    _directory: tempfile::TempDir,
}

impl Local {
    /// Returns when it is ready; its stdin stays open.
    async fn start() -> Self {
        tokio::task::spawn_blocking(|| {
            let directory = tempfile::tempdir().expect("a directory");
            let mut command = local(directory.path());
            // A group of its own: a signal to the tests is not meant for it.
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).process_group(0);
            let mut child = command.spawn().expect("the binary is there");
            let stdout = child.stdout.take().expect("stdout is piped");
            let mut local = Self { child, pids: vec![], _directory: directory };
            let line = wait_until_ready(stdout).expect("it says that it is ready, in time");
            assert!(line.starts_with("frazil local ready http=http://127.0.0.1:"), "{line}");
            local.pids = children(local.child.id());
            assert_eq!(local.pids.len(), 3, "a coordinator and two executors: {:?}", local.pids);
            local
        })
        .await
        .expect("it starts")
    }

    fn signal(&self, signal: i32) {
        let pid = libc::pid_t::try_from(self.child.id()).expect("process ids are small");
        // SAFETY: kill(2) has no memory effects; the child has not been waited for, so the id is still its own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + END_LIMIT;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status;
            }
            assert!(Instant::now() < deadline, "it did not end within {END_LIMIT:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn local_ends_with_its_processes_at_ctrl_c_and_sigterm() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut local = Local::start().await;
        local.signal(signal);
        let status = local.ended().await;
        assert!(status.success(), "signal {signal}: {status}");
        // It has waited for each of them.
        let left: Vec<u32> = local.pids.iter().copied().filter(|pid| is_running(*pid)).collect();
        assert_eq!(left, Vec::<u32>::new(), "signal {signal}");
    }
}

/// Killed, it can stop nobody; the system tells its processes.
#[tokio::test(flavor = "multi_thread")]
async fn processes_of_a_killed_local_end_by_themselves() {
    let mut local = Local::start().await;
    local.signal(libc::SIGKILL);
    local.ended().await;
    wait_until_gone(&local.pids, END_LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_of_local_ends_with_its_processes() {
    for leave in [CTRL_C, CTRL_D] {
        let directory = tempfile::tempdir().expect("a directory");
        let mut terminal = Terminal::start(local(directory.path()));
        let mut seen = terminal.wait_for("frazil> ", 0, READY_LIMIT).await;
        let pids = children(terminal.pid());
        assert_eq!(pids.len(), 3, "a coordinator and two executors: {pids:?}");
        terminal.press(b"select 40 + 2 as answer;\r");
        seen = terminal.wait_for("42", seen, READY_LIMIT).await;
        seen = terminal.wait_for("frazil> ", seen, READY_LIMIT).await;
        // In a line it clears the line, and in an empty one it leaves.
        terminal.press(b"select");
        seen = terminal.wait_for("select", seen, READY_LIMIT).await;
        terminal.press(CTRL_C);
        seen = terminal.wait_for("frazil> ", seen, READY_LIMIT).await;
        assert!(pids.iter().all(|pid| is_running(*pid)), "{}", terminal.shown());
        terminal.press(leave);
        if leave == CTRL_C {
            // One may have been meant for what ran just before.
            seen = terminal.wait_for("once more", seen, READY_LIMIT).await;
            terminal.wait_for("frazil> ", seen, READY_LIMIT).await;
            terminal.press(leave);
        }
        let status = terminal.ended(END_LIMIT).await;
        assert!(status.success(), "{status}: {}", terminal.shown());
        let left: Vec<u32> = pids.iter().copied().filter(|pid| is_running(*pid)).collect();
        assert_eq!(left, Vec::<u32>::new(), "{}", terminal.shown());
    }
}

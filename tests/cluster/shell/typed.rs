//! The shell on a terminal, key by key.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::cluster::{Cluster, Options, binary};
use crate::support::commands::configure;
use crate::support::terminal::{CTRL_C, CTRL_D, Terminal};

/// For something to be shown on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(30);
/// Takes minutes: it is there to be cancelled.
pub const LONG: &str = "select count(*) from generate_series(1, 300000) a(v), generate_series(1, 300000) b(v) \
                    where a.v % 7 <> b.v % 5;";

/// What a user sees and types, from prompt to prompt.
struct Shell {
    terminal: Terminal,
    seen: usize,
}

impl Shell {
    async fn start(directory: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(binary());
        command.arg("sql").args(arguments).current_dir(directory);
        let mut variables = vec![("NO_COLOR".to_owned(), "1".to_owned()), ("PAGER".to_owned(), "cat".to_owned())];
        variables.extend(environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        configure(directory, &variables, |name, value| {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        });
        let mut shell = Self { terminal: Terminal::start(command), seen: 0 };
        shell.sees("frazil> ").await;
        shell
    }

    async fn sees(&mut self, text: &str) {
        self.seen = self.terminal.wait_for(text, self.seen, LIMIT).await;
    }

    fn press(&mut self, keys: &str) {
        self.terminal.press(keys.as_bytes());
    }

    /// Types a line, and returns what is shown until the next prompt.
    async fn answers(&mut self, line: &str) -> String {
        self.press(line);
        // The editor shows it before Enter is pressed, so that the next prompt is not taken for that of this line.
        self.press("\r");
        self.sees("\n").await;
        let before = self.seen;
        self.sees("frazil> ").await;
        self.terminal.shown()[before..self.seen].to_owned()
    }

    async fn leaves(mut self) {
        self.terminal.press(CTRL_D);
        let status = self.terminal.ended(LIMIT).await;
        assert!(status.success(), "{status}: {}", self.terminal.shown());
    }
}

async fn phase_of(cluster: &Cluster, text: &str) -> Option<String> {
    let listed: Value = cluster.client().statements().await.expect("a list");
    let found = listed["statements"]
        .as_array()?
        .iter()
        .find(|one| one["sql"].as_str().is_some_and(|sql| sql.contains(text)))?;
    found["phase"].as_str().map(str::to_owned)
}

pub async fn wait_for_phase(cluster: &Cluster, text: &str, phase: &str) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let found = phase_of(cluster, text).await;
        if found.as_deref() == Some(phase) {
            return;
        }
        assert!(Instant::now() < deadline, "{text:?} is {found:?} and not {phase}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tab_completes_what_the_server_has() {
    let cluster = Cluster::start(Options::executors(1)).await;
    let mut shell = Shell::start(cluster.directory(), &["--url", cluster.url()], &[]).await;
    shell.answers("create table shipments (ship_key bigint, \"Odd Name\" varchar);").await;
    // The names are fetched behind it.
    let deadline = Instant::now() + LIMIT;
    loop {
        shell.press("select * from shipm\t");
        tokio::time::sleep(Duration::from_millis(200)).await;
        if shell.terminal.shown()[shell.seen..].contains("shipments") {
            break;
        }
        assert!(Instant::now() < deadline, "no completion: {}", shell.terminal.shown());
        shell.terminal.press(CTRL_C);
        shell.sees("frazil> ").await;
    }
    shell.sees("shipments").await;
    shell.press(" where ship_\t");
    shell.sees("ship_key").await;
    shell.press(" is null or \"Od\t");
    shell.sees("\"Odd Name\"").await;
    shell.press(" = 'x' lim\t");
    shell.sees("limit").await;
    assert!(shell.answers(" 3;").await.contains("0 rows"), "{}", shell.terminal.shown());
    shell.press("\\tim\t");
    shell.sees("\\timing").await;
    assert!(shell.answers(" off").await.contains("timing off"));
    shell.leaves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_cancels_the_statement_and_keeps_the_shell() {
    let cluster = Cluster::start(Options::executors(2)).await;
    let mut shell = Shell::start(cluster.directory(), &["--url", cluster.url()], &[]).await;
    for times in 1..=2 {
        shell.press(LONG);
        shell.press("\r");
        // The bar.
        shell.sees("running").await;
        wait_for_phase(&cluster, "300000", "running").await;
        shell.terminal.press(CTRL_C);
        shell.sees("cancelled").await;
        shell.sees("frazil> ").await;
        wait_for_phase(&cluster, "300000", "cancelled").await;
        let answer = shell.answers(&format!("select 40 + {times} as n;")).await;
        assert!(answer.contains(&(40 + times).to_string()) && answer.contains("1 row in"), "{answer}");
    }
    // One in an empty line does not leave, two do.
    shell.terminal.press(CTRL_C);
    shell.sees("once more").await;
    shell.sees("frazil> ").await;
    assert!(shell.answers("select 77;").await.contains("77"));
    shell.terminal.press(CTRL_C);
    shell.sees("once more").await;
    shell.sees("frazil> ").await;
    shell.terminal.press(CTRL_C);
    assert!(shell.terminal.ended(LIMIT).await.success());
}

/// `12` and `60` of `12/60 splits`, for each time that the bar was shown.
fn splits_shown(shown: &str) -> Vec<(u64, u64)> {
    let counts = shown.match_indices(" splits").filter_map(|(at, _)| {
        let (done, all) = shown[..at].rsplit(' ').next()?.split_once('/')?;
        Some((done.parse().ok()?, all.parse().ok()?))
    });
    counts.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bar_moves_before_a_task_has_ended() {
    const FILES: u64 = 40;
    let cluster = Cluster::start(Options::executors(1)).await;
    let client = cluster.client();
    let rows = "select value as k from generate_series(1, 1000)";
    for text in std::iter::once(format!("create table t as {rows}"))
        .chain(std::iter::repeat_n(format!("insert into t {rows}"), FILES as usize - 1))
    {
        client.arrow(&crate::support::engine::Request::new(&text)).await.expect("written");
    }
    let mut shell = Shell::start(cluster.directory(), &["--url", cluster.url()], &[]).await;
    shell.answers("set partitions = 1;").await;
    // One task; each row is met by many others, so that the files take their time.
    shell.press("select count(*) from generate_series(1, 200000) as g(v) join t on t.k % 7 <> g.v % 5;\r");
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let shown = shell.terminal.shown()[shell.seen..].to_owned();
        let between = splits_shown(&shown).into_iter().filter(|(done, all)| 0 < *done && done < all);
        let distinct: std::collections::BTreeSet<_> = between.collect();
        if distinct.len() >= 2 {
            assert!(distinct.iter().all(|(_, all)| *all == FILES), "{shown}");
            assert!(shown.contains(" read") && !shown.contains(" 1/1 tasks"), "{shown}");
            break;
        }
        assert!(Instant::now() < deadline, "it does not move: {shown}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    shell.terminal.press(CTRL_C);
    shell.sees("cancelled").await;
    shell.sees("frazil> ").await;
    shell.leaves().await;
}

async fn cancel(cluster: &Cluster, text: &str) {
    let listed = cluster.client().statements().await.expect("a list");
    let running = listed["statements"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|one| one["phase"] == "running" && one["sql"].as_str().is_some_and(|sql| sql.contains(text)));
    let handle = running.and_then(|one| one["statementHandle"].as_str()).expect("it runs");
    cluster.client().cancel(handle).await.expect("cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_while_a_statement_runs_is_kept() {
    let cluster = Cluster::start(Options::executors(1)).await;
    let mut shell = Shell::start(cluster.directory(), &["--url", cluster.url()], &[]).await;
    shell.press(LONG);
    shell.press("\r");
    wait_for_phase(&cluster, "300000", "running").await;
    // One line, one of which the end is in a second, and one that is not ended; a word is taken back.
    shell.press("select 41 as forty_one;\rselect 42 as\r  forty_two;\rselect 43 as nothing");
    shell.press(&"\u{7f}".repeat("nothing".len()));
    cancel(&cluster, "300000").await;
    shell.sees("error").await;
    shell.sees("frazil> select 41 as forty_one;").await;
    shell.sees("│        41 │").await;
    shell.sees("frazil> select 42 as").await;
    shell.sees("│        42 │").await;
    shell.sees("frazil> ").await;
    shell.sees("select 43 as ").await;
    let answer = shell.answers("forty_three;").await;
    assert!(answer.contains("forty_three") && answer.contains("43"), "{answer}");

    // Ctrl-C is for all of it: the statement that runs, which was typed ahead itself, and what is behind that.
    shell.press(LONG);
    shell.press("\r");
    wait_for_phase(&cluster, "300000", "running").await;
    let before = shell.seen;
    shell.press(&LONG.replace("300000", "300001"));
    shell.press("\rselect 98 as never;\r");
    cancel(&cluster, "300000").await;
    shell.sees("300001").await;
    wait_for_phase(&cluster, "300001", "running").await;
    shell.press("select 99 as never;\r");
    shell.terminal.press(CTRL_C);
    shell.sees("cancelled").await;
    shell.sees("frazil> ").await;
    assert!(shell.answers("select 77 as n;").await.contains("77"));
    assert!(!shell.terminal.shown()[before..].contains("never"), "{}", shell.terminal.shown());
    shell.leaves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_change_what_is_shown() {
    let cluster = Cluster::start(Options::executors(1)).await;
    let mut shell = Shell::start(cluster.directory(), &["--url", cluster.url()], &[]).await;
    shell.answers("create table wide as select i, 'name ' || i as name from generate_series(1, 3) as g(i);").await;
    shell.answers("create view narrow as select i from wide;").await;
    for (command, shown) in [
        ("\\d", &["wide", "narrow"][..]),
        ("\\d wide", &["name", "BIGINT"]),
        ("\\dt", &["wide", "BASE TABLE"]),
        ("\\dv", &["narrow"]),
        ("\\dn", &["public"]),
        ("\\l", &["frazil"]),
        ("\\ds", &["0 rows"]),
        ("\\du", &["0 rows"]),
        ("\\?", &["\\watch", "\\profile"]),
        ("\\dx", &["error: unknown command \\dx"]),
        ("\\d nothing", &["nothing", "42P01"]),
        ("\\d wide; drop table wide", &["is not one statement"]),
    ] {
        let answer = shell.answers(command).await;
        assert!(shown.iter().all(|text| answer.contains(text)), "{command}: {answer}");
    }
    assert!(!shell.answers("\\dt").await.contains("narrow"));

    let select = "select * from wide order by i limit 2;";
    let table = shell.answers(select).await;
    assert!(table.contains("┌") && table.contains("2 rows in "), "{table}");
    shell.answers("\\x").await;
    let vertical = shell.answers(select).await;
    assert!(vertical.contains("─[ row 2 ]") && vertical.contains("name │ name 2"), "{vertical}");
    shell.answers("\\x off").await;
    assert!(shell.answers("\\timing off").await.contains("timing off"));
    let quiet = shell.answers(select).await;
    assert!(quiet.contains("┌") && !quiet.contains("rows in"), "{quiet}");
    shell.answers("\\format csv").await;
    let csv = shell.answers(select).await;
    assert!(csv.contains("i,name\r\n1,name 1\r\n2,name 2\r\n"), "{csv:?}");
    // What a value holds does not reach the terminal, in any format.
    let shown = shell.answers("select chr(27) || '[31mred' as c;").await;
    assert!(shown.contains("\\u{1b}[31mred") && !shown.contains("\u{1b}[31m"), "{shown:?}");
    let refused = shell.answers("\\format parquet").await + &shell.answers("select 1;").await;
    assert!(refused.contains("not for a terminal"), "{refused}");
    shell.answers("\\format ndjson").await;
    shell.answers("\\o rows.json").await;
    let nothing = shell.answers(select).await;
    assert!(!nothing.contains("name 1"), "{nothing}");
    shell.answers("\\o").await;
    let written = std::fs::read_to_string(cluster.directory().join("rows.json")).expect("a file");
    assert_eq!(written, "{\"i\":1,\"name\":\"name 1\"}\n{\"i\":2,\"name\":\"name 2\"}\n");

    // Again and again, until Ctrl-C.
    shell.answers("\\format csv").await;
    shell.answers("select count(*) as c from wide;").await;
    shell.press("\\watch 0.2\r");
    for _ in 0..3 {
        shell.sees("c\r\n3\r\n").await;
    }
    cluster
        .client()
        .arrow(&crate::support::engine::Request::new("insert into wide values (4, 'x')"))
        .await
        .expect("inserted");
    shell.sees("c\r\n4\r\n").await;
    shell.terminal.press(CTRL_C);
    shell.sees("frazil> ").await;
    assert!(shell.answers("select 5 as five;").await.contains("five\r\n5\r\n"));
    shell.leaves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_results_go_through_the_pager() {
    let directory = tempfile::tempdir().expect("a directory");
    let pager = [("PAGER", "sed 's/^/paged: /'")];
    let mut shell = Shell::start(directory.path(), &["--data", "data"], &pager).await;
    let long = "select i from generate_series(1, 100) as g(i) order by i;";
    let short = shell.answers("select 1 as a;").await;
    assert!(!short.contains("paged: "), "{short}");
    for format in ["table", "csv", "vertical"] {
        shell.answers(&format!("\\format {format}")).await;
        let paged = shell.answers(long).await;
        assert!(paged.matches("paged: ").count() > 100 && paged.contains("100 rows in"), "{format}: {paged}");
    }
    shell.answers("\\pager off").await;
    let plain = shell.answers(long).await;
    assert!(!plain.contains("paged: ") && plain.contains("100 rows in"), "{plain}");
    shell.leaves().await;

    // One who has seen enough, of a result without an end, is asked for the next statement.
    let mut shell =
        Shell::start(directory.path(), &["--data", "data", "--format", "csv"], &[("PAGER", "head -3")]).await;
    let answer = shell.answers("select i from generate_series(1, 1000000000) as g(i);").await;
    assert!(answer.contains("i\r\n1\r\n2\r\n") && !answer.contains("error"), "{answer}");
    assert!(shell.answers("select 6 * 7 as n;").await.contains("n\r\n42"));
    shell.leaves().await;
    let missing = [("PAGER", "no-such-pager-anywhere")];
    let mut shell = Shell::start(directory.path(), &["--data", "data"], &missing).await;
    let answer = shell.answers(long).await;
    assert!(answer.contains("no-such-pager-anywhere") && answer.contains("cannot be run"), "{answer}");
    shell.leaves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_span_lines_and_are_remembered() {
    let directory = tempfile::tempdir().expect("a directory");
    let editor = [("EDITOR", "printf 'select 99 as edited;' >")];
    let mut shell = Shell::start(directory.path(), &["--data", "data"], &editor).await;
    shell.press("select 'a\r");
    shell.press("b' as\r");
    // Each line that is added is shown with those before it, and with the prompt.
    shell.press("joined;\r");
    shell.sees("│ joined │").await;
    shell.sees("1 row in").await;
    shell.sees("frazil> ").await;
    // Up, and it is there as a whole, to be changed in any of its lines.
    shell.press("\u{1b}[A");
    shell.sees("joined").await;
    shell.terminal.press(CTRL_C);
    shell.sees("frazil> ").await;
    // An editor writes over what it is given.
    shell.press("\\e\r");
    shell.sees("select 99 as edited;").await;
    assert!(shell.answers("").await.contains("edited"), "{}", shell.terminal.shown());
    // The first user: from here on everyone has to log in.
    shell.answers("create user ann password = 'not-to-be-kept';").await;
    shell.leaves().await;
    let history = std::fs::read_to_string(directory.path().join("frazil/history")).expect("a history");
    assert!(history.contains("joined") && !history.contains("not-to-be-kept"), "{history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_are_shown_where_they_are_wanted() {
    let directory = tempfile::tempdir().expect("a directory");
    const BLUE: &str = "\u{1b}[1;34mselect\u{1b}[0m";
    for (arguments, no_color, wanted) in [
        (&["--data", "data"][..], "", true),
        (&["--data", "data"], "1", false),
        (&["--data", "data", "--color", "always"], "1", true),
        (&["--data", "data", "--color", "never"], "", false),
    ] {
        let mut shell = Shell::start(directory.path(), arguments, &[("NO_COLOR", no_color)]).await;
        let before = shell.seen;
        assert!(shell.answers("select 123 as n;").await.contains("123"));
        let shown = shell.terminal.shown()[before..].contains(BLUE);
        assert_eq!(shown, wanted, "{arguments:?}, NO_COLOR={no_color:?}: {:?}", shell.terminal.shown());
        shell.leaves().await;
    }
}

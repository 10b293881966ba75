//! Staged files: taken, listed, loaded once, and what is wrong with them told by file, line and column.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::answers::{Order, compare};
use crate::support::cluster::{Cluster, Options, binary};
use crate::support::data;
use crate::support::engine::{Answer, Engine, Refusal, Request};
use crate::support::oracle::Oracle;

async fn run(engine: &dyn Engine, sql: &str) -> Answer {
    engine.run(&Request::new(sql)).await.unwrap_or_else(|refusal| panic!("{sql}: {refusal}"))
}

async fn refused(engine: &dyn Engine, sql: &str) -> Refusal {
    match engine.run(&Request::new(sql)).await {
        Ok(answer) => panic!("{sql} gave {} rows", answer.rows()),
        Err(refusal) => refusal,
    }
}

/// Rows as texts, by the names of their columns; nulls are absent.
fn rows(answer: &Answer) -> Vec<BTreeMap<String, String>> {
    let mut rows = Vec::new();
    for batch in &answer.batches {
        for row in 0..batch.num_rows() {
            let schema = batch.schema();
            let cells = schema.fields().iter().zip(batch.columns()).filter(|(_, column)| column.is_valid(row));
            let text =
                |column: &dyn Array| arrow::util::display::array_value_to_string(column, row).expect("it can be shown");
            rows.push(cells.map(|(field, column)| (field.name().clone(), text(column))).collect());
        }
    }
    rows
}

/// One line of an answer: the values of these columns, `-` for null.
fn line(row: &BTreeMap<String, String>, columns: &[&str]) -> String {
    let cell = |column: &&str| row.get(*column).cloned().unwrap_or_else(|| "-".to_owned());
    columns.iter().map(cell).collect::<Vec<_>>().join("|")
}

async fn lines(engine: &dyn Engine, sql: &str, columns: &[&str]) -> Vec<String> {
    rows(&run(engine, sql).await).iter().map(|row| line(row, columns)).collect()
}

async fn number(engine: &dyn Engine, sql: &str) -> i64 {
    let answer = run(engine, sql).await;
    let batch = answer.batches.iter().find(|batch| batch.num_rows() > 0).unwrap_or_else(|| panic!("{sql}: no row"));
    batch.column(0).as_primitive::<Int64Type>().value(0)
}

struct Staged {
    cluster: Cluster,
    directory: PathBuf,
}

impl Staged {
    /// A cluster, and a stage `st` over an empty directory.
    async fn start(executors: usize) -> Self {
        let cluster = Cluster::start(Options::executors(executors)).await;
        let directory = cluster.directory().join("staged");
        std::fs::create_dir(&directory).expect("a new directory");
        run(&cluster, &format!("create stage st url = '{}'", directory.display())).await;
        Self { cluster, directory }
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.directory.join(name);
        std::fs::create_dir_all(path.parent().expect("it is below the stage")).expect("a directory");
        std::fs::write(path, bytes).expect("the stage's directory is writable");
    }
}

fn gzip(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes.as_ref()).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_come_and_go() {
    let staged = Staged::start(1).await;
    let cluster = &staged.cluster;
    staged.write("a.csv", "1\n");
    staged.write("dir/b.csv", "2\n");
    staged.write(".frazil-unload/c.csv", "3\n");
    let names = |lines: Vec<String>| {
        lines.into_iter().map(|l| l.rsplit("staged/").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(lines(cluster, "list @st", &["name"]).await), ["a.csv", "dir/b.csv"]);
    assert_eq!(names(lines(cluster, "ls @frazil.public.st/dir/", &["name"]).await), ["dir/b.csv"]);
    assert_eq!(names(lines(cluster, "list @st pattern = 'dir/.*[.]csv'", &["name"]).await), ["dir/b.csv"]);
    assert_eq!(lines(cluster, "show stages", &["name", "type"]).await, ["st|EXTERNAL"]);
    assert_eq!(refused(cluster, "create stage st").await.sql_state.as_deref(), Some("42710"));
    run(cluster, "create stage if not exists st").await;
    assert_eq!(lines(cluster, "show stages", &["name", "type"]).await, ["st|EXTERNAL"]);
    run(cluster, "create schema other").await;
    run(cluster, "create stage other.mine file_format = (type = json) comment = 'why'").await;
    assert_eq!(
        lines(cluster, "show stages in schema other", &["name", "type", "comment"]).await,
        ["mine|INTERNAL|why"]
    );
    assert!(
        lines(cluster, "desc stage other.mine", &["property", "property_value"])
            .await
            .contains(&"TYPE|JSON".to_owned())
    );
    assert_eq!(names(lines(cluster, "remove @st/dir/", &["name"]).await), ["dir/b.csv"]);
    assert!(!staged.directory.join("dir/b.csv").exists() && staged.directory.join("a.csv").exists());
    run(cluster, "drop stage st").await;
    assert!(staged.directory.join("a.csv").exists(), "files of a URL are somebody else's");
    assert_eq!(refused(cluster, "list @st").await.sql_state.as_deref(), Some("42704"));
    run(cluster, "drop stage if exists st").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn places_outside_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let allowed = directory.path().join("in");
    std::fs::create_dir_all(allowed.join("real")).expect("a directory");
    std::fs::write(directory.path().join("secret.csv"), "1\n").expect("a file");
    std::os::unix::fs::symlink(directory.path().join("secret.csv"), allowed.join("link.csv")).expect("a link");
    let mut options = Options::executors(1);
    options.environment.push(("FRAZIL_STORAGE_ALLOWED_ROOTS".to_owned(), allowed.display().to_string()));
    let cluster = Cluster::start(options).await;
    run(&cluster, "create table t (a int)").await;
    run(&cluster, &format!("create stage inside url = '{}'", allowed.display())).await;
    for sql in [
        format!("create stage outside url = '{}'", directory.path().display()),
        "create stage outside url = 'http://169.254.169.254/latest'".to_owned(),
        "list @inside".to_owned(),
        "list @inside/../".to_owned(),
        "copy into t from @inside/../secret.csv".to_owned(),
        "copy into t from @inside/link.csv".to_owned(),
        "copy into t from @inside files = ('link.csv')".to_owned(),
        "copy into t from @inside files = ('../secret.csv')".to_owned(),
        format!("copy into t from '{}/secret.csv'", directory.path().display()),
        "remove @inside/link".to_owned(),
    ] {
        let refusal = refused(&cluster, &sql).await;
        assert_eq!(refusal.sql_state.as_deref(), Some("42501"), "{sql}: {refusal}");
    }
    assert_eq!(number(&cluster, "select count(*) from t").await, 0);
    assert!(directory.path().join("secret.csv").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_loaded_once() {
    let staged = Staged::start(2).await;
    let cluster = &staged.cluster;
    run(cluster, "create table t (a int, b varchar)").await;
    staged.write("x.csv", "1,one\n2,two\n");
    let copy = "copy into t from @st";
    let shown = ["status", "rows_parsed", "rows_loaded"];
    assert_eq!(lines(cluster, copy, &shown).await, ["LOADED|2|2"]);
    assert_eq!(lines(cluster, copy, &shown).await, ["LOAD_SKIPPED|0|0"]);
    assert_eq!(lines(cluster, &format!("{copy} force = true"), &shown).await, ["LOADED|2|2"]);
    assert_eq!(number(cluster, "select count(*) from t").await, 4);
    // Another file of that name is another file.
    staged.write("x.csv", "3,three\n4,four\n5,five\n");
    staged.write("y.csv.gz", gzip("6,six\n"));
    assert_eq!(lines(cluster, copy, &shown).await, ["LOADED|3|3", "LOADED|1|1"]);
    assert_eq!(number(cluster, "select count(*) from t").await, 8);
    // Two at once: one of them is told that the other was first.
    staged.write("z.csv", "7,seven\n");
    let requests: Vec<Request> = (0..4).map(|_| Request::new(copy)).collect();
    let answers = futures::future::join_all(requests.iter().map(|request| cluster.run(request))).await;
    for refusal in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(refusal.sql_state.as_deref(), Some("40001"), "{refusal}");
    }
    assert_eq!(number(cluster, "select count(*) from t where a = 7").await, 1);
    // With the rows, the notes are gone.
    run(cluster, "truncate table t").await;
    assert_eq!(lines(cluster, copy, &["status"]).await, ["LOADED"; 3]);
    run(cluster, "truncate table t").await;
    staged.write("bad.csv", "x,bad\n");
    let purge = lines(cluster, "copy into t from @st purge = true on_error = continue", &["status"]).await;
    assert_eq!(purge, ["LOAD_FAILED", "LOADED", "LOADED", "LOADED"]);
    let left: Vec<_> =
        std::fs::read_dir(&staged.directory).expect("it is there").map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["bad.csv"]);
}

/// A file, how it is read, and what comes of it: the table's rows if they are loaded, or the first error, by line, character and column.
struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    format: &'static str,
    /// Of `ON_ERROR = CONTINUE`: status, rows parsed, rows loaded, errors.
    outcome: &'static str,
    /// Line, character, column; `None`: there is no error.
    first: Option<&'static str>,
    /// Part of the message.
    message: &'static str,
    /// The rows of `CONTINUE`.
    rows: &'static [&'static str],
}

fn parquet(schema: arrow::datatypes::Schema, columns: Vec<arrow::array::ArrayRef>) -> Vec<u8> {
    let schema = std::sync::Arc::new(schema);
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, schema.clone(), None).expect("a writer");
    writer.write(&arrow::array::RecordBatch::try_new(schema, columns).expect("a batch")).expect("it is written");
    writer.close().expect("it is written");
    bytes
}

fn cases() -> Vec<Case> {
    use arrow::array::{Int64Array, ListArray, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use std::sync::Arc;
    let csv = "type = csv";
    let enclosed = "type = csv field_optionally_enclosed_by = '\"'";
    let good: &[&str] = &["1|one|1.50", "2|two|2.25"];
    let none: &[&str] = &[];
    let case = |name, bytes: &[u8], format, outcome, first, message, rows| Case {
        name,
        bytes: bytes.to_vec(),
        format,
        outcome,
        first,
        message,
        rows,
    };
    let mut truncated = gzip("1,one,1.5\n".repeat(20_000));
    truncated.truncate(truncated.len() / 2);
    let mut corrupt = gzip("1,one,1.5\n2,two,2.25\n");
    corrupt[12] ^= 0x55;
    let text = |values: &[Option<&str>]| Arc::new(StringArray::from(values.to_vec())) as arrow::array::ArrayRef;
    let typed = |name: &str, kind: DataType| Field::new(name, kind, true);
    let good_parquet = parquet(
        Schema::new(vec![typed("B", DataType::Utf8), typed("id", DataType::Int64), typed("c", DataType::Utf8)]),
        vec![
            text(&[Some("one"), Some("two")]),
            Arc::new(Int64Array::from(vec![1, 2])),
            text(&[Some("1.5"), Some("2.25")]),
        ],
    );
    let other_types = parquet(
        Schema::new(vec![typed("id", DataType::Utf8), typed("b", DataType::Int64)]),
        vec![text(&[Some("1"), Some("x"), None]), Arc::new(Int64Array::from(vec![10, 20, 30]))],
    );
    let nested = parquet(
        Schema::new(vec![Field::new("id", DataType::List(Arc::new(typed("item", DataType::Int64))), true)]),
        vec![Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1)])]))],
    );
    let strangers = parquet(Schema::new(vec![typed("z", DataType::Utf8)]), vec![text(&[Some("x")])]);
    let mut broken = good_parquet.clone();
    let middle = broken.len() / 2;
    broken[middle..middle + 40].fill(0xff);
    let deep =
        format!("{{\"id\":1,\"b\":{}1{}}}\n{{\"id\":2,\"b\":\"two\",\"c\":2.25}}\n", "[".repeat(300), "]".repeat(300));
    let huge = format!("1,{},1.5\n", "x".repeat(3 << 20));
    let mut cases = vec![
        case("good.csv", b"1,one,1.5\n2,two,2.25\n", csv, "LOADED|2|2|0", None, "", good),
        case("good.csv.gz", &gzip("1,one,1.5\n2,two,2.25\n"), csv, "LOADED|2|2|0", None, "", good),
        case(
            "two_members.gz",
            &[gzip("1,one,1.5\n"), gzip("2,two,2.25\n")].concat(),
            csv,
            "LOADED|2|2|0",
            None,
            "",
            good,
        ),
        case("no_newline.csv", b"1,one,1.5\n2,two,2.25", csv, "LOADED|2|2|0", None, "", good),
        case("empty.csv", b"", csv, "LOADED|0|0|0", None, "", none),
        case("header.csv", b"id,b,c\n", "type = csv skip_header = 1", "LOADED|0|0|0", None, "", none),
        case("bom_crlf.csv", b"\xef\xbb\xbf1,one,1.5\r\n2,two,2.25\r\n", csv, "LOADED|2|2|0", None, "", good),
        case(
            "names.csv",
            b"C,id,x,b\n1.5,1,?,one\n2.25,2,?,two\n",
            "type = csv parse_header = true",
            "LOADED|2|2|0",
            None,
            "",
            good,
        ),
        case(
            "wrong_type.csv",
            b"1,one,1.5\nx,two,2\n2,two,2.25\n",
            csv,
            "PARTIALLY_LOADED|3|2|1",
            Some("2|1|id"),
            "\"x\" is not of type",
            good,
        ),
        case(
            "overflow.csv",
            b"1,one,1.5\n3000000000,z,1\n2,two,2.25\n3,z,99999.999\n",
            csv,
            "PARTIALLY_LOADED|4|2|2",
            Some("2|1|id"),
            "3000000000",
            good,
        ),
        case(
            "too_many.csv",
            b"1,one,1.5\n2,two,2.25,9\n",
            csv,
            "PARTIALLY_LOADED|2|1|1",
            Some("2|12|-"),
            "4 fields, not 3",
            &["1|one|1.50"],
        ),
        case("too_few.csv", b"1\n", csv, "LOAD_FAILED|1|0|1", Some("1|2|-"), "1 fields, not 3", none),
        case(
            "few_allowed.csv",
            b"1,one\n2,two,2.25,x\n",
            "type = csv error_on_column_count_mismatch = false",
            "LOADED|2|2|0",
            None,
            "",
            &["1|one|-", "2|two|2.25"],
        ),
        case(
            "not_null.csv",
            b"1,one,1.5\n,two,2\n2,two,2.25\n",
            csv,
            "PARTIALLY_LOADED|3|2|1",
            Some("2|1|id"),
            "may not be null",
            good,
        ),
        case(
            "utf8.csv",
            b"1,one,1.5\n3,\xff\xfe,3\n2,two,2.25\n",
            csv,
            "PARTIALLY_LOADED|3|2|1",
            Some("2|3|-"),
            "UTF-8",
            good,
        ),
        case("truncated.gz", &truncated, csv, "PARTIALLY_LOADED", None, "breaks off", none),
        case("corrupt.gz", &corrupt, csv, "LOAD_FAILED", None, "gzip", none),
        case("garbage.gz", b"\x1f\x8bnothing of the sort", csv, "LOAD_FAILED|0|0|1", None, "gzip", none),
        case("bzip2.csv", b"BZh91AY&SY....", csv, "LOAD_FAILED|0|0|1", None, "bzip2", none),
        case(
            "newlines.csv",
            b"1,\"a\nb\",1.5\nx,\"c\nd\",1\n2,\"e\"\"f\",2.25\n",
            enclosed,
            "PARTIALLY_LOADED|3|2|1",
            Some("3|1|id"),
            "\"x\"",
            &["1|a\nb|1.50", "2|e\"f|2.25"],
        ),
        case(
            "quote_open.csv",
            b"1,one,1.5\n2,\"two,2.25\n3,z,3\n",
            enclosed,
            "PARTIALLY_LOADED|2|1|1",
            Some("2|3|-"),
            "not closed",
            &["1|one|1.50"],
        ),
        case(
            "quote_after.csv",
            b"1,\"one\"x,1.5\n2,two,2.25\n",
            enclosed,
            "PARTIALLY_LOADED|2|1|1",
            Some("1|8|-"),
            "enclosed",
            &["2|two|2.25"],
        ),
        case(
            "nulls.csv",
            b"1,,\n2,\"\",2.25\n3,\\N,3\n",
            enclosed,
            "LOADED|3|3|0",
            None,
            "",
            &["1|-|-", "2||2.25", "3|-|3.00"],
        ),
        case("nul.csv", b"1,a\0b,1.5\n", csv, "LOADED|1|1|0", None, "", &["1|a\0b|1.50"]),
        case("huge_field.csv", huge.as_bytes(), csv, "LOADED|1|1|0", None, "", &["huge"]),
        case(
            "good.json",
            b"{\"ID\":1,\"b\":\"one\",\"c\":1.5,\"more\":[]}\n{\"c\":\"2.25\",\"id\":2,\"b\":\"two\"}",
            "type = json",
            "LOADED|2|2|0",
            None,
            "",
            good,
        ),
        case(
            "array.json",
            b"[{\"id\":1,\"b\":\"one\",\"c\":1.5},\n{\"id\":2,\"b\":\"two\",\"c\":2.25}]",
            "type = json strip_outer_array = true",
            "LOADED|2|2|0",
            None,
            "",
            good,
        ),
        case(
            "unstripped.json",
            b"[{\"id\":1}]",
            "type = json",
            "LOAD_FAILED|1|0|1",
            Some("1|1|-"),
            "STRIP_OUTER_ARRAY",
            none,
        ),
        case("empty.json", b"", "type = json", "LOADED|0|0|0", None, "", none),
        case(
            "not_object.json",
            b"5\n{\"id\":1,\"b\":\"one\",\"c\":1.5}\n",
            "type = json",
            "PARTIALLY_LOADED|2|1|1",
            Some("1|1|-"),
            "not an object",
            &["1|one|1.50"],
        ),
        case(
            "syntax.json",
            b"{\"id\":1,\"b\":\"one\",\"c\":1.5}\n{\"id\":2,\n{\"id\":2,\"b\":\"two\",\"c\":2.25}\n",
            "type = json",
            "PARTIALLY_LOADED|3|2|1",
            Some("2|10|-"),
            "key",
            good,
        ),
        case(
            "type.json",
            b"{\"id\":1,\"b\":\"one\",\"c\":1.5}\n{\"id\":\"x\"}\n{\"id\":2,\"b\":\"two\",\"c\":2.25}\n",
            "type = json",
            "PARTIALLY_LOADED|3|2|1",
            Some("2|0|id"),
            "not of type",
            good,
        ),
        case(
            "missing.json",
            b"{\"b\":\"one\"}\n",
            "type = json",
            "LOAD_FAILED|1|0|1",
            Some("1|0|id"),
            "may not be null",
            none,
        ),
        case(
            "deep.json",
            deep.as_bytes(),
            "type = json",
            "PARTIALLY_LOADED|2|1|1",
            Some("1|212|-"),
            "nests",
            &["2|two|2.25"],
        ),
        case(
            "open_array.json",
            b"[{\"id\":1,\"b\":\"one\",\"c\":1.5}",
            "type = json strip_outer_array = true",
            "PARTIALLY_LOADED|1|1|1",
            Some("1|0|-"),
            "not closed",
            &["1|one|1.50"],
        ),
        case("good.parquet", &good_parquet, "type = parquet", "LOADED|2|2|0", None, "", good),
        case(
            "types.parquet",
            &other_types,
            "type = parquet",
            "PARTIALLY_LOADED|3|1|2",
            Some("2|0|id"),
            "\"x\"",
            &["1|10|-"],
        ),
        case("nested.parquet", &nested, "type = parquet", "LOAD_FAILED|0|0|1", None, "\"id\" is of type List", none),
        case("strangers.parquet", &strangers, "type = parquet", "LOAD_FAILED|0|0|1", None, "none of its columns", none),
        case("broken.parquet", &broken, "type = parquet", "LOAD_FAILED", None, "Parquet", none),
        case("text.parquet", b"1,one,1.5\n", "type = parquet", "LOAD_FAILED|0|0|1", None, "Parquet", none),
        case("empty.parquet", b"", "type = parquet", "LOAD_FAILED|0|0|1", None, "Parquet", none),
    ];
    cases.iter_mut().for_each(|case| case.bytes.shrink_to_fit());
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_all_kinds_with_each_policy() {
    let staged = Staged::start(2).await;
    let cluster = &staged.cluster;
    let mut wrong = Vec::new();
    for case in cases() {
        if let Err(why) = check(&staged, cluster, &case).await {
            wrong.push(format!("{}: {why}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases are wrong:\n{}", wrong.len(), cases().len(), wrong.join("\n"));
}

async fn check(staged: &Staged, cluster: &Cluster, case: &Case) -> Result<(), String> {
    let expect = |what: &str, expected: &str, actual: &str| match expected == actual {
        true => Ok(()),
        false => Err(format!("{what}: expected {expected:?}, not {actual:?}")),
    };
    run(cluster, "create or replace table t (id int not null, b varchar, c decimal(6,2))").await;
    staged.write(case.name, &case.bytes);
    let by_name = if case.format.contains("parse_header") { "match_by_column_name = case_insensitive" } else { "" };
    let copy = format!("copy into t from @st/{} file_format = ({}) {by_name}", case.name, case.format);
    let count = || async { number(cluster, "select count(*) from t").await };
    let is_good = case.outcome.starts_with("LOADED");

    // Nothing is loaded unless it is asked for.
    match cluster.run(&Request::new(&copy)).await {
        Ok(_) if is_good => {}
        Ok(answer) => return Err(format!("abort: it was loaded: {:?}", rows(&answer))),
        Err(refusal) if is_good => return Err(format!("abort: {refusal}")),
        Err(refusal) => {
            expect("rows after abort", "0", &count().await.to_string())?;
            let message = &refusal.message;
            if !message.contains(case.name) || !message.contains(case.message) {
                return Err(format!("abort: the message is {message:?}, without {:?}", case.message));
            }
            let state = refusal.sql_state.as_deref().unwrap_or_default();
            if !["22000", "23502", "58P03", "58030"].contains(&state) {
                return Err(format!("abort: SQLSTATE {state}: {message}"));
            }
            if let Some(first) = case.first {
                let line = first.split('|').next().unwrap_or_default();
                if !message.contains(&format!("line {line}")) {
                    return Err(format!("abort: line {line} is not in {message:?}"));
                }
            }
        }
    }
    run(cluster, "truncate table t").await;

    let skip = rows(&run(cluster, &format!("{copy} on_error = skip_file")).await);
    let status = if is_good { "LOADED" } else { "LOAD_FAILED" };
    expect("skip", status, &line(&skip[0], &["status"]))?;
    expect("rows after skip", &line(&skip[0], &["rows_loaded"]), &count().await.to_string())?;
    if !is_good {
        expect("rows after skip", "0", &count().await.to_string())?;
    }
    run(cluster, "truncate table t").await;

    let errors = rows(&run(cluster, &format!("{copy} validation_mode = return_all_errors")).await);
    expect("rows after a validation", "0", &count().await.to_string())?;
    if errors.is_empty() != is_good {
        return Err(format!("validation: {errors:?}"));
    }

    let answer = rows(&run(cluster, &format!("{copy} on_error = continue")).await);
    let outcome = line(&answer[0], &["status", "rows_parsed", "rows_loaded", "errors_seen"]);
    if !outcome.starts_with(case.outcome) {
        return Err(format!("continue: expected {:?}, not {outcome:?}: {:?}", case.outcome, answer[0]));
    }
    if let Some(first) = case.first {
        let columns = ["first_error_line", "first_error_character", "first_error_column_name"];
        expect("first error", first, &line(&answer[0], &columns))?;
    }
    let message = line(&answer[0], &["first_error"]);
    if !message.contains(case.message) {
        return Err(format!("continue: the message is {message:?}, without {:?}", case.message));
    }
    expect("rows after continue", &line(&answer[0], &["rows_loaded"]), &count().await.to_string())?;
    match case.rows {
        ["huge"] => {
            expect("length", "3145728", &number(cluster, "select cast(length(b) as bigint) from t").await.to_string())
        }
        rows if case.outcome.contains('|') => {
            let loaded = lines(cluster, "select * from t order by id", &["id", "b", "c"]).await;
            expect("rows", &format!("{rows:?}"), &format!("{loaded:?}"))
        }
        _ => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_all_types_are_those_of_the_text() {
    let staged = Staged::start(1).await;
    let cluster = &staged.cluster;
    run(
        cluster,
        "create table t (i8 tinyint, i64 bigint, f double, n decimal(20,4), d date, ts timestamp, b boolean, x bytea, s varchar, z int default 7)",
    )
    .await;
    staged.write(
        "t.csv",
        "-128,9223372036854775807,1e-3,-1234567890123456.7891,2024-02-29,2024-02-29 23:59:59.123456,TRUE,00fF,  s  \n\
         127,-1, 2.5 ,0.00005,1969-12-31,1969-12-31T00:00:00,0,,\n",
    );
    let copy = "copy into t (i8, i64, f, n, d, ts, b, x, s) from @st";
    assert_eq!(lines(cluster, copy, &["status", "rows_loaded"]).await, ["LOADED|2"]);
    let columns = ["i8", "i64", "f", "n", "d", "ts", "b", "x", "s", "z"];
    let shown = lines(cluster, "select * from t order by i8", &columns).await;
    assert_eq!(
        shown,
        [
            "-128|9223372036854775807|0.001|-1234567890123456.7891|2024-02-29|2024-02-29T23:59:59.123456|true|00ff|  s  |7",
            "127|-1|2.5|0.0001|1969-12-31|1969-12-31T00:00:00|false|-|-|7",
        ]
    );
    for (bad, column) in [
        ("300,1,1,1,2024-01-01,2024-01-01,t,00,s", "i8"),
        ("1,1.5,1,1,2024-01-01,2024-01-01,t,00,s", "i64"),
        ("1,1,one,1,2024-01-01,2024-01-01,t,00,s", "f"),
        ("1,1,1,12345678901234567,2024-01-01,2024-01-01,t,00,s", "n"),
        ("1,1,1,1,2023-02-29,2024-01-01,t,00,s", "d"),
        ("1,1,1,1,2024-01-01,yesterday,t,00,s", "ts"),
        ("1,1,1,1,2024-01-01,2024-01-01,perhaps,00,s", "b"),
        ("1,1,1,1,2024-01-01,2024-01-01,t,0g,s", "x"),
    ] {
        staged.write("bad.csv", format!("{bad}\n"));
        let copy = "copy into t (i8, i64, f, n, d, ts, b, x, s) from @st/bad.csv on_error = continue";
        let expected = format!("LOAD_FAILED|1|{column}");
        assert_eq!(
            lines(cluster, copy, &["status", "errors_seen", "first_error_column_name"]).await,
            [expected],
            "{bad}"
        );
    }
}

/// The rows of TPC-H, as CSV, JSON and Parquet, on three executors, compared with the oracle.
#[tokio::test(flavor = "multi_thread")]
async fn many_rows_are_those_of_the_files() {
    let tables = data::tpch().await;
    let oracle = Oracle::over(tables).await;
    let cluster = Cluster::start(Options::executors(3)).await;
    let lineitem = tables.iter().find(|table| table.name == "lineitem").expect("TPC-H has it");
    data::register(&cluster, tables).await;
    let url = lineitem.location();
    run(&cluster, &format!("create stage raw url = '{url}' file_format = (type = parquet)")).await;
    run(&cluster, "create table items as select * from lineitem limit 0").await;
    let expected = oracle.run(&Request::new("select * from lineitem")).await.expect("the oracle reads it");
    for partitions in [1, 2, 7] {
        run(&cluster, "truncate table items").await;
        let copy = Request::new("copy into items from @raw").partitions(partitions);
        let answer = cluster.run(&copy).await.unwrap_or_else(|refusal| panic!("{refusal}"));
        assert!(rows(&answer).iter().all(|row| row["status"] == "LOADED"), "{:?}", rows(&answer));
        let actual = run(&cluster, "select * from items").await;
        compare(&expected, &actual, Order::Any).unwrap_or_else(|e| panic!("at {partitions}: {e}"));
    }
}

#[test]
fn files_are_put_and_got_by_the_shell() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = directory.path().join("files");
    std::fs::create_dir_all(files.join("back")).expect("a directory");
    std::fs::write(files.join("a.csv"), "1,one\n2,two\n").expect("a file");
    std::fs::write(files.join("b.csv"), "3,three\n").expect("a file");
    let shell = |sql: &str| {
        let output = std::process::Command::new(binary())
            .args(["sql", "--format", "csv", "--executors", "2", "--data"])
            .arg(directory.path().join("data"))
            .args(["-c", sql])
            .output()
            .expect("frazil starts");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), format!("{out}{err}"))
    };
    let script = format!(
        "create stage s; create table t (a int, b varchar); put file://{0}/*.csv @s/in; put file://{0}/a.csv @s/in; \
         put file://{0}/a.csv @s/plain auto_compress = false; list @s; copy into t from @s/in; \
         select count(*) as n, sum(a) as s from t; get @s/plain file://{0}/back/; remove @s/in; list @s; drop stage s",
        files.display()
    );
    let (good, shown) = shell(&script);
    assert!(good, "{shown}");
    for part in [
        "a.csv.gz",
        "UPLOADED",
        "SKIPPED",
        "s/in/b.csv.gz",
        "LOADED,2,2",
        "LOADED,1,1",
        "\n3,6\n",
        "DOWNLOADED",
        "removed",
    ] {
        assert!(shown.contains(part), "{part:?} is not in {shown}");
    }
    assert_eq!(std::fs::read(files.join("back/a.csv")).expect("it was fetched"), b"1,one\n2,two\n");
    let stages = directory.path().join("data/warehouse/.stages");
    let left = walk(&stages);
    assert!(left.is_empty(), "a dropped stage leaves {left:?}");
    let (good, shown) = shell("create stage s; put file:///nowhere/x.csv @s");
    assert!(!good && shown.contains("not found"), "{shown}");
    let (good, shown) = shell(&format!("put file://{}/a.csv @s/../out", files.display()));
    assert!(!good && shown.contains("42501"), "{shown}");
}

fn walk(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_is_part_of_a_transaction() {
    let staged = Staged::start(1).await;
    let cluster = &staged.cluster;
    run(cluster, "create table t (a int)").await;
    staged.write("x.csv", "1\n2\n");
    let session = cluster.client().in_session().await.expect("a session");
    run(&session, "begin").await;
    assert_eq!(lines(&session, "copy into t from @st", &["status"]).await, ["LOADED"]);
    assert_eq!(lines(&session, "copy into t from @st", &["status"]).await, ["LOAD_SKIPPED"]);
    assert_eq!(number(&session, "select count(*) from t").await, 2);
    assert_eq!(number(cluster, "select count(*) from t").await, 0);
    let purge = refused(&session, "copy into t from @st purge = true force = true").await;
    assert!(purge.message.contains("PURGE"), "{purge}");
    run(&session, "rollback").await;
    assert_eq!(lines(cluster, "copy into t from @st", &["status"]).await, ["LOADED"]);
    assert_eq!(number(cluster, "select count(*) from t").await, 2);
}

/// What is unloaded and loaded again is what it was.
#[tokio::test(flavor = "multi_thread")]
async fn rows_go_out_and_come_back() {
    let tables = data::tpch().await;
    let oracle = Oracle::over(tables).await;
    let cluster = Cluster::start(Options::executors(3)).await;
    data::register(&cluster, tables).await;
    run(&cluster, "create stage out").await;
    run(&cluster, "create table back as select * from orders limit 0").await;
    let expected = oracle.run(&Request::new("select * from orders")).await.expect("the oracle reads it");
    let count = number(&oracle, "select count(*) from orders").await.to_string();
    for (name, format, more) in [
        ("parquet", "type = parquet", "max_file_size = 200000"),
        ("csv", "type = csv", "max_file_size = 100000"),
        ("quoted", "type = csv field_optionally_enclosed_by = '\\x22' compression = zstd", "header = true"),
        ("plain", "type = csv field_delimiter = '|' compression = none", "single = true"),
        ("json", "type = json compression = gzip", ""),
    ] {
        let copy =
            Request::new(format!("copy into @out/{name}/ from orders file_format = ({format}) {more}")).partitions(4);
        let answer = cluster.run(&copy).await.unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        assert_eq!(rows(&answer)[0]["rows_unloaded"], count, "{name}");
        let files = lines(&cluster, &format!("list @out/{name}"), &["name"]).await;
        let several = files.len() > 1;
        assert_eq!(several, name != "plain", "{name}: {files:?}");
        assert!(files.iter().all(|file| file.contains("/data") && !file.contains(".frazil")), "{files:?}");
        // What is there is not written over.
        let again = cluster.run(&copy).await.expect_err("there are files");
        assert_eq!(again.sql_state.as_deref(), Some("42710"), "{again}");
        run(&cluster, "truncate table back").await;
        let skip = if more.contains("header") { "skip_header = 1" } else { "" };
        let load = format!("copy into back from @out/{name}/ file_format = ({format} {skip})");
        run(&cluster, &load).await;
        let actual = run(&cluster, "select * from back").await;
        compare(&expected, &actual, Order::Any).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    run(&cluster, "copy into @out/plain/ from orders single = true overwrite = true file_format = (type = csv)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unload_that_fails_leaves_nothing() {
    let staged = Staged::start(2).await;
    let cluster = &staged.cluster;
    run(cluster, "create table t as select value as a from generate_series(1, 100000)").await;
    for sql in [
        "copy into @st/out/ from (select 1 / (a - 99999) from t) file_format = (type = csv)",
        "copy into @st/out/ from (select make_array(a) from t) file_format = (type = csv)",
        "copy into @st/out/ from nowhere",
        "copy into @st/out/ from t partition by (a)",
        "copy into @st/../out/ from t",
    ] {
        refused(cluster, sql).await;
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !walk(&staged.directory).is_empty() {
            assert!(std::time::Instant::now() < deadline, "{sql} leaves {:?}", walk(&staged.directory));
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_of_files_are_told() {
    let staged = Staged::start(1).await;
    let cluster = &staged.cluster;
    staged.write("a.csv", "id,name,price,day\n1,one,1.5,2024-01-01\n2,two,2,2024-01-02\n");
    staged.write("b.json", "{\"id\": 1, \"tags\": [\"x\"], \"f\": 1}\n{\"id\": 2, \"f\": 2.5, \"more\": null}\n");
    let columns = ["column_name", "type"];
    let sql = "select * from table(infer_schema(location => '@st/a.csv', file_format => (type => csv, parse_header => true))) order by order_id";
    assert_eq!(lines(cluster, sql, &columns).await, ["id|BIGINT", "name|VARCHAR", "price|DOUBLE", "day|DATE"]);
    let sql = "select * from TABLE(INFER_SCHEMA(LOCATION => '@st', FILES => ('b.json'), FILE_FORMAT => 'JSON')) as t order by column_name";
    assert_eq!(lines(cluster, sql, &columns).await, ["f|DOUBLE", "id|BIGINT", "more|VARCHAR", "tags|VARCHAR[]"]);
    let refusal = refused(cluster, "select * from table(infer_schema(location => '@st/nothing'))").await;
    assert!(refusal.message.contains("no files"), "{refusal}");
}

/// What is written so far is told while a statement runs, and all of it when it has ended.
#[tokio::test(flavor = "multi_thread")]
async fn progress_of_a_load_is_seen() {
    let staged = Staged::start(2).await;
    let cluster = &staged.cluster;
    run(cluster, "create table t (a int, b varchar)").await;
    let text: String = (0..200_000).map(|number| format!("{number},text of row {number}\n")).collect();
    for file in 0..8 {
        staged.write(&format!("{file}.csv"), &text);
    }
    let handle = cluster.client().start("copy into t from @st").await.expect("it is taken");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let mut partly = false;
    loop {
        assert!(std::time::Instant::now() < deadline, "it does not end");
        let statements = cluster.client().statements().await.expect("a list");
        let list = statements["statements"].as_array().expect("statements").clone();
        let own = list.iter().find(|one| one["statementHandle"] == handle.as_str()).expect("it is listed");
        let rows = own["stats"]["rowsWritten"].as_u64().expect("a number");
        match own["phase"].as_str() {
            Some("finished") => {
                assert_eq!((rows, own["stats"]["bytesWritten"].as_u64() > Some(0)), (1_600_000, true), "{own}");
                break;
            }
            Some("failed" | "cancelled") => panic!("{own}"),
            _ => partly |= (1..1_600_000).contains(&rows),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(partly, "nothing was told before the end");
    assert_eq!(number(cluster, "select count(*) from t").await, 1_600_000);
}

/// An executor that dies in the middle of a load or an unload: the rows are there once, and no file of the lost try is seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_executor_is_made_up_for() {
    let mut staged = Staged::start(3).await;
    run(&staged.cluster, "create table t (a int, b varchar)").await;
    run(&staged.cluster, "create stage out").await;
    let text: String = (0..200_000).map(|number| format!("{number},text of row {number}\n")).collect();
    for file in 0..9 {
        staged.write(&format!("{file}.csv"), &text);
    }
    let unload = "copy into @out/x/ from t file_format = (type = csv) max_file_size = 500000";
    for (victim, sql) in [(2, "copy into t from @st"), (1, unload)] {
        let handle = staged.cluster.client().start(sql).await.expect("it is taken");
        let own = until(&staged.cluster, &handle, |own| own["stats"]["rowsWritten"].as_u64() > Some(0)).await;
        let in_time = own["phase"] == "running";
        staged.cluster.kill_executor(victim);
        let own = until(&staged.cluster, &handle, |own| own["phase"] != "running").await;
        assert_eq!(own["phase"], "finished", "{own}");
        eprintln!("{sql}: killed {}", if in_time { "while it ran" } else { "too late" });
    }
    let cluster = &staged.cluster;
    assert_eq!(number(cluster, "select count(*) from t").await, 1_800_000);
    assert_eq!(number(cluster, "select sum(a) from t").await, 9 * 199_999 * 100_000);
    run(cluster, "create table back (a int, b varchar)").await;
    run(cluster, "copy into back from @out/x/").await;
    assert_eq!(number(cluster, "select count(*) from back").await, 1_800_000);
    assert_eq!(number(cluster, "select sum(a) from back").await, 9 * 199_999 * 100_000);
}

/// What the coordinator says of a statement as soon as it is as wanted, or has ended.
async fn until(cluster: &Cluster, handle: &str, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(90);
    loop {
        assert!(std::time::Instant::now() < deadline, "statement {handle} does not get on");
        let statements = cluster.client().statements().await.expect("a list");
        let list = statements["statements"].as_array().expect("statements").clone();
        let own = list.into_iter().find(|one| one["statementHandle"] == handle).expect("it is listed");
        let phase = own["phase"].as_str().unwrap_or_default();
        if wanted(&own) || ["finished", "failed", "cancelled"].contains(&phase) {
            return own;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

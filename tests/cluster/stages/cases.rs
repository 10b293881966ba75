//! Files of all kinds, good and bad, with each `ON_ERROR`.

use arrow::datatypes::Int64Type;

use crate::support::cluster::Cluster;
use crate::support::engine::{Engine, Request};

use super::{Staged, gzip, line, lines, number, rows, run};

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
        // Of a key that is there twice, in whatever letters, the last one counts.
        case(
            "twice.json",
            b"{\"id\": 1, \"b\": \"x\", \"c\": 1, \"ID\": 2, \"b\": \"y\"}\n",
            "type = json",
            "LOADED|1|1|0",
            None,
            "",
            &["2|y|1.00"],
        ),
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

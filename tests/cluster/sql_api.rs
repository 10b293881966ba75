//! The SQL API v2 as its clients use it: bound values, parameters, several statements, partitions, events, and each refusal.

use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Options};
use crate::support::rest::Rest;

/// Runs until it is stopped.
const ENDLESS: &str = "select count(*) from generate_series(1, 10000000) a cross join generate_series(1, 10000000) b";

async fn started() -> (Cluster, Rest) {
    let cluster = Cluster::start(Options::executors(1)).await;
    let rest = Rest::new(cluster.url());
    (cluster, rest)
}

fn texts(cells: &[Option<String>]) -> Vec<&str> {
    cells.iter().map(|cell| cell.as_deref().unwrap_or("NULL")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bound_values_come_back_as_they_were() {
    let (_cluster, rest) = started().await;
    for (kind, value, cell, name) in [
        ("FIXED", "-9223372036854775808", "-9223372036854775808", "FIXED"),
        ("FIXED", "12345678901234567890123456789012345.678", "12345678901234567890123456789012345.678", "FIXED"),
        ("REAL", "1.5e300", "1.5e+300", "REAL"),
        ("REAL", "NaN", "NaN", "REAL"),
        ("TEXT", "it's \"q\" ; -- \u{1f980} \u{202e}", "it's \"q\" ; -- \u{1f980} \u{202e}", "TEXT"),
        ("TEXT", "", "", "TEXT"),
        ("BOOLEAN", "true", "true", "BOOLEAN"),
        ("DATE", "1709164800000", "19782", "DATE"),
        ("DATE", "2024-02-29", "19782", "DATE"),
        ("TIME", "45296123456789", "45296.123456789", "TIME"),
        ("TIME", "12:34:56.5", "45296.500000000", "TIME"),
        ("TIMESTAMP_NTZ", "1709210096123456000", "1709210096.123456000", "TIMESTAMP_NTZ"),
        ("TIMESTAMP_NTZ", "2024-02-29T12:34:56", "1709210096.000000000", "TIMESTAMP_NTZ"),
        ("TIMESTAMP_LTZ", "1709210096123456000", "1709210096.123456000 1440", "TIMESTAMP_TZ"),
        ("TIMESTAMP_TZ", "1709210096123456000 1500", "1709210096.123456000 1440", "TIMESTAMP_TZ"),
        ("BINARY", "00ff10", "00FF10", "BINARY"),
    ] {
        let body = json!({ "statement": "select ? as v", "bindings": { "1": { "type": kind, "value": value } } });
        let answered = rest.submit(&body).await;
        assert_eq!(texts(&answered.cells()), [cell], "{kind} {value}: {answered:?}");
        assert_eq!(answered.body["resultSetMetaData"]["rowType"][0]["type"], name, "{kind} {value}");
    }
    let null = json!({ "statement": "select ? is null, :2", "bindings": {
        "1": { "type": "TEXT", "value": null }, "2": { "type": "FIXED", "value": "7" } } });
    assert_eq!(texts(&rest.submit(&null).await.cells()), ["true", "7"]);
    for (bindings, status) in [
        (json!({ "1": { "type": "FIXED", "value": "seven" } }), 400),
        (json!({ "1": { "type": "FIXED", "value": "7" }, "2": { "type": "FIXED", "value": "7" } }), 400),
        (json!({ "2": { "type": "FIXED", "value": "7" } }), 400),
        (json!({ "one": { "type": "FIXED", "value": "7" } }), 400),
        (json!({ "1": { "type": "GEOGRAPHY", "value": "7" } }), 422),
        (json!({}), 400),
    ] {
        let answered = rest.submit(&json!({ "statement": "select ?", "bindings": bindings })).await;
        assert_eq!(answered.status, status, "{bindings}: {answered:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_reaches_its_extremes() {
    let (_cluster, rest) = started().await;
    for (sql, cell, name) in [
        ("true", "true", "BOOLEAN"),
        ("cast(-128 as tinyint)", "-128", "FIXED"),
        ("cast(9223372036854775807 as bigint)", "9223372036854775807", "FIXED"),
        (
            "cast('-99999999999999999999999999999999.999999' as decimal(38, 6))",
            "-99999999999999999999999999999999.999999",
            "FIXED",
        ),
        ("cast('0.01' as decimal(2, 2))", "0.01", "FIXED"),
        ("cast('nan' as double)", "NaN", "REAL"),
        ("cast('-inf' as double)", "-inf", "REAL"),
        ("cast(0.1 as real)", "0.1", "REAL"),
        ("date '0001-01-01'", "-719162", "DATE"),
        ("date '9999-12-31'", "2932896", "DATE"),
        ("time '23:59:59.999999999'", "86399.999999999", "TIME"),
        ("timestamp '1969-12-31T23:59:59.5'", "-0.500000000", "TIMESTAMP_NTZ"),
        ("timestamptz '2024-02-29T12:34:56+02:00'", "1709202896.000000000 1440", "TIMESTAMP_TZ"),
        ("X'00FF'", "00FF", "BINARY"),
        ("'\u{1f980}'", "\u{1f980}", "TEXT"),
        ("interval '1 month 2 days'", "1 mons 2 days", "TEXT"),
        ("[1, null, 3]", "[1,null,3]", "ARRAY"),
        ("named_struct('a', 1, 'b', date '2024-02-29')", "{\"a\":1,\"b\":\"2024-02-29\"}", "OBJECT"),
        ("map(['k'], [1.5])", "{\"k\":1.5}", "OBJECT"),
        ("null", "NULL", "VARIANT"),
    ] {
        let zone = json!({ "timezone": "UTC" });
        let answered = rest.submit(&json!({ "statement": format!("select {sql} as v"), "parameters": zone })).await;
        assert_eq!(texts(&answered.cells()), [cell], "{sql}: {answered:?}");
        assert_eq!(answered.body["resultSetMetaData"]["rowType"][0]["type"], name, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_have_their_effects() {
    let (_cluster, rest) = started().await;
    let with =
        async |sql: &str, parameters: Value| rest.submit(&json!({ "statement": sql, "parameters": parameters })).await;
    let moment = "select timestamptz '2024-07-01T00:00:00Z' as t";
    assert_eq!(texts(&with(moment, json!({ "timezone": "UTC" })).await.cells()), ["1719792000.000000000 1440"]);
    let zone = json!({ "TIMEZONE": "America/New_York" });
    assert_eq!(texts(&with(moment, zone).await.cells()), ["1719792000.000000000 1200"]);
    // The zone also says what a text without one means.
    let zone = json!({ "timezone": "Asia/Kolkata", "timestamp_tz_output_format": "YYYY-MM-DD HH24:MI:SS TZH:TZM" });
    let local = "select cast('2024-07-01T05:30:00' as timestamptz) as t";
    assert_eq!(texts(&with(local, zone).await.cells()), ["2024-07-01 05:30:00 +05:30"]);
    let formats = json!({ "date_output_format": "DD.MM.YYYY", "time_output_format": "HH24:MI",
        "timestamp_output_format": "YYYY-MM-DD\"T\"HH24:MI:SS.FF3", "binary_output_format": "base64" });
    let sql = "select date '2024-02-29', time '12:34:56', timestamp '2024-02-29T12:34:56.789', X'00FF10'";
    let answered = with(sql, formats).await;
    assert_eq!(texts(&answered.cells()), ["29.02.2024", "12:34", "2024-02-29T12:34:56.789", "AP8Q"]);
    // Also when the rows are fetched later, and in a session that says so.
    let later = rest.get(&format!("/api/v2/statements/{}", answered.handle())).await;
    assert_eq!(later.cells(), answered.cells());
    let session = rest.post("/api/v2/sessions", &json!({ "parameters": { "date_output_format": "YY" } })).await;
    let session = session.body["session"].clone();
    let in_session = async |sql: &str| rest.submit(&json!({ "statement": sql, "session": session })).await;
    assert_eq!(texts(&in_session("select date '2024-02-29'").await.cells()), ["24"]);
    assert_eq!(in_session("set query_tag = 'of the session'").await.status, 200);
    let tagged = "select query_tag from system.statements where statement_text like '%mine%' and query_tag is not null";
    assert_eq!(texts(&in_session(&format!("{tagged} -- mine")).await.cells()), ["of the session"]);
    for wrong in [
        json!({ "timezone": "Mars/Olympus" }),
        json!({ "date_output_format": "QQ" }),
        json!({ "binary_output_format": "octal" }),
        json!({ "query_tag": "x".repeat(2001) }),
        json!({ "colour": "red" }),
        json!({ "datafusion.execution.target_partitions": "7" }),
    ] {
        let answered = with("select 1", wrong.clone()).await;
        assert!([400, 422].contains(&answered.status), "{wrong}: {answered:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_statements_are_one_request() {
    let (_cluster, rest) = started().await;
    let several = |sql: &str, count: u64| json!({ "statement": sql, "parameters": { "multi_statement_count": count } });
    let id = "0190d5c2-7b1a-7c3e-9a55-3f1d2c4b5a01";
    let path = format!("/api/v2/statements?requestId={id}");
    let body = several("create table t (a text); begin; insert into t values ('a;b'); commit; select * from t", 5);
    let answered = rest.post(&path, &body).await;
    let handles: Vec<String> = serde_json::from_value(answered.body["statementHandles"].clone()).expect("handles");
    assert_eq!((answered.status, handles.len(), &answered.body["data"]), (200, 5, &Value::Null), "{answered:?}");
    let last = rest.get(&format!("/api/v2/statements/{}", handles[4])).await;
    assert_eq!(texts(&last.cells()), ["a;b"]);
    // Sent again, it is the same: nothing is done twice.
    let again = rest.post(&format!("{path}&retry=true"), &body).await;
    assert_eq!(again.body["statementHandles"], answered.body["statementHandles"]);
    assert_eq!(texts(&rest.sql("select count(*) from t").await.cells()), ["1"]);

    // The first that fails ends it; what was not committed is not there, and no session is left.
    let failed =
        rest.submit(&several("begin; insert into t values ('b'); select nothing; insert into t values ('c')", 0)).await;
    assert_eq!((failed.status, failed.sql_state()), (422, "42703"), "{failed:?}");
    assert!(failed.message().starts_with("statement 3 of 4: "), "{failed:?}");
    assert_eq!(texts(&rest.sql("select count(*) from t").await.cells()), ["1"]);
    assert_eq!(rest.get("/api/v2/sessions").await.body["sessions"], json!([]));

    let wrong = rest.submit(&several("select 1; select 2", 3)).await;
    assert_eq!(wrong.status, 422);
    assert!(wrong.message().contains("actual statement count 2"), "{wrong:?}");
    // Nobody who sends one statement runs two.
    let one = rest.sql("select 1; drop table t").await;
    assert_eq!((one.status, one.sql_state()), (422, "0A000"), "{one:?}");
    // Stopping the whole stops its part.
    let whole = several(&format!("select 1; {ENDLESS}"), 2);
    let whole = rest.post("/api/v2/statements?async=true", &whole).await.handle();
    let deadline = Instant::now() + Duration::from_secs(20);
    while rest.get("/api/v2/statements?phase=running&text=cross").await.body["statements"]
        .as_array()
        .map_or(0, Vec::len)
        < 2
    {
        assert!(Instant::now() < deadline, "it does not run");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(rest.post(&format!("/api/v2/statements/{whole}/cancel"), &json!({})).await.status, 200);
    while rest.get("/api/v2/cluster").await.body["statements_running"] != 0 {
        assert!(Instant::now() < deadline, "its part runs on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_results_come_in_compressed_partitions() {
    let (_cluster, rest) = started().await;
    let answered = rest.sql("select value as n, repeat('x', 20) as t from generate_series(1, 150000) order by 1").await;
    let partitions = answered.body["resultSetMetaData"]["partitionInfo"].as_array().expect("partitions").len();
    assert!(partitions > 2, "{partitions}");
    assert!(answered.headers.get("content-encoding").is_none(), "the first is plain");
    let mut path = format!("/api/v2/statements/{}", answered.handle());
    let mut next = 1;
    let mut answered = answered;
    loop {
        for row in answered.rows() {
            assert_eq!(row[0].as_deref(), Some(next.to_string().as_str()));
            next += 1;
        }
        let link = answered.headers.get("link").expect("a link").to_str().expect("text").to_owned();
        let Some(target) = link.split(',').find(|one| one.ends_with("rel=\"next\"")) else { break };
        path = target.split(['<', '>']).nth(1).expect("an address").to_owned();
        answered = rest.get(&path).await;
        assert_eq!(answered.headers.get("content-encoding").map(|coding| coding == "gzip"), Some(true));
    }
    assert_eq!(next, 150_001);
    let plain = rest.send(rest.http().get(rest.url(&path)).header("accept-encoding", "identity")).await;
    assert!(plain.headers.get("content-encoding").is_none());
    assert_eq!(plain.rows(), answered.rows());
    let beyond = path.split('?').next().expect("a path").to_owned() + "?partition=99";
    assert_eq!(rest.get(&beyond).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_followed_to_its_end() {
    let (_cluster, rest) = started().await;
    let events = async |handle: &str| {
        let url = rest.url(&format!("/api/v2/statements/{handle}/events"));
        let response = rest.http().get(url).send().await.expect("an answer");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        response.bytes_stream()
    };
    let handle = rest.post("/api/v2/statements?async=true", &json!({ "statement": ENDLESS })).await.handle();
    let mut followed = events(&handle).await;
    let (mut text, mut is_cancelled) = (String::new(), false);
    // Ends by itself when the statement does.
    while let Some(chunk) = followed.next().await {
        text += std::str::from_utf8(&chunk.expect("it does not break off")).expect("text");
        if !is_cancelled && text.contains("\"phase\":\"running\",\"stages\":1,\"tasks\":1") {
            is_cancelled = true;
            assert_eq!(rest.post(&format!("/api/v2/statements/{handle}/cancel"), &json!({})).await.status, 200);
        }
    }
    let last = text.trim_end().rsplit("\n\n").next().expect("an event").to_owned();
    assert!(last.starts_with("event: end\ndata: {") && last.contains("\"phase\":\"cancelled\""), "{text}");
    assert!(last.contains("\"sqlState\":\"57014\""), "{text}");
    // Of one that has ended there is one event.
    let finished = rest.sql("select 1").await.handle();
    let all: Vec<_> = events(&finished).await.collect().await;
    let all: String =
        all.into_iter().map(|chunk| String::from_utf8(chunk.expect("whole").to_vec()).expect("text")).collect();
    assert_eq!(all.matches("event: ").count(), 1, "{all}");
    assert!(all.contains("\"phase\":\"finished\"") && all.contains("\"numRows\":1"), "{all}");
    assert_eq!(rest.get("/api/v2/statements/0190d5c2-7b1a-7c3e-9a55-3f1d2c4b5a69/events").await.status, 404);
    // A reader that does not read holds nobody, and there are only so many.
    let handle = rest.post("/api/v2/statements?async=true", &json!({ "statement": ENDLESS })).await.handle();
    let mut open = Vec::new();
    for _ in 0..256 {
        open.push(events(&handle).await);
    }
    let refused = rest.get(&format!("/api/v2/statements/{handle}/events")).await;
    assert_eq!((refused.status, refused.headers.contains_key("retry-after")), (429, true), "{refused:?}");
    assert_eq!(texts(&rest.sql("select 1").await.cells()), ["1"]);
    drop(open);
    assert_eq!(rest.post(&format!("/api/v2/statements/{handle}/cancel"), &json!({})).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_has_its_status() {
    let (_cluster, rest) = started().await;
    let post = |body: &'static str, kind: &'static str| {
        rest.http().post(rest.url("/api/v2/statements")).header("content-type", kind).body(body)
    };
    let statements = rest.url("/api/v2/statements");
    let unknown = rest.url("/api/v2/statements/0190d5c2-7b1a-7c3e-9a55-3f1d2c4b5a69");
    let json_type = "application/json";
    for (status, state, request) in [
        (400, "22023", post("{", json_type)),
        (400, "22023", post("{}", json_type)),
        (400, "22023", post("{\"statement\": 7}", json_type)),
        (400, "22023", post("{\"statement\": \"select 1\", \"timeout\": -1}", json_type)),
        (400, "22023", rest.http().post(format!("{statements}?retry=true")).json(&json!({ "statement": "select 1" }))),
        (400, "22023", rest.http().post(format!("{statements}?asynch=true")).json(&json!({ "statement": "select 1" }))),
        (404, "02000", rest.http().get(&unknown)),
        (404, "02000", rest.http().post(format!("{unknown}/cancel"))),
        (404, "22023", rest.http().get(rest.url("/api/v3"))),
        (405, "22023", rest.http().delete(&statements)),
        (
            408,
            "57005",
            post(
                "{\"statement\": \"select count(*) from generate_series(1, 10000000) a cross join \
            generate_series(1, 10000000) b\", \"timeout\": 1}",
                json_type,
            ),
        ),
        (415, "22023", post("select 1", "text/plain")),
        (422, "42601", post("{\"statement\": \"selec 1\"}", json_type)),
        (422, "22012", post("{\"statement\": \"select 1 / 0\"}", json_type)),
    ] {
        let answered = rest.send(request).await;
        assert_eq!(answered.status, status, "{answered:?}");
        // Division by zero is whatever the engine calls it.
        assert!(answered.sql_state() == state || state == "22012", "{state}: {answered:?}");
        assert!(!answered.message().is_empty() && answered.body["code"].as_str().is_some(), "{answered:?}");
    }
    let waiting = rest.post("/api/v2/statements?async=true", &json!({ "statement": ENDLESS })).await;
    assert_eq!((waiting.status, &waiting.body["code"]), (202, &json!("333334")));
    let handle = waiting.handle();
    assert_eq!(rest.get(&format!("/api/v2/statements/{handle}")).await.status, 202);
    assert_eq!(rest.post(&format!("/api/v2/statements/{handle}/cancel"), &json!({})).await.status, 200);
    assert_eq!(rest.get(&format!("/api/v2/statements/{handle}")).await.status, 422);
    assert_eq!(rest.post(&format!("/api/v2/statements/{handle}/cancel"), &json!({})).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_statements_are_told_to_come_back() {
    let options = Options::executors(1)
        .coordinator_option("statements_running_max", 1)
        .coordinator_option("statements_queued_max", 1);
    let cluster = Cluster::start(options).await;
    let rest = Rest::new(cluster.url());
    let mut handles = Vec::new();
    for wanted in ["running", "queued"] {
        let handle = rest.post("/api/v2/statements?async=true", &json!({ "statement": ENDLESS })).await.handle();
        let deadline = Instant::now() + Duration::from_secs(20);
        while rest.get(&format!("/api/v2/statements/{handle}")).await.body["phase"] != wanted {
            assert!(Instant::now() < deadline, "it is not {wanted}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        handles.push(handle);
    }
    let refused = rest.sql("select 1").await;
    assert_eq!((refused.status, refused.sql_state()), (429, "53300"), "{refused:?}");
    assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
    for handle in handles {
        rest.post(&format!("/api/v2/statements/{handle}/cancel"), &json!({})).await;
    }
}

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use axum::body::to_bytes;
use frazil_coordinator::statement::ResultPartition;
use serde_json::{Value, json as expected};

use super::*;

fn statement(phase: Phase) -> StatementStatus {
    StatementStatus {
        id: StatementId(Uuid::from_u128(9)),
        user: "u".into(),
        role: "r".into(),
        sql: "SELECT 1".into(),
        database: None,
        schema: None,
        query_tag: None,
        phase,
        created_ms: 1_700_000_000_123,
        ended_ms: None,
        failure: None,
        rows: None,
        result: None,
        progress: Progress::default(),
        stats: Default::default(),
        parts: vec![],
        client_settings: vec![],
    }
}

const HANDLE: &str = "00000000-0000-0000-0000-000000000009";

fn body(response: Response) -> Value {
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    let bytes = futures::executor::block_on(to_bytes(response.into_body(), usize::MAX)).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn a_failed_statement_says_what_where_and_which() {
    let mut status = statement(Phase::Failed);
    status.failure = Some(Failure::new(ErrorCode::UndefinedColumn, "column \"x\" not found").at_position(3, 14));
    let response = statement_failed(&status, None);
    assert_eq!(response.status(), 422);
    assert_eq!(
        body(response),
        expected!({
            "code": "000904", "sqlState": "42703", "message": "column \"x\" not found", "line": 3, "column": 14,
            "statementHandle": HANDLE, "createdOn": 1_700_000_000_123_u64,
            "statementStatusUrl": format!("/api/v2/statements/{HANDLE}"),
        })
    );
}

#[test]
fn the_status_of_a_failure_follows_its_code() {
    for code in ErrorCode::ALL {
        let mut status = statement(Phase::Failed);
        status.failure = Some(Failure::new(code, "why").at_stage(2, "e1"));
        let response = statement_failed(&status, None);
        assert_eq!(response.status().as_u16(), code.http_status(), "{code:?}");
        assert_eq!(response.headers().contains_key(header::RETRY_AFTER), code.http_status() == 429, "{code:?}");
        let body = body(response);
        assert_eq!((&body["code"], &body["sqlState"]), (&code.number().into(), &code.sql_state().into()));
        assert_eq!((&body["stage"], &body["executor"]), (&2.into(), &"e1".into()));
    }
}

#[test]
fn a_refused_request_has_no_handle() {
    let refused = Refused::from(Failure::new(ErrorCode::TooManyStatements, "queue is full: 1000 statements wait"));
    let response = refused.into_response();
    assert_eq!(response.status(), 429);
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    assert_eq!(
        body(response),
        expected!({
            "code": "000625", "sqlState": "53300", "message": "queue is full: 1000 statements wait",
        })
    );
}

#[test]
fn a_cancelled_statement_is_a_failure_of_its_own() {
    let response = statement_failed(&statement(Phase::Cancelled), None);
    assert_eq!(response.status(), 422);
    let body = body(response);
    assert_eq!((&body["code"], &body["sqlState"]), (&"000604".into(), &"57014".into()));
}

#[test]
fn a_cancel_succeeds_unless_it_is_too_late() {
    for phase in [Phase::Cancelled, Phase::Running] {
        let response = cancelled(&statement(phase));
        assert_eq!(response.status(), 200);
        let body = body(response);
        assert_eq!((&body["code"], &body["statementHandle"]), (&"000604".into(), &HANDLE.into()));
    }
    let late = cancelled(&statement(Phase::Finished));
    assert_eq!(late.status(), 422);
    assert_eq!(body(late)["code"], "000605");
}

#[test]
fn a_running_statement_is_202() {
    let response = in_progress(&statement(Phase::Queued));
    assert_eq!(response.status(), 202);
    let body = body(response);
    assert_eq!((&body["code"], &body["phase"]), (&"333334".into(), &"queued".into()));
    assert_eq!(body["statementStatusUrl"], format!("/api/v2/statements/{HANDLE}"));
}

#[test]
fn a_result_has_its_columns_and_partitions() {
    let schema = Arc::new(Schema::new(vec![Field::new("Total", DataType::Int64, false)]));
    let partitions = vec![ResultPartition { rows: 2, bytes: 16 }, ResultPartition { rows: 1, bytes: 8 }];
    let result = ResultInfo { schema: schema.clone(), rows: 3, partitions };
    let mut head = result_set_head(&statement(Phase::Finished), &result, None);
    head.push(b'}');
    let body: Value = serde_json::from_slice(&head).unwrap();
    assert_eq!((&body["code"], &body["sqlState"]), (&"090001".into(), &"00000".into()));
    let metadata = &body["resultSetMetaData"];
    assert_eq!((&metadata["numRows"], &metadata["format"]), (&3.into(), &"jsonv2".into()));
    assert_eq!((&metadata["rowType"][0]["name"], &metadata["rowType"][0]["type"]), (&"Total".into(), &"FIXED".into()));
    assert_eq!(
        metadata["partitionInfo"],
        expected!([
            {"rowCount": 2, "uncompressedSize": 16}, {"rowCount": 1, "uncompressedSize": 8},
        ])
    );

    let nothing = ResultInfo { schema, rows: 0, partitions: vec![] };
    let mut empty = result_set_head(&statement(Phase::Finished), &nothing, None);
    empty.push(b'}');
    let body: Value = serde_json::from_slice(&empty).unwrap();
    assert_eq!(body["resultSetMetaData"]["partitionInfo"][0]["rowCount"], 0);
}

#[test]
fn links_lead_through_the_partitions() {
    let id = StatementId(Uuid::from_u128(9));
    let linked = |partition| link(id, None, partition, 3).unwrap().to_str().unwrap().to_owned();
    let to = |partition: usize, relation: &str| {
        format!("</api/v2/statements/{HANDLE}?partition={partition}>;rel=\"{relation}\"")
    };
    assert_eq!(linked(0), [to(0, "first"), to(1, "next"), to(2, "last")].join(","));
    assert_eq!(linked(1), [to(0, "first"), to(2, "next"), to(0, "prev"), to(2, "last")].join(","));
    assert_eq!(linked(2), [to(0, "first"), to(1, "prev"), to(2, "last")].join(","));
    assert_eq!(link(id, None, 0, 1), None);
    let request = link(id, Some(Uuid::from_u128(7)), 0, 2).unwrap();
    assert!(request.to_str().unwrap().contains("?requestId=00000000-0000-0000-0000-000000000007&partition=1>"));
}

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow_ipc::writer::StreamWriter;
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::{get, post};

use super::*;

fn batch(values: &[i64]) -> RecordBatch {
    RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(values.to_vec())) as _)]).unwrap()
}

fn encoded(finish: bool) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch(&[]).schema()).unwrap();
    writer.write(&batch(&[1, 2])).unwrap();
    writer.write(&batch(&[3])).unwrap();
    if finish {
        writer.finish().unwrap();
    }
    writer.get_ref().clone()
}

/// Answers every statement with `body`, a few bytes at a time, and says that it failed when asked for it.
fn door(body: Vec<u8>) -> Client {
    let answer = move || {
        let chunks: Vec<_> = body.chunks(7).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect();
        async move {
            Response::builder()
                .header("content-type", "application/vnd.apache.arrow.stream")
                .header("frazil-statement-handle", "h")
                .body(Body::from_stream(futures::stream::iter(chunks)))
                .unwrap()
        }
    };
    let failed = || async {
        let body =
            r#"{"code": "000603", "sqlState": "57P01", "message": "executor e2 was lost", "line": 3, "column": 4}"#;
        Response::builder().status(422).header("content-type", "application/json").body(Body::from(body)).unwrap()
    };
    let router = Router::new()
        .route("/api/v2/statements", post(answer))
        .route("/api/v2/statements/h", get(failed))
        .route("/api/v2/statements/bad", get(failed));
    Client::in_process(router, &Access::default())
}

#[tokio::test]
async fn a_complete_stream_is_read_batch_by_batch() {
    let answered = door(encoded(true)).query("SELECT 1", &StatementContext::default()).await.unwrap();
    assert_eq!(answered.batches, [batch(&[1, 2]), batch(&[3])]);
    assert_eq!(answered.rows(), 3);
    assert_eq!(answered.handle.as_deref(), Some("h"));
}

#[tokio::test]
async fn a_stream_without_its_end_is_an_error_with_the_reason() {
    let whole = encoded(false);
    for length in [whole.len(), whole.len() - 3, 20, 0] {
        let outcome = door(whole[..length].to_vec()).query("SELECT 1", &StatementContext::default()).await;
        let Err(ClientError::Statement(failure)) = outcome else { panic!("{length} bytes: {outcome:?}") };
        assert_eq!(failure.sql_state, "57P01");
        assert_eq!(failure.position, Some((3, 4)));
        assert_eq!(failure.to_string(), "executor e2 was lost (line 3, column 4)  SQLSTATE 57P01");
    }
}

#[test]
fn a_request_says_only_what_was_asked_for() {
    let mut context = StatementContext::default();
    assert_eq!(context.request("SELECT 1").to_string(), r#"{"statement":"SELECT 1"}"#);
    context.time_limit = Some(Duration::from_millis(300));
    context.schema = Some("s".to_owned());
    context.parameters.insert("a.b".to_owned(), "1".to_owned());
    let request = context.request("SELECT 1");
    assert_eq!(request["timeout"], 1);
    assert_eq!(request["schema"], "s");
    assert_eq!(request["parameters"]["a.b"], "1");
}

#[test]
fn addresses_are_checked() {
    for url in ["", "localhost:8642", "ftp://there"] {
        assert!(matches!(Client::http(url), Err(ClientError::Invalid(_))), "{url}");
    }
    assert!(Client::http("http://127.0.0.1:8642/").is_ok());
}

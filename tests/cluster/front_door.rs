//! What a client of the REST API sees of a real cluster: rows in both forms, and refusals with all their parts.

use serde_json::json;

use crate::support::cluster::{Cluster, Options};
use crate::support::data;
use crate::support::engine::{Engine, Request};

#[tokio::test(flavor = "multi_thread")]
async fn json_and_arrow_have_the_same_rows() {
    let cluster = Cluster::start(Options::executors(1).executor_option("spill", "64MB")).await;
    data::register(&cluster, data::tpch().await).await;
    let request = Request::new("select r_name from region order by r_name");
    let arrow = cluster.run(&request).await.expect("it is a query");
    let json = cluster.client().json(&request).await.expect("it is a query");
    assert_eq!(arrow.rows(), 5);
    assert_eq!(json["resultSetMetaData"]["numRows"], 5);
    assert_eq!(json["data"][0][0], "AFRICA");
    assert_eq!(json["data"][4][0], "MIDDLE EAST");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_has_a_status_a_code_and_a_state() {
    let cluster = Cluster::start(Options::executors(1)).await;
    let refusal = cluster.run(&Request::new("select * from nowhere")).await.expect_err("there is no such table");
    assert_eq!((refusal.status, refusal.sql_state.as_deref()), (Some(422), Some("42P01")), "{refusal}");
    assert_eq!(refusal.code.as_deref(), Some("002003"), "{refusal}");
    assert!(refusal.message.contains("nowhere"), "{refusal}");
}

/// A client that sends a statement again because it did not hear of it gets that statement's rows; one that gives the id to
/// another statement must not get the first one's.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_stands_for_one_statement() {
    let cluster = Cluster::start(Options::executors(1)).await;
    let client = cluster.client();
    let id = "0190d5c2-7b1a-7c3e-9a55-3f1d2c4b5a69";
    let first = json!({ "statement": "select random() as r, 1 as one", "schema": "public" });
    let answer = client.submit_as(id, &first).await.expect("it runs");

    // The same again, also with another limit or other settings, is the same statement with the same rows.
    let mut limited = first.clone();
    limited["timeout"] = json!(30);
    limited["parameters"] = json!({ "partitions": "2" });
    for again in [&first, &limited] {
        let answered = client.submit_as(id, again).await.expect("it is known");
        assert_eq!(answered["statementHandle"], answer["statementHandle"]);
        assert_eq!(answered["data"], answer["data"]);
    }
    for other in [
        json!({ "statement": "select 2 as two", "schema": "public" }),
        json!({ "statement": "select random() as r, 1 as one", "schema": "other" }),
        json!({ "statement": "select random() as r, 1 as one", "schema": "public", "database": "sample" }),
        json!({ "statement": "select random() as r, 1 as one" }),
    ] {
        let refusal = client.submit_as(id, &other).await.expect_err("it is another statement");
        assert_eq!((refusal.status, refusal.sql_state.as_deref()), (Some(422), Some("22023")), "{other}: {refusal}");
        assert!(refusal.message.contains(id), "{refusal}");
    }
    // The refusals did no harm, and another id is another statement.
    let answered = client.submit_as(id, &first).await.expect("it is known");
    assert_eq!(answered["statementHandle"], answer["statementHandle"]);
    let fresh = client.submit_as("0190d5c2-7b1a-7c3e-9a55-3f1d2c4b5a70", &first).await.expect("it runs");
    assert_ne!(fresh["statementHandle"], answer["statementHandle"]);
    assert_ne!(fresh["data"], answer["data"]);
}

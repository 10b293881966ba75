//! What a client of the REST API sees of a real cluster: rows in both forms, and refusals with all their parts.

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

//! The OpenAPI document against the API: schemathesis sends what the document allows and what it does not, and compares the answers
//! with it.

use tokio::process::Command;

use crate::support::clients::{installed, run};
use crate::support::cluster::{Cluster, Options};

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing() {
    let Some(folder) = installed("schemathesis").await else { return };
    let cluster = Cluster::start(Options::executors(1)).await;
    let mut command = Command::new(folder.join("bin/schemathesis"));
    command.arg("run").arg(format!("{}/api/v2/openapi.json", cluster.url())).args([
        "--max-examples=15",
        "--seed=1",
        "--no-color",
        "--request-timeout=30",
        // Whether a text is SQL that runs is not for a document to say: what is well-formed and refused has 422.
        "--exclude-checks=positive_data_acceptance",
    ]);
    command.current_dir(cluster.directory());
    run(command).await;
}

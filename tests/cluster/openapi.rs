//! The OpenAPI document against the API: schemathesis sends what the document allows and what it does not, and compares the answers
//! with it. `FRAZIL_TEST_CLIENTS` names a directory that `tests/clients/install` has filled.

use std::path::PathBuf;
use std::process::Command;

use crate::support::cluster::{Cluster, Options};

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing() {
    let clients = std::env::var_os("FRAZIL_TEST_CLIENTS").map(PathBuf::from);
    let Some(program) = clients.map(|clients| clients.join("schemathesis/bin/schemathesis")).filter(|at| at.exists())
    else {
        eprintln!(
            "SKIPPED: FRAZIL_TEST_CLIENTS does not name a directory with schemathesis: see tests/clients/install"
        );
        return;
    };
    let cluster = Cluster::start(Options::executors(1)).await;
    let mut command = Command::new(program);
    command.arg("run").arg(format!("{}/api/v2/openapi.json", cluster.url())).args([
        "--max-examples=15",
        "--seed=1",
        "--no-color",
        "--request-timeout=30",
        // Whether a text is SQL that runs is not for a document to say: what is well-formed and refused has 422.
        "--exclude-checks=positive_data_acceptance",
    ]);
    command.current_dir(cluster.directory());
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it is waited for");
    let output = output.expect("schemathesis starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
}

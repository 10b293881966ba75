//! Other programs on our tables. `FRAZIL_TEST_PYTHON` names a Python that has the packages of `tests/interop/requirements.txt`; without
//! it, it is a client like the others.

use std::path::PathBuf;

use tokio::process::Command;

use crate::support::clients::{installed, run};
use crate::support::cluster::binary;
use crate::support::paths;

#[tokio::test(flavor = "multi_thread")]
async fn duckdb_reads_and_writes_our_tables() {
    let python = match std::env::var_os("FRAZIL_TEST_PYTHON") {
        Some(python) => PathBuf::from(python),
        None => match installed("duckdb").await {
            Some(folder) => folder.join("bin/python"),
            None => return,
        },
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(python);
    command.arg(paths::project_root().join("tests/interop/duckdb_tables.py")).arg(binary()).arg(directory.path());
    run(command).await;
}

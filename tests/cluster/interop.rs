//! Other programs on our tables. They are not in the repository: `FRAZIL_TEST_PYTHON` names a Python that has the packages of
//! `tests/interop/requirements.txt`.

use std::process::Command;

use crate::support::cluster::binary;
use crate::support::paths;

#[test]
fn duckdb_reads_and_writes_our_tables() {
    let Some(python) = std::env::var_os("FRAZIL_TEST_PYTHON") else {
        eprintln!("SKIPPED: FRAZIL_TEST_PYTHON does not name a Python with DuckDB");
        return;
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let script = paths::project_root().join("tests/interop/duckdb_tables.py");
    let output = Command::new(python).arg(script).arg(binary()).arg(directory.path()).output().expect("Python starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
}

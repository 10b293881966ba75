//! Where the project's own files are, seen from the test executable.

use std::path::{Path, PathBuf};

/// The workspace: the folder above this package.
pub fn project_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is inside the workspace").to_owned()
}

pub fn testdata(folder: &str) -> PathBuf {
    project_root().join("testdata").join(folder)
}

/// Suites from elsewhere; not part of the project, so they may be absent.
pub fn shared_suites() -> PathBuf {
    project_root().join("../shared/suites")
}

/// A folder below `target`, for data that tests generate.
pub fn scratch() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

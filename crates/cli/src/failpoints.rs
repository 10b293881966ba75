//! Lets a test kill this process at a named point: see `frazil_common::failpoint`.
//!
//! `FRAZIL_TEST_FAILPOINT` names a file. Once the file holds a point's name, the first process to reach that point takes the
//! file away and dies as by `kill -9`. Without the variable nothing looks at anything.

use std::path::PathBuf;

use frazil_common::failpoint;

const FILE: &str = "FRAZIL_TEST_FAILPOINT";

pub fn look_out() {
    let Some(file) = std::env::var_os(FILE).map(PathBuf::from) else { return };
    failpoint::look_out(move |point| {
        let wanted = std::fs::read_to_string(&file).is_ok_and(|name| name.trim() == point);
        // Of several that are here at once, one dies.
        if wanted && std::fs::remove_file(&file).is_ok() {
            // SAFETY: kill(2) has no memory effects, and this one does not return.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        }
    });
}

//! The allocator, and how long it keeps what was freed. DataFusion allocates much and frees on other threads; the system's
//! allocator is measurably slower at that.

use std::process::Command;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PURGE_DELAY: &str = "MIMALLOC_PURGE_DELAY";

/// Milliseconds before freed memory goes back to the system. By default it goes back soon, and the next batch's pages are cleared
/// anew: a quarter of all processor time of TPC-H q18 at scale 10 (6.1 s, 4.5 s with this).
const PURGE_DELAY_MS: &str = "10000";

/// mimalloc reads its options from the environment before `main`, and has no safe way to set them later: the program replaces
/// itself, once, as the same process. Whoever sets the variable has their way; where it cannot be done, all is as before.
pub fn keep_freed_memory_warm() {
    if std::env::var_os(PURGE_DELAY).is_some() {
        return;
    }
    #[cfg(unix)]
    if let Ok(program) = std::env::current_exe() {
        use std::os::unix::process::CommandExt;
        let error = Command::new(program).args(std::env::args_os().skip(1)).env(PURGE_DELAY, PURGE_DELAY_MS).exec();
        eprintln!("warning: the allocator keeps its defaults: {error}");
    }
}

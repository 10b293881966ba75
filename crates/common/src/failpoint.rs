//! Named places where a test may end the process: before and after each step by which a change becomes durable.
//!
//! Nothing happens at them unless the process was told at its start to look out; then they cost a look at a file. They are
//! part of every build, so that the program that is tested is the program that is used.

use std::sync::OnceLock;

type Hook = Box<dyn Fn(&'static str) + Send + Sync>;

static HOOK: OnceLock<Hook> = OnceLock::new();

/// The points of a coordinator, in the order in which a write reaches them.
pub const COORDINATOR: [&str; 9] = [
    "write.planned",
    "write.reported",
    "commit.before_rows",
    "commit.after_rows",
    "commit.before_commit",
    "commit.after_commit",
    "write.committed",
    "database.made",
    "database.registered",
];

/// A further one, of a database's clone: it has all its tables, and not yet its name.
pub const CLONE: &str = "database.filled";

/// Those of an executor.
pub const EXECUTOR: [&str; 4] = ["file.begun", "file.before_last_part", "file.complete", "task.finished"];

/// Calls `hook` at every point from now on. The first call counts.
pub fn look_out(hook: impl Fn(&'static str) + Send + Sync + 'static) {
    _ = HOOK.set(Box::new(hook));
}

pub fn reach(point: &'static str) {
    if let Some(hook) = HOOK.get() {
        hook(point);
    }
}

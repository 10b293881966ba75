//! Runs tasks: registers with a coordinator, takes the tasks of queries over gRPC, runs them on its slots, exchanges rows
//! with its peers and reports.
//!
//! Never asks a catalog and never plans: a task carries all it needs. Start with [`executor`] (the parts of an executor and
//! their lives), then `service` (what the coordinator calls), `query` (the tasks of one query) and `membership`.

mod executor;
mod membership;
mod options;
mod query;
mod service;

pub use executor::Executor;
pub use options::ExecutorOptions;

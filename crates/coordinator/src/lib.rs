//! The control plane: statements, admission, the cut into stages, scheduling, membership, results.
//!
//! In reading order: [`statement`] (what a front door sees), [`service`] (the statement service), `lifecycle` (the
//! phases), [`sessions`] (what statements leave to each other), `admission`, [`query`] (one query from plan to rows), [`stage_graph`] (the cut), [`placement`] (which
//! partition runs where), `scheduler` (a run as a state machine) and `dispatch` (which performs it), `membership`
//! (executors), `results` (kept rows), `writes` (statements that write rows) and `transactions` (where changes go), `explain`, and [`coordinator`], which puts them together.
//!
//! Never runs tasks, and reaches executors through `proto` only.

mod admission;
pub mod coordinator;
mod dispatch;
mod explain;
mod lifecycle;
mod loads;
mod membership;
pub mod options;
pub mod placement;
pub mod query;
mod results;
mod scheduler;
pub mod service;
pub mod sessions;
pub mod stage_graph;
pub mod staged_files;
pub mod statement;
mod transactions;
mod writes;

pub use coordinator::Coordinator;
pub use options::CoordinatorOptions;
pub use service::StatementService;

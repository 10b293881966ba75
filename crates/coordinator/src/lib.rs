//! The control plane: statements, admission, the cut into stages, scheduling, membership, results.
//!
//! In reading order: [`statement`] (what a front door sees), [`service`] (the statement service), `lifecycle` (the
//! phases), `admission`, [`query`] (one query from plan to rows), [`stage_graph`] (the cut), [`placement`] (which
//! partition runs where), `scheduler` (a run as a state machine) and `dispatch` (which performs it), `membership`
//! (executors), `results` (kept rows), `writes` (statements that change the catalog), `explain`, and [`coordinator`], which puts them together.
//!
//! Never runs tasks, and reaches executors through `proto` only.

mod admission;
pub mod coordinator;
mod dispatch;
mod explain;
mod lifecycle;
mod membership;
pub mod options;
pub mod placement;
pub mod query;
mod results;
mod scheduler;
pub mod service;
pub mod stage_graph;
pub mod statement;
mod loads;
mod writes;

pub use coordinator::Coordinator;
pub use options::CoordinatorOptions;
pub use service::StatementService;

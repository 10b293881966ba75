//! The control plane: statements, admission, the cut into stages, scheduling, membership, results.
//!
//! In reading order: [`statement`] (what a front door sees), [`service`] (the statement service) and [`caller`] (one client of it), [`describe`] (what a statement would be), `run` (a statement from text to rows), `deliver`, `remembered`,
//! `lifecycle` (the phases), [`sessions`] (what statements leave to each other), `admission`, [`query`] (one query from plan to rows), [`stage_graph`] (the cut), [`placement`] (which
//! partition runs where), `scheduler` (a run as a state machine) and `dispatch` (which performs it), `membership`
//! (executors), `results` (kept rows), `writes` (statements that write rows) and `transactions` (where changes go), `explain`, and [`coordinator`], which puts them together.
//!
//! Never runs tasks, and reaches executors through `proto` only.

mod admission;
pub mod caller;
pub mod coordinator;
pub mod credentials;
mod deliver;
pub mod describe;
mod dispatch;
mod explain;
mod explained;
mod lifecycle;
mod loads;
mod membership;
pub mod options;
pub mod placement;
pub mod query;
mod remembered;
mod results;
mod run;
mod scheduler;
pub mod service;
pub mod sessions;
pub mod stage_graph;
pub mod staged_files;
pub mod statement;
pub mod tokens;
mod transactions;
pub mod uploaded_rows;
mod vacuum;
mod writes;

pub use caller::Caller;
pub use coordinator::Coordinator;
pub use options::CoordinatorOptions;
pub use service::StatementService;

//! The control plane: statements, admission, the cut into stages, scheduling, membership, results.
//!
//! In reading order: [`statement`] (what a front door sees), [`service`] (the statement service) and [`caller`] (one client of it), [`describe`] (what a statement would be), `run` (a statement from text to rows), `batch` (several statements of one text), `deliver`, `remembered`,
//! `lifecycle` (the phases), `progress`, [`history`] (what there was), [`sessions`] (what statements leave to each other), `admission`, [`query`] (one query from plan to rows), [`stage_graph`] (the cut), [`placement`] (which
//! partition runs where), `scheduler` (a run as a state machine) and `dispatch` (which performs it), `membership`
//! (executors), `results` (kept rows), `writes` (statements that write rows) and `transactions` (where changes go), `explain`, and [`coordinator`], which puts them together.
//!
//! Never runs tasks, and reaches executors through `proto` only.

mod admission;
mod batch;
pub mod caller;
pub mod coordinator;
pub mod credentials;
mod deliver;
pub mod describe;
mod dispatch;
mod explain;
mod explained;
pub mod history;
mod lifecycle;
mod loads;
pub mod log_in;
mod membership;
pub mod options;
pub mod placement;
mod progress;
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
mod users;
mod vacuum;
mod writes;

pub use caller::Caller;
pub use coordinator::Coordinator;
pub use frazil_exchange::memory;
pub use options::CoordinatorOptions;
pub use service::StatementService;

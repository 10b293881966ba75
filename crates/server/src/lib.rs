//! The front doors: the REST API and the protocol of Snowflake's drivers, on one port; Flight SQL is to stand beside them.
//!
//! Translates protocols and nothing else: the statement service plans, admits, retries and times out, once for all
//! doors. Start with [`rest`] and [`snowflake`] for the endpoints, [`cells`] for how values become text, [`listen`] for connections.

mod cells;
mod ipc;
mod listen;
mod rest;
mod row_type;
mod snowflake;

pub use listen::serve;
pub use rest::{RestOptions, router};

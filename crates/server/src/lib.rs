//! The front doors: HTTP today; Flight SQL and the Snowflake driver protocol are to stand beside it.
//!
//! Translates protocols and nothing else: the statement service plans, admits, retries and times out, once for all
//! doors. Start with [`rest`] for the endpoints, [`cells`] for how values become text, [`listen`] for connections.

mod cells;
mod ipc;
mod listen;
mod rest;
mod row_type;
mod tls;

pub use listen::{Peer, serve, serve_over};
pub use rest::{RestOptions, router};
pub use tls::Tls;

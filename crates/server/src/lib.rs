//! The front doors: HTTP and Arrow Flight SQL; the Snowflake driver protocol is to stand beside them.
//!
//! Translates protocols and nothing else: the statement service plans, admits, retries and times out, once for all
//! doors. Start with [`rest`] for the endpoints of HTTP, [`flight`] for Flight SQL, [`cells`] for how values become text, [`listen`] for connections.

mod cells;
mod flight;
mod ipc;
mod listen;
mod rest;
mod row_type;

pub use listen::serve;
pub use rest::{RestOptions, router};

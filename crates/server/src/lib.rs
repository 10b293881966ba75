//! The front doors, on one port: the REST API, the protocol of Snowflake's drivers, and Arrow Flight SQL.
//!
//! Translates protocols and nothing else: the statement service plans, admits, retries and times out, once for all
//! doors. Start with [`rest`], [`snowflake`] and [`flight`] for the endpoints, [`cells`] for how values become text, [`listen`] for
//! connections.

mod basic;
mod cells;
mod flight;
mod ipc;
mod listen;
mod rest;
mod row_type;
mod snowflake;
mod tls;

pub use listen::{Peer, serve, serve_over};
pub use rest::{RestOptions, router};
pub use tls::Tls;

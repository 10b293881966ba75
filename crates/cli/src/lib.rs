//! The command line: what `frazil` does, by the names of its commands.
//!
//! Owns flags, configuration, the roles' processes, the REST client, the shell and the measurements. Never plans or runs
//! a query itself: statements go over REST to a coordinator, in another process or in this one.
//!
//! ```text
//! command ─▶ config ─▶ roles            coordinator, executor: one process each
//!                      local, demo      processes: children of this binary ─▶ roles
//!                      sql              client ─▶ a coordinator's URL, or embedded
//!                      load             client, as sql; datasets for plain files
//!                      bench            contest: single process and clusters in turn ─▶ answers
//! ```
//!
//! Start with [`command`].

pub mod command;

pub mod config;
pub mod directory;
pub mod failpoints;
pub mod failure;
pub mod signals;
pub mod telemetry;
pub mod terminal;

pub mod client;
pub mod embedded;
pub mod exposure;
pub mod processes;
pub mod roles;

pub mod load;
pub mod local;
pub mod sql;
pub mod user;

pub mod answers;
pub mod bench;
pub mod demo;
pub mod tpch;

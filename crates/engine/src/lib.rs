//! The only place where a DataFusion session is built: SQL to plans, plans to bytes and back, memory and threads.
//!
//! In reading order: [`runtime`] (threads), [`memory`] (pool and spill directory), [`storage`] (which files may be
//! touched), [`limits`] (what a statement may ask of the planner),
//! `dialect` and `sql_types` (SQL that is understood), [`lexemes`] (what a text consists of), [`access`] (who may do what), [`session`] and [`planner`] (SQL to a physical plan), [`describe`] (what is known of a statement before it runs), [`bindings`] (values for placeholders), [`session_functions`] (what a statement can ask of its session), [`session_statements`] (what it does to it), [`lake`] (tables of the catalog, and statements that write), [`stages`] (staged files: loading and unloading), `explain` (what an `EXPLAIN` may ask for), [`generate`] (sample tables that are made on the spot), [`rules`] (ours among the
//! optimizer's), `balance` (equal shares of a scan), [`per_partition`] (what operators of ours share), [`build_rows`] (semi and anti joins on several
//! executors), [`codec`] (plans and splits to bytes and back), [`scan`] and `suspects`
//! (errors that name their file), [`metrics`], [`errors`] (DataFusion's to ours) and [`single`], DataFusion in one process,
//! which is what answers and times are compared with.
//!
//! Knows nothing of stages, tasks or executors.

pub mod access;
mod balance;
mod base_session;
pub mod bindings;
pub mod build_rows;
pub mod codec;
pub mod describe;
mod dialect;
pub mod errors;
pub mod explain;
pub mod generate;
pub mod lake;
pub mod lexemes;
pub mod limits;
pub mod memory;
pub mod metrics;
pub mod per_partition;
pub mod planner;
pub mod rules;
pub mod runtime;
pub mod scan;
pub mod secrets;
pub mod session;
pub mod session_functions;
pub mod session_statements;
pub mod single;
mod sql_types;
pub mod stages;
pub mod storage;
mod suspects;
mod words;

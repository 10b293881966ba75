//! `frazil load`: sample data and files into tables of a server or of the data directory, and sample data as plain Parquet.
//!
//! ```text
//! tpch, tpcds, events ─┬─▶ tables ─▶ CREATE TABLE … AS SELECT * FROM tpch(…), made and written by the executors
//!                      └─▶ files      with --to: Parquet, written by this process
//! DIR | URL | FILE ──────▶ source ─▶ CREATE TABLE … AS SELECT * FROM an external table over them
//! ```

mod files;
mod source;
mod tables;
mod watch;

pub use files::{FilesRequest, run as run_files};
pub use source::{SourceFormat, SourceRequest, run as run_source};
pub use tables::{Loaded, SampleSet, load_tables, run as run_tables};

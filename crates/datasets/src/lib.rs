//! Sample data: the TPC-H and TPC-DS tables and a synthetic click-stream, piece by piece ([`GeneratedTable`]), and as Parquet,
//! made on all cores in bounded memory.
//!
//! Owns the generators, the layout of what they write (`<destination>/<table>/<table>-NN.parquet`) and the marker that
//! says a set is whole. Never talks to a coordinator or registers tables: whoever asked for the data does.
//!
//! ```text
//! tpch, tpcds, events ── jobs, one per file ─▶ pool ─▶ parquet_file ─▶ output ─▶ disk or object store
//!                                                  progress ◀─┘                       marker, last
//! ```
//!
//! Start with [`GeneratedTable`], which executors make tables from; then [`load_tpch`], [`load_tpcds`] and [`load_events`], and
//! `pool`, which they run on.

mod destination;
mod error;
mod events;
mod generated;
mod marker;
mod output;
mod parquet_file;
mod pool;
mod progress;
mod report;
mod tpcds;
mod tpch;

pub use destination::Destination;
pub use error::DatasetError;
pub use events::{EventsOptions, events_schema, load_events};
pub use generated::GeneratedTable;
pub use progress::{Bars, Progress, Silent};
pub use report::{LoadReport, TableReport};
pub use tpcds::{TPCDS_TABLES, Tpcds, load_tpcds};
pub use tpch::{TPCH_TABLES, Tpch, is_complete, load_tpch};

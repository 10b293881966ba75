//! Sample data as Parquet, made on all cores in bounded memory: the TPC-H tables and a synthetic click-stream.
//!
//! Owns the generators, the layout of what they write (`<destination>/<table>/<table>-NN.parquet`) and the marker that
//! says a set is whole. Never talks to a coordinator or registers tables: whoever asked for the data does.
//!
//! ```text
//! tpch, events ── jobs, one per file ─▶ pool ─▶ parquet_file ─▶ output ─▶ disk or object store
//!                                                  progress ◀─┘                       marker, last
//! ```
//!
//! Start with [`load_tpch`] and [`load_events`]; then `pool`, which both run on.

mod destination;
mod error;
mod events;
mod marker;
mod output;
mod parquet_file;
mod pool;
mod progress;
mod report;
mod tpch;

pub use destination::Destination;
pub use error::DatasetError;
pub use events::{EventsOptions, events_schema, load_events};
pub use progress::{Bars, Progress, Silent};
pub use report::{LoadReport, TableReport};
pub use tpch::{TPCH_TABLES, Tpch, is_complete, load_tpch};

//! The durable catalog: databases, schemas, tables, views, snapshots and data files.
//!
//! A database is a [DuckLake 1.0](https://ducklake.select/docs/stable/specification/introduction): metadata in SQL tables
//! of an SQLite file or a PostgreSQL schema, data in Parquet files. DuckDB can attach it, read it and write to it.
//!
//! This crate owns metadata only. It never reads or writes Parquet, never plans, and does not know DataFusion, tonic or
//! axum. It does not delete files either: it tells which may be deleted.
//!
//! Start with [`Databases`], then [`Database`] for what is read and [`Transaction`] for what is written.

mod error;
mod ids;
mod model;
mod snapshot;

mod access;
mod change_counter;
mod clone_database;
mod database;
mod databases;
mod lake_tables;
mod load;
mod lock;
mod pins;
mod requests;
mod secrets;
mod sketch;
mod sketches;

mod disproof;
mod file_cache;
mod file_list;
mod file_rows;
mod files;
mod glance;
mod prune;
mod scalar;
mod selected_files;
mod statistics_column;
mod sum_cache;
mod table_files;

mod changes;
mod commit;
mod copy;
mod expire;
mod external;
mod failpoints;
mod ledger;
mod stages;
mod transaction;

mod retention;

mod packed;
mod sql;
mod time;
mod types;

#[cfg(test)]
mod tests;

pub use access::{
    AccessChange, AccessRecords, Grant, GrantedObject, Member, ObjectId, ObjectKind, Privilege, Privileges, Rights,
    RoleRecord, TokenRecord, UserOptions, UserRecord,
};
pub use database::{CommittedRequest, Database, MappedColumn};
pub use databases::{Backing, DatabaseRecord, Databases, Holder};
pub use error::{CatalogError, Named, Result};
pub use expire::{Expiry, RemovableFile};
pub use external::ExternalTable;
pub use files::{DataFile, DeleteFile, FileFilter, NewColumnStatistics, NewDataFile, NewDeleteFile, TableStatistics};
pub use ids::{ColumnId, DataFileId, DeleteFileId, SchemaId, SnapshotId, TableId, ViewId};
pub use model::{Column, Contents, DefaultValue, PartitionKey, Place, Relation, Schema, SortKey, Table, View};
pub use pins::Pin;
pub use prune::{Bound, ColumnRange, ColumnStatistics, RangeTest};
pub use requests::{DoneRequest, Request};
pub use retention::RetentionScope;
pub use scalar::{Scalar, compare};
pub use secrets::{IfExists, SecretRecord};
pub use selected_files::{SelectedFiles, SelectedSum};
pub use sketch::Sketch;
pub use sketches::NewSketches;
pub use snapshot::{At, DroppedSchema, DroppedTable, Snapshot, SnapshotRecord, SnapshotView};
pub use stages::{IfStageExists, Stage};
pub use transaction::{CommitInfo, Committed, LoadedFile, Touch, Touched, Transaction};
pub use types::{ColumnType, FIELD_ID_KEY, from_arrow, to_arrow};

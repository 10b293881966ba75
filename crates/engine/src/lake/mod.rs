//! Tables of the durable catalog as DataFusion sees them, and the statements that change them.
//!
//! In reading order: `names` (databases, schemas, tables and views of one statement's snapshots), `past` (tables as they were), `external` (over files that are not ours),
//! `columns` (types and values of both sides), `table` (a scan of a table's files), `known_answers` (what needs no scan), `deletes` (rows of them that are gone), `field_ids`
//! and `retyped` (columns of files by id, whatever they were called then), `nested_types` (of lists, structs and maps, as plans and as files have them), `files` and `column_statistics` (which files a table has, what is known of its columns), `places` (where rows are), `write` (rows to Parquet files, on executors),
//! `write_changes` and `write_deletes` (rows in place of others), `upload` (files to a store, and none left of a write that failed), `uploaded` (rows that a client sends), `file_statistics` and `report` (what was written, as rows), `sketches` (how many distinct values that was), `statements` (what the
//! parser does not know), `ddl`, `clone`, `undrop`, `defaults`, `nested_values`, `dml`, `rows`, `merge`, `clustering`, `optimize`, `show` and `snapshots` (statements), `system` (tables about the instance), `change` (what a statement wants of
//! the catalog) and `vacuum` (what nobody needs any more).

mod bloom_filters;
mod change;
mod clone;
mod clustering;
mod column_statistics;
mod columns;
mod ddl;
mod declared;
mod defaults;
mod deletes;
mod dml;
mod encodings;
mod external;
mod field_ids;
mod file_statistics;
mod files;
mod first_rows;
mod information;
mod known_answers;
mod leftovers;
mod listing;
mod many_files;
mod merge;
mod names;
mod nested_types;
mod nested_values;
mod optimize;
mod past;
mod places;
mod pruned;
mod report;
mod retention;
mod retyped;
mod rows;
mod show;
mod sketches;
mod snapshots;
mod statements;
mod system;
mod table;
mod undrop;
mod upload;
mod uploaded;
mod vacuum;
mod write;
mod write_changes;
mod write_deletes;

pub use change::{Answer, Change, Counts, WriteKind, Written, ensure_default_schema};
pub use clone::plan_clone;
pub use clustering::{sorted, take_cluster_by};
pub(crate) use columns::table_schema;
pub(crate) use ddl::{begin, resolve, table_id};
pub use ddl::{plan_ddl, plan_rename};
pub use declared::{Declared, check_columns};
pub use defaults::put_defaults;
pub use deletes::{DeletedRows, SkipDeleted};
pub use dml::{PlannedWrite, WriteOptions, plan_write};
pub use external::{ExternalTables, definition_of};
pub use field_ids::adapter_for;
pub use files::table_functions;
pub use known_answers::answer_from_catalog;
pub use many_files::{ListedFile, ManyFiles};
pub use merge::as_merge;
pub use names::{Lakes, Seen, catalogs};
pub use nested_values::take_out_values;
pub use optimize::{parse_optimize, plan_optimize};
pub use past::look_back;
pub use places::{with_virtual_columns, without_virtual_columns};
pub use pruned::{PrunedScan, PrunedScans};
pub use report::{Report, read_reports};
pub use retention::plan_retention;
pub use rows::RowChanges;
pub use show::{describe, show};
pub use snapshots::show_snapshots;
pub use statements::{OwnStatement, parse_own};
pub use system::{SYSTEM_SCHEMA, SystemRows, SystemTables};
pub use table::LakeTable;
pub(crate) use table::{default_value, store_path, store_url};
pub use undrop::plan_undrop;
pub use upload::Begun;
pub(crate) use upload::{ObjectFile, store_error};
pub use uploaded::{UPLOADED_ROWS, UploadedRows};
pub use vacuum::{VacuumOptions, VacuumRequest, Vacuumed, check_vacuum, vacuum, vacuumed_rows};
pub use write::{WriteFilesExec, WriteTarget};
pub use write_changes::WriteChangesExec;
pub use write_deletes::{DeleteTarget, WriteDeletesExec};

use datafusion::error::DataFusionError;
use frazil_catalog::CatalogError;
use frazil_common::Failure;

/// The catalog's error, through DataFusion's operators and planner.
fn to_datafusion(error: CatalogError) -> DataFusionError {
    frazil_exchange::to_datafusion(to_failure(&error))
}

pub(crate) fn to_failure(error: &CatalogError) -> Failure {
    Failure::new(error.code(), error.to_string())
}

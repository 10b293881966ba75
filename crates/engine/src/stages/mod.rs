//! Stages: places of files, and loading tables from them and unloading to them. The syntax is Snowflake's.
//!
//! In reading order: `lexer`, `parser`, `format` and `statement` (texts to statements), `place` (names to stores, paths and files),
//! `manage` (stages themselves), `transfer` and `client` (`PUT` and `GET`). Loading: `copy` (the plan and the answer), `shape` (what travels), `source` (the scan), `load`
//! (a file, from bytes to rows), `bytes`, `csv`, `json`, `json_scan` and `parquet` (its parts), `check` (fields to values), `report`.
//! Rows are written by [`crate::lake::WriteFilesExec`], as those of any statement. Unloading: `unload`, `unload_file`. `infer` tells what
//! files hold.

mod bytes;
mod check;
mod client;
mod copy;
mod csv;
mod csv_records;
mod format;
mod infer;
mod json;
mod json_scan;
mod lexer;
mod load;
mod manage;
mod parquet;
mod parser;
mod place;
mod report;
mod rows;
mod shape;
mod source;
mod statement;
mod transfer;
mod unload;
mod unload_file;

pub use client::{ClientStatement, client_statement, expand, stage_of};
pub use copy::{Load, PlannedLoad};
pub use infer::replace_calls;
pub use manage::StageAction;
pub(crate) use place::UNFINISHED;
pub use place::{Context, StagedFile, StagedPlace};
pub use report::{StagedReport, by_path, read_scanned};
pub use shape::{LoadShape, REPORT_COLUMN};
pub use source::StagedSource;
pub use statement::{StageStatement, parse, parse_place};
pub use transfer::Sent;
pub use unload::{Unload, UnloadExec, UnloadTarget};

use frazil_common::Failure;

/// What a statement about stages becomes.
pub enum PlannedStage {
    Action(StageAction),
    Load(PlannedLoad),
    /// What writes, and the query whose rows it writes.
    Unload {
        unload: Unload,
        query: String,
    },
}

/// `choose_partitions`: of a load, by its bytes. `file_bytes`: of a written file that is full.
pub async fn plan(
    statement: StageStatement,
    context: &Context<'_>,
    choose_partitions: impl FnOnce(u64) -> usize,
    file_bytes: u64,
) -> Result<PlannedStage, Failure> {
    let action = match statement {
        StageStatement::Create(create) => manage::create(context, create).await?,
        StageStatement::Drop { name, if_exists } => manage::drop(context, &name, if_exists).await?,
        StageStatement::Show { schema, like } => manage::show(context, schema.as_deref(), like.as_deref()).await?,
        StageStatement::Describe { name } => manage::describe(context, &name).await?,
        StageStatement::List { place, pattern } => manage::list(context, &place, pattern.as_deref()).await?,
        StageStatement::Remove { place, pattern } => manage::plan_remove(context, &place, pattern.as_deref()).await?,
        StageStatement::Load(copy) => {
            return copy::plan(context, *copy, choose_partitions, file_bytes).await.map(PlannedStage::Load);
        }
        StageStatement::Unload(copy) => {
            let unload = Unload::new(context, &copy).await?;
            return Ok(PlannedStage::Unload { unload, query: copy.query });
        }
    };
    Ok(PlannedStage::Action(action))
}

//! `COPY INTO table`: which files, how they are read, and what is told of them in the end.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::TableReference;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileGroup;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::limit::GlobalLimitExec;
use frazil_catalog::{DefaultValue, LoadedFile, ObjectId, ObjectKind, Privilege, Table, TableId, Transaction};
use frazil_common::{ErrorCode, Failure, StatementId};
use object_store::ObjectStoreExt;

use super::format::{FileFormat, FileKind, invalid, not_supported};
use super::place::{Context, StagedFile, StagedPlace};
use super::report::StagedReport;
use super::rows::{batch, numbers, texts};
use super::shape::{Case, LoadShape, Origin, Policy, TargetColumn};
use super::source::StagedSource;
use super::statement::{CopyIntoTable, MatchByName, OnError, ValidationMode};
use crate::access::demand;
use crate::lake::{self, WriteFilesExec, WriteKind, WriteTarget, Written, to_failure};

/// A piece of a Parquet file is not made smaller than this: each costs reading the footer.
const PIECE_BYTES_MIN: u64 = 16 << 20;
const PIECES_PER_PARTITION: u64 = 4;

/// What a `COPY INTO` a table becomes.
pub enum PlannedLoad {
    /// A query that writes, and what it completes.
    Write { plan: Arc<dyn ExecutionPlan>, partitions: usize, written: Written, load: Load },
    /// A query that reports errors.
    Try { plan: Arc<dyn ExecutionPlan>, partitions: usize, load: Load },
    /// A query that shows rows.
    Rows { plan: Arc<dyn ExecutionPlan> },
    /// There is nothing to load.
    Nothing(RecordBatch),
}

/// The files of a load, from the plan to the answer.
pub struct Load {
    table: TableId,
    place: StagedPlace,
    /// In the order of their names.
    files: Vec<StagedFile>,
    /// Loaded before.
    skipped: Vec<StagedFile>,
    on_error: OnError,
    purge: bool,
}

/// `choose_partitions`: by the bytes that are read. `file_bytes`: of a written file that is full.
pub async fn plan(
    context: &Context<'_>,
    copy: CopyIntoTable,
    choose_partitions: impl FnOnce(u64) -> usize,
    file_bytes: u64,
) -> Result<PlannedLoad, Failure> {
    let (transaction, id) = target(context, &copy.table)?;
    let view = transaction.view();
    let table = view.table_by_id(id).map_err(|error| to_failure(&error))?.clone();
    let schema = lake::table_schema(&table).map_err(|error| to_failure(&error))?;
    let place = context.resolve(&copy.from, if copy.purge { Privilege::Write } else { Privilege::Read }).await?;
    let format = copy.format.clone().unwrap_or_else(|| place.format.clone());
    let by_name = match_by_name(&copy, &format)?;
    let columns = columns(&table, &copy)?;
    refuse_nested(&schema, &columns, &format)?;

    let mut files = wanted_files(&place, &copy).await?;
    let mut skipped = Vec::new();
    if !copy.force && !matches!(copy.validation, Some(ValidationMode::AllErrors | ValidationMode::Rows(_))) {
        let known = transaction.loaded_files(id).await.map_err(|error| to_failure(&error))?;
        let known: HashMap<String, String> = known.into_iter().map(|file| (file.path, file.version)).collect();
        let loaded = |file: &StagedFile| known.get(&ledger_path(&place, file)) == Some(&file.version());
        (skipped, files) = files.into_iter().partition(loaded);
    }
    if let Some(limit) = copy.size_limit {
        let mut sum = 0;
        files.retain(|file| {
            let wanted = sum < limit;
            sum += file.meta.size;
            wanted
        });
    }
    let policy = match (copy.validation, copy.on_error) {
        (Some(ValidationMode::Rows(_)), _) | (None, OnError::Abort) => Policy::Abort,
        (Some(_), _) => Policy::Try,
        (None, OnError::Continue) => Policy::Continue,
        (None, OnError::SkipFile) => Policy::SkipFile,
    };
    let full_name = view.full_name(&table);
    let reports = !matches!(copy.validation, Some(ValidationMode::Rows(_)));
    let root = (place.object_path("")?.to_string(), place.shown(""));
    let shape = LoadShape { table: full_name.clone(), format, policy, columns, by_name, root, reports };
    let load = Load { table: id, place, files, skipped, on_error: copy.on_error, purge: copy.purge };
    if load.files.is_empty() && copy.validation.is_none() {
        return load.answer(&BTreeMap::new()).map(PlannedLoad::Nothing);
    }
    let bytes = load.files.iter().map(|file| file.meta.size).sum();
    let partitions = match copy.validation {
        Some(ValidationMode::Rows(_)) => 1,
        _ => choose_partitions(bytes).max(1),
    };
    let in_pieces = shape.format.kind == FileKind::Parquet && policy != Policy::SkipFile;
    let groups = deal(&load.files, partitions, in_pieces);
    let partitions = groups.len();
    let source = StagedSource::new(shape, schema.clone());
    let scan = source.scan(load.place.store_url.clone(), groups);
    Ok(match copy.validation {
        Some(ValidationMode::Rows(rows)) => {
            let rows = usize::try_from(rows).unwrap_or(usize::MAX);
            let one = Arc::new(CoalescePartitionsExec::new(scan));
            PlannedLoad::Rows { plan: Arc::new(GlobalLimitExec::new(one, 0, Some(rows))) }
        }
        Some(_) => PlannedLoad::Try { plan: scan, partitions, load },
        None => {
            let location = table.location.clone();
            let target = WriteTarget { table: full_name, location, file_bytes, file_rows: u64::MAX };
            let kind = WriteKind::Inserted;
            let written = Written { transaction: Box::new(transaction), table: id, kind, compaction: None };
            let plan = Arc::new(WriteFilesExec::new(scan, target, schema));
            PlannedLoad::Write { plan, partitions, written, load }
        }
    })
}

fn target(context: &Context<'_>, name: &[String]) -> Result<(Transaction, TableId), Failure> {
    let reference = match name {
        [table] => TableReference::bare(table.as_str()),
        [schema, table] => TableReference::partial(schema.as_str(), table.as_str()),
        [database, schema, table] => TableReference::full(database.as_str(), schema.as_str(), table.as_str()),
        _ => return Err(Failure::new(ErrorCode::Syntax, "a table's name has three parts at most")),
    };
    let reference = lake::resolve(reference, context.state);
    let (transaction, _) = lake::begin(context.lakes, &reference)?;
    let id = lake::table_id(&transaction, &reference)?;
    // Also where rows are only validated: they are shown, and the table's columns with them.
    if !id.is_local() {
        let view = transaction.view();
        let table = view.table_by_id(id).map_err(|error| to_failure(&error))?;
        let object = ObjectId::within(transaction.database().id(), &table.uuid);
        let rights = context.lakes.rights();
        demand(rights, Privilege::Insert, ObjectKind::Table, &object, &view.full_name(table))?;
    }
    Ok((transaction, id))
}

fn match_by_name(copy: &CopyIntoTable, format: &FileFormat) -> Result<Option<Case>, Failure> {
    let names = format.kind != FileKind::Csv;
    match copy.match_by_name {
        Some(MatchByName::None) if names => {
            let what = format!("MATCH_BY_COLUMN_NAME = NONE of {} files", format.kind.name());
            Err(not_supported(&what))
        }
        // There is no column of any type that a whole record could go into.
        None if names => Ok(Some(Case::Insensitive)),
        None | Some(MatchByName::None) => Ok(None),
        Some(_) if !names && !format.parse_header => {
            Err(invalid("MATCH_BY_COLUMN_NAME of CSV files needs PARSE_HEADER = TRUE in their format"))
        }
        Some(_) if !copy.columns.is_empty() => {
            Err(invalid("a list of columns and MATCH_BY_COLUMN_NAME exclude each other"))
        }
        Some(MatchByName::CaseSensitive) => Ok(Some(Case::Sensitive)),
        Some(MatchByName::CaseInsensitive) => Ok(Some(Case::Insensitive)),
    }
}

/// Where each column of the table has its values from.
fn columns(table: &Table, copy: &CopyIntoTable) -> Result<Vec<TargetColumn>, Failure> {
    let mut named = HashSet::new();
    for name in &copy.columns {
        if !table.columns.iter().any(|column| column.name == *name) {
            let message = format!("column \"{name}\" of table \"{}\" not found", table.name);
            return Err(Failure::new(ErrorCode::UndefinedColumn, message));
        }
        if !named.insert(name) {
            return Err(Failure::new(ErrorCode::DuplicateColumn, format!("column \"{name}\" is named twice")));
        }
    }
    let columns = table.columns.iter().enumerate().map(|(index, column)| {
        let place = match copy.columns.is_empty() {
            true => Some(index),
            false => copy.columns.iter().position(|name| *name == column.name),
        };
        let origin = match (place, &column.default) {
            (Some(place), _) => Origin::Field(place),
            (None, None) => Origin::Default(None),
            (None, Some(DefaultValue::Literal(text))) => Origin::Default(Some(text.clone())),
            (None, Some(DefaultValue::Expression(_))) => {
                let what = format!("the default of column \"{}\", an expression,", column.name);
                return Err(not_supported(&what));
            }
        };
        Ok(TargetColumn { origin, nullable: column.nulls_allowed })
    });
    columns.collect()
}

fn refuse_nested(schema: &SchemaRef, columns: &[TargetColumn], format: &FileFormat) -> Result<(), Failure> {
    let nested = schema
        .fields()
        .iter()
        .zip(columns)
        .find(|(field, column)| field.data_type().is_nested() && matches!(column.origin, Origin::Field(_)));
    match nested {
        Some((field, _)) if format.kind == FileKind::Csv => {
            Err(not_supported(&format!("loading column \"{}\", which has parts, from CSV", field.name())))
        }
        _ => Ok(()),
    }
}

async fn wanted_files(place: &StagedPlace, copy: &CopyIntoTable) -> Result<Vec<StagedFile>, Failure> {
    let Some(names) = &copy.files else { return place.list(copy.pattern.as_deref()).await };
    if copy.pattern.is_some() {
        return Err(invalid("FILES and PATTERN exclude each other"));
    }
    let mut files = Vec::with_capacity(names.len());
    let mut seen = HashSet::new();
    for name in names {
        if seen.insert(name) {
            files.push(place.file(name).await?);
        }
    }
    Ok(files)
}

fn ledger_path(place: &StagedPlace, file: &StagedFile) -> String {
    format!("{}{}", place.root, file.relative)
}

/// Files, or pieces of them, to partitions: the largest that is left to whoever has least.
fn deal(files: &[StagedFile], partitions: usize, in_pieces: bool) -> Vec<FileGroup> {
    let total: u64 = files.iter().map(|file| file.meta.size).sum();
    let piece_bytes = (total / (partitions as u64 * PIECES_PER_PARTITION)).max(PIECE_BYTES_MIN);
    let mut pieces: Vec<PartitionedFile> = Vec::new();
    for file in files {
        let whole = PartitionedFile::new_from_meta(file.meta.clone());
        if !in_pieces || file.meta.size <= piece_bytes || partitions == 1 {
            pieces.push(whole);
            continue;
        }
        let count = file.meta.size.div_ceil(piece_bytes);
        let bound = |piece: u64| (file.meta.size * piece / count) as i64;
        pieces.extend((0..count).map(|piece| whole.clone().with_range(bound(piece), bound(piece + 1))));
    }
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.effective_size()));
    let hands = partitions.min(pieces.len()).max(1);
    let mut groups: Vec<(u64, Vec<PartitionedFile>)> = (0..hands).map(|_| (0, Vec::new())).collect();
    for piece in pieces {
        let least =
            groups.iter_mut().min_by_key(|(bytes, group)| (*bytes, group.len())).expect("there is one at least");
        // An empty file is work, too.
        least.0 += piece.effective_size().max(1);
        least.1.push(piece);
    }
    groups.into_iter().map(|(_, group)| FileGroup::new(group)).collect()
}

/// What is told of a file.
struct Outcome<'a> {
    file: &'a StagedFile,
    report: StagedReport,
    status: &'static str,
}

impl Load {
    fn outcomes<'a>(&'a self, reports: &BTreeMap<String, StagedReport>) -> Vec<Outcome<'a>> {
        let loaded = self.files.iter().map(|file| {
            let report = reports.get(file.meta.location.as_ref()).cloned().unwrap_or_default();
            let status = match (report.errors, report.rows_loaded) {
                (0, _) => "LOADED",
                (_, 0) => "LOAD_FAILED",
                _ => "PARTIALLY_LOADED",
            };
            Outcome { file, report, status }
        });
        let skipped = self.skipped.iter().map(|file| {
            let report = StagedReport::default();
            Outcome { file, report, status: "LOAD_SKIPPED" }
        });
        loaded.chain(skipped).collect()
    }

    /// A row for each file.
    pub fn answer(&self, reports: &BTreeMap<String, StagedReport>) -> Result<RecordBatch, Failure> {
        let outcomes = self.outcomes(reports);
        let number = |value: u64| i64::try_from(value).ok();
        let first = |outcome: &Outcome<'_>| outcome.report.first.clone();
        let error_limit = |outcome: &Outcome<'_>| match self.on_error {
            OnError::Continue => number(outcome.report.rows_parsed),
            OnError::Abort | OnError::SkipFile => Some(1),
        };
        batch(vec![
            ("file", texts(outcomes.iter().map(|one| Some(one.file.shown.clone())))),
            ("status", texts(outcomes.iter().map(|one| Some(one.status.to_owned())))),
            ("rows_parsed", numbers(outcomes.iter().map(|one| number(one.report.rows_parsed)))),
            ("rows_loaded", numbers(outcomes.iter().map(|one| number(one.report.rows_loaded)))),
            ("error_limit", numbers(outcomes.iter().map(error_limit))),
            ("errors_seen", numbers(outcomes.iter().map(|one| number(one.report.errors)))),
            (
                "first_error",
                texts(outcomes.iter().map(|one| match one.status {
                    "LOAD_SKIPPED" => Some("the file was loaded before".to_owned()),
                    _ => first(one).map(|error| error.message),
                })),
            ),
            ("first_error_line", numbers(outcomes.iter().map(|one| first(one).and_then(|error| number(error.line))))),
            (
                "first_error_character",
                numbers(outcomes.iter().map(|one| first(one).and_then(|error| number(error.character)))),
            ),
            ("first_error_column_name", texts(outcomes.iter().map(|one| first(one).and_then(|error| error.column)))),
        ])
    }

    /// A row for each error, of a load that was only tried.
    pub fn errors(&self, reports: &BTreeMap<String, StagedReport>) -> Result<RecordBatch, Failure> {
        let mut errors = Vec::new();
        for file in &self.files {
            let Some(report) = reports.get(file.meta.location.as_ref()) else { continue };
            errors.extend(report.details.iter().map(|error| (file, error)));
        }
        let number = |value: u64| i64::try_from(value).ok();
        batch(vec![
            ("error", texts(errors.iter().map(|(_, error)| Some(error.message.clone())))),
            ("file", texts(errors.iter().map(|(file, _)| Some(file.shown.clone())))),
            ("line", numbers(errors.iter().map(|(_, error)| number(error.line)))),
            ("character", numbers(errors.iter().map(|(_, error)| number(error.character)))),
            ("sql_state", texts(errors.iter().map(|(_, error)| Some(error.code.sql_state().to_owned())))),
            ("column_name", texts(errors.iter().map(|(_, error)| error.column.clone()))),
        ])
    }

    /// What the table is to remember.
    pub fn ledger(&self, reports: &BTreeMap<String, StagedReport>, statement: StatementId) -> Vec<LoadedFile> {
        let outcomes = self.outcomes(reports).into_iter();
        let loaded = outcomes.filter(|outcome| matches!(outcome.status, "LOADED" | "PARTIALLY_LOADED"));
        let entries = loaded.map(|outcome| LoadedFile {
            table: self.table,
            path: ledger_path(&self.place, outcome.file),
            version: outcome.file.version(),
            statement,
            loaded_at: None,
            rows: i64::try_from(outcome.report.rows_loaded).unwrap_or(i64::MAX),
        });
        entries.collect()
    }

    /// Whether files are removed once they are loaded.
    pub fn purges(&self) -> bool {
        self.purge
    }

    /// After the commit: removes the files that were loaded without errors, if that is wanted. What stays is loaded all the same.
    pub async fn purge(&self, reports: &BTreeMap<String, StagedReport>) {
        if !self.purge {
            return;
        }
        for outcome in self.outcomes(reports).iter().filter(|outcome| outcome.status == "LOADED") {
            if let Err(error) = self.place.store.delete(&outcome.file.meta.location).await {
                tracing::warn!(file = outcome.file.shown, %error, "a loaded file could not be removed");
            }
        }
    }
}

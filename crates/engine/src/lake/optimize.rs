//! `OPTIMIZE`: writes small files and files with deleted rows anew, and sorts over files by a table's keys. Rows stay as they are.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;
use frazil_catalog::{DataFile, Relation};
use frazil_common::{ErrorCode, Failure};

use super::change::{Compaction, WriteKind, Written};
use super::clustering::{by_key, order_of, sorted, with_key_statistics};
use super::ddl::{begin, resolve};
use super::dml::{PlannedWrite, WriteOptions};
use super::names::Lakes;
use super::table::LakeTable;
use super::to_failure;
use super::write::{WriteFilesExec, WriteTarget};
use crate::errors::to_failure as from_datafusion;

/// Of the size of a full file: what is less is small. Two halves that were cut evenly are not.
const SMALL_PART: f64 = 0.4;

/// `OPTIMIZE [TABLE] name [WHERE condition] [FULL]`.
pub struct Optimize {
    name: ast::ObjectName,
    condition: Option<ast::Expr>,
    /// All files, whatever they are like.
    full: bool,
}

/// DataFusion's parser has another statement of that name.
pub fn parse_optimize(sql: &str) -> Result<Option<Optimize>, Failure> {
    if !sql.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case("optimize")) {
        return Ok(None);
    }
    let parse = || -> Result<Optimize, ParserError> {
        let mut parser = Parser::new(&GenericDialect {}).try_with_sql(sql)?;
        parser.expect_keyword_is(Keyword::OPTIMIZE)?;
        let _ = parser.parse_keyword(Keyword::TABLE);
        let name = parser.parse_object_name(false)?;
        let condition = match parser.parse_keyword(Keyword::WHERE) {
            true => Some(parser.parse_expr()?),
            false => None,
        };
        let full = parser.parse_keyword(Keyword::FULL);
        while parser.consume_token(&Token::SemiColon) {}
        match parser.peek_token().token {
            Token::EOF => Ok(Optimize { name, condition, full }),
            other => Err(ParserError::ParserError(format!("OPTIMIZE table [WHERE condition] [FULL], found {other}"))),
        }
    };
    parse().map(Some).map_err(|error| Failure::new(ErrorCode::Syntax, error.to_string()))
}

/// What is to be written anew, and how.
struct Choice {
    /// For each partition of the scan, in order.
    groups: Vec<Vec<DataFile>>,
    file_rows: u64,
}

/// `partitions`: for a scan of so many bytes.
pub async fn plan_optimize(
    optimize: &Optimize,
    lakes: &Lakes,
    state: &SessionState,
    options: WriteOptions,
    partitions: impl Fn(u64) -> usize,
) -> Result<PlannedWrite, Failure> {
    let name = object_name_to_table_reference(optimize.name.clone(), true).map_err(|error| from_datafusion(&error))?;
    let reference = resolve(name, state);
    if lakes.transaction().is_some() {
        let message = "OPTIMIZE is a transaction of its own: COMMIT or ROLLBACK first";
        return Err(Failure::new(ErrorCode::NotSupported, message));
    }
    let (transaction, _) = begin(lakes, &reference)?;
    let view = transaction.view();
    let schema = view.schema(&reference.schema).map_err(|error| to_failure(&error))?.id;
    let table = match view.relation(schema, &reference.table) {
        Some(Relation::Table(id)) => view.table_by_id(id).map_err(|error| to_failure(&error))?.clone(),
        Some(Relation::View(_)) => {
            let message = format!("\"{}.{}\" is a view: OPTIMIZE takes tables", reference.schema, reference.table);
            return Err(Failure::new(ErrorCode::InvalidStatement, message));
        }
        None => {
            let message = format!("table \"{}.{}\" not found", reference.schema, reference.table);
            return Err(Failure::new(ErrorCode::UndefinedTable, message));
        }
    };
    let Some(seen) = lakes.get(&reference.catalog) else {
        return Err(Failure::internal("a database was there and is not"));
    };
    let lake_table =
        LakeTable::new(seen.clone(), table.clone(), lakes.rights().clone()).map_err(|error| from_datafusion(&error))?;
    let all = lake_table.files_for(&[]).await.map_err(|error| from_datafusion(&error))?;
    let meant = match &optimize.condition {
        Some(condition) => {
            let filters = filters_of(condition, &lake_table, state)?;
            lake_table.files_for(&filters).await.map_err(|error| from_datafusion(&error))?
        }
        None => all.clone(),
    };
    let meant = meant.to_vec();
    let clustered = order_of(&table);
    let taken = match (optimize.full, &clustered) {
        (true, _) => meant,
        (false, None) => choose(meant, options.file_bytes),
        (false, Some(_)) => {
            let known = with_key_statistics(seen, &table, meant).await.map_err(|error| to_failure(&error))?;
            choose_by_key(by_key(&table, known), options.file_bytes)
        }
    };
    let compaction = Compaction {
        taken: taken.iter().map(|file| file.id).collect(),
        rows: taken.iter().map(live_rows).sum(),
        bytes_taken: taken.iter().map(bytes_of).sum(),
        files_before: all.len() as i64,
        bytes_before: all.iter().map(|file| bytes_of(&file)).sum(),
    };
    let full_name = view.full_name(&table);
    let (target_table, location) = (table.id, table.location.clone());
    let bytes: u64 = taken.iter().map(live_bytes).sum();
    let written = Written {
        transaction: Box::new(transaction),
        table: target_table,
        kind: WriteKind::Compacted,
        compaction: Some(compaction),
    };
    if taken.is_empty() {
        return Ok(PlannedWrite::NoRows { written, rows: 0 });
    }
    let choice = divide(taken, bytes, partitions(bytes), options.file_bytes);
    let scan = lake_table.scan_groups(state, &choice.groups).map_err(|error| from_datafusion(&error))?;
    let plan: Arc<dyn ExecutionPlan> = match clustered {
        Some(order) => {
            let plan = sorted(scan, Some(order.clone()));
            match choice.groups.len() {
                1 => plan,
                _ => Arc::new(SortPreservingMergeExec::new(order, plan)),
            }
        }
        None => scan,
    };
    let target = WriteTarget { table: full_name, location, file_bytes: u64::MAX, file_rows: choice.file_rows };
    let plan = Arc::new(WriteFilesExec::new(plan, target, lake_table.columns().clone()));
    Ok(PlannedWrite::Compact { plan, written, bytes, partitions: choice.groups.len() })
}

/// What the files' statistics can be compared with.
fn filters_of(condition: &ast::Expr, table: &LakeTable, state: &SessionState) -> Result<Vec<Expr>, Failure> {
    let name = table.table.name.clone();
    let source = provider_as_source(Arc::new(table.clone()));
    let plan = || -> datafusion::error::Result<Vec<Expr>> {
        let scan = LogicalPlanBuilder::scan(datafusion::common::TableReference::bare(name.clone()), source, None)?;
        let condition = state.create_logical_expr(&condition.to_string(), scan.schema())?;
        let optimized = state.optimize(&scan.filter(condition)?.build()?)?;
        let mut filters = Vec::new();
        optimized.apply(|node| {
            match node {
                LogicalPlan::TableScan(scan) => filters.clone_from(&scan.filters),
                LogicalPlan::EmptyRelation(_) => filters = vec![datafusion::logical_expr::lit(false)],
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(filters)
    };
    plan().map_err(|error| from_datafusion(&error))
}

fn deleted_rows(file: &DataFile) -> i64 {
    file.delete_file.as_ref().map_or(0, |deleted| deleted.delete_count)
}

fn live_rows(file: &DataFile) -> i64 {
    file.record_count - deleted_rows(file)
}

/// With its delete file.
fn bytes_of(file: &DataFile) -> i64 {
    file.size_bytes + file.delete_file.as_ref().map_or(0, |deleted| deleted.size_bytes)
}

/// Of the rows that are left.
fn live_bytes(file: &DataFile) -> u64 {
    let part = live_rows(file) as f64 / file.record_count.max(1) as f64;
    (file.size_bytes as f64 * part) as u64
}

fn is_small(file: &DataFile, file_bytes: u64) -> bool {
    (live_bytes(file) as f64) < SMALL_PART * file_bytes as f64
}

/// Whether there would be fewer files of them.
fn is_worth_it<'a>(small: impl Iterator<Item = &'a DataFile>, file_bytes: u64) -> bool {
    let (files, bytes) = small.fold((0, 0), |(files, bytes), file| (files + 1, bytes + live_bytes(file)));
    files >= 2 && bytes.div_ceil(file_bytes.max(1)).max(1) < files
}

/// Files with deleted rows; and small ones, if there would be fewer.
fn choose(files: Vec<DataFile>, file_bytes: u64) -> Vec<DataFile> {
    let small = is_worth_it(files.iter().filter(|file| is_small(file, file_bytes)), file_bytes);
    let is_taken = |file: &DataFile| file.delete_file.is_some() || (small && is_small(file, file_bytes));
    files.into_iter().filter(is_taken).collect()
}

/// Those, and files that overlap others; with all between the first and the last by key, so that what comes of them overlaps none of
/// the rest.
fn choose_by_key(files: Vec<(DataFile, bool)>, file_bytes: u64) -> Vec<DataFile> {
    let small = files.iter().map(|(file, _)| file).filter(|file| is_small(file, file_bytes));
    let small = is_worth_it(small, file_bytes);
    let is_taken = |(file, overlapping): &(DataFile, bool)| {
        *overlapping || file.delete_file.is_some() || (small && is_small(file, file_bytes))
    };
    let (Some(first), Some(last)) = (files.iter().position(is_taken), files.iter().rposition(is_taken)) else {
        return vec![];
    };
    files.into_iter().skip(first).take(last - first + 1).map(|(file, _)| file).collect()
}

/// Deals files to partitions, neighbours together, and says how many rows make a file, so that files come out even.
fn divide(files: Vec<DataFile>, bytes: u64, partitions: usize, file_bytes: u64) -> Choice {
    let wanted = bytes.div_ceil(file_bytes.max(1)).max(1);
    let partitions = partitions.clamp(1, usize::try_from(wanted).unwrap_or(usize::MAX)).min(files.len().max(1));
    let share = bytes.div_ceil(partitions as u64).max(1);
    let rows: i64 = files.iter().map(live_rows).sum();
    let mut groups: Vec<Vec<DataFile>> = vec![vec![]];
    let mut filled = 0;
    for file in files {
        let size = live_bytes(&file);
        let full = groups.len() as u64 * share;
        let begins = groups.last().is_some_and(|group| !group.is_empty()) && filled + size / 2 >= full;
        if begins && groups.len() < partitions {
            groups.push(vec![]);
        }
        filled += size;
        groups.last_mut().expect("there is one").push(file);
    }
    Choice { groups, file_rows: (rows.max(1) as u64).div_ceil(wanted) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_is_read_and_nothing_else() {
        let read = |sql: &str| {
            parse_optimize(sql).map(|found| found.map(|o| (o.name.to_string(), o.condition.is_some(), o.full)))
        };
        assert_eq!(read("optimize t").unwrap(), Some(("t".to_owned(), false, false)));
        assert_eq!(read("OPTIMIZE TABLE a.b.t WHERE x > 3 FULL;").unwrap(), Some(("a.b.t".to_owned(), true, true)));
        assert_eq!(read("select 1").unwrap(), None);
        assert!(read("optimize t zorder by (x)").is_err());
        assert!(read("optimize t; select 1").is_err());
    }
}

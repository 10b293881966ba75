//! `CLUSTER BY`: the columns by which rows of a table should lie together, so that files hold ranges of them and can be pruned.
//!
//! What is written to such a table is sorted within its partition; `OPTIMIZE` sorts over files.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::compute::SortOptions;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::sql::parser::Statement as ParsedStatement;
use datafusion::sql::sqlparser::ast::{Expr, Ident, Statement, WrappedCollection};
use frazil_catalog::{ColumnStatistics, DataFile, Scalar, SortKey, Table, compare};
use frazil_common::{ErrorCode, Failure};

use super::dml::not_supported;
use super::names::Seen;

/// Takes the clause out of a `CREATE TABLE`, since DataFusion refuses it.
pub fn take_cluster_by(statement: &mut ParsedStatement) -> Option<Vec<Expr>> {
    let ParsedStatement::Statement(statement) = statement else { return None };
    let Statement::CreateTable(create) = statement.as_mut() else { return None };
    let (WrappedCollection::NoWrapping(keys) | WrappedCollection::Parentheses(keys)) = create.cluster_by.take()?;
    Some(keys)
}

/// The keys that a clause names: columns of the table, each once.
pub(super) fn keys_of(
    expressions: &[Expr],
    table: &Table,
    name_of: impl Fn(&Ident) -> String,
) -> Result<Vec<SortKey>, Failure> {
    let mut names: Vec<String> = Vec::new();
    let mut rest: Vec<&Expr> = expressions.iter().rev().collect();
    while let Some(expression) = rest.pop() {
        match expression {
            Expr::Tuple(inner) => rest.extend(inner.iter().rev()),
            Expr::Nested(inner) => rest.push(inner),
            Expr::Identifier(ident) => {
                let name = name_of(ident);
                let message = || format!("column \"{name}\" of table \"{}\" not found", table.name);
                let column = table.column(&name).map_err(|_| Failure::new(ErrorCode::UndefinedColumn, message()))?;
                if !column.children.is_empty() {
                    return Err(not_supported(&format!("CLUSTER BY the nested column \"{name}\"")));
                }
                if names.contains(&name) {
                    let message = format!("column \"{name}\" is in CLUSTER BY twice");
                    return Err(Failure::new(ErrorCode::DuplicateColumn, message));
                }
                names.push(name);
            }
            other => return Err(not_supported(&format!("CLUSTER BY {other}: only columns are"))),
        }
    }
    match names.is_empty() {
        true => Err(Failure::new(ErrorCode::Syntax, "CLUSTER BY names no column")),
        false => Ok(names.iter().map(|name| SortKey::column(name)).collect()),
    }
}

/// A key and its column's place in the table.
fn places_of(table: &Table) -> Vec<(usize, &SortKey)> {
    // DuckDB knows keys that are expressions: rows are sorted by what is before the first of them.
    let place = |key: &SortKey| {
        table.columns.iter().position(|column| SortKey::column(&column.name).expression == key.expression)
    };
    table.sort_keys.iter().map_while(|key| Some((place(key)?, key))).collect()
}

/// The order of a table's rows, over plans whose first columns are the table's.
pub(super) fn order_of(table: &Table) -> Option<LexOrdering> {
    let keys = places_of(table).into_iter().map(|(place, key)| {
        let options = SortOptions { descending: key.descending, nulls_first: key.nulls_first };
        PhysicalSortExpr::new(Arc::new(Column::new(&table.columns[place].name, place)), options)
    });
    LexOrdering::new(keys)
}

/// Each partition in the table's order, if it has one.
pub fn sorted(plan: Arc<dyn ExecutionPlan>, order: Option<LexOrdering>) -> Arc<dyn ExecutionPlan> {
    match order {
        Some(order) => Arc::new(SortExec::new(order, plan).with_preserve_partitioning(true)),
        None => plan,
    }
}

/// An end of a file's range.
enum Edge<'a> {
    Value(&'a Scalar),
    Null,
}

fn compare_edges(left: &Edge<'_>, right: &Edge<'_>, key: &SortKey) -> Ordering {
    let null = if key.nulls_first { Ordering::Less } else { Ordering::Greater };
    match (left, right) {
        (Edge::Null, Edge::Null) => Ordering::Equal,
        (Edge::Null, Edge::Value(_)) => null,
        (Edge::Value(_), Edge::Null) => null.reverse(),
        (Edge::Value(left), Edge::Value(right)) => {
            let order = compare(left, right).unwrap_or(Ordering::Equal);
            if key.descending { order.reverse() } else { order }
        }
    }
}

/// First and last value by a key; `None` where the catalog cannot tell.
fn range_of<'a>(file: &'a DataFile, place: usize, key: &SortKey) -> Option<(Edge<'a>, Edge<'a>)> {
    let statistics = file.statistics.get(place)?;
    let nulls = statistics.null_count?;
    let (Some(min), Some(max)) = (&statistics.min, &statistics.max) else {
        return (nulls == file.record_count).then_some((Edge::Null, Edge::Null));
    };
    let (first, last) = if key.descending { (max, min) } else { (min, max) };
    Some(match (nulls > 0, key.nulls_first) {
        (false, _) => (Edge::Value(first), Edge::Value(last)),
        (true, true) => (Edge::Null, Edge::Value(last)),
        (true, false) => (Edge::Value(first), Edge::Null),
    })
}

/// The files with what is known of the key columns, by the columns' places.
pub(super) async fn with_key_statistics(
    seen: &Seen,
    table: &Table,
    mut files: Vec<DataFile>,
) -> frazil_catalog::Result<Vec<DataFile>> {
    let places: Vec<usize> = places_of(table).into_iter().map(|(place, _)| place).collect();
    let ids: Vec<_> = places.iter().map(|place| table.columns[*place].id).collect();
    let known = seen.file_statistics(table.id, &files, &ids).await?;
    for (file, known) in files.iter_mut().zip(known) {
        file.statistics = vec![ColumnStatistics::default(); table.columns.len()];
        places.iter().zip(known).for_each(|(place, one)| file.statistics[*place] = one);
    }
    Ok(files)
}

/// Files in the order of a table's keys, and which of them overlap another one: those that share more than an end. Of files
/// with one value in a key the next key decides. Files of which nothing is known come last and overlap none.
pub(super) fn by_key(table: &Table, files: Vec<DataFile>) -> Vec<(DataFile, bool)> {
    let keys = places_of(table);
    let mut overlapping = vec![false; files.len()];
    let mut order: Vec<usize> = (0..files.len()).collect();
    sort_and_mark(&files, &keys, &mut order, &mut overlapping);
    let mut files: BTreeMap<usize, DataFile> = files.into_iter().enumerate().collect();
    order.into_iter().filter_map(|index| Some((files.remove(&index)?, overlapping[index]))).collect()
}

fn sort_and_mark(files: &[DataFile], keys: &[(usize, &SortKey)], order: &mut [usize], overlapping: &mut [bool]) {
    let Some(((place, key), rest)) = keys.split_first() else { return };
    let range = |index: usize| range_of(&files[index], *place, key);
    order.sort_by(|left, right| match (range(*left), range(*right)) {
        (Some(left), Some(right)) => {
            compare_edges(&left.0, &right.0, key).then_with(|| compare_edges(&left.1, &right.1, key))
        }
        (left, right) => left.is_none().cmp(&right.is_none()),
    });
    // The file that reaches furthest so far.
    let mut furthest: Option<usize> = None;
    for index in order.iter().copied() {
        let Some((low, high)) = range(index) else { break };
        let reach = furthest.and_then(|file| Some((file, range(file)?.1)));
        if let Some((file, reach)) = &reach
            && compare_edges(&low, reach, key) == Ordering::Less
        {
            (overlapping[index], overlapping[*file]) = (true, true);
        }
        if reach.is_none_or(|(_, reach)| compare_edges(&high, &reach, key) == Ordering::Greater) {
            furthest = Some(index);
        }
    }
    let one_value = |index: usize| {
        let (low, high) = range(index)?;
        (compare_edges(&low, &high, key) == Ordering::Equal).then_some(low)
    };
    let mut start = 0;
    while start < order.len() {
        let Some(value) = one_value(order[start]) else {
            start += 1;
            continue;
        };
        let same = |index: &usize| {
            one_value(*index).is_some_and(|other| compare_edges(&value, &other, key) == Ordering::Equal)
        };
        let end = start + order[start..].iter().take_while(|index| same(index)).count();
        if end > start + 1 {
            sort_and_mark(files, rest, &mut order[start..end], overlapping);
        }
        start = end.max(start + 1);
    }
}

#[cfg(test)]
mod tests {
    use frazil_catalog::{ColumnStatistics, DataFileId, SnapshotId};

    use super::*;

    /// Ranges of the first and second key; `None` is a null.
    fn file(id: i64, first: (Option<i128>, Option<i128>), second: (i128, i128)) -> DataFile {
        let of = |min: Option<i128>, max: Option<i128>| ColumnStatistics {
            null_count: Some(i64::from(min.is_none() || max.is_none()) * if min.is_none() { 10 } else { 1 }),
            min: min.map(Scalar::Int),
            max: max.or(min).map(Scalar::Int),
            ..Default::default()
        };
        DataFile {
            id: DataFileId(id),
            path: String::new(),
            record_count: 10,
            size_bytes: 1,
            footer_size_bytes: None,
            row_id_start: None,
            begin_snapshot: SnapshotId(0),
            snapshot_filter: None,
            mapping_id: None,
            delete_file: None,
            statistics: vec![of(first.0, first.1), of(Some(second.0), Some(second.1))],
        }
    }

    fn overlapping(files: Vec<DataFile>) -> Vec<(i64, bool)> {
        let keys = [SortKey::column("a"), SortKey::column("b")];
        let keys: Vec<_> = keys.iter().enumerate().collect();
        let mut marks = vec![false; files.len()];
        let mut order: Vec<usize> = (0..files.len()).collect();
        sort_and_mark(&files, &keys, &mut order, &mut marks);
        order.into_iter().map(|index| (files[index].id.0, marks[index])).collect()
    }

    #[test]
    fn ends_may_be_shared_and_nothing_else() {
        let v = Some;
        let sorted = vec![
            file(3, (v(5), v(5)), (4, 9)),
            file(1, (v(1), v(5)), (0, 9)),
            file(2, (v(5), v(5)), (1, 4)),
            file(4, (v(5), None), (0, 9)),
            file(5, (None, None), (0, 4)),
            file(6, (None, None), (4, 9)),
        ];
        let expected = [1, 2, 3, 4, 5, 6].map(|id| (id, false));
        assert_eq!(overlapping(sorted.clone()), expected);
        let mut third = sorted;
        third.push(file(7, (v(5), v(5)), (2, 3)));
        let marked: Vec<i64> = overlapping(third).into_iter().filter(|(_, marked)| *marked).map(|(id, _)| id).collect();
        assert_eq!(marked, [2, 7], "one value in the first key, ranges in the second that overlap");
        let apart = vec![file(1, (v(1), v(9)), (0, 0)), file(2, (v(2), v(3)), (0, 0)), file(3, (v(8), v(12)), (0, 0))];
        assert!(overlapping(apart).into_iter().all(|(_, marked)| marked));
    }
}

//! Records as we run them: inserts in batches, and no demand for an order that the query does not ask for.

use datafusion::logical_expr::LogicalPlan;
use sqllogictest::{QueryExpect, Record, SortMode, StatementExpect};

use super::cells::Letter;
use super::pair::Settings;
use crate::support::engine::Request;
use crate::support::oracle::Oracle;

/// Rows of one `INSERT`, so that its parse tree stays small.
const ROWS_PER_INSERT: usize = 500;

/// Some files have a blank line inside a query, which ends a record for the parser.
pub fn without_blank_lines_in_queries(script: &str) -> String {
    let mut in_query = false;
    let mut kept = String::with_capacity(script.len());
    for line in script.lines() {
        if line.starts_with("query ") && !line.starts_with("query error") {
            in_query = true;
        } else if line == "----" {
            in_query = false;
        }
        // An empty comment keeps the numbers of the lines.
        kept.push_str(if in_query && line.trim().is_empty() { "--" } else { line });
        kept.push('\n');
    }
    kept
}

/// Consecutive single inserts into one table become one statement: what they test is not inserting.
pub fn batch_inserts(records: Vec<Record<Letter>>) -> Vec<Record<Letter>> {
    let mut batched: Vec<Record<Letter>> = Vec::new();
    let mut rows = 0;
    for record in records {
        if matches!(record, Record::Newline | Record::Comment(_)) {
            continue;
        }
        let merged = match (batched.last_mut(), &record) {
            (
                Some(Record::Statement { sql, expected: StatementExpect::Ok, .. }),
                Record::Statement { sql: next, expected: StatementExpect::Ok, .. },
            ) => match (values_of(sql), values_of(next)) {
                (Some((into, _)), Some((next_into, values))) if into == next_into && rows < ROWS_PER_INSERT => {
                    sql.push_str(", ");
                    sql.push_str(&values);
                    rows += 1;
                    true
                }
                _ => false,
            },
            _ => false,
        };
        if !merged {
            rows = 1;
            batched.push(record);
        }
    }
    batched
}

/// `INSERT INTO t (a) VALUES (1)` as its text before and after `VALUES`.
fn values_of(sql: &str) -> Option<(String, String)> {
    let lower = sql.to_ascii_lowercase();
    let at = lower.find("values")?;
    let rest = sql[at + "values".len()..].trim().trim_end_matches(';');
    // Anything else than tuples could be a query, or have clauses behind the tuples.
    let tuples = rest.starts_with('(') && rest.ends_with(')');
    (lower.starts_with("insert into") && tuples).then(|| (lower[..at].trim().to_owned(), rest.to_owned()))
}

/// `nosort` records of queries without an outermost `ORDER BY` were recorded from tables in memory, in the order of their
/// inserts. Here rows come from several files, so both sides are sorted.
pub async fn free_of_row_order(
    mut record: Record<Letter>,
    valuewise: bool,
    oracle: &Oracle,
    settings: &Settings,
) -> Record<Letter> {
    let Record::Query { sql, expected: QueryExpect::Results { sort_mode, results, .. }, .. } = &mut record else {
        return record;
    };
    if !matches!(sort_mode, None | Some(SortMode::NoSort)) {
        return record;
    }
    let request =
        Request { settings: settings.lock().expect("no holder panics").clone(), ..Request::new(sql.as_str()) };
    let Ok(plan) = oracle.plan(&request).await else { return record };
    if has_order(&plan) {
        return record;
    }
    if valuewise {
        *sort_mode = Some(SortMode::ValueSort);
        results.sort_unstable();
    } else {
        results.sort_by_cached_key(sqllogictest::default_normalizer);
    }
    record
}

/// Whether the outermost query has an `ORDER BY`.
pub fn has_order(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Limit(limit) => has_order(&limit.input),
        LogicalPlan::Projection(projection) => has_order(&projection.input),
        _ => false,
    }
}

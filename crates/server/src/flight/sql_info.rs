//! `GetSqlInfo`: what the server is and does. What has no answer here is left out, rather than guessed.

use arrow::array::RecordBatch;
use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder};
use arrow_flight::sql::{
    CommandGetSqlInfo, SqlInfo, SqlNullOrdering, SqlSupportedCaseSensitivity, SqlSupportedTransaction,
    SqlTransactionIsolationLevel,
};
use frazil_common::Failure;

use super::catalog::failed;

/// Sets of enumerated values, as bits by their numbers.
const GROUP_BY_UNRELATED_AND_BEYOND_SELECT: i32 = 0b11;
const GRAMMAR_MINIMUM_AND_CORE: i32 = 0b11;
const ANSI92_ENTRY: i32 = 0b1;
const OUTER_JOINS_LIMITED_AND_FULL: i32 = 0b110;
const SUBQUERIES_IN_COMPARISONS_EXISTS_IN_AND_QUANTIFIED: i32 = 0b1111;
const UNION_AND_UNION_ALL: i32 = 0b11;
/// Read uncommitted, read committed, repeatable read: each gets a snapshot, which is more.
const ISOLATION_LEVELS: i32 = 0b1110;
const FORWARD_ONLY: i32 = 0b10;

/// All of it, or what is asked for.
pub fn rows(command: CommandGetSqlInfo) -> Result<RecordBatch, Failure> {
    let data = all().map_err(failed)?;
    data.record_batch(command.info).map_err(failed)
}

fn all() -> arrow_flight::error::Result<SqlInfoData> {
    use SqlInfo as I;
    let mut info = SqlInfoDataBuilder::new();
    let texts = [
        (I::FlightSqlServerName, "frazil"),
        (I::FlightSqlServerVersion, env!("CARGO_PKG_VERSION")),
        (I::FlightSqlServerArrowVersion, arrow::ARROW_VERSION),
        (I::SqlIdentifierQuoteChar, "\""),
        (I::SqlSearchStringEscape, "\\"),
        (I::SqlExtraNameCharacters, ""),
        (I::SqlSchemaTerm, "schema"),
        (I::SqlCatalogTerm, "database"),
    ];
    texts.into_iter().for_each(|(name, text)| info.append(name, text));
    let truths = [
        (I::FlightSqlServerReadOnly, false),
        (I::FlightSqlServerSql, true),
        (I::FlightSqlServerSubstrait, false),
        (I::FlightSqlServerCancel, true),
        (I::FlightSqlServerBulkIngestion, true),
        (I::FlightSqlServerIngestTransactionsSupported, true),
        (I::SqlDdlCatalog, true),
        (I::SqlDdlSchema, true),
        (I::SqlDdlTable, true),
        (I::SqlAllTablesAreSelectable, false),
        (I::SqlSupportsColumnAliasing, true),
        (I::SqlNullPlusNullIsNull, true),
        (I::SqlSupportsTableCorrelationNames, true),
        (I::SqlSupportsDifferentTableCorrelationNames, false),
        (I::SqlSupportsExpressionsInOrderBy, true),
        (I::SqlSupportsOrderByUnrelated, true),
        // The backslash alone.
        (I::SqlSupportsLikeEscapeClause, false),
        (I::SqlSupportsNonNullableColumns, true),
        (I::SqlSupportsIntegrityEnhancementFacility, false),
        (I::SqlCatalogAtStart, true),
        (I::SqlSelectForUpdateSupported, false),
        (I::SqlStoredProceduresSupported, false),
        (I::SqlCorrelatedSubqueriesSupported, true),
        (I::SqlTransactionsSupported, true),
        (I::SqlDataDefinitionCausesTransactionCommit, false),
        (I::SqlDataDefinitionsInTransactionsIgnored, false),
        (I::SqlBatchUpdatesSupported, true),
        (I::SqlSavepointsSupported, false),
        (I::SqlNamedParametersSupported, false),
        (I::SqlLocatorsUpdateCopy, false),
        (I::SqlStoredFunctionsUsingCallSyntaxSupported, false),
    ];
    truths.into_iter().for_each(|(name, truth)| info.append(name, truth));
    let numbers = [
        (I::FlightSqlServerTransaction, SqlSupportedTransaction::Transaction as i32),
        // Plain names are lower-case ones; quoted ones are as they are written.
        (I::SqlIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i32),
        // After everything else in ascending order, before it in descending order.
        (I::SqlNullOrdering, SqlNullOrdering::SqlNullsSortedHigh as i32),
        (I::SqlSupportedGroupBy, GROUP_BY_UNRELATED_AND_BEYOND_SELECT),
        (I::SqlSupportedGrammar, GRAMMAR_MINIMUM_AND_CORE),
        (I::SqlAnsi92SupportedLevel, ANSI92_ENTRY),
        (I::SqlOuterJoinsSupportLevel, OUTER_JOINS_LIMITED_AND_FULL),
        (I::SqlSupportedSubqueries, SUBQUERIES_IN_COMPARISONS_EXISTS_IN_AND_QUANTIFIED),
        (I::SqlSupportedUnions, UNION_AND_UNION_ALL),
        (I::SqlDefaultTransactionIsolation, SqlTransactionIsolationLevel::SqlTransactionRepeatableRead as i32),
        (I::SqlSupportedTransactionsIsolationLevels, ISOLATION_LEVELS),
        (I::SqlSupportedResultSetTypes, FORWARD_ONLY),
    ];
    numbers.into_iter().for_each(|(name, number)| info.append(name, number));
    info.build()
}

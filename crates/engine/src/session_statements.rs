//! Statements about the session that they are sent in, and not about data: transactions, `USE`, `RESET`. (`SET` is planned by DataFusion.)

use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::sql::parser::{ResetStatement, Statement as ParsedStatement};
use datafusion::sql::sqlparser::ast::{
    ObjectName, Statement, TransactionAccessMode, TransactionIsolationLevel, TransactionMode, Use,
};
use datafusion::sql::sqlparser::dialect::SnowflakeDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use frazil_common::{ErrorCode, Failure};

use crate::errors::to_failure;
use crate::session::{self, DEFAULT_SCHEMA};

/// What a statement does to its session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SessionChange {
    Begin {
        read_only: bool,
    },
    Commit,
    Rollback,
    /// Where unqualified names are looked up from now on. Both exist.
    Use {
        database: String,
        schema: String,
    },
    /// The user has it.
    UseRole {
        role: String,
    },
    /// A setting that was checked.
    Set {
        key: String,
        value: String,
    },
    Reset {
        key: String,
    },
}

/// What the statement does to its session, if that is what it is about; `SET` is not looked at.
pub fn session_change(statement: &ParsedStatement) -> Result<Option<SessionChange>, Failure> {
    let statement = match statement {
        ParsedStatement::Statement(statement) => statement.as_ref(),
        ParsedStatement::Reset(ResetStatement::Variable(name)) => return reset(name).map(Some),
        _ => return Ok(None),
    };
    let change = match statement {
        Statement::StartTransaction { modes, modifier: None, statements, exception: None, .. }
            if statements.is_empty() =>
        {
            SessionChange::Begin { read_only: is_read_only(modes)? }
        }
        Statement::StartTransaction { .. } => return Err(not_supported("a BEGIN of this form")),
        Statement::Commit { chain: false, modifier: None, .. } => SessionChange::Commit,
        Statement::Rollback { chain: false, savepoint: None } => SessionChange::Rollback,
        Statement::Commit { .. } | Statement::Rollback { chain: true, .. } => {
            return Err(not_supported("COMMIT or ROLLBACK with AND CHAIN"));
        }
        Statement::Rollback { .. } | Statement::Savepoint { .. } | Statement::ReleaseSavepoint { .. } => {
            return Err(not_supported("a savepoint"));
        }
        _ => return Ok(None),
    };
    Ok(Some(change))
}

fn is_read_only(modes: &[TransactionMode]) -> Result<bool, Failure> {
    let mut read_only = false;
    for mode in modes {
        match mode {
            TransactionMode::AccessMode(mode) => read_only = *mode == TransactionAccessMode::ReadOnly,
            // A transaction sees one snapshot, which is more than these ask for.
            TransactionMode::IsolationLevel(
                TransactionIsolationLevel::ReadUncommitted
                | TransactionIsolationLevel::ReadCommitted
                | TransactionIsolationLevel::RepeatableRead
                | TransactionIsolationLevel::Snapshot,
            ) => {}
            TransactionMode::IsolationLevel(TransactionIsolationLevel::Serializable) => {
                return Err(not_supported("ISOLATION LEVEL SERIALIZABLE: transactions have snapshot isolation, which"));
            }
        }
    }
    Ok(read_only)
}

fn reset(name: &ObjectName) -> Result<SessionChange, Failure> {
    let key = session::full_key(&name.to_string());
    session::check_known(&key)?;
    Ok(SessionChange::Reset { key })
}

/// What a `USE` does. DataFusion's dialect has no `USE SCHEMA`; Snowflake's has.
pub fn use_statement(sql: &str, state: &SessionState) -> Result<Option<SessionChange>, Failure> {
    let start = sql.trim_start();
    let may_be = start.get(..3).is_some_and(|word| word.eq_ignore_ascii_case("use"));
    if !may_be && !start.starts_with("--") && !start.starts_with("/*") {
        return Ok(None);
    }
    let dialect = SnowflakeDialect;
    let mut parser = match Parser::new(&dialect).try_with_sql(sql) {
        Ok(parser) if parser.peek_keyword(Keyword::USE) => parser,
        // What cannot be read is told by DataFusion's parser.
        _ => return Ok(None),
    };
    let parsed = parser.parse_statements().map_err(|error| to_failure(&DataFusionError::SQL(Box::new(error), None)))?;
    match parsed.as_slice() {
        [Statement::Use(target)] => use_names(target, state).map(Some),
        _ => Err(Failure::new(ErrorCode::NotSupported, "a request holds one statement")),
    }
}

fn use_names(target: &Use, state: &SessionState) -> Result<SessionChange, Failure> {
    let (name, is_schema) = match target {
        Use::Schema(name) => (name, true),
        Use::Database(name) | Use::Catalog(name) | Use::Object(name) => (name, false),
        other => return Err(not_supported(&other.to_string())),
    };
    let parts = name.0.iter().map(|part| {
        let ident = part.as_ident().ok_or_else(|| not_supported(&format!("the name {name}")))?;
        Ok(if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() })
    });
    let mut parts = parts.collect::<Result<Vec<String>, Failure>>()?;
    let current = &state.config_options().catalog.default_catalog;
    let (database, schema) = match (parts.pop(), parts.pop(), parts.pop()) {
        (Some(schema), Some(database), None) if !matches!(target, Use::Database(_) | Use::Catalog(_)) => {
            (database, schema)
        }
        (Some(schema), None, None) if is_schema => (current.clone(), schema),
        (Some(database), None, None) => (database, DEFAULT_SCHEMA.to_owned()),
        _ => return Err(Failure::new(ErrorCode::Syntax, format!("name \"{name}\" has too many parts"))),
    };
    let Some(catalog) = state.catalog_list().catalog(&database) else {
        return Err(Failure::new(ErrorCode::UndefinedDatabase, format!("database \"{database}\" not found")));
    };
    // A database need not have the default schema; its tables can be named with theirs.
    let implied = parts.is_empty() && !is_schema && schema == DEFAULT_SCHEMA;
    if !implied && catalog.schema(&schema).is_none() {
        let message = format!("schema \"{database}.{schema}\" not found");
        return Err(Failure::new(ErrorCode::UndefinedSchema, message));
    }
    Ok(SessionChange::Use { database, schema })
}

fn not_supported(what: &str) -> Failure {
    Failure::new(ErrorCode::NotSupported, format!("{what} is not supported"))
}

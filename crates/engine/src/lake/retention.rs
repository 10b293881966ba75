//! `ALTER DATABASE | SCHEMA | TABLE name SET DATA_RETENTION_TIME_IN_DAYS = n`, and `UNSET` of it.

use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast::ObjectName;
use frazil_catalog::RetentionScope;
use frazil_common::{ErrorCode, Failure};

use super::ddl::{one_part, reference, schema_reference};
use super::names::Lakes;
use super::statements::Kind;
use super::{Change, to_failure};

/// Ten years: longer is for ever, which a number of days should not say.
const DAYS_MAX: u32 = 3660;

pub fn plan_retention(
    kind: Kind,
    name: &ObjectName,
    days: Option<u32>,
    lakes: &Lakes,
    state: &SessionState,
) -> Result<Change, Failure> {
    if days.is_some_and(|days| days > DAYS_MAX) {
        let message = format!("DATA_RETENTION_TIME_IN_DAYS is at most {DAYS_MAX}");
        return Err(Failure::new(ErrorCode::InvalidArgument, message));
    }
    let database_of = |database: &str| {
        let missing = || Failure::new(ErrorCode::UndefinedDatabase, format!("database \"{database}\" not found"));
        lakes.get(database).ok_or_else(missing)
    };
    let (database, scope, shown) = match kind {
        Kind::Database => {
            let name = one_part(name)?;
            (database_of(&name)?.database.clone(), RetentionScope::Database, format!("database {name}"))
        }
        Kind::Schema => {
            let full = schema_reference(name, state)?;
            let seen = database_of(&full.catalog)?;
            let schema = seen.view.schema(&full.schema).map_err(|error| to_failure(&error))?.id;
            (seen.database.clone(), RetentionScope::Schema(schema), format!("schema {}", full.schema))
        }
        Kind::Table => {
            let full = reference(name, state)?;
            let seen = database_of(&full.catalog)?;
            let table = seen.view.table(&full.schema, &full.table).map_err(|error| to_failure(&error))?.id;
            (seen.database.clone(), RetentionScope::Table(table), format!("table {}", full.table))
        }
        Kind::View => return Err(Failure::new(ErrorCode::NotSupported, "a view has no data to be kept")),
    };
    let done = match days {
        Some(days) => format!("{shown}: what is superseded is kept for {days} days"),
        None => format!("{shown}: what is superseded is kept as long as anything"),
    };
    Ok(Change::SetRetention { database, scope, days, done })
}

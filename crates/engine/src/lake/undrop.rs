//! `UNDROP DATABASE | SCHEMA | TABLE`: what was dropped last under a name is there again, as it was.

use std::sync::Arc;

use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast::ObjectName;
use frazil_common::{ErrorCode, Failure};

use super::ddl::{self, begin, commit};
use super::names::Lakes;
use super::statements::Kind;
use super::{Change, to_failure};

pub async fn plan_undrop(
    kind: Kind,
    name: &ObjectName,
    lakes: &Arc<Lakes>,
    state: &SessionState,
) -> Result<Change, Failure> {
    match kind {
        Kind::Database => Ok(Change::UndropDatabase { name: ddl::one_part(name)? }),
        Kind::Schema => schema(name, lakes, state).await,
        Kind::Table => table(name, lakes, state).await,
        Kind::View => Err(Failure::new(ErrorCode::NotSupported, "UNDROP VIEW is not supported")),
    }
}

async fn schema(name: &ObjectName, lakes: &Arc<Lakes>, state: &SessionState) -> Result<Change, Failure> {
    let reference = ddl::schema_reference(name, state)?;
    let (mut transaction, _) = begin(lakes, &reference)?;
    let dropped = transaction.database().dropped_schemas().await.map_err(|error| to_failure(&error))?;
    let Some(latest) = dropped.iter().find(|schema| schema.name == *reference.schema) else {
        let message = format!("no dropped schema \"{}\" is kept", reference.schema);
        return Err(Failure::new(ErrorCode::UndefinedSchema, message));
    };
    transaction.undrop_schema(latest, None).await.map_err(|error| to_failure(&error))?;
    Ok(commit(transaction, format!("schema {} restored", reference.schema)))
}

async fn table(name: &ObjectName, lakes: &Arc<Lakes>, state: &SessionState) -> Result<Change, Failure> {
    let reference = ddl::reference(name, state)?;
    let (mut transaction, _) = begin(lakes, &reference)?;
    let dropped = transaction.database().dropped_tables().await.map_err(|error| to_failure(&error))?;
    let schema = transaction.view().schema(&reference.schema).map_err(|error| to_failure(&error))?.id;
    ddl::refuse_external(lakes, &reference)?;
    // The last dropped is the first.
    let Some(latest) = dropped.iter().find(|table| table.schema_id == schema && table.name == *reference.table) else {
        let message = format!("no dropped table \"{}.{}\" is kept", reference.schema, reference.table);
        return Err(Failure::new(ErrorCode::UndefinedTable, message));
    };
    transaction.undrop_table(latest, None).await.map_err(|error| to_failure(&error))?;
    Ok(commit(transaction, format!("table {} restored", reference.table)))
}

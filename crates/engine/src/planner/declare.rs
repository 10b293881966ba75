//! Declarations of external tables, which are done while they are planned.

use std::panic::AssertUnwindSafe;

use datafusion::common::TableReference;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{CreateExternalTable, DdlStatement, LogicalPlan};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::CreateExternalTable as CreateExternalTableStatement;
use frazil_catalog::ExternalTable;
use frazil_common::{ErrorCode, Failure};
use futures::FutureExt;

use super::Planner;
use super::refusals::not_supported;
use crate::errors::{panic_message, to_failure};
use crate::{lake, suspects};

impl Planner {
    /// Declares an external table, which `declared` is the statement of, or takes a declaration back.
    pub(super) async fn declare(
        &self,
        ddl: DdlStatement,
        declared: Option<CreateExternalTableStatement>,
        state: SessionState,
    ) -> Result<String, Failure> {
        let (ddl, done, name, definition) = match ddl {
            DdlStatement::CreateExternalTable(mut table) => {
                self.check_external_table(&mut table)?;
                let done = format!("table {} created", table.name);
                let name = lake::resolve(table.name.clone(), &state);
                let parts = [&*name.catalog, &*name.schema, &*name.table];
                let exists = self.external.has(&name.catalog, &name.schema, &name.table);
                let definition = match declared.filter(|_| !(exists && table.if_not_exists)) {
                    Some(declared) => Some(lake::definition_of(&declared, parts, &table)?),
                    None => None,
                };
                (DdlStatement::CreateExternalTable(table), done, name, definition)
            }
            DdlStatement::DropTable(table) => {
                let done = format!("table {} dropped", table.name);
                let name = lake::resolve(table.name.clone(), &state);
                (DdlStatement::DropTable(table), done, name, None)
            }
            other => return Err(not_supported(&other.name().to_lowercase())),
        };
        // Catalogs are shared by all statements, so what this session declares stays.
        let context = SessionContext::new_with_state(state);
        let (location, declared, suspects) = match &ddl {
            DdlStatement::CreateExternalTable(table) => {
                let suspects = suspects::of_declaration(table, &context.state());
                (table.locations.join(", "), Some(table.name.clone()), suspects)
            }
            _ => (String::new(), None, vec![]),
        };
        let declaring = AssertUnwindSafe(context.execute_logical_plan(LogicalPlan::Ddl(ddl))).catch_unwind();
        let declared_or_not = declaring.await.unwrap_or_else(|panic| {
            // Declaring reads footers, and readers panic over some malformed ones.
            let message = format!("a file cannot be read: {}", panic_message(&*panic));
            Err(frazil_exchange::to_datafusion(Failure::new(ErrorCode::FileCorrupt, message)))
        });
        if let Err(error) = declared_or_not {
            let mut failure = suspects::name_file(to_failure(&error), &suspects, &context.state()).await;
            if !location.is_empty() && failure.code != ErrorCode::DuplicateTable && !failure.message.contains(&location)
            {
                failure.message = format!("location {location:?}: {}", failure.message);
            }
            return Err(failure);
        }
        if let Some(name) = declared.clone() {
            self.refuse_empty_table(&context, name, &location).await?;
        }
        let kept = match (definition, declared) {
            (Some(definition), _) => {
                let table = ExternalTable { schema: name.schema.to_string(), name: name.table.to_string(), definition };
                self.external.keep(&name.catalog, table).await
            }
            (None, Some(_)) => Ok(()),
            (None, None) => self.external.forget(&name.catalog, &name.schema, &name.table).await,
        };
        kept.map_err(Failure::from)?;
        Ok(done)
    }

    /// A table without columns comes of a location without files that say what they hold.
    async fn refuse_empty_table(
        &self,
        context: &SessionContext,
        name: TableReference,
        location: &str,
    ) -> Result<(), Failure> {
        let provider = context.table_provider(name.clone()).await.map_err(|error| to_failure(&error))?;
        if !provider.schema().fields().is_empty() {
            return Ok(());
        }
        context.deregister_table(name).map_err(|error| to_failure(&error))?;
        let message = format!("location {location:?} has no file with columns");
        Err(Failure::new(ErrorCode::FileUnavailable, message))
    }

    fn check_external_table(&self, table: &mut CreateExternalTable) -> Result<(), Failure> {
        let format = table.file_type.to_ascii_uppercase();
        if !["PARQUET", "CSV", "JSON", "NDJSON"].contains(&format.as_str()) {
            return Err(not_supported(&format!("a table stored as {}", table.file_type)));
        }
        if table.unbounded {
            return Err(not_supported("an unbounded table"));
        }
        // Options of formats only: those of stores hold credentials and endpoints, which are the operator's.
        if let Some(key) = table.options.keys().find(|key| !key.to_ascii_lowercase().starts_with("format.")) {
            let message = format!("option {key:?} of table {} is not known: only format options are", table.name);
            return Err(Failure::new(ErrorCode::InvalidArgument, message));
        }
        for location in &mut table.locations {
            *location = self.storage.check_location(location)?;
        }
        Ok(())
    }
}

//! Tables declared over files that somebody else keeps. The catalog has the statements that declare them; their files are looked
//! at when they are first used.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use datafusion::catalog::{MemorySchemaProvider, SchemaProvider, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{CreateExternalTable as Declaration, DdlStatement, LogicalPlan};
use datafusion::sql::parser::{CreateExternalTable, Statement as ParsedStatement};
use datafusion::sql::sqlparser::ast::{Ident, ObjectName, Value};
use frazil_catalog::{Database, ExternalTable};
use frazil_common::{ErrorCode, Failure};
use parking_lot::Mutex;

use crate::storage::StorageOptions;

#[derive(Debug)]
pub struct ExternalTables {
    storage: Arc<StorageOptions>,
    databases: Mutex<HashMap<String, Known>>,
}

/// What is known of one database.
#[derive(Debug)]
struct Known {
    database: Database,
    schemas: HashMap<String, KnownSchema>,
}

#[derive(Debug, Default)]
struct KnownSchema {
    /// The statements, by name.
    declared: BTreeMap<String, String>,
    /// Those that were used.
    opened: Arc<MemorySchemaProvider>,
}

impl ExternalTables {
    pub fn new(storage: Arc<StorageOptions>) -> Self {
        Self { storage, databases: Mutex::default() }
    }

    /// No tables, and none can be declared.
    pub fn none() -> Self {
        Self::new(Arc::default())
    }

    /// Reads a database's declarations, unless they are known. Another coordinator's later ones are not seen.
    pub async fn load(&self, database: &Database) -> frazil_catalog::Result<()> {
        let is_known = |known: &Known| known.database.is_same(database);
        if self.databases.lock().get(database.name()).is_some_and(is_known) {
            return Ok(());
        }
        let mut known = Known { database: database.clone(), schemas: HashMap::new() };
        for table in database.external_tables().await? {
            known.schemas.entry(table.schema).or_default().declared.insert(table.name, table.definition);
        }
        let mut databases = self.databases.lock();
        // Somebody may have been faster, and have declared more since.
        if !databases.get(database.name()).is_some_and(is_known) {
            databases.insert(database.name().to_owned(), known);
        }
        Ok(())
    }

    fn with<T>(&self, database: &str, schema: &str, look: impl FnOnce(&mut KnownSchema) -> T) -> Option<T> {
        let mut databases = self.databases.lock();
        Some(look(databases.get_mut(database)?.schemas.entry(schema.to_owned()).or_default()))
    }

    pub fn has(&self, database: &str, schema: &str, table: &str) -> bool {
        let has = |known: &mut KnownSchema| known.declared.contains_key(table) || known.opened.table_exist(table);
        self.with(database, schema, has).unwrap_or(false)
    }

    /// Whether a schema has any, so that it is not dropped under them.
    pub fn is_used(&self, database: &str, schema: &str) -> bool {
        !self.names(database, schema).is_empty()
    }

    pub fn names(&self, database: &str, schema: &str) -> Vec<String> {
        self.with(database, schema, |known| {
            let mut names = known.opened.table_names();
            names.extend(known.declared.keys().cloned());
            names.sort();
            names.dedup();
            names
        })
        .unwrap_or_default()
    }

    pub fn definition(&self, database: &str, schema: &str, table: &str) -> Option<String> {
        self.with(database, schema, |known| known.declared.get(table).cloned())?
    }

    /// A table, whose files are looked at now if they were not before.
    pub async fn table(
        &self,
        database: &str,
        schema: &str,
        name: &str,
        state: &SessionState,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(opened) = self.with(database, schema, |known| known.opened.clone()) else { return Ok(None) };
        if let Some(table) = opened.table(name).await? {
            return Ok(Some(table));
        }
        let Some(definition) = self.definition(database, schema, name) else { return Ok(None) };
        let named = |error: DataFusionError| error.context(format!("external table {schema}.{name}"));
        let table = self.open(&definition, state).await.map_err(named)?;
        // Another statement may have opened it as well: the first stays.
        let _ = opened.register_table(name.to_owned(), table.clone());
        Ok(Some(table))
    }

    async fn open(&self, definition: &str, state: &SessionState) -> Result<Arc<dyn TableProvider>> {
        let plan = state.statement_to_plan(crate::dialect::parse_query(definition)?).await?;
        let LogicalPlan::Ddl(DdlStatement::CreateExternalTable(mut declaration)) = plan else {
            return Err(DataFusionError::Plan("what is kept of it declares no table".to_owned()));
        };
        // What statements may touch may have changed since.
        for location in &mut declaration.locations {
            *location = self.storage.check_location(location).map_err(frazil_exchange::to_datafusion)?;
        }
        let factory = state.table_factories().get(&declaration.file_type.to_uppercase());
        let factory =
            factory.ok_or_else(|| DataFusionError::Plan(format!("no files of type {}", declaration.file_type)))?;
        factory.create(state, &declaration).await
    }

    pub fn register(
        &self,
        database: &str,
        schema: &str,
        name: String,
        table: Arc<dyn TableProvider>,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        match self.with(database, schema, |known| known.opened.clone()) {
            Some(opened) => opened.register_table(name, table),
            None => Err(DataFusionError::Plan(format!("database \"{database}\" cannot have external tables"))),
        }
    }

    /// Of this process. [`ExternalTables::forget`] is for good.
    pub fn deregister(&self, database: &str, schema: &str, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        self.with(database, schema, |known| {
            known.declared.remove(name);
            known.opened.deregister_table(name)
        })
        .unwrap_or(Ok(None))
    }

    fn database(&self, name: &str) -> Option<Database> {
        self.databases.lock().get(name).map(|known| known.database.clone())
    }

    /// Keeps a declaration, so that it is there after a restart.
    pub async fn keep(&self, database: &str, table: ExternalTable) -> frazil_catalog::Result<()> {
        let Some(handle) = self.database(database) else { return Ok(()) };
        handle.put_external_table(&table).await?;
        let ExternalTable { schema, name, definition } = table;
        self.with(database, &schema, |known| known.declared.insert(name, definition));
        Ok(())
    }

    pub async fn forget(&self, database: &str, schema: &str, name: &str) -> frazil_catalog::Result<()> {
        match self.database(database) {
            Some(handle) => handle.remove_external_table(schema, name).await,
            None => Ok(()),
        }
    }
}

/// The statement that declares the same table from everywhere: with its full name, and locations as they were checked.
pub fn definition_of(
    statement: &CreateExternalTable,
    full_name: [&str; 3],
    declaration: &Declaration,
) -> Result<String, Failure> {
    let name = ObjectName::from(full_name.map(|part| Ident::with_quote('"', part)).to_vec());
    let kept = CreateExternalTable {
        name,
        locations: declaration.locations.clone(),
        if_not_exists: false,
        or_replace: false,
        ..statement.clone()
    };
    let text = text_of(&kept);
    // The text must mean what was declared, whatever a statement may come to have.
    match crate::dialect::parse_query(&text) {
        Ok(ParsedStatement::CreateExternalTable(again)) if again == kept => Ok(text),
        _ => Err(Failure::new(ErrorCode::NotSupported, format!("an external table declared like this: {text}"))),
    }
}

fn text_of(statement: &CreateExternalTable) -> String {
    let mut text = format!("CREATE EXTERNAL TABLE {}", statement.name);
    let columns = statement.columns.iter().map(ToString::to_string);
    let columns: Vec<String> = columns.chain(statement.constraints.iter().map(ToString::to_string)).collect();
    if !columns.is_empty() {
        let _ = write!(text, " ({})", columns.join(", "));
    }
    let _ = write!(text, " STORED AS {}", statement.file_type);
    if !statement.table_partition_cols.is_empty() {
        let _ = write!(text, " PARTITIONED BY ({})", statement.table_partition_cols.join(", "));
    }
    for order in &statement.order_exprs {
        let keys: Vec<String> = order.iter().map(ToString::to_string).collect();
        let _ = write!(text, " WITH ORDER ({})", keys.join(", "));
    }
    if !statement.options.is_empty() {
        let quoted = |(key, value): &(String, Value)| format!("'{}' {value}", key.replace('\'', "''"));
        let _ = write!(text, " OPTIONS ({})", statement.options.iter().map(quoted).collect::<Vec<_>>().join(", "));
    }
    let locations = statement.locations.iter().map(|place| Value::SingleQuotedString(place.clone()).to_string());
    let locations: Vec<String> = locations.collect();
    let _ = match locations.as_slice() {
        [one] => write!(text, " LOCATION {one}"),
        several => write!(text, " LOCATION ({})", several.join(", ")),
    };
    text
}

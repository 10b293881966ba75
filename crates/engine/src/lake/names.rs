//! The databases as one statement sees them: each at a snapshot, however long the statement takes and whatever is committed
//! meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProviderList, MemorySchemaProvider, SchemaProvider,
    TableProvider,
};
use datafusion::datasource::ViewTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use frazil_catalog::{
    At, ColumnId, ColumnStatistics, DataFile, Database, Databases, FileFilter, Relation, SnapshotView, TableId,
    TableStatistics, Transaction,
};
use parking_lot::Mutex;

use super::table::LakeTable;
use super::to_datafusion;

/// Tables declared over files that somebody else keeps. They live as long as the coordinator.
#[derive(Debug, Default)]
pub struct ExternalTables {
    schemas: Mutex<HashMap<(String, String), Arc<MemorySchemaProvider>>>,
}

impl ExternalTables {
    fn schema(&self, database: &str, schema: &str) -> Arc<MemorySchemaProvider> {
        self.schemas.lock().entry((database.to_owned(), schema.to_owned())).or_default().clone()
    }

    pub fn has(&self, database: &str, schema: &str, table: &str) -> bool {
        self.schema(database, schema).table_exist(table)
    }

    /// Whether a schema has any, so that it is not dropped under them.
    pub fn is_used(&self, database: &str, schema: &str) -> bool {
        !self.schema(database, schema).table_names().is_empty()
    }
}

/// A database at the snapshot that a statement sees.
#[derive(Clone)]
pub struct Seen {
    pub database: Database,
    /// With the changes of the session's transaction, if there is one.
    pub view: Arc<SnapshotView>,
    /// What the session has changed and not yet committed.
    transaction: Option<Arc<Transaction>>,
}

impl Seen {
    pub fn at(database: Database, view: Arc<SnapshotView>) -> Self {
        Self { database, view, transaction: None }
    }

    /// The changes of a statement: on top of those of its session's transaction.
    pub fn begin(&self) -> Transaction {
        match &self.transaction {
            Some(transaction) => transaction.as_ref().clone(),
            None => self.database.begin(self.view.clone()),
        }
    }

    pub async fn files(&self, table: TableId, filter: &FileFilter) -> frazil_catalog::Result<Vec<DataFile>> {
        match &self.transaction {
            Some(transaction) => transaction.files(table, filter).await,
            None => self.database.files(&self.view, table, filter).await,
        }
    }

    /// What is known of columns in each of the files.
    pub async fn file_statistics(
        &self,
        table: TableId,
        files: &[DataFile],
        columns: &[ColumnId],
    ) -> frazil_catalog::Result<Vec<Vec<ColumnStatistics>>> {
        match &self.transaction {
            Some(transaction) => transaction.file_statistics(table, files, columns).await,
            None => self.database.file_statistics(&self.view, table, files, columns).await,
        }
    }

    pub async fn table_statistics(
        &self,
        table: TableId,
        columns: &[ColumnId],
    ) -> frazil_catalog::Result<TableStatistics> {
        match &self.transaction {
            Some(transaction) => transaction.table_statistics(table, columns).await,
            None => self.database.table_statistics(&self.view, table, columns).await,
        }
    }
}

/// Every database at the snapshot that a statement sees.
#[derive(Clone)]
pub struct Lakes {
    databases: BTreeMap<String, Seen>,
    external: Arc<ExternalTables>,
}

impl fmt::Debug for Lakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.databases.keys()).finish()
    }
}

impl Lakes {
    /// As they are now.
    pub async fn latest(databases: &Databases, external: Arc<ExternalTables>) -> Result<Arc<Self>> {
        let mut seen = BTreeMap::new();
        for database in databases.current().await.map_err(to_datafusion)? {
            let view = database.snapshot(At::Latest).await.map_err(to_datafusion)?;
            seen.insert(database.name().to_owned(), Seen::at(database, view));
        }
        Ok(Arc::new(Self { databases: seen, external }))
    }

    pub fn get(&self, database: &str) -> Option<&Seen> {
        self.databases.get(database)
    }

    /// The same moment with a transaction's changes.
    pub fn with(&self, transaction: Transaction) -> Self {
        let mut changed = self.clone();
        let database = transaction.database().clone();
        let view = Arc::new(transaction.view());
        let name = database.name().to_owned();
        changed.databases.insert(name, Seen { database, view, transaction: Some(Arc::new(transaction)) });
        changed
    }

    /// The changes that are not committed; of one database at most.
    pub fn transaction(&self) -> Option<&Arc<Transaction>> {
        self.databases.values().find_map(|seen| seen.transaction.as_ref())
    }

    pub fn external(&self) -> &ExternalTables {
        &self.external
    }
}

/// The catalogs of a statement: the databases. `base` plans views.
pub fn catalogs(lakes: &Arc<Lakes>, base: &Arc<SessionState>) -> Arc<dyn CatalogProviderList> {
    let list = MemoryCatalogProviderList::new();
    for name in lakes.databases.keys() {
        let names = Names { lakes: lakes.clone(), base: base.clone(), database: name.clone() };
        list.register_catalog(name.clone(), Arc::new(LakeDatabase(names)));
    }
    Arc::new(list)
}

/// What it takes to find any name from within a database.
#[derive(Clone)]
struct Names {
    lakes: Arc<Lakes>,
    base: Arc<SessionState>,
    database: String,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.database)
    }
}

impl Names {
    fn seen(&self) -> &Seen {
        self.lakes.get(&self.database).expect("names are made for databases that are there")
    }
}

#[derive(Debug)]
struct LakeDatabase(Names);

impl CatalogProvider for LakeDatabase {
    fn schema_names(&self) -> Vec<String> {
        self.0.seen().view.schemas().map(|schema| schema.name.clone()).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        self.0.seen().view.schema(name).ok()?;
        Some(Arc::new(LakeSchema { names: self.0.clone(), schema: name.to_owned() }))
    }
}

#[derive(Debug)]
struct LakeSchema {
    names: Names,
    schema: String,
}

impl LakeSchema {
    fn external(&self) -> Arc<MemorySchemaProvider> {
        self.names.lakes.external.schema(&self.names.database, &self.schema)
    }

    fn relation(&self, name: &str) -> Option<Relation> {
        let view = &self.names.seen().view;
        view.relation(view.schema(&self.schema).ok()?.id, name)
    }

    /// Views have full names in them, so that it does not matter from where they are looked at.
    async fn plan_view(&self, sql: &str) -> Result<Arc<dyn TableProvider>> {
        let Names { lakes, base, .. } = &self.names;
        let catalogs = catalogs(lakes, base);
        let state = SessionStateBuilder::new_from_existing(base.as_ref().clone()).with_catalog_list(catalogs).build();
        let plan = state.create_logical_plan(sql).await?;
        Ok(Arc::new(ViewTable::new(plan, Some(sql.to_owned()))))
    }
}

#[async_trait]
impl SchemaProvider for LakeSchema {
    fn table_names(&self) -> Vec<String> {
        let view = &self.names.seen().view;
        let mut names = self.external().table_names();
        if let Ok(schema) = view.schema(&self.schema) {
            names.extend(view.relations(schema.id).map(|(name, _)| name.to_owned()));
        }
        names.sort();
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let seen = self.names.seen();
        let view = &seen.view;
        match self.relation(name) {
            Some(Relation::Table(id)) => {
                let table = view.table_by_id(id).map_err(to_datafusion)?;
                Ok(Some(Arc::new(LakeTable::new(seen.clone(), table.clone())?)))
            }
            Some(Relation::View(id)) => {
                let stored = view.view_by_id(id).map_err(to_datafusion)?;
                let planned = Box::pin(self.plan_view(&stored.sql)).await;
                let named = |error: DataFusionError| error.context(format!("view {}.{name}", self.schema));
                planned.map(Some).map_err(named)
            }
            None => self.external().table(name).await,
        }
    }

    fn register_table(&self, name: String, table: Arc<dyn TableProvider>) -> Result<Option<Arc<dyn TableProvider>>> {
        self.external().register_table(name, table)
    }

    fn deregister_table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        self.external().deregister_table(name)
    }

    fn table_exist(&self, name: &str) -> bool {
        self.relation(name).is_some() || self.external().table_exist(name)
    }
}

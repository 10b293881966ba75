//! The databases as one statement sees them: each at a snapshot, however long the statement takes and whatever is committed
//! meanwhile.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::datasource::ViewTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::sql::resolve::resolve_table_references;
use frazil_catalog::{
    AccessRecords, At, ColumnId, ColumnStatistics, DataFile, Database, Databases, FileFilter, ObjectId, ObjectKind,
    Pin, Privilege, Relation, Rights, Schema, SelectedFiles, SnapshotView, TableId, TableStatistics, Transaction, View,
};
use frazil_common::{ErrorCode, Failure, NameCase};
use parking_lot::Mutex;

use super::external::ExternalTables;
use super::information::WithInformation;
use super::past::look_back;
use super::system::SystemTables;
use super::table::LakeTable;
use super::to_datafusion;
use crate::access::demand;
use crate::base_session::InnerSession;
use crate::dialect::parse;

/// Views that look at views. Two that were replaced to look at each other would have no end.
const VIEW_DEPTH_MAX: usize = 64;

/// A database at the snapshot that a statement sees.
#[derive(Clone)]
pub struct Seen {
    pub database: Database,
    /// With the changes of the session's transaction, if there is one.
    pub view: Arc<SnapshotView>,
    /// What the session has changed and not yet committed.
    transaction: Option<Arc<Transaction>>,
    /// Keeps the snapshot as long as anyone looks at it; a transaction has its own.
    _pin: Option<Pin>,
}

impl Seen {
    pub fn at(database: Database, view: Arc<SnapshotView>, pin: Pin) -> Self {
        Self { database, view, transaction: None, _pin: Some(pin) }
    }

    /// The changes of a statement: on top of those of its session's transaction.
    pub fn begin(&self) -> Transaction {
        match &self.transaction {
            Some(transaction) => transaction.as_ref().clone(),
            None => self.database.begin(self.view.clone()),
        }
    }

    pub async fn files(&self, table: TableId, filter: &FileFilter) -> frazil_catalog::Result<SelectedFiles> {
        match &self.transaction {
            Some(transaction) => transaction.select_files(table, filter).await,
            None => self.database.select_files(&self.view, table, filter).await,
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

    /// About how many distinct values columns have, where that is known.
    pub async fn distinct_counts(
        &self,
        table: TableId,
        columns: &[ColumnId],
    ) -> frazil_catalog::Result<Vec<Option<u64>>> {
        match &self.transaction {
            Some(transaction) => transaction.distinct_counts(table, columns).await,
            None => self.database.distinct_counts(&self.view, table, columns).await,
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

/// Every database at the snapshot that a statement sees. Keeps these snapshots from being expired. Only what its role may see is
/// found in it.
#[derive(Clone)]
pub struct Lakes {
    databases: Arc<BTreeMap<String, Seen>>,
    /// For whom names are looked up.
    rights: Arc<Rights>,
    /// Of the owners of views.
    access: Arc<AccessRecords>,
    external: Arc<ExternalTables>,
    /// Databases as they were, by `database@snapshot`: those that a statement has named. Each has that one database and no
    /// external tables.
    past: Arc<Mutex<BTreeMap<String, Arc<Lakes>>>>,
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
            let (view, pin) = database.pinned(At::Latest).await.map_err(to_datafusion)?;
            external.load(&database).await.map_err(to_datafusion)?;
            seen.insert(database.name().to_owned(), Seen::at(database, view, pin));
        }
        let (databases, rights) = (Arc::new(seen), Rights::none());
        Ok(Arc::new(Self { databases, rights, access: Arc::default(), external, past: Arc::default() }))
    }

    /// The same for whom nothing was to be seen before: as a role sees it.
    pub fn seen_by(&self, access: Arc<AccessRecords>, rights: Arc<Rights>) -> Arc<Self> {
        Arc::new(Self { access, rights, ..self.clone() })
    }

    /// Whether these are the same databases at the same snapshots, with nothing changed by a transaction in either.
    pub fn are_at(&self, other: &Self) -> bool {
        let is_same = |one: &Seen, other: &Seen| {
            one.transaction.is_none()
                && other.transaction.is_none()
                && one.database.id() == other.database.id()
                && one.view.snapshot.id == other.view.snapshot.id
        };
        self.databases.len() == other.databases.len()
            && self
                .databases
                .iter()
                .zip(other.databases.iter())
                .all(|((name, one), (other_name, other))| name == other_name && is_same(one, other))
    }

    pub fn rights(&self) -> &Arc<Rights> {
        &self.rights
    }

    /// The databases that can be seen.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.databases.iter().filter(|(_, seen)| self.sees(seen)).map(|(name, _)| name.as_str())
    }

    fn sees(&self, seen: &Seen) -> bool {
        self.rights.is_admin() || self.rights.may(Privilege::Usage, &ObjectId::database(seen.database.id()))
    }

    /// Whether names lead into a schema. What its session has created itself, is its own until it is committed.
    pub fn sees_schema(&self, seen: &Seen, schema: &Schema) -> bool {
        let id = || ObjectId::within(seen.database.id(), &schema.uuid);
        self.rights.is_admin() || schema.id.is_local() || self.rights.may(Privilege::Usage, &id())
    }

    /// Fails as if there were no such schema unless it is there to be seen; whoever creates it is told that by its transaction.
    pub fn check_schema(&self, database: &str, schema: &str) -> std::result::Result<(), Failure> {
        let hidden = self
            .get(database)
            .is_some_and(|seen| seen.view.schema(schema).is_ok_and(|schema| !self.sees_schema(seen, schema)));
        match hidden {
            true => Err(Failure::new(ErrorCode::UndefinedSchema, format!("schema \"{schema}\" not found"))),
            false => Ok(()),
        }
    }

    /// Lets the statement see a database as it was, and returns the catalog's name.
    pub(super) fn add_past(&self, database: &Database, view: Arc<SnapshotView>, pin: Pin) -> String {
        // No database has an `@` in its name.
        let name = format!("{}@{}", database.name(), view.snapshot.id);
        let seen = Seen::at(database.clone(), view, pin);
        let databases = Arc::new(BTreeMap::from([(database.name().to_owned(), seen)]));
        let (external, past) = (Arc::new(ExternalTables::none()), Arc::default());
        let lakes = Self { databases, rights: Rights::none(), access: self.access.clone(), external, past };
        self.past.lock().entry(name.clone()).or_insert_with(|| Arc::new(lakes));
        name
    }

    pub fn get(&self, database: &str) -> Option<&Seen> {
        self.databases.get(database).filter(|seen| self.sees(seen))
    }

    /// The same moment with a transaction's changes.
    pub fn with(&self, transaction: Transaction) -> Self {
        let mut changed = self.clone();
        let database = transaction.database().clone();
        let view = Arc::new(transaction.view());
        let name = database.name().to_owned();
        Arc::make_mut(&mut changed.databases)
            .insert(name, Seen { database, view, transaction: Some(Arc::new(transaction)), _pin: None });
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

/// The catalogs of a statement: the databases, each with the tables of `system`. `inner` plans views.
pub fn catalogs(
    lakes: &Arc<Lakes>,
    inner: Arc<InnerSession>,
    system: Option<Arc<dyn SystemTables>>,
    name_case: NameCase,
) -> Arc<dyn CatalogProviderList> {
    let lakes = lakes.clone();
    Arc::new(Catalogs { lakes, inner, system, views: 0, own: Arc::default(), name_case })
}

type NamedCatalog = (String, Arc<dyn CatalogProvider>);

/// What names are looked up in.
#[derive(Clone)]
pub(super) struct Catalogs {
    pub(super) lakes: Arc<Lakes>,
    inner: Arc<InnerSession>,
    pub(super) system: Option<Arc<dyn SystemTables>>,
    /// Views that are being planned, one inside the other.
    views: usize,
    /// Found, but not shown: what a statement has put under a name of its own.
    own: Arc<Mutex<Vec<NamedCatalog>>>,
    /// How `information_schema` shows names.
    pub(super) name_case: NameCase,
}

impl fmt::Debug for Catalogs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lakes.fmt(f)
    }
}

impl CatalogProviderList for Catalogs {
    fn register_catalog(&self, name: String, own: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        self.own.lock().push((name, own));
        None
    }

    /// Databases as they were are found, but not shown.
    fn catalog_names(&self) -> Vec<String> {
        self.lakes.names().map(str::to_owned).collect()
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        if self.lakes.get(name).is_some() {
            let names = Names { catalogs: self.clone(), database: name.to_owned(), is_past: false };
            return Some(Arc::new(WithInformation::new(name, Arc::new(LakeDatabase(names)), self.clone())));
        }
        if let Some((_, own)) = self.own.lock().iter().find(|(own, _)| own == name) {
            return Some(own.clone());
        }
        let past = self.lakes.past.lock().get(name).cloned()?;
        let past = past.seen_by(self.lakes.access.clone(), self.lakes.rights.clone());
        let database = past.names().next()?.to_owned();
        let catalogs = Self { lakes: past, ..self.clone() };
        Some(Arc::new(LakeDatabase(Names { catalogs, database, is_past: true })))
    }
}

/// What it takes to find any name from within a database.
#[derive(Clone)]
struct Names {
    catalogs: Catalogs,
    database: String,
    /// The database as it was.
    is_past: bool,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.database)
    }
}

impl Names {
    fn seen(&self) -> &Seen {
        self.catalogs.lakes.get(&self.database).expect("names are made for databases that are there")
    }

    /// Whether anything may be done to a table or view.
    fn sees(&self, relation: Relation) -> bool {
        let (rights, seen) = (self.catalogs.lakes.rights(), self.seen());
        if rights.is_admin() {
            return true;
        }
        let id = |uuid: &str| ObjectId::within(seen.database.id(), uuid);
        match relation {
            Relation::Table(table) => {
                table.is_local() || seen.view.table_by_id(table).is_ok_and(|table| rights.may_see(&id(&table.uuid)))
            }
            Relation::View(view) => {
                view.is_local() || seen.view.view_by_id(view).is_ok_and(|view| rights.may_see(&id(&view.uuid)))
            }
        }
    }
}

#[derive(Debug)]
struct LakeDatabase(Names);

impl CatalogProvider for LakeDatabase {
    fn schema_names(&self) -> Vec<String> {
        let seen = self.0.seen();
        let shown = seen.view.schemas().filter(|schema| self.0.catalogs.lakes.sees_schema(seen, schema));
        shown.map(|schema| schema.name.clone()).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let seen = self.0.seen();
        seen.view.schema(name).ok().filter(|schema| self.0.catalogs.lakes.sees_schema(seen, schema))?;
        Some(Arc::new(LakeSchema { names: self.0.clone(), schema: name.to_owned() }))
    }
}

#[derive(Debug)]
struct LakeSchema {
    names: Names,
    schema: String,
}

impl LakeSchema {
    /// Those of this database and schema.
    fn external(&self) -> (&ExternalTables, &str, &str) {
        (&self.names.catalogs.lakes.external, &self.names.database, &self.schema)
    }

    /// If it is there to be seen.
    fn relation(&self, name: &str) -> Option<Relation> {
        let view = &self.names.seen().view;
        let relation = view.relation(view.schema(&self.schema).ok()?.id, name)?;
        self.names.sees(relation).then_some(relation)
    }

    fn sees_external(&self, name: &str) -> bool {
        let (rights, seen) = (self.names.catalogs.lakes.rights(), self.names.seen());
        let id = |schema: &Schema| ObjectId::external(seen.database.id(), &schema.uuid, name);
        rights.is_admin() || seen.view.schema(&self.schema).is_ok_and(|schema| rights.may_see(&id(schema)))
    }

    /// Queries of views are run with their owners' rights.
    fn lakes_of_owner(&self, view: &View) -> Arc<Lakes> {
        let lakes = &self.names.catalogs.lakes;
        if view.id.is_local() || !lakes.access.has_users() {
            return lakes.clone();
        }
        let owner = lakes.access.owner(&ObjectId::within(self.names.seen().database.id(), &view.uuid));
        lakes.seen_by(lakes.access.clone(), lakes.access.rights(owner))
    }

    /// Views have full names in them, so that it does not matter from where they are looked at. Of a view as it was, the
    /// tables are as they were, too.
    async fn plan_view(&self, view: &View) -> Result<Arc<dyn TableProvider>> {
        let Names { catalogs, database, is_past } = &self.names;
        let sql = &view.sql;
        let views = catalogs.views + 1;
        if views > VIEW_DEPTH_MAX {
            return Err(refuse(ErrorCode::TooComplex, format!("more than {VIEW_DEPTH_MAX} views look at each other")));
        }
        let lakes = self.lakes_of_owner(view);
        let base = catalogs.inner.state().map_err(frazil_exchange::to_datafusion)?;
        let inner: Arc<dyn CatalogProviderList> =
            Arc::new(Catalogs { views, lakes: lakes.clone(), ..catalogs.clone() });
        let state = SessionStateBuilder::new_from_existing(base.as_ref().clone());
        let state = state.with_catalog_list(inner).build();
        let mut statement = parse(sql, &state)?;
        if *is_past {
            let (tables, _) = resolve_table_references(&statement, true)?;
            // What the view saw then cannot be told of what has no snapshots, or other ones.
            if let Some(other) = tables.iter().find(|table| table.catalog().is_some_and(|name| name != database)) {
                let message = format!("a version of a view that looks at another database ({other}) is not supported");
                return Err(refuse(ErrorCode::NotSupported, message));
            }
        }
        let looked_back = look_back(&mut statement, &lakes, &state).await;
        looked_back.map_err(frazil_exchange::to_datafusion)?;
        let plan = state.statement_to_plan(statement).await?;
        Ok(Arc::new(ViewTable::new(plan, Some(sql.clone()))))
    }
}

fn refuse(code: ErrorCode, message: String) -> DataFusionError {
    frazil_exchange::to_datafusion(Failure::new(code, message))
}

#[async_trait]
impl SchemaProvider for LakeSchema {
    fn table_names(&self) -> Vec<String> {
        let view = &self.names.seen().view;
        let (external, database, schema) = self.external();
        let mut names = external.names(database, schema);
        names.retain(|name| self.sees_external(name));
        if let Ok(schema) = view.schema(&self.schema) {
            let shown = view.relations(schema.id).filter(|(_, relation)| self.names.sees(*relation));
            names.extend(shown.map(|(name, _)| name.to_owned()));
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
                let rights = self.names.catalogs.lakes.rights().clone();
                Ok(Some(Arc::new(LakeTable::new(seen.clone(), table.clone(), rights)?)))
            }
            Some(Relation::View(id)) => {
                let stored = view.view_by_id(id).map_err(to_datafusion)?;
                if !stored.id.is_local() {
                    let id = ObjectId::within(seen.database.id(), &stored.uuid);
                    let full = format!("{}.{name}", self.schema);
                    let rights = self.names.catalogs.lakes.rights();
                    let may = demand(rights, Privilege::Select, ObjectKind::View, &id, &full);
                    may.map_err(frazil_exchange::to_datafusion)?;
                }
                let planned = Box::pin(self.plan_view(stored)).await;
                let named = |error: DataFusionError| error.context(format!("view {}.{name}", self.schema));
                planned.map(Some).map_err(named)
            }
            None if self.sees_external(name) => {
                let (external, database, schema) = self.external();
                let base = self.names.catalogs.inner.state().map_err(frazil_exchange::to_datafusion)?;
                external.table(database, schema, name, base).await
            }
            None => Ok(None),
        }
    }

    fn register_table(&self, name: String, table: Arc<dyn TableProvider>) -> Result<Option<Arc<dyn TableProvider>>> {
        let (external, database, schema) = self.external();
        external.register(database, schema, name, table)
    }

    fn deregister_table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let (external, database, schema) = self.external();
        external.deregister(database, schema, name)
    }

    fn table_exist(&self, name: &str) -> bool {
        let (external, database, schema) = self.external();
        self.relation(name).is_some() || external.has(database, schema, name)
    }
}

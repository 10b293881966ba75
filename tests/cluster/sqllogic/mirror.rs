//! Keeps an engine's schema the same as the in-process tables and views, by files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::logical_expr::{DdlStatement, LogicalPlan, TableType};
use tempfile::TempDir;

use crate::support::engine::{Engine, Request};
use crate::support::oracle::Oracle;
use crate::support::{parquet_files, paths};

/// The in-process catalog's names, as DataFusion calls them by default.
const CATALOG: &str = "datafusion";
const SCHEMA: &str = "public";

const FILES: usize = 3;

/// Schema and name, in-process.
type Name = (String, String);

pub struct Mirror {
    oracle: Arc<Oracle>,
    engine: Arc<dyn Engine>,
    /// Stands for [`SCHEMA`]; other schemas keep their names.
    schema: String,
    /// What the engine has: `None` is a table, text a view's definition.
    known: BTreeMap<Name, Option<String>>,
    schemas: BTreeSet<String>,
    /// Tables whose rows changed since they were written.
    stale: BTreeSet<Name>,
    /// Views in the order of their making: later ones can name earlier ones.
    views: Vec<Name>,
    written: usize,
    directory: TempDir,
}

impl Mirror {
    pub async fn new(oracle: Arc<Oracle>, engine: Arc<dyn Engine>, schema: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("mirror-").tempdir_in(paths::scratch());
        let mirror = Self {
            oracle,
            engine,
            schema: schema.to_owned(),
            known: BTreeMap::new(),
            schemas: BTreeSet::from([SCHEMA.to_owned()]),
            stale: BTreeSet::new(),
            views: Vec::new(),
            written: 0,
            directory: directory.expect("scratch is writable"),
        };
        if let Err(message) = mirror.tell(format!("CREATE SCHEMA \"{schema}\"")).await {
            panic!("{message}");
        }
        mirror
    }

    /// Takes note of a statement that ran in-process.
    pub fn changed(&mut self, plan: &LogicalPlan) {
        match plan {
            LogicalPlan::Dml(dml) => {
                self.stale.insert(name(&dml.table_name));
            }
            LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(table)) => {
                self.stale.insert(name(&table.name));
            }
            LogicalPlan::Ddl(DdlStatement::CreateView(view)) => {
                let name = name(&view.name);
                self.views.retain(|other| *other != name);
                self.views.push(name);
            }
            _ => {}
        }
    }

    /// Makes the engine's objects equal to the in-process ones.
    pub async fn sync(&mut self) -> Result<(), String> {
        let current = self.current().await?;
        let fresh = self.sync_tables(&current).await?;
        self.sync_views(&current, fresh).await
    }

    pub async fn drop_all(&mut self) {
        let schemas: Vec<String> = self.schemas.iter().map(|schema| self.engine_schema(schema)).collect();
        for schema in schemas {
            // A schema that stays behind harms nobody, but an engine that cannot drop one should be seen.
            if let Err(message) = self.tell(format!("DROP SCHEMA \"{schema}\" CASCADE")).await {
                eprintln!("{message}");
            }
        }
    }

    async fn current(&mut self) -> Result<BTreeMap<Name, Arc<dyn TableProvider>>, String> {
        let catalog = self.oracle.context().catalog(CATALOG).expect("the default catalog is there");
        let mut objects = BTreeMap::new();
        for schema_name in catalog.schema_names() {
            let Some(schema) = catalog.schema(&schema_name) else { continue };
            if schema_name == "information_schema" {
                continue;
            }
            if self.schemas.insert(schema_name.clone()) {
                self.tell(format!("CREATE SCHEMA IF NOT EXISTS \"{schema_name}\"")).await?;
            }
            for table in schema.table_names() {
                let provider = schema.table(&table).await.map_err(|e| format!("table {table:?}: {e}"))?;
                if let Some(provider) = provider {
                    objects.insert((schema_name.clone(), table), provider);
                }
            }
        }
        Ok(objects)
    }

    /// True when a table was made or made again: views over it hold the old one.
    async fn sync_tables(&mut self, current: &BTreeMap<Name, Arc<dyn TableProvider>>) -> Result<bool, String> {
        let is_table = |name: &Name| current.get(name).is_some_and(|p| p.table_type() != TableType::View);
        let gone: Vec<Name> =
            self.known.iter().filter(|(n, v)| v.is_none() && !is_table(n)).map(|(n, _)| n.clone()).collect();
        for name in gone {
            self.tell(format!("DROP TABLE {}", self.engine_name(&name))).await?;
            self.known.remove(&name);
        }
        let mut fresh = false;
        for name in current.keys().filter(|name| is_table(name)) {
            let known = self.known.contains_key(name);
            if known && !self.stale.remove(name) {
                continue;
            }
            self.stale.remove(name);
            let location = self.write(name).await?;
            if known {
                self.tell(format!("DROP TABLE {}", self.engine_name(name))).await?;
            }
            let (table, location) = (self.engine_name(name), location.display());
            self.tell(format!("CREATE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION '{location}/'")).await?;
            self.known.insert(name.clone(), None);
            fresh = true;
        }
        Ok(fresh)
    }

    async fn sync_views(&mut self, current: &BTreeMap<Name, Arc<dyn TableProvider>>, all: bool) -> Result<(), String> {
        let definition = |name: &Name| {
            let provider = current.get(name).filter(|p| p.table_type() == TableType::View)?;
            provider.get_table_definition().map(str::to_owned)
        };
        let outdated: Vec<Name> = self
            .known
            .iter()
            .filter(|(name, known)| known.is_some() && (all || **known != definition(name)))
            .map(|(name, _)| name.clone())
            .collect();
        for name in outdated {
            self.tell(format!("DROP VIEW {}", self.engine_name(&name))).await?;
            self.known.remove(&name);
        }
        for name in self.views.clone() {
            if let (Some(text), false) = (definition(&name), self.known.contains_key(&name)) {
                self.tell(text.clone()).await?;
                self.known.insert(name, Some(text));
            }
        }
        Ok(())
    }

    async fn write(&mut self, name: &Name) -> Result<PathBuf, String> {
        let reference = TableReference::full(CATALOG, name.0.as_str(), name.1.as_str());
        let unreadable = |e| format!("table {name:?} cannot be read: {e}");
        let frame = self.oracle.context().table(reference).await.map_err(unreadable)?;
        let schema = Arc::new(frame.schema().as_arrow().clone());
        let batches = frame.collect().await.map_err(unreadable)?;
        self.written += 1;
        let directory = self.directory.path().join(self.written.to_string());
        parquet_files::write(&directory, &schema, &batches, FILES)
            .map_err(|e| format!("table {name:?} cannot be written as Parquet: {e}"))?;
        Ok(directory)
    }

    fn engine_schema(&self, schema: &str) -> String {
        if schema == SCHEMA { self.schema.clone() } else { schema.to_owned() }
    }

    fn engine_name(&self, (schema, name): &Name) -> String {
        format!("\"{}\".\"{name}\"", self.engine_schema(schema))
    }

    async fn tell(&self, sql: String) -> Result<(), String> {
        let request = Request::new(&sql).schema(&self.schema);
        self.engine.run(&request).await.map(drop).map_err(|refusal| format!("{}: {sql}: {refusal}", self.engine.name()))
    }
}

fn name(reference: &TableReference) -> Name {
    (reference.schema().unwrap_or(SCHEMA).to_owned(), reference.table().to_owned())
}

//! A database with the tables of another one. It has a name when it has all of them, and not before.

use std::collections::BTreeMap;
use std::time::SystemTime;

use frazil_common::failpoint;
use uuid::Uuid;

use crate::database::Database;
use crate::databases::Databases;
use crate::error::{CatalogError, Result};
use crate::ids::{SchemaId, TableId};
use crate::model::View;
use crate::requests::{Request, note_request};
use crate::snapshot::{At, SnapshotView};
use crate::transaction::CommitInfo;

impl Databases {
    /// Creates a database with the schemas, tables and views that another has at a moment, and `schema` if that has none of this name.
    /// Data files are shared. `query_of` tells what a view's query is in the clone.
    ///
    /// Until it is whole it is registered as a database that was dropped, under a name that none can have. One that a process leaves
    /// behind when it dies is purged as such.
    pub async fn clone_database(
        &self,
        source: &str,
        at: At,
        name: &str,
        schema: Option<&str>,
        query_of: impl Fn(&View) -> Result<String>,
        info: CommitInfo,
    ) -> Result<Database> {
        let source = self.get(source).await?;
        let (view, _pin) = source.pinned(at).await?;
        let (id, target) = self.begin_clone(name).await?;
        // The request is noted when the clone has its name: what was filled and then lost is made anew.
        let own = CommitInfo { request_id: None, fingerprint: None, ..info.clone() };
        let filled = match copy_contents(&source, &view, &target, schema, query_of, own).await {
            Ok(()) => {
                failpoint::reach(failpoint::CLONE);
                let done = format!("database {name} cloned from {}", source.name());
                self.finish_clone(id, name, info.request(), &done).await
            }
            Err(error) => Err(error),
        };
        match filled {
            Ok(()) => Ok(target),
            Err(error) => {
                // Nobody has seen it. If it cannot be purged now, it is later.
                if let Err(error) = self.purge(id).await {
                    tracing::warn!(%id, %error, "what was made of a clone stays until it is purged");
                }
                Err(error)
            }
        }
    }

    async fn begin_clone(&self, name: &str) -> Result<(Uuid, Database)> {
        let mut tx = self.registry().write("frazil_database").await?;
        let made = self.make(&mut tx, name).await?;
        let hidden = format!(".clone-{}", made.id.simple());
        made.register(&mut tx, &hidden, Some(SystemTime::now())).await?;
        tx.commit().await?;
        failpoint::reach("database.registered");
        self.keep_open(made.id, &made.database).await;
        Ok((made.id, made.database))
    }

    async fn finish_clone(&self, id: Uuid, name: &str, request: Option<Request<'_>>, done: &str) -> Result<()> {
        let mut tx = self.registry().write("frazil_database").await?;
        self.check_new_name(&mut tx, name).await?;
        self.give_name(&mut tx, id, name).await?;
        note_request(&mut tx, request, done).await?;
        tx.commit().await
    }
}

async fn copy_contents(
    source: &Database,
    view: &SnapshotView,
    target: &Database,
    schema: Option<&str>,
    query_of: impl Fn(&View) -> Result<String>,
    info: CommitInfo,
) -> Result<()> {
    let mut tx = target.begin(target.snapshot(At::Latest).await?);
    let mut schemas: BTreeMap<SchemaId, SchemaId> = BTreeMap::new();
    for schema in view.schemas() {
        let there = tx.view().schema(&schema.name).map(|schema| schema.id);
        schemas.insert(schema.id, there.or_else(|_| tx.create_schema(&schema.name))?);
    }
    if let Some(schema) = schema.filter(|schema| tx.view().schema(schema).is_err()) {
        tx.create_schema(schema)?;
    }
    let in_target = |id: SchemaId| {
        schemas.get(&id).copied().ok_or_else(|| CatalogError::Corrupt(format!("schema #{id} does not exist")))
    };
    let tables: Vec<(TableId, SchemaId, String)> =
        view.tables().map(|table| (table.id, table.schema_id, table.name.clone())).collect();
    for (id, schema, name) in tables {
        tx.clone_table(source, view, id, in_target(schema)?, &name).await?;
    }
    for view in view.views() {
        tx.create_view(in_target(view.schema_id)?, &view.name, &query_of(view)?, &view.dialect)?;
    }
    tx.commit(info).await.map(|_| ())
}

//! Named places of files to be loaded, or unloaded to. They belong to a schema, but to no snapshot: what is staged comes and
//! goes by itself, and a stage of the past would name files of today.

use std::time::SystemTime;

use uuid::Uuid;

use crate::database::Database;
use crate::error::{CatalogError, Result};
use crate::expire::UNSEEN;
use crate::ids::SchemaId;
use crate::sql::{Row, Tx, Value};
use crate::time;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stage {
    pub id: Uuid,
    pub schema: SchemaId,
    pub name: String,
    /// Somebody else's place. `None`: below the warehouse, see [`Database::stage_directory`].
    pub url: Option<String>,
    /// How its files are read where a statement does not say: a text that only the engine understands.
    pub format: String,
    pub comment: Option<String>,
    pub created_at: SystemTime,
}

/// What becomes of a stage of the same name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IfStageExists {
    Fail,
    Keep,
    Replace,
}

const COLUMNS: &str = "stage_id, schema_id, stage_name, url, file_format, comment, created_at";

impl Database {
    /// Below the warehouse, beside the databases: no database has a dot in its name, so nothing of theirs is there. Ends with a
    /// `/`.
    pub fn stage_directory(&self, stage: &Stage) -> String {
        let (root, own) = self.data_path().trim_end_matches('/').rsplit_once('/').unwrap_or(("", self.data_path()));
        format!("{root}/.stages/{own}/{}/", stage.id.simple())
    }

    /// All stages, also of schemas that are no more, by schema and name.
    pub async fn stages(&self) -> Result<Vec<Stage>> {
        let mut tx = self.inner.sql.read().await?;
        let sql = format!("SELECT {COLUMNS} FROM frazil_stage ORDER BY schema_id, stage_name");
        tx.all("listing stages", &sql, &[], |row| read(&row)).await
    }

    /// Those of schemas that no snapshot has any more. (A schema that is restored is another one, without stages.)
    pub async fn stages_without_schema(&self) -> Result<Vec<Stage>> {
        let mut tx = self.inner.sql.read().await?;
        let sql = format!(
            "SELECT {COLUMNS} FROM frazil_stage WHERE schema_id NOT IN \
             (SELECT schema_id FROM ducklake_schema WHERE NOT ({UNSEEN})) ORDER BY schema_id, stage_name"
        );
        tx.all("listing stages of forgotten schemas", &sql, &[], |row| read(&row)).await
    }

    pub async fn stage(&self, schema: SchemaId, name: &str) -> Result<Stage> {
        let mut tx = self.inner.sql.read().await?;
        let found = find(&mut tx, schema, name).await?;
        found.ok_or_else(|| CatalogError::UndefinedStage(name.to_owned()))
    }

    /// Whether it was created: not if it was to be kept. Also returns the stage that it takes the place of.
    pub async fn create_stage(&self, stage: &Stage, if_exists: IfStageExists) -> Result<(bool, Option<Stage>)> {
        let doing = "creating a stage";
        let mut tx = self.inner.sql.write("frazil_stage").await?;
        let former = find(&mut tx, stage.schema, &stage.name).await?;
        if former.is_some() {
            match if_exists {
                IfStageExists::Fail => return Err(CatalogError::DuplicateStage(stage.name.clone())),
                IfStageExists::Keep => return Ok((false, None)),
                IfStageExists::Replace => remove(&mut tx, stage.schema, &stage.name).await?,
            }
        }
        let row = vec![
            Value::text(stage.id.to_string()),
            Value::int(stage.schema.0),
            Value::text(&stage.name),
            Value::Text(stage.url.clone()),
            Value::text(&stage.format),
            Value::Text(stage.comment.clone()),
            Value::text(time::format_moment(stage.created_at)),
        ];
        tx.insert(doing, "frazil_stage", COLUMNS, &[row]).await?;
        tx.commit().await?;
        Ok((true, former))
    }

    /// Forgets a stage and returns it. Its files are the caller's matter.
    pub async fn drop_stage(&self, schema: SchemaId, name: &str) -> Result<Stage> {
        let mut tx = self.inner.sql.write("frazil_stage").await?;
        let found = find(&mut tx, schema, name).await?;
        let stage = found.ok_or_else(|| CatalogError::UndefinedStage(name.to_owned()))?;
        remove(&mut tx, schema, name).await?;
        tx.commit().await?;
        Ok(stage)
    }
}

async fn find(tx: &mut Tx, schema: SchemaId, name: &str) -> Result<Option<Stage>> {
    let sql = format!("SELECT {COLUMNS} FROM frazil_stage WHERE schema_id = $1 AND stage_name = $2");
    tx.first("looking for a stage", &sql, &[Value::int(schema.0), Value::text(name)], |row| read(&row)).await
}

async fn remove(tx: &mut Tx, schema: SchemaId, name: &str) -> Result<()> {
    let sql = "DELETE FROM frazil_stage WHERE schema_id = $1 AND stage_name = $2";
    tx.execute("dropping a stage", sql, &[Value::int(schema.0), Value::text(name)]).await.map(|_| ())
}

fn read(row: &Row<'_>) -> Result<Stage> {
    let corrupt = || CatalogError::Corrupt("a stage has an unreadable id or time".to_owned());
    Ok(Stage {
        id: row.text(0)?.parse().map_err(|_| corrupt())?,
        schema: SchemaId(row.int(1)?),
        name: row.text(2)?.to_owned(),
        url: row.text_or_null(3)?.map(str::to_owned),
        format: row.text(4)?.to_owned(),
        comment: row.text_or_null(5)?.map(str::to_owned),
        created_at: time::parse_moment(row.text(6)?).ok_or_else(corrupt)?,
    })
}

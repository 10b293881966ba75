//! `CREATE`, `DROP`, `SHOW`, `DESCRIBE STAGE`, `LIST` and `REMOVE`: planned here, done when the coordinator says so.

use std::sync::Arc;
use std::time::SystemTime;

use arrow::array::RecordBatch;
use frazil_catalog::{
    CatalogError, Database, GrantedObject, IfStageExists, ObjectId, ObjectKind, Privilege, SchemaId, Stage,
};
use frazil_common::{ErrorCode, Failure};
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt};
use uuid::Uuid;

use super::format::{FileFormat, FileKind};
use super::place::{Context, StagedFile, StagedPlace, unavailable};
use super::rows::{batch, numbers, status, texts};
use super::statement::{CreateStage, Place};
use crate::access::{demand, demand_admin};
use crate::lake::to_failure;

/// Files that are removed at once.
const REMOVALS_AT_ONCE: usize = 16;

/// What remains to be done for a statement about a stage.
pub enum StageAction {
    Create {
        database: Database,
        stage: Box<Stage>,
        if_exists: IfStageExists,
        place: Box<StagedPlace>,
    },
    Drop {
        database: Database,
        schema: SchemaId,
        name: String,
        if_exists: bool,
        place: Option<Box<StagedPlace>>,
    },
    Remove {
        place: Box<StagedPlace>,
        files: Vec<StagedFile>,
    },
    /// Only read.
    Rows(RecordBatch),
}

impl StageAction {
    /// The stage that it makes, if it makes one.
    pub fn created(&self) -> Option<GrantedObject> {
        match self {
            Self::Create { database, stage, .. } => {
                let id = ObjectId::within(database.id(), &stage.id.to_string());
                Some(GrantedObject { kind: ObjectKind::Stage, id })
            }
            Self::Drop { .. } | Self::Remove { .. } | Self::Rows(_) => None,
        }
    }

    pub async fn perform(self) -> Result<RecordBatch, Failure> {
        match self {
            Self::Create { database, stage, if_exists, place } => {
                let created = database.create_stage(&stage, if_exists).await.map_err(|error| to_failure(&error))?;
                match created {
                    (false, _) => status(format!("stage {} exists already", stage.name)),
                    (true, former) => {
                        if former.is_some_and(|former| former.url.is_none()) {
                            remove_all(&place).await;
                        }
                        status(format!("stage {} created", stage.name))
                    }
                }
            }
            Self::Drop { database, schema, name, if_exists, place } => match database.drop_stage(schema, &name).await {
                Err(CatalogError::UndefinedStage(_)) if if_exists => status(format!("stage {name} does not exist")),
                dropped => {
                    dropped.map_err(|error| to_failure(&error))?;
                    if let Some(place) = place {
                        remove_all(&place).await;
                    }
                    status(format!("stage {name} dropped"))
                }
            },
            Self::Remove { place, files } => remove(&place, files).await,
            Self::Rows(rows) => Ok(rows),
        }
    }
}

pub async fn create(context: &Context<'_>, create: CreateStage) -> Result<StageAction, Failure> {
    let name = context.stage_name(&create.name)?;
    if create.url.is_some() {
        demand_admin(context.lakes.rights(), "a stage with a URL")?;
    }
    // Kept as the user wrote it: what it may reach is asked each time.
    let url = create.url.clone().map(|url| context.check_root(&url).map(|_| url)).transpose()?;
    let format = create.format.unwrap_or_else(|| FileFormat::of(FileKind::Csv));
    let format =
        serde_json::to_string(&format).map_err(|error| Failure::internal(format!("a file format: {error}")))?;
    let stage = Stage {
        id: Uuid::now_v7(),
        schema: name.schema,
        name: name.stage.clone(),
        url,
        format,
        comment: create.comment,
        created_at: SystemTime::now(),
    };
    let if_exists = match (create.or_replace, create.if_not_exists) {
        (true, _) => IfStageExists::Replace,
        (_, true) => IfStageExists::Keep,
        _ => IfStageExists::Fail,
    };
    // The files of the stage that it may take the place of.
    let former = name.database.stage(name.schema, &name.stage).await.ok();
    match &former {
        Some(former) if create.or_replace => context.demand(Privilege::Ownership, name.database, former)?,
        _ => {
            let schema = ObjectId::within(name.database.id(), &name.schema_uuid);
            let rights = context.lakes.rights();
            demand(rights, Privilege::CreateStage, ObjectKind::Schema, &schema, &name.schema_name)?;
        }
    }
    let place = context.of_stage(name.database, former.as_ref().unwrap_or(&stage), "")?;
    Ok(StageAction::Create {
        database: name.database.clone(),
        stage: Box::new(stage),
        if_exists,
        place: Box::new(place),
    })
}

pub async fn drop(context: &Context<'_>, name: &[String], if_exists: bool) -> Result<StageAction, Failure> {
    let name = context.stage_name(name)?;
    let found = match context.stage(&name).await {
        Ok(found) => Some(found),
        Err(failure) if failure.code == ErrorCode::UndefinedObject => None,
        Err(failure) => return Err(failure),
    };
    match &found {
        Some(stage) => context.demand(Privilege::Ownership, name.database, stage)?,
        None if context.lakes.rights().is_admin() => {}
        // It may be there, and is not to be seen.
        None if if_exists => return Ok(StageAction::Rows(status(format!("stage {} does not exist", name.stage))?)),
        None => return Err(to_failure(&CatalogError::UndefinedStage(name.stage))),
    }
    // Files of a URL are somebody else's.
    let internal = found.filter(|stage| stage.url.is_none());
    let place = internal.map(|stage| context.of_stage(name.database, &stage, "").map(Box::new)).transpose()?;
    Ok(StageAction::Drop { database: name.database.clone(), schema: name.schema, name: name.stage, if_exists, place })
}

pub async fn show(
    context: &Context<'_>,
    schema: Option<&[String]>,
    like: Option<&str>,
) -> Result<StageAction, Failure> {
    let mut parts = schema.unwrap_or_default().to_vec();
    let all_schemas = schema.is_none();
    // Any name: only the schema of it is looked at.
    parts.push("stage".to_owned());
    let name = context.stage_name(&parts)?;
    let seen = context.lakes.get(&name.database_name).expect("it was found just now");
    let matches = |stage: &str| like.is_none_or(|like| is_like(stage, like));
    let mut shown: Vec<(String, Stage)> = Vec::new();
    for stage in name.database.stages().await.map_err(|error| to_failure(&error))? {
        let Some(schema) = seen.view.schemas().find(|schema| schema.id == stage.schema) else { continue };
        let id = ObjectId::within(name.database.id(), &stage.id.to_string());
        if !context.lakes.sees_schema(seen, schema) || !context.lakes.rights().may_see(&id) {
            continue;
        }
        if (all_schemas || schema.id == name.schema) && matches(&stage.name) {
            shown.push((schema.name.clone(), stage));
        }
    }
    let rows = batch(vec![
        ("created_on", texts(shown.iter().map(|(_, stage)| Some(moment(stage.created_at))))),
        ("name", texts(shown.iter().map(|(_, stage)| Some(stage.name.clone())))),
        ("database_name", texts(shown.iter().map(|_| Some(name.database_name.clone())))),
        ("schema_name", texts(shown.iter().map(|(schema, _)| Some(schema.clone())))),
        ("url", texts(shown.iter().map(|(_, stage)| Some(stage.url.clone().unwrap_or_default())))),
        ("comment", texts(shown.iter().map(|(_, stage)| stage.comment.clone()))),
        ("type", texts(shown.iter().map(|(_, stage)| Some(kind(stage).to_owned())))),
    ])?;
    Ok(StageAction::Rows(rows))
}

pub async fn describe(context: &Context<'_>, name: &[String]) -> Result<StageAction, Failure> {
    let name = context.stage_name(name)?;
    let stage = context.stage(&name).await?;
    let mut rows = vec![
        ("STAGE", "NAME".to_owned(), stage.name.clone()),
        ("STAGE", "TYPE".to_owned(), kind(&stage).to_owned()),
        ("STAGE_LOCATION", "URL".to_owned(), stage.url.clone().unwrap_or_default()),
        ("STAGE", "COMMENT".to_owned(), stage.comment.clone().unwrap_or_default()),
    ];
    let unreadable = |error| Failure::internal(format!("stage \"{}\": {error}", stage.name));
    let format: FileFormat = serde_json::from_str(&stage.format).map_err(unreadable)?;
    rows.extend(format.described().into_iter().map(|(name, value)| ("STAGE_FILE_FORMAT", name.to_owned(), value)));
    Ok(StageAction::Rows(batch(vec![
        ("parent_property", texts(rows.iter().map(|(parent, ..)| Some((*parent).to_owned())))),
        ("property", texts(rows.iter().map(|(_, name, _)| Some(name.clone())))),
        ("property_value", texts(rows.iter().map(|(.., value)| Some(value.clone())))),
    ])?))
}

pub async fn list(context: &Context<'_>, place: &Place, pattern: Option<&str>) -> Result<StageAction, Failure> {
    let files = context.resolve(place, Privilege::Read).await?.list(pattern).await?;
    Ok(StageAction::Rows(batch(vec![
        ("name", texts(files.iter().map(|file| Some(file.shown.clone())))),
        ("size", numbers(files.iter().map(|file| i64::try_from(file.meta.size).ok()))),
        ("etag", texts(files.iter().map(|file| file.meta.e_tag.clone()))),
        ("last_modified", texts(files.iter().map(|file| Some(file.meta.last_modified.to_rfc3339())))),
    ])?))
}

pub async fn plan_remove(context: &Context<'_>, place: &Place, pattern: Option<&str>) -> Result<StageAction, Failure> {
    let place = context.resolve(place, Privilege::Write).await?;
    let files = place.list(pattern).await?;
    Ok(StageAction::Remove { place: Box::new(place), files })
}

async fn remove(place: &StagedPlace, files: Vec<StagedFile>) -> Result<RecordBatch, Failure> {
    let removals = futures::stream::iter(files.clone()).map(|file| remove_one(place.store.clone(), file));
    removals.buffer_unordered(REMOVALS_AT_ONCE).try_collect::<()>().await?;
    batch(vec![
        ("name", texts(files.iter().map(|file| Some(file.shown.clone())))),
        ("result", texts(files.iter().map(|_| Some("removed".to_owned())))),
    ])
}

async fn remove_one(store: Arc<dyn ObjectStore>, file: StagedFile) -> Result<(), Failure> {
    match store.delete(&file.meta.location).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(unavailable(&file.shown, &error)),
    }
}

/// Of an internal stage that is no more: what cannot be removed is in nobody's way.
async fn remove_all(place: &StagedPlace) {
    let Ok(root) = place.object_path("") else { return };
    let mut listing = place.store.list(Some(&root));
    while let Some(Ok(meta)) = listing.next().await {
        if let Err(error) = place.store.delete(&meta.location).await {
            tracing::warn!(file = %meta.location, %error, "a file of a dropped stage stays");
        }
    }
}

fn kind(stage: &Stage) -> &'static str {
    if stage.url.is_some() { "EXTERNAL" } else { "INTERNAL" }
}

fn moment(time: SystemTime) -> String {
    let micros = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64);
    arrow::temporal_conversions::timestamp_us_to_datetime(micros).map_or_else(String::new, |time| format!("{time}Z"))
}

/// SQL's `LIKE`, without case, as `SHOW` has it.
pub fn is_like(name: &str, pattern: &str) -> bool {
    let mut regex = String::from("(?is)^");
    for c in pattern.chars() {
        match c {
            '%' => regex.push_str(".*"),
            '_' => regex.push('.'),
            other => regex.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push('$');
    regex::Regex::new(&regex).is_ok_and(|regex| regex.is_match(name))
}

//! Places of staged files: from what a statement names to a store and a path in it, and the files below.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use datafusion::common::TableReference;
use datafusion::execution::SessionState;
use datafusion::execution::object_store::ObjectStoreUrl;
use frazil_catalog::{Database, Stage};
use frazil_common::{ErrorCode, Failure};
use futures::StreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use regex::Regex;

use super::format::{FileFormat, FileKind, invalid};
use super::statement::Place;
use crate::errors::to_failure as from_datafusion;
use crate::lake::{Lakes, store_path, store_url, to_failure};
use crate::storage::{StorageOptions, tag_of};

/// More files of one place than this are not listed: each is a row of an answer, and a split of a load.
pub const FILES_MAX: usize = 100_000;
/// Of a regular expression, compiled.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Directories and files whose names begin so are on their way to become files of the stage.
pub const UNFINISHED: &str = ".frazil-";

/// What statements about stages look things up in.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub lakes: &'a Arc<Lakes>,
    pub state: &'a SessionState,
    pub storage: &'a StorageOptions,
}

/// A stage's directory and a path below it.
#[derive(Clone)]
pub struct StagedPlace {
    pub store: Arc<dyn ObjectStore>,
    pub store_url: ObjectStoreUrl,
    /// Directory or URL of the stage, with a `/` at its end.
    pub root: String,
    /// Below the root: of a directory with a `/` at its end, or the beginning of names.
    pub path: String,
    /// What names of files are shown with: `stage/` or the URL.
    shown: String,
    pub format: FileFormat,
}

/// A file of a place.
#[derive(Clone, Debug)]
pub struct StagedFile {
    pub meta: ObjectMeta,
    /// As users see it: `stage/dir/file.csv`, or the URL.
    pub shown: String,
    /// Below the stage's root.
    pub relative: String,
}

impl StagedFile {
    /// Tells two files of one name apart.
    pub fn version(&self) -> String {
        match tag_of(&self.meta) {
            Some(tag) => tag.to_owned(),
            None => format!("{}@{}", self.meta.size, self.meta.last_modified.timestamp_micros()),
        }
    }
}

/// The schema that a stage's name is looked up in, and the stage's own name.
pub struct StageName<'a> {
    pub database: &'a Database,
    pub database_name: String,
    pub schema_name: String,
    pub schema: frazil_catalog::SchemaId,
    pub stage: String,
}

impl<'a> Context<'a> {
    /// `name`, `schema.name` or `database.schema.name`.
    pub fn stage_name(&self, name: &[String]) -> Result<StageName<'a>, Failure> {
        let reference = match name {
            [stage] => TableReference::bare(stage.as_str()),
            [schema, stage] => TableReference::partial(schema.as_str(), stage.as_str()),
            [database, schema, stage] => TableReference::full(database.as_str(), schema.as_str(), stage.as_str()),
            _ => return Err(Failure::new(ErrorCode::Syntax, "a stage's name has three parts at most")),
        };
        let full = crate::lake::resolve(reference, self.state);
        let seen = self.lakes.get(&full.catalog).ok_or_else(|| {
            Failure::new(ErrorCode::UndefinedDatabase, format!("database \"{}\" not found", full.catalog))
        })?;
        let schema = seen.view.schema(&full.schema).map_err(|error| to_failure(&error))?.id;
        Ok(StageName {
            database: &seen.database,
            database_name: full.catalog.to_string(),
            schema_name: full.schema.to_string(),
            schema,
            stage: full.table.to_string(),
        })
    }

    pub async fn resolve(&self, place: &Place) -> Result<StagedPlace, Failure> {
        match place {
            Place::Stage { name, path } => {
                let name = self.stage_name(name)?;
                let stage = name.database.stage(name.schema, &name.stage).await.map_err(|error| to_failure(&error))?;
                self.of_stage(name.database, &stage, path)
            }
            Place::Url(url) => {
                let (root, path) = url.rsplit_once('/').map_or(("", url.as_str()), |(root, path)| (root, path));
                // The directory is checked; what is below it may be a pattern or not exist yet.
                let root = self.check_root(&format!("{root}/"))?;
                self.place(root.clone(), path, root, FileFormat::of(FileKind::Csv))
            }
        }
    }

    pub fn of_stage(&self, database: &Database, stage: &Stage, path: &str) -> Result<StagedPlace, Failure> {
        let format = serde_json::from_str(&stage.format).map_err(|error| {
            Failure::internal(format!("stage \"{}\" has an unreadable file format: {error}", stage.name))
        })?;
        match &stage.url {
            // Roots may have been taken away since it was created.
            Some(url) => {
                let root = self.check_root(url)?;
                self.place(root.clone(), path, root, format)
            }
            None => self.place(database.stage_directory(stage), path, format!("{}/", stage.name), format),
        }
    }

    /// A directory or URL below which statements may read and write.
    pub fn check_root(&self, location: &str) -> Result<String, Failure> {
        let checked = self.storage.check_location(location)?;
        Ok(if checked.ends_with('/') { checked } else { format!("{checked}/") })
    }

    fn place(&self, root: String, path: &str, shown: String, format: FileFormat) -> Result<StagedPlace, Failure> {
        check_path(path)?;
        let store_url = store_url(&root).map_err(|error| from_datafusion(&error))?;
        let store = self.state.runtime_env().object_store(&store_url).map_err(|error| from_datafusion(&error))?;
        Ok(StagedPlace { store, store_url, root, path: path.to_owned(), shown, format })
    }
}

/// Refuses what could lead out of the stage, or into files that are not finished.
pub fn check_path(path: &str) -> Result<(), Failure> {
    let denied = |why: &str| Err(Failure::new(ErrorCode::AccessDenied, format!("path {path:?} {why}")));
    if path.split('/').any(|part| part == ".." || part == ".") {
        return denied("leads out of its stage");
    }
    if path.starts_with('/') || path.contains("//") || path.contains('\\') || path.chars().any(char::is_control) {
        return denied("is not a path below a stage");
    }
    if path.split('/').any(|part| part.starts_with(UNFINISHED)) {
        return denied("is Frazil's own");
    }
    Ok(())
}

impl StagedPlace {
    /// In the store, of a path below the stage's root.
    pub fn object_path(&self, relative: &str) -> Result<Path, Failure> {
        store_path(&format!("{}{relative}", self.root)).map_err(|error| from_datafusion(&error))
    }

    pub fn is_local(&self) -> bool {
        !self.root.contains("://")
    }

    pub fn shown(&self, relative: &str) -> String {
        format!("{}{relative}", self.shown)
    }

    /// The files whose paths begin with the place's, and match: by path.
    pub async fn list(&self, pattern: Option<&str>) -> Result<Vec<StagedFile>, Failure> {
        let pattern = pattern.map(compile).transpose()?;
        let root = self.object_path("")?;
        // Stores list directories: what comes after the last slash is the beginning of a name.
        let directory = self.path.rfind('/').map_or("", |slash| &self.path[..slash]);
        let below = self.object_path(directory)?;
        let mut listing = self.store.list(Some(&below));
        let mut files = Vec::new();
        while let Some(meta) = listing.next().await {
            let meta = meta.map_err(|error| unavailable(&self.shown(directory), &error))?;
            let relative = relative_to(&meta.location, &root);
            let unfinished = relative.split('/').any(|part| part.starts_with(UNFINISHED));
            if !relative.starts_with(&self.path) || unfinished {
                continue;
            }
            if pattern.as_ref().is_some_and(|pattern| !pattern.is_match(&relative)) {
                continue;
            }
            if files.len() == FILES_MAX {
                let message = format!("place {:?} has more than {FILES_MAX} files: name fewer", self.shown(&self.path));
                return Err(Failure::new(ErrorCode::ResourcesExhausted, message));
            }
            files.push(StagedFile { shown: self.shown(&relative), relative, meta });
        }
        files.sort_by(|a, b| a.relative.cmp(&b.relative));
        if self.is_local() {
            let paths = files.iter().map(|file| file.relative.clone()).collect();
            check_links(PathBuf::from(&self.root), paths).await?;
        }
        Ok(files)
    }

    /// One file of the place's directory, by its path below the place.
    pub async fn file(&self, name: &str) -> Result<StagedFile, Failure> {
        check_path(name)?;
        let relative = match self.path.is_empty() || self.path.ends_with('/') || name.is_empty() {
            true => format!("{}{name}", self.path),
            false => format!("{}/{name}", self.path),
        };
        let path = self.object_path(&relative)?;
        let shown = self.shown(&relative);
        let meta = self.store.head(&path).await.map_err(|error| unavailable(&shown, &error))?;
        if self.is_local() {
            check_links(PathBuf::from(&self.root), vec![relative.clone()]).await?;
        }
        Ok(StagedFile { meta, shown, relative })
    }
}

/// A whole path must match, as in Snowflake.
fn compile(pattern: &str) -> Result<Regex, Failure> {
    let whole = regex::RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(PATTERN_BYTES_MAX).build();
    whole.map_err(|error| invalid(format!("PATTERN = '{pattern}' is not a regular expression: {error}")))
}

fn relative_to(location: &Path, root: &Path) -> String {
    let (location, root) = (location.as_ref(), root.as_ref());
    let relative = location.strip_prefix(root).map(|rest| rest.trim_start_matches('/'));
    relative.unwrap_or(location).to_owned()
}

pub fn unavailable(file: &str, error: &object_store::Error) -> Failure {
    let (code, why) = match error {
        object_store::Error::NotFound { .. } => (ErrorCode::FileUnavailable, "not found".to_owned()),
        // Such as a link that leads out of the allowed roots.
        object_store::Error::PermissionDenied { .. } => (ErrorCode::AccessDenied, format!("may not be read: {error}")),
        other => (ErrorCode::FileUnavailable, format!("cannot be read: {other}")),
    };
    Failure::new(code, format!("staged file \"{file}\" {why}"))
}

/// Symbolic links may lead about below the root, and nowhere else.
async fn check_links(root: PathBuf, files: Vec<String>) -> Result<(), Failure> {
    let check = move || {
        let Ok(real) = root.canonicalize() else { return Ok(()) };
        for file in files {
            leads_out(&real, &root.join(&file), &file)?;
        }
        Ok(())
    };
    tokio::task::spawn_blocking(check).await.map_err(|error| Failure::internal(format!("looking at links: {error}")))?
}

/// Fails when a path, or the directory it would be made in, is outside of `real_root`.
pub fn leads_out(real_root: &FilePath, path: &FilePath, shown: &str) -> Result<(), Failure> {
    let existing = path.ancestors().find_map(|ancestor| ancestor.canonicalize().ok());
    match existing {
        Some(real) if !real.starts_with(real_root) && !real_root.starts_with(&real) => {
            let message = format!("staged file \"{shown}\" is a link that leads out of its stage");
            Err(Failure::new(ErrorCode::AccessDenied, message))
        }
        _ => Ok(()),
    }
}

//! What processes that were killed have left, beside the files of tables: halves of files and unfinished unloads in stages, files of
//! stages whose schema is no more, and uploads to buckets that nobody completes. `VACUUM` removes them when they are old.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use datafusion::execution::runtime_env::RuntimeEnv;
use frazil_catalog::{Database, Stage};
use frazil_common::Failure;
use futures::StreamExt;

use super::table::{store_path, store_url};
use super::to_failure;
use super::vacuum::{is_ours, local};
use crate::stages::UNFINISHED;
use crate::storage::ObjectStores;

/// Where `stage_directory` puts internal stages.
const INTERNAL: &str = "/.stages/";

pub(super) struct Leftovers<'a> {
    pub(super) env: &'a RuntimeEnv,
    pub(super) stores: &'a ObjectStores,
    /// What is younger may still be written.
    pub(super) before: SystemTime,
    pub(super) dry_run: bool,
    pub(super) max: usize,
}

/// A database's name and the path of a file.
pub(super) type Found = (String, String);

impl Leftovers<'_> {
    /// In stages: halves of files, and files of unloads that have not got their names.
    pub(super) async fn in_stages(&self, databases: &[Database]) -> Result<Vec<Found>, Failure> {
        let mut found = Vec::new();
        for database in databases {
            for stage in database.stages().await.map_err(|error| to_failure(&error))? {
                let is_internal = stage.url.is_none();
                let place = stage.url.clone().unwrap_or_else(|| database.stage_directory(&stage));
                // Somebody else's place may be out of reach, which must not keep the rest from being done.
                match self.unfinished(&place, is_internal).await {
                    Ok(paths) => found.extend(paths.into_iter().map(|path| (database.name().to_owned(), path))),
                    Err(error) => tracing::warn!(stage = stage.name, %error, "a stage could not be looked through"),
                }
                if found.len() >= self.max {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }

    async fn unfinished(&self, place: &str, is_internal: bool) -> Result<Vec<String>, Failure> {
        let (before, max) = (self.before, self.max);
        if let Some(directory) = local(place) {
            // Elsewhere a file that is called like a half may be anybody's, and there may be any number of files.
            let walk = move || match is_internal {
                true => walk(&directory, max, |name, below| is_half(name) || is_unfinished(below), before),
                false => unfinished_directories(&directory)
                    .iter()
                    .flat_map(|directory| walk(directory, max, |_, _| true, before))
                    .take(max)
                    .collect(),
            };
            let walked = tokio::task::spawn_blocking(walk).await;
            return walked.map_err(|error| Failure::internal(format!("looking through a stage: {error}")));
        }
        let fail = |error: object_store::Error| crate::errors::to_failure(&error.into());
        let url = store_url(place).map_err(|error| crate::errors::to_failure(&error))?;
        let store = self.env.object_store(&url).map_err(|error| crate::errors::to_failure(&error))?;
        let prefix = store_path(place).map_err(|error| crate::errors::to_failure(&error))?;
        let base = url.as_str().trim_end_matches('/').to_owned();
        let mut found = Vec::new();
        // A stage may have many files: only its own directories are listed, and of them those that are ours.
        let top = store.list_with_delimiter(Some(&prefix)).await.map_err(fail)?;
        for directory in top.common_prefixes.iter().filter(|one| one.filename().is_some_and(is_unfinished)) {
            let mut listing = store.list(Some(directory));
            while let Some(object) = listing.next().await {
                let object = object.map_err(fail)?;
                if SystemTime::from(object.last_modified) < before && found.len() < max {
                    found.push(format!("{base}/{}", object.location));
                }
            }
        }
        Ok(found)
    }

    /// Internal stages of schemas that no snapshot has any more, with their files.
    pub(super) async fn of_forgotten_schemas(&self, database: &Database) -> Result<Vec<(Stage, Vec<String>)>, Failure> {
        let mut found = Vec::new();
        for stage in database.stages_without_schema().await.map_err(|error| to_failure(&error))? {
            let files = match &stage.url {
                Some(_) => Vec::new(),
                None => self.all_files(&database.stage_directory(&stage)).await?,
            };
            found.push((stage, files));
        }
        Ok(found)
    }

    pub(super) async fn all_files(&self, place: &str) -> Result<Vec<String>, Failure> {
        if let Some(directory) = local(place) {
            let all = SystemTime::now() + std::time::Duration::from_secs(24 * 3600);
            let walk = move || walk(&directory, usize::MAX, |_, _| true, all);
            let walked = tokio::task::spawn_blocking(walk).await;
            return walked.map_err(|error| Failure::internal(format!("looking through a stage: {error}")));
        }
        let fail = |error: object_store::Error| crate::errors::to_failure(&error.into());
        let url = store_url(place).map_err(|error| crate::errors::to_failure(&error))?;
        let store = self.env.object_store(&url).map_err(|error| crate::errors::to_failure(&error))?;
        let prefix = store_path(place).map_err(|error| crate::errors::to_failure(&error))?;
        let base = url.as_str().trim_end_matches('/').to_owned();
        let mut listing = store.list(Some(&prefix));
        let mut found = Vec::new();
        while let Some(object) = listing.next().await {
            found.push(format!("{base}/{}", object.map_err(fail)?.location));
        }
        Ok(found)
    }

    /// Gives up old uploads below places where only we write. Returns how many there were.
    pub(super) async fn uploads(&self, roots: &[&str], databases: &[Database]) -> Result<usize, Failure> {
        let mut places: Vec<(String, bool)> = roots.iter().map(|root| ((*root).to_owned(), true)).collect();
        for database in databases {
            let stages = database.stages().await.map_err(|error| to_failure(&error))?;
            // In other stages only what unloads have written is known to be ours.
            places.extend(stages.into_iter().filter_map(|stage| Some((stage.url?, false))));
        }
        let mut count = 0;
        for (place, is_warehouse) in places.iter().filter(|(place, _)| local(place).is_none()) {
            match self.uploads_below(place, *is_warehouse).await {
                Ok(given_up) => count += given_up,
                Err(error) => tracing::warn!(place, %error, "uploads that were not completed could not be listed"),
            }
        }
        Ok(count)
    }

    async fn uploads_below(&self, place: &str, is_warehouse: bool) -> object_store::Result<usize> {
        let Some(uploads) = self.stores.uploads(place)? else { return Ok(0) };
        let prefix = store_path(place)
            .map_err(|error| object_store::Error::Generic { store: "object store", source: Box::new(error) })?;
        let prefix = match prefix.as_ref() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let mut count = 0;
        for upload in uploads.list(&prefix).await? {
            let (directory, name) = upload.key.rsplit_once('/').unwrap_or(("", &upload.key));
            let in_stage = format!("/{directory}/").contains(INTERNAL);
            let ours = match is_warehouse {
                true => is_ours(name) || in_stage,
                false => is_unfinished(directory),
            };
            if !ours || upload.begun >= self.before || count >= self.max {
                continue;
            }
            if !self.dry_run {
                uploads.abort(&upload).await?;
            }
            count += 1;
        }
        Ok(count)
    }
}

/// What `LocalFileSystem` calls a file until it is whole: with a number behind it. No file of a store can be called so.
fn is_half(name: &str) -> bool {
    let number = name.rsplit_once('#').map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a directory is one of an unload.
fn is_unfinished(directory: &str) -> bool {
    directory.split('/').any(|part| part.starts_with(UNFINISHED))
}

fn unfinished_directories(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| {
        entry.file_type().is_ok_and(|kind| kind.is_dir()) && is_unfinished(&entry.file_name().to_string_lossy())
    });
    ours.map(|entry| entry.path()).collect()
}

/// Files below a directory that were changed before a time, and whose name and directory below it are wanted. Links are not followed.
fn walk(directory: &Path, max: usize, wanted: impl Fn(&str, &str) -> bool, before: SystemTime) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![(String::new(), directory.to_owned())];
    while let Some((below, directory)) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            let name = entry.file_name().to_string_lossy().into_owned();
            if kind.is_dir() {
                open.push((format!("{below}/{name}"), entry.path()));
                continue;
            }
            let modified = entry.metadata().ok().and_then(|meta| meta.modified().ok());
            if kind.is_file() && modified.is_some_and(|modified| modified < before) && wanted(&name, &below) {
                found.push(entry.path().display().to_string());
                if found.len() >= max {
                    return found;
                }
            }
        }
    }
    found
}

/// Removes the directories of unloads that have no files any more, and ignores those that have. `files` were removed.
pub(super) async fn remove_empty_directories(files: &[String]) {
    for directory in files.iter().filter_map(|file| local(file)?.parent().map(Path::to_owned)) {
        if directory.file_name().is_some_and(|name| name.to_string_lossy().starts_with(UNFINISHED)) {
            let _ = tokio::fs::remove_dir(&directory).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_known_by_their_names() {
        assert!(is_half("a.csv#1") && is_half("a#b#27"));
        assert!(!is_half("a.csv") && !is_half("a#") && !is_half("a#1b"));
        assert!(is_unfinished("/x/.frazil-unload-1") && !is_unfinished("/x/frazil"));
    }
}

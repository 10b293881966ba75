//! Who may use a data directory. Coordinators and executors empty their part of it when they start, so two of them in one
//! directory would take each other's spilled rows and kept results away.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::CommandError;

/// Held by a coordinator for as long as it runs; the system lets go of it when the process ends, however that happens.
#[derive(Debug)]
pub struct Claim {
    _lock: File,
}

/// Creates the directory, if need be, and claims it.
pub fn claim(data: &Path) -> Result<Claim, CommandError> {
    let claiming = || CommandError::doing(format!("claiming the data directory {data:?}"));
    fs::create_dir_all(data).map_err(claiming())?;
    match lock(&data.join("coordinator.lock")).map_err(claiming())? {
        Some(lock) => Ok(Claim { _lock: lock }),
        None => Err(CommandError::Failed(format!(
            "the data directory {data:?} is in use by another coordinator: stop it, or give --data another directory"
        ))),
    }
}

/// A directory of its own for a cluster that lives no longer than this process: `<data>/run/…`. So there may be any number of them, next to a coordinator that has claimed `data`.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    _lock: File,
}

impl RunDirectory {
    pub fn create(data: &Path) -> Result<Self, CommandError> {
        let create = || -> io::Result<Self> {
            let runs = data.join("run");
            fs::create_dir_all(&runs)?;
            remove_abandoned(&runs);
            let path = runs.join(format!("{}-{:08x}", std::process::id(), rand::random::<u32>()));
            fs::create_dir(&path)?;
            let taken = || io::Error::other("the lock of a new directory is taken");
            let lock = lock(&path.join("run.lock"))?.ok_or_else(taken)?;
            Ok(Self { path, _lock: lock })
        };
        create().map_err(CommandError::doing(format_args!("creating a directory in {data:?}")))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next one.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Gives a cluster that will not last the tables that there are, as they are now: their metadata are copied, their files
/// stay where they are. Nobody may have the catalog meanwhile.
pub fn copy_catalog(from: &Path, to: &Path) -> Result<(), CommandError> {
    let copy = || -> io::Result<()> {
        fs::create_dir_all(to)?;
        if !from.exists() {
            return Ok(());
        }
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let name = entry.file_name();
            if entry.file_type()?.is_file() && name != "frazil.lock" {
                fs::copy(entry.path(), to.join(name))?;
            }
        }
        Ok(())
    };
    copy().map_err(CommandError::doing(format_args!("copying the catalog {from:?}")))
}

/// Of processes that had no time to do it. One that is just being made has no lock file yet, and is left alone.
fn remove_abandoned(runs: &Path) {
    let Ok(entries) = fs::read_dir(runs) else { return };
    for directory in entries.flatten().map(|entry| entry.path()) {
        let path = directory.join("run.lock");
        if path.exists()
            && let Ok(Some(_lock)) = lock(&path)
        {
            let _ = fs::remove_dir_all(&directory);
        }
    }
}

/// `None` when someone else holds it.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_coordinator() {
        let data = tempfile::tempdir().unwrap();
        let first = claim(data.path()).unwrap();
        let second = claim(data.path()).unwrap_err().to_string();
        assert!(second.contains("is in use by another coordinator"), "{second}");
        drop(first);
        claim(data.path()).unwrap();
    }

    #[test]
    fn runs_have_directories_of_their_own() {
        let data = tempfile::tempdir().unwrap();
        let _claim = claim(data.path()).unwrap();
        let abandoned = data.path().join("run/1-0");
        fs::create_dir_all(&abandoned).unwrap();
        fs::write(abandoned.join("run.lock"), "").unwrap();
        let first = RunDirectory::create(data.path()).unwrap();
        assert!(!abandoned.exists());
        let second = RunDirectory::create(data.path()).unwrap();
        assert_ne!(first.path(), second.path());
        let path = first.path().to_owned();
        drop(first);
        assert!(!path.exists() && second.path().exists());
    }
}

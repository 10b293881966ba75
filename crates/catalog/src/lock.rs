//! One coordinator for each catalog of SQLite files, by an advisory lock that dies with its holder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{CatalogError, Result};

/// Who holds a catalog.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Holder {
    pub pid: u32,
    pub host: String,
    /// Where it serves, if it does.
    pub address: String,
}

impl Holder {
    /// This process.
    pub fn current(address: &str) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned());
        let host = host.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_else(|| "unknown host".to_owned());
        Self { pid: std::process::id(), host, address: address.to_owned() }
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)?;
        match self.address.is_empty() {
            true => Ok(()),
            false => write!(f, ", serving {}", self.address),
        }
    }
}

/// Held as long as the file is open. What the file says is for people; the lock is the kernel's.
#[derive(Debug)]
pub(crate) struct CatalogLock {
    _file: File,
}

impl CatalogLock {
    pub(crate) fn take(path: &Path, holder: &Holder) -> Result<Self> {
        let doing = "taking the catalog's lock";
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = opened.map_err(|e| CatalogError::io(doing, e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // It may be just about to write it.
                _ = file.read_to_string(&mut text);
                let holder = serde_json::from_str::<Holder>(&text).map_or("unknown".to_owned(), |h| h.to_string());
                return Err(CatalogError::Locked { path: path.display().to_string(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(CatalogError::io(doing, error)),
        }
        let text = serde_json::to_string(holder).map_err(|e| CatalogError::io(doing, e.into()))?;
        let written = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(text.as_bytes()))
            .and_then(|()| file.sync_data());
        written.map_err(|e| CatalogError::io(doing, e))?;
        Ok(Self { _file: file })
    }
}

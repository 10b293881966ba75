//! A table's files in memory, a hundred bytes each: most of what a file has are some numbers and a path.

use std::collections::HashMap;

use crate::error::{CatalogError, Result};
use crate::file_rows::FileRow;
use crate::files::{DataFile, DeleteFile};
use crate::ids::{DataFileId, DeleteFileId, SnapshotId};
use crate::model::{Place, Table};

pub(crate) const ALIVE: i64 = i64::MAX;

#[derive(Clone, Default)]
pub(crate) struct FileList {
    /// By ascending id.
    entries: Vec<Entry>,
    /// All paths, one after another.
    paths: String,
    /// Files of which there is more to know, which is not read yet.
    pub(crate) special: Vec<i64>,
    /// What few files have.
    extras: HashMap<i64, Extra>,
    /// By data file.
    deletes: HashMap<i64, Vec<DeleteEntry>>,
}

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) id: i64,
    pub(crate) begin: i64,
    pub(crate) end: i64,
    pub(crate) record_count: i64,
    pub(crate) size_bytes: i64,
    /// -1 for unknown, as in the next.
    footer_size_bytes: i64,
    row_id_start: i64,
    path_start: u32,
    path_length: u16,
    path_is_relative: bool,
}

#[derive(Clone, Default)]
pub(crate) struct Extra {
    pub(crate) mapping_id: Option<i64>,
    pub(crate) partial_max: Option<i64>,
    pub(crate) not_readable: Option<&'static str>,
}

#[derive(Clone)]
pub(crate) struct DeleteEntry {
    pub(crate) id: i64,
    pub(crate) begin: i64,
    pub(crate) end: i64,
    pub(crate) path: Place,
    pub(crate) delete_count: i64,
    pub(crate) size_bytes: i64,
    pub(crate) footer_size_bytes: Option<i64>,
    pub(crate) partial_max: Option<i64>,
    pub(crate) is_parquet: bool,
}

impl FileList {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn ids(&self) -> impl ExactSizeIterator<Item = i64> {
        self.entries.iter().map(|file| file.id)
    }

    pub(crate) fn last_id(&self) -> Option<i64> {
        self.entries.last().map(|file| file.id)
    }

    pub(crate) fn place_of(&self, id: i64) -> Option<usize> {
        self.entries.binary_search_by_key(&id, |file| file.id).ok()
    }

    pub(crate) fn push(&mut self, row: FileRow<'_>) -> Result<()> {
        let FileRow(id, begin, end, record_count, size_bytes, footer_size_bytes, row_id_start, path, is_relative, more) =
            row;
        let (Ok(path_start), Ok(path_length)) = (u32::try_from(self.paths.len()), u16::try_from(path.len())) else {
            return Err(too_many());
        };
        self.paths.push_str(&path);
        self.entries.push(Entry {
            id,
            begin,
            end: end.unwrap_or(ALIVE),
            record_count,
            size_bytes,
            footer_size_bytes: footer_size_bytes.unwrap_or(-1),
            row_id_start: row_id_start.unwrap_or(-1),
            path_start,
            path_length,
            path_is_relative: is_relative.unwrap_or(0) != 0,
        });
        if more != 0 {
            self.special.push(id);
        }
        Ok(())
    }

    /// Files with greater ids, of which nothing else is known yet.
    pub(crate) fn append(&mut self, mut other: Self) -> Result<()> {
        let shift = u32::try_from(self.paths.len()).map_err(|_| too_many())?;
        u32::try_from(self.paths.len() + other.paths.len()).map_err(|_| too_many())?;
        other.entries.iter_mut().for_each(|file| file.path_start += shift);
        self.entries.append(&mut other.entries);
        self.paths.push_str(&other.paths);
        self.special.append(&mut other.special);
        Ok(())
    }

    /// No more files are coming for now.
    pub(crate) fn trim(&mut self) {
        self.entries.shrink_to_fit();
        self.paths.shrink_to_fit();
    }

    pub(crate) fn add_extra(&mut self, id: i64, extra: Extra) {
        self.extras.insert(id, extra);
    }

    pub(crate) fn add_delete(&mut self, data_file: i64, delete: DeleteEntry) {
        let known = self.deletes.entry(data_file).or_default();
        if delete.partial_max.is_some() {
            known.retain(|earlier| earlier.begin < delete.begin);
        }
        known.push(delete);
    }

    pub(crate) fn end_file(&mut self, id: i64, end: i64) {
        if let Some(at) = self.place_of(id) {
            self.entries[at].end = end;
        }
    }

    pub(crate) fn end_delete(&mut self, data_file: i64, id: i64, end: i64) {
        for delete in self.deletes.entry(data_file).or_default().iter_mut().filter(|delete| delete.id == id) {
            delete.end = end;
        }
    }

    /// The last snapshot that changed any of them.
    pub(crate) fn last_change(&self) -> i64 {
        let files = self.entries.iter().map(|file| (file.begin, file.end));
        let deletes = self.deletes.values().flatten().map(|delete| (delete.begin, delete.end));
        let partial = self.extras.values().filter_map(|extra| extra.partial_max);
        let partial = partial.chain(self.deletes.values().flatten().filter_map(|delete| delete.partial_max));
        let lives = files.chain(deletes).map(|(begin, end)| if end == ALIVE { begin } else { end.max(begin) });
        lives.chain(partial).max().unwrap_or(0)
    }

    /// Files of a snapshot, with their places.
    pub(crate) fn alive(&self, snapshot: SnapshotId) -> impl Iterator<Item = (usize, &Entry)> {
        let at = snapshot.0;
        self.entries.iter().enumerate().filter(move |(_, file)| file.begin <= at && at < file.end)
    }

    pub(crate) fn delete_at(&self, file: &Entry, snapshot: SnapshotId) -> Option<&DeleteEntry> {
        let at = snapshot.0;
        self.deletes.get(&file.id)?.iter().rev().find(|delete| delete.begin <= at && at < delete.end)
    }

    /// Whether a file's counts are those of what a reader will find.
    pub(crate) fn is_plain(&self, file: &Entry, snapshot: SnapshotId) -> bool {
        let later = |partial_max: Option<i64>| partial_max.is_some_and(|max| max > snapshot.0);
        self.extras
            .get(&file.id)
            .is_none_or(|extra| extra.mapping_id.is_none() && extra.not_readable.is_none() && !later(extra.partial_max))
            && self.delete_at(file, snapshot).is_none_or(|delete| delete.is_parquet && !later(delete.partial_max))
    }

    pub(crate) fn entry(&self, place: usize) -> &Entry {
        &self.entries[place]
    }

    /// Whether there is more to know of a file than its own numbers tell.
    pub(crate) fn is_special(&self, file: &Entry, snapshot: SnapshotId) -> bool {
        self.extras.contains_key(&file.id) || self.delete_at(file, snapshot).is_some()
    }

    /// Fails over a file that cannot be read.
    pub(crate) fn check_readable(&self, table: &Table, file: &Entry, snapshot: SnapshotId) -> Result<()> {
        if let Some(why) = self.extras.get(&file.id).and_then(|extra| extra.not_readable) {
            return Err(CatalogError::NotSupported(format!("table \"{}\" has files that are {why}", table.name)));
        }
        if self.delete_at(file, snapshot).is_some_and(|delete| !delete.is_parquet) {
            let message = format!("table \"{}\" has deletion vectors, which cannot be read", table.name);
            return Err(CatalogError::NotSupported(message));
        }
        Ok(())
    }

    /// As readers see it, without statistics. Whether it can be read is for [`Self::check_readable`] to tell.
    pub(crate) fn data_file(&self, table: &Table, file: &Entry, snapshot: SnapshotId) -> DataFile {
        let later = |partial_max: Option<i64>| partial_max.filter(|max| *max > snapshot.0).map(|_| snapshot);
        let extra = self.extras.get(&file.id);
        let delete_file = self.delete_at(file, snapshot).map(|delete| DeleteFile {
            id: DeleteFileId(delete.id),
            path: delete.path.under(&table.location),
            delete_count: delete.delete_count,
            size_bytes: delete.size_bytes,
            footer_size_bytes: delete.footer_size_bytes,
            snapshot_filter: later(delete.partial_max),
        });
        let start = file.path_start as usize;
        let path = &self.paths[start..start + usize::from(file.path_length)];
        DataFile {
            id: DataFileId(file.id),
            path: match file.path_is_relative {
                true => [&table.location, path].concat(),
                false => path.to_owned(),
            },
            record_count: file.record_count,
            size_bytes: file.size_bytes,
            footer_size_bytes: known(file.footer_size_bytes),
            row_id_start: known(file.row_id_start),
            begin_snapshot: SnapshotId(file.begin),
            snapshot_filter: later(extra.and_then(|extra| extra.partial_max)),
            mapping_id: extra.and_then(|extra| extra.mapping_id),
            delete_file,
            statistics: Vec::new(),
        }
    }
}

fn known(value: i64) -> Option<i64> {
    (value >= 0).then_some(value)
}

pub(crate) fn too_many() -> CatalogError {
    CatalogError::NotSupported("a table has too many files or too long paths".to_owned())
}

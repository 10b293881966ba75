//! Scans of very many files: the plan has one split in place of all those of a partition, which points into the table's list.
//!
//! DataFusion copies the splits of a scan when it plans, more than once, at some 500 bytes each. Here they are made where they
//! are read: an executor's task has the names, and makes splits of them.

use std::borrow::Cow;
use std::ops::Range;

use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileGroup;
use datafusion::error::Result;
use frazil_catalog::{DataFile, SelectedFiles};
use object_store::ObjectMeta;
use object_store::path::Path;

use super::DeletedRows;
use super::places::file_value;
use super::table::{deleted_rows, store_path};

/// The files of one partition.
#[derive(Clone, Debug)]
pub struct ManyFiles {
    files: SelectedFiles,
    range: Range<usize>,
    /// Their rows are told apart by file.
    with_places: bool,
}

/// A file as an executor is told of it.
pub struct ListedFile {
    /// In the table's store.
    pub path: String,
    pub size_bytes: u64,
    pub deleted: Option<DeletedRows>,
    /// The catalog's number of it, where rows are told apart by file.
    pub number: Option<i64>,
}

impl ManyFiles {
    /// Files in their order, at most as many groups as there are partitions, each of about as many bytes.
    pub fn deal(files: &SelectedFiles, partitions: usize, with_places: bool) -> Vec<Self> {
        let weight = |at: usize| u128::try_from(files.size_bytes(at)).unwrap_or_default().max(1);
        let total: u128 = (0..files.len()).map(weight).sum();
        let partitions = partitions.max(1) as u128;
        let (mut groups, mut start, mut dealt) = (Vec::new(), 0, 0);
        for at in 0..files.len() {
            dealt += weight(at);
            if dealt * partitions >= total * (groups.len() as u128 + 1) {
                groups.push(Self { files: files.clone(), range: start..at + 1, with_places });
                start = at + 1;
            }
        }
        groups
    }

    /// As a group of a scan. Its one split has no bytes, so that nothing cuts it, and a name that says what it stands for.
    pub fn in_group(self, table: &str) -> FileGroup {
        let mut split = PartitionedFile::new(format!("{} files of {table}", self.count()), 0);
        split.extensions.insert(self);
        FileGroup::new(vec![split])
    }

    /// What a group stands for.
    pub fn of_group(group: &FileGroup) -> Option<&Self> {
        match group.files() {
            [only] => only.extensions.get::<Self>(),
            _ => None,
        }
    }

    pub fn are_in(group: &FileGroup) -> bool {
        Self::of_group(group).is_some()
    }

    pub fn count(&self) -> usize {
        self.range.len()
    }

    /// `at`: within their number.
    pub fn listed(&self, at: Range<usize>) -> impl ExactSizeIterator<Item = Result<ListedFile>> {
        let files = self.files.range(self.range.start + at.start..self.range.start + at.end);
        files.map(|file: Cow<'_, DataFile>| {
            Ok(ListedFile {
                path: store_path(&file.path)?.to_string(),
                size_bytes: u64::try_from(file.size_bytes).unwrap_or_default(),
                deleted: deleted_rows(&file)?,
                number: self.with_places.then_some(file.id.0),
            })
        })
    }
}

impl ListedFile {
    pub fn split(self) -> Result<PartitionedFile> {
        // Files are never changed once they are there: a time that is always the same keeps caches warm.
        let mut split = PartitionedFile::from(ObjectMeta {
            location: Path::parse(&self.path)?,
            last_modified: Default::default(),
            size: self.size_bytes,
            e_tag: None,
            version: None,
        });
        if let Some(deleted) = self.deleted {
            split.extensions.insert(deleted);
        }
        Ok(match self.number {
            Some(number) => split.with_partition_values(vec![file_value(number)]),
            None => split,
        })
    }
}

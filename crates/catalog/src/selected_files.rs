//! The files that a statement reads: a table's list, shared, and which of it are meant. Of a million files they take 4 MB; a file
//! is made whole when it is looked at.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::file_list::FileList;
use crate::files::DataFile;
use crate::ids::SnapshotId;
use crate::model::Table;

#[derive(Clone, Debug)]
pub struct SelectedFiles {
    files: Files,
    sum: SelectedSum,
}

#[derive(Clone)]
enum Files {
    Own(Arc<[DataFile]>),
    /// Places in a list in which all of them can be read.
    Shared {
        list: Arc<FileList>,
        table: Arc<Table>,
        snapshot: SnapshotId,
        places: Arc<[u32]>,
    },
}

/// Of all selected files together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SelectedSum {
    /// Less those of delete files.
    pub rows: u64,
    pub bytes: u64,
    /// Files whose columns are found by name.
    pub mapped: u64,
    /// Files that have rows of later snapshots.
    pub of_several_snapshots: u64,
    /// Files whose counts may not be those of what a reader will find.
    pub not_plain: u64,
}

impl SelectedSum {
    fn add(&mut self, file: &DataFile) {
        let deleted = file.delete_file.as_ref().map_or(0, |deleted| deleted.delete_count);
        self.add_counts(file.record_count - deleted, file.size_bytes);
        self.mapped += u64::from(file.mapping_id.is_some());
        self.of_several_snapshots += u64::from(file.snapshot_filter.is_some());
        self.not_plain += u64::from(!file.is_plain());
    }

    fn add_counts(&mut self, rows: i64, bytes: i64) {
        self.rows += u64::try_from(rows).unwrap_or_default();
        self.bytes += u64::try_from(bytes).unwrap_or_default();
    }
}

impl From<Vec<DataFile>> for SelectedFiles {
    fn from(files: Vec<DataFile>) -> Self {
        let mut sum = SelectedSum::default();
        files.iter().for_each(|file| sum.add(file));
        Self { files: Files::Own(files.into()), sum }
    }
}

impl SelectedFiles {
    /// `places`: in the list, of files of the snapshot. All of them can be read.
    pub(crate) fn shared(list: Arc<FileList>, table: Arc<Table>, snapshot: SnapshotId, places: Vec<u32>) -> Self {
        let mut sum = SelectedSum::default();
        for place in &places {
            let file = list.entry(*place as usize);
            match list.is_special(file, snapshot) {
                true => sum.add(&list.data_file(&table, file, snapshot)),
                false => sum.add_counts(file.record_count, file.size_bytes),
            }
        }
        Self { files: Files::Shared { list, table, snapshot, places: places.into() }, sum }
    }

    pub fn len(&self) -> usize {
        match &self.files {
            Files::Own(files) => files.len(),
            Files::Shared { places, .. } => places.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn sum(&self) -> &SelectedSum {
        &self.sum
    }

    /// `at`: below their number.
    pub fn size_bytes(&self, at: usize) -> i64 {
        match &self.files {
            Files::Own(files) => files[at].size_bytes,
            Files::Shared { list, places, .. } => list.entry(places[at] as usize).size_bytes,
        }
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = Cow<'_, DataFile>> {
        self.range(0..self.len())
    }

    /// Some of them; within their number.
    pub fn range(&self, range: Range<usize>) -> impl ExactSizeIterator<Item = Cow<'_, DataFile>> {
        range.map(|at| match &self.files {
            Files::Own(files) => Cow::Borrowed(&files[at]),
            Files::Shared { list, table, snapshot, places } => {
                Cow::Owned(list.data_file(table, list.entry(places[at] as usize), *snapshot))
            }
        })
    }

    pub fn to_vec(&self) -> Vec<DataFile> {
        match &self.files {
            Files::Own(files) => files.to_vec(),
            Files::Shared { .. } => self.iter().map(Cow::into_owned).collect(),
        }
    }
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Own(files) => f.debug_list().entries(files.iter()).finish(),
            Self::Shared { table, places, .. } => write!(f, "{} files of table {}", places.len(), table.name),
        }
    }
}

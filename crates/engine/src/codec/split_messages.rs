//! Splits as bytes: what one partition of a scan reads, for the task that runs it.

use std::ops::Range;

use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileGroup;
use datafusion::error::Result;
use datafusion_proto::protobuf;
use frazil_common::Failure;
use prost::Message;

use super::malformed;
use super::splits::Splits;
use crate::errors::to_failure;
use crate::lake::{DeletedRows, ListedFile, ManyFiles};

/// Splits of one partition with so many bytes are packed.
const PACKED_BYTES_MIN: usize = 64 << 10;
/// Of packed splits, before.
const UNPACKED_BYTES_MAX: usize = 2 << 30;
/// Files of one message among those of a partition that has very many.
const LISTED_FILES: usize = 8192;

/// A file group, and the delete files of its files: DataFusion's message drops what it does not know of a file.
#[derive(Clone, PartialEq, Message)]
struct SplitsMessage {
    #[prost(message, optional, tag = "1")]
    group: Option<protobuf::FileGroup>,
    #[prost(message, repeated, tag = "2")]
    deletes: Vec<DeletesMessage>,
    /// In place of files.
    #[prost(message, optional, tag = "3")]
    parts: Option<PartsMessage>,
    /// In place of all else: the message of very many files, compressed. Their names are alike.
    #[prost(bytes = "vec", tag = "4")]
    packed: Vec<u8>,
    /// Its size before.
    #[prost(uint64, tag = "5")]
    plain_bytes: u64,
    /// In place of a group: files of which no more than this is known.
    #[prost(message, optional, tag = "6")]
    listed: Option<ListedMessage>,
    /// In place of all else: messages of `listed`, one after another, each packed by itself.
    #[prost(bytes = "vec", repeated, tag = "7")]
    lists: Vec<Vec<u8>>,
}

/// Files of one table, in their order.
#[derive(Clone, PartialEq, Message)]
struct ListedMessage {
    /// With which all paths begin.
    #[prost(string, tag = "1")]
    directory: String,
    #[prost(string, repeated, tag = "2")]
    names: Vec<String>,
    #[prost(uint64, repeated, tag = "3")]
    sizes: Vec<u64>,
    /// The catalog's numbers; none, or of all.
    #[prost(int64, repeated, tag = "4")]
    numbers: Vec<i64>,
    #[prost(message, repeated, tag = "5")]
    deletes: Vec<DeletesMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct PartsMessage {
    #[prost(uint64, tag = "1")]
    first: u64,
    /// The one after the last.
    #[prost(uint64, tag = "2")]
    end: u64,
}

#[derive(Clone, PartialEq, Message)]
struct DeletesMessage {
    /// Its place in the group.
    #[prost(uint32, tag = "1")]
    file: u32,
    #[prost(message, optional, tag = "2")]
    rows: Option<DeletedRows>,
}

pub(super) fn encode_files(group: &FileGroup) -> Result<Vec<u8>, Failure> {
    let deletes = group.iter().enumerate().filter_map(|(index, file)| {
        let rows = file.extensions.get::<DeletedRows>().cloned()?;
        Some(DeletesMessage { file: index as u32, rows: Some(rows) })
    });
    let deletes = deletes.collect();
    let group: Result<protobuf::FileGroup> = group.try_into();
    let group = group.map_err(|error| to_failure(&error))?;
    let message = SplitsMessage { group: Some(group), deletes, ..SplitsMessage::default() }.encode_to_vec();
    pack(message).map_err(|error| Failure::internal(format!("packing splits: {error}")))
}

/// In lists of some thousand files each, so that no more of them are there in full at a time.
pub(super) fn encode_many(files: &ManyFiles) -> Result<Vec<u8>, Failure> {
    let lists = (0..files.count()).step_by(LISTED_FILES).map(|start| {
        let end = files.count().min(start + LISTED_FILES);
        let listed = list(files.listed(start..end)).map_err(|error| to_failure(&error))?;
        let message = SplitsMessage { listed: Some(listed), ..SplitsMessage::default() }.encode_to_vec();
        pack(message).map_err(|error| Failure::internal(format!("packing splits: {error}")))
    });
    let lists = lists.collect::<Result<_, _>>()?;
    Ok(SplitsMessage { lists, ..SplitsMessage::default() }.encode_to_vec())
}

fn list(files: impl Iterator<Item = Result<ListedFile>>) -> Result<ListedMessage> {
    let mut message = ListedMessage::default();
    for (place, file) in files.enumerate() {
        let file = file?;
        message.names.push(file.path);
        message.sizes.push(file.size_bytes);
        message.numbers.extend(file.number);
        message.deletes.extend(file.deleted.map(|rows| DeletesMessage { file: place as u32, rows: Some(rows) }));
    }
    let mut directory = message.names.first().map_or("", |name| directory_of(name)).to_owned();
    for name in &message.names {
        while !name.starts_with(&directory) {
            directory.truncate(directory_of(&directory[..directory.len() - 1]).len());
        }
    }
    message.names.iter_mut().for_each(|name| drop(name.drain(..directory.len())));
    message.directory = directory;
    Ok(message)
}

/// With its `/`; empty for a name without any.
fn directory_of(path: &str) -> &str {
    path.rfind('/').map_or("", |at| &path[..=at])
}

fn splits_of_list(message: ListedMessage, splits: &mut Vec<PartitionedFile>) -> Result<()> {
    let ListedMessage { directory, names, sizes, numbers, deletes } = message;
    let is_whole = names.len() == sizes.len() && (numbers.is_empty() || numbers.len() == names.len());
    if !is_whole {
        return Err(malformed("a list of files with parts of different lengths"));
    }
    let first = splits.len();
    for (at, (name, size_bytes)) in names.into_iter().zip(sizes).enumerate() {
        let (path, number) = ([directory.as_str(), &name].concat(), numbers.get(at).copied());
        splits.push(ListedFile { path, size_bytes, deleted: None, number }.split()?);
    }
    add_deletes(deletes, &mut splits[first..])
}

fn add_deletes(deletes: Vec<DeletesMessage>, splits: &mut [PartitionedFile]) -> Result<()> {
    for deletes in deletes {
        let split = splits.get_mut(deletes.file as usize);
        let (Some(split), Some(rows)) = (split, deletes.rows) else {
            return Err(malformed("deleted rows of no file"));
        };
        split.extensions.insert(rows);
    }
    Ok(())
}

pub(super) fn encode_parts(parts: &Range<usize>) -> Vec<u8> {
    let parts = Some(PartsMessage { first: parts.start as u64, end: parts.end as u64 });
    SplitsMessage { parts, ..SplitsMessage::default() }.encode_to_vec()
}

/// A message to one executor has at most 64 MB: some 400,000 files as they are, millions packed.
fn pack(message: Vec<u8>) -> std::io::Result<Vec<u8>> {
    if message.len() < PACKED_BYTES_MIN {
        return Ok(message);
    }
    let packed = zstd::bulk::compress(&message, 1)?;
    let plain_bytes = message.len() as u64;
    Ok(SplitsMessage { packed, plain_bytes, ..SplitsMessage::default() }.encode_to_vec())
}

fn unpack(message: SplitsMessage) -> Result<SplitsMessage> {
    if message.packed.is_empty() {
        return Ok(message);
    }
    let bytes = usize::try_from(message.plain_bytes).ok().filter(|bytes| *bytes <= UNPACKED_BYTES_MAX);
    let bytes = bytes.ok_or_else(|| malformed("packed splits are too large"))?;
    let plain = zstd::bulk::decompress(&message.packed, bytes).map_err(malformed)?;
    SplitsMessage::decode(plain.as_slice()).map_err(malformed)
}

pub fn decode_splits(bytes: &[u8]) -> Result<Splits, Failure> {
    let decode = || {
        let message = unpack(SplitsMessage::decode(bytes).map_err(malformed)?)?;
        if let Some(PartsMessage { first, end }) = message.parts {
            let number = |part: u64| usize::try_from(part).map_err(malformed);
            return Ok(Splits::Parts(number(first)?..number(end)?));
        }
        if !message.lists.is_empty() {
            let mut files = Vec::new();
            for list in &message.lists {
                let list = unpack(SplitsMessage::decode(list.as_slice()).map_err(malformed)?)?;
                let listed = list.listed.ok_or_else(|| malformed("a list without files"))?;
                splits_of_list(listed, &mut files)?;
            }
            return Ok(Splits::Files(FileGroup::new(files)));
        }
        let group = message.group.ok_or_else(|| malformed("splits without files"))?;
        let mut files = FileGroup::try_from(&group)?.into_inner();
        add_deletes(message.deletes, &mut files)?;
        Ok(Splits::Files(FileGroup::new(files)))
    };
    decode().map_err(|error| to_failure(&error))
}

#[cfg(test)]
mod tests {
    use datafusion::common::ScalarValue;
    use frazil_catalog::{DataFile, DataFileId, DeleteFile, DeleteFileId, SnapshotId};

    use super::*;

    #[test]
    fn splits_of_very_many_files_are_packed() {
        const FILES: usize = 20_000;
        let path = |_| format!("data/warehouse/frazil/public/events/frazil-{}.parquet", uuid::Uuid::now_v7());
        let mut files: Vec<_> = (0..FILES)
            .map(path)
            .enumerate()
            .map(|(at, path)| PartitionedFile::new(path, 1_000_000 + at as u64))
            .collect();
        let deleted = DeletedRows { path: "deletes.parquet".to_owned(), snapshot: Some(7), rows: 1000 };
        files[FILES / 2].extensions.insert(deleted.clone());
        let bytes = encode_files(&FileGroup::new(files.clone())).unwrap();
        assert!(bytes.len() < 40 * FILES, "a million files would be {} MB", (bytes.len() * (1_000_000 / FILES)) >> 20);
        let Splits::Files(read) = decode_splits(&bytes).unwrap() else { panic!("files") };
        assert_eq!(read.len(), FILES);
        assert!(read.iter().zip(&files).all(|(read, file)| read.object_meta == file.object_meta));
        assert_eq!(read.files()[FILES / 2].extensions.get::<DeletedRows>(), Some(&deleted));

        let few = encode_files(&FileGroup::new(files[..3].to_vec())).unwrap();
        let Splits::Files(read) = decode_splits(&few).unwrap() else { panic!("files") };
        assert_eq!(read.len(), 3);
        let huge = SplitsMessage { packed: vec![1], plain_bytes: u64::MAX, ..SplitsMessage::default() };
        assert!(decode_splits(&huge.encode_to_vec()).is_err());
        let broken = SplitsMessage { packed: vec![1; 9], plain_bytes: 100, ..SplitsMessage::default() };
        assert!(decode_splits(&broken.encode_to_vec()).is_err());
    }

    #[test]
    fn what_one_split_stands_for_is_listed() {
        let file = |number: i64| DataFile {
            id: DataFileId(number),
            path: match number % 1000 {
                7 => format!("/elsewhere/it's \u{fc} {number}.parquet"),
                _ => format!("/data/warehouse/public/t/frazil-{}.parquet", uuid::Uuid::now_v7()),
            },
            record_count: 10,
            size_bytes: if number == 3 { 20_000 } else { number % 3 },
            footer_size_bytes: Some(100),
            row_id_start: None,
            begin_snapshot: SnapshotId(1),
            snapshot_filter: None,
            mapping_id: None,
            delete_file: (number % 500 == 1).then(|| DeleteFile {
                id: DeleteFileId(number),
                path: format!("/data/deletes-{number}.parquet"),
                delete_count: 1,
                size_bytes: 10,
                footer_size_bytes: None,
                snapshot_filter: (number == 1).then_some(SnapshotId(5)),
            }),
            statistics: vec![],
        };
        let files: Vec<DataFile> = (0..20_000).map(file).collect();
        for (partitions, with_places) in [(1, true), (2, false), (7, true)] {
            let dealt = ManyFiles::deal(&files.clone().into(), partitions, with_places);
            assert!((1..=partitions).contains(&dealt.len()));
            let mut read = Vec::new();
            for group in dealt {
                let Splits::Files(splits) = decode_splits(&encode_many(&group).unwrap()).unwrap() else {
                    panic!("files")
                };
                assert!(group.count() == splits.len() && !splits.is_empty());
                read.extend(splits.into_inner());
            }
            assert_eq!(read.len(), files.len());
            for (read, file) in read.iter().zip(&files) {
                assert_eq!(
                    read.object_meta.location,
                    object_store::path::Path::from_absolute_path(&file.path).unwrap()
                );
                assert_eq!(read.object_meta.size, file.size_bytes as u64);
                let number = with_places.then_some(ScalarValue::Int64(Some(file.id.0)));
                assert_eq!(read.partition_values, number.into_iter().collect::<Vec<_>>());
                let deleted = read.extensions.get::<DeletedRows>().map(|rows| (rows.path.clone(), rows.snapshot));
                let expected = file.delete_file.as_ref().map(|deleted| {
                    (
                        deleted.path.trim_start_matches('/').to_owned(),
                        deleted.snapshot_filter.map(|snapshot| snapshot.0),
                    )
                });
                assert_eq!(deleted, expected);
            }
        }
    }
}

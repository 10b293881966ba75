//! Rows that are kept for clients that fetch them in partitions: in memory while they are few, on disk beyond.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_ipc::reader::FileReader;
use arrow_ipc::writer::FileWriter;
use frazil_common::failure::is_disk_full;
use frazil_common::{ByteSize, ErrorCode, Failure, StatementId};
use frazil_exchange::memory::held_bytes;
use parking_lot::Mutex;

use crate::statement::ResultPartition;

/// A partition is closed when it has this much.
const PARTITION_BYTES: usize = 8 << 20;
const PARTITION_ROWS: u64 = 100_000;
/// The first partition is inline in the answer: small, so that the answer is quick.
const FIRST_PARTITION_ROWS: u64 = 10_000;

/// Rows that are kept without asking another thread.
const SMALL_BYTES: u64 = 256 << 10;

/// All kept results of a coordinator, and the bounds on them.
pub struct ResultStore {
    directory: PathBuf,
    memory_max: u64,
    disk_max: u64,
    memory: Arc<AtomicU64>,
    disk: Arc<AtomicU64>,
    results: Mutex<HashMap<StatementId, Arc<KeptResult>>>,
}

impl ResultStore {
    /// `directory` is this store's own, and goes with it.
    pub fn new(directory: PathBuf, memory_max: ByteSize, disk_max: ByteSize) -> Self {
        Self {
            directory,
            memory_max: memory_max.0,
            disk_max: disk_max.0,
            memory: Arc::default(),
            disk: Arc::default(),
            results: Mutex::default(),
        }
    }

    pub fn begin(self: &Arc<Self>, id: StatementId, schema: SchemaRef) -> ResultWriter {
        let kept = KeptResult { schema, partitions: vec![], memory: self.memory.clone(), disk: self.disk.clone() };
        ResultWriter { store: self.clone(), id, kept, open: vec![], open_rows: 0, open_bytes: 0 }
    }

    pub fn read(&self, id: StatementId, partition: usize) -> Result<Vec<RecordBatch>, Failure> {
        let kept = self.results.lock().get(&id).cloned();
        let Some(kept) = kept else {
            return Err(Failure::new(ErrorCode::UndefinedStatement, format!("statement {id} has no kept result")));
        };
        let Some(partition_kept) = kept.partitions.get(partition) else {
            let message = format!("statement {id} has no partition {partition}, it has {}", kept.partitions.len());
            return Err(Failure::new(ErrorCode::InvalidArgument, message));
        };
        match &partition_kept.place {
            Place::Memory(batches) => Ok(batches.clone()),
            Place::Disk(path) => read_file(path),
        }
    }

    pub fn remove(&self, id: StatementId) {
        let removed = self.results.lock().remove(&id);
        drop(removed);
    }
}

impl Drop for ResultStore {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

struct KeptResult {
    schema: SchemaRef,
    partitions: Vec<KeptPartition>,
    memory: Arc<AtomicU64>,
    disk: Arc<AtomicU64>,
}

struct KeptPartition {
    rows: u64,
    bytes: u64,
    stored_bytes: u64,
    place: Place,
}

enum Place {
    Memory(Vec<RecordBatch>),
    Disk(PathBuf),
}

impl Drop for KeptResult {
    fn drop(&mut self) {
        for partition in &self.partitions {
            match &partition.place {
                Place::Memory(_) => self.memory.fetch_sub(partition.stored_bytes, Ordering::Relaxed),
                Place::Disk(path) => {
                    let _ = std::fs::remove_file(path);
                    self.disk.fetch_sub(partition.stored_bytes, Ordering::Relaxed)
                }
            };
        }
    }
}

/// Takes a statement's rows as they come. Dropped before [`ResultWriter::finish`], it leaves nothing.
pub struct ResultWriter {
    store: Arc<ResultStore>,
    id: StatementId,
    kept: KeptResult,
    open: Vec<RecordBatch>,
    open_rows: u64,
    open_bytes: usize,
}

impl ResultWriter {
    /// Whether no file is written for the rows that wait, and as many bytes more: small results need no other thread. There is a
    /// margin for what others keep meanwhile; should it not do, a file is written where it should not be, and no harm done.
    pub fn stays_in_memory(&self, bytes: usize) -> bool {
        let more = (self.open_bytes + bytes) as u64;
        more <= SMALL_BYTES && self.store.memory.load(Ordering::Relaxed) + 8 * SMALL_BYTES <= self.store.memory_max
    }

    pub fn push(&mut self, batch: RecordBatch) -> Result<(), Failure> {
        let mut rest = batch;
        while rest.num_rows() > 0 {
            let most = if self.kept.partitions.is_empty() { FIRST_PARTITION_ROWS } else { PARTITION_ROWS };
            let take = rest.num_rows().min((most - self.open_rows) as usize);
            let part = rest.slice(0, take);
            rest = rest.slice(take, rest.num_rows() - take);
            self.open_rows += take as u64;
            self.open_bytes += held_bytes(&part);
            self.open.push(part);
            if self.open_rows >= most || self.open_bytes >= PARTITION_BYTES {
                self.close_partition()?;
            }
        }
        Ok(())
    }

    fn close_partition(&mut self) -> Result<(), Failure> {
        let batches = std::mem::take(&mut self.open);
        let (rows, bytes) = (std::mem::take(&mut self.open_rows), std::mem::take(&mut self.open_bytes) as u64);
        let fits = self.store.memory.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.store.memory_max;
        let (place, stored_bytes) = if fits {
            (Place::Memory(batches), bytes)
        } else {
            self.store.memory.fetch_sub(bytes, Ordering::Relaxed);
            let path = self.store.directory.join(format!("{}-{}.arrow", self.id, self.kept.partitions.len()));
            let written = write_file(&path, &self.kept.schema, &batches).and_then(|stored| {
                let total = self.store.disk.fetch_add(stored, Ordering::Relaxed) + stored;
                if total <= self.store.disk_max {
                    return Ok(stored);
                }
                self.store.disk.fetch_sub(stored, Ordering::Relaxed);
                let message = format!("kept results would need more than {} of disk", ByteSize(self.store.disk_max));
                Err(Failure::new(ErrorCode::ResourcesExhausted, message))
            });
            match written {
                Ok(stored) => (Place::Disk(path), stored),
                Err(failure) => {
                    let _ = std::fs::remove_file(&path);
                    return Err(failure);
                }
            }
        };
        self.kept.partitions.push(KeptPartition { rows, bytes, stored_bytes, place });
        Ok(())
    }

    /// Makes the rows available; an empty result has one empty partition.
    pub fn finish(mut self) -> Result<Vec<ResultPartition>, Failure> {
        if !self.open.is_empty() || self.kept.partitions.is_empty() {
            self.close_partition()?;
        }
        let kept = &self.kept.partitions;
        let partitions = kept.iter().map(|kept| ResultPartition { rows: kept.rows, bytes: kept.bytes }).collect();
        self.store.results.lock().insert(self.id, Arc::new(self.kept));
        Ok(partitions)
    }
}

fn write_file(path: &Path, schema: &SchemaRef, batches: &[RecordBatch]) -> Result<u64, Failure> {
    let failed = |error: &(dyn std::error::Error + 'static)| match is_disk_full(error) {
        true => Failure::new(ErrorCode::DiskFull, format!("the disk is full: kept result {}: {error}", path.display())),
        false => on_disk(path, error),
    };
    let file = File::create(path).map_err(|error| failed(&error))?;
    let mut writer = FileWriter::try_new(BufWriter::new(file), schema).map_err(|error| failed(&error))?;
    for batch in batches {
        writer.write(batch).map_err(|error| failed(&error))?;
    }
    writer.finish().map_err(|error| failed(&error))?;
    std::fs::metadata(path).map(|metadata| metadata.len()).map_err(|error| failed(&error))
}

fn read_file(path: &Path) -> Result<Vec<RecordBatch>, Failure> {
    let failed = |error: &dyn std::fmt::Display| on_disk(path, error);
    let file = File::open(path).map_err(|error| failed(&error))?;
    let reader = FileReader::try_new(std::io::BufReader::new(file), None).map_err(|error| failed(&error))?;
    reader.map(|batch| batch.map_err(|error| failed(&error))).collect()
}

fn on_disk(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(ErrorCode::ResourcesExhausted, format!("kept result {}: {error}", path.display()))
}

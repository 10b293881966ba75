//! The eight TPC-H tables at any scale, with the rows of the specification's own `dbgen`.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatchReader;
use arrow::datatypes::SchemaRef;
use frazil_common::ByteSize;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow, SupplierArrow,
};

use crate::destination::{Destination, data_file_name};
use crate::error::DatasetError;
use crate::marker::{self, Found, Identity};
use crate::output::UPLOAD_BYTES_MAX;
use crate::parquet_file::{BATCH_ROWS, WRITER_BYTES_MAX};
use crate::pool::{self, FileJob};
use crate::progress::Progress;
use crate::report::LoadReport;

/// Names of the tables, in the order of the specification.
pub const TPCH_TABLES: [&str; 8] =
    ["nation", "region", "part", "supplier", "partsupp", "customer", "orders", "lineitem"];

/// Below, some tables would have no rows.
const SCALE_MIN: f64 = 0.001;
/// The largest of the specification.
const SCALE_MAX: f64 = 100_000.0;

/// Files do not get much larger than this.
const FILE_BYTES_TARGET: u64 = 256 << 20;
/// So many files at least, for scans to be spread over executors, as long as each has `FILE_ROWS_MIN` rows.
const FILES_MIN: u64 = 8;
const FILE_ROWS_MIN: u64 = 10_000;

/// The text that all comments are cut from, which the generators share, and the process around them.
const SHARED_BYTES: u64 = 400 << 20;

/// What to make, and with how much.
#[derive(Clone, Debug)]
pub struct Tpch {
    /// 1 is about 1 GB of text, 0.35 GB of Parquet. From 0.001 to 100000.
    pub scale: f64,
    pub destination: Destination,
    /// Files written at the same time; fewer when `memory` does not allow so many.
    pub parallelism: usize,
    /// For the whole run; at least 600 MB.
    pub memory: ByteSize,
}

impl Tpch {
    /// All threads of the machine, and 2 GB.
    pub fn new(scale: f64, destination: Destination) -> Self {
        let parallelism = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self { scale, destination, parallelism, memory: ByteSize::gib(2) }
    }

    fn identity(&self) -> Result<Identity, DatasetError> {
        check_scale(self.scale)?;
        Ok(Identity::Tpch { scale: self.scale })
    }

    /// How many files may be written at the same time.
    fn writers(&self) -> Result<usize, DatasetError> {
        if self.parallelism == 0 {
            return Err(DatasetError::option("parallelism 0 would write nothing: give at least 1"));
        }
        let uploads = if self.destination.local_path().is_some() { 0 } else { UPLOAD_BYTES_MAX };
        let writer_bytes = WRITER_BYTES_MAX + uploads;
        match self.memory.0.saturating_sub(SHARED_BYTES) / writer_bytes {
            0 => Err(DatasetError::option(format!(
                "memory of {} is too little to generate TPC-H: give at least {}",
                self.memory,
                ByteSize(SHARED_BYTES + writer_bytes)
            ))),
            writers => Ok(self.parallelism.min(usize::try_from(writers).unwrap_or(usize::MAX))),
        }
    }
}

/// Makes the tables, unless the destination holds them already. A half-made set is made again; a complete set of another
/// scale is refused and stays as it is.
pub async fn load_tpch(options: Tpch, progress: Arc<dyn Progress>) -> Result<LoadReport, DatasetError> {
    let started = Instant::now();
    let identity = options.identity()?;
    let writers = options.writers()?;
    let Tpch { scale, destination, .. } = options;
    if let Some(tables) = marker::begin(&destination, &identity).await? {
        return Ok(LoadReport { tables, elapsed: started.elapsed(), reused: true });
    }
    destination.prepare(&TPCH_TABLES).await?;
    for table in Table::ALL {
        progress.table_started(table.name(), table.rows(scale));
    }
    // The longest files first, so that the writers end together.
    let jobs = Table::ALL.into_iter().rev().flat_map(|table| table.jobs(scale)).collect();
    let tables = pool::run(&destination, &TPCH_TABLES, jobs, writers, progress).await?;
    marker::complete(&destination, identity, &tables).await?;
    Ok(LoadReport { tables, elapsed: started.elapsed(), reused: false })
}

/// Whether `destination` holds all of TPC-H at this scale: the marker says so, and the files have the sizes it names.
pub async fn is_complete(destination: &Destination, scale: f64) -> Result<bool, DatasetError> {
    check_scale(scale)?;
    Ok(matches!(marker::find(destination, &Identity::Tpch { scale }).await?, Found::Complete(_)))
}

pub(crate) fn check_scale(scale: f64) -> Result<(), DatasetError> {
    // `contains` is false for NaN.
    if (SCALE_MIN..=SCALE_MAX).contains(&scale) {
        return Ok(());
    }
    Err(DatasetError::option(format!("scale {scale} is out of range: give one from {SCALE_MIN} to {SCALE_MAX}")))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Table {
    Nation,
    Region,
    Part,
    Supplier,
    PartSupp,
    Customer,
    Orders,
    LineItem,
}

impl Table {
    /// In the order of [`TPCH_TABLES`].
    const ALL: [Table; 8] = [
        Self::Nation,
        Self::Region,
        Self::Part,
        Self::Supplier,
        Self::PartSupp,
        Self::Customer,
        Self::Orders,
        Self::LineItem,
    ];

    fn name(self) -> &'static str {
        TPCH_TABLES[self as usize]
    }

    pub(crate) fn named(name: &str) -> Result<Self, DatasetError> {
        let found = Self::ALL.into_iter().find(|table| table.name() == name);
        found.ok_or_else(|| {
            DatasetError::option(format!("TPC-H has no table {name:?}: it has {}", TPCH_TABLES.join(", ")))
        })
    }

    pub(crate) fn schema(self) -> SchemaRef {
        match self {
            Self::Nation => NationArrow::schema_ref(),
            Self::Region => RegionArrow::schema_ref(),
            Self::Part => PartArrow::schema_ref(),
            Self::Supplier => SupplierArrow::schema_ref(),
            Self::PartSupp => PartSuppArrow::schema_ref(),
            Self::Customer => CustomerArrow::schema_ref(),
            Self::Orders => OrderArrow::schema_ref(),
            Self::LineItem => LineItemArrow::schema_ref(),
        }
    }

    /// Exact, but for `lineitem`: an order has 1 to 7 lines, 4 on average.
    pub(crate) fn rows(self, scale: f64) -> u64 {
        let rows = match self {
            Self::Nation => 25,
            Self::Region => 5,
            Self::Part => PartGenerator::calculate_row_count(scale, 1, 1),
            Self::Supplier => SupplierGenerator::calculate_row_count(scale, 1, 1),
            Self::PartSupp => 4 * PartGenerator::calculate_row_count(scale, 1, 1),
            Self::Customer => CustomerGenerator::calculate_row_count(scale, 1, 1),
            Self::Orders => OrderGenerator::calculate_row_count(scale, 1, 1),
            Self::LineItem => 4 * OrderGenerator::calculate_row_count(scale, 1, 1),
        };
        rows.unsigned_abs()
    }

    /// Of a row in our Parquet files, as measured at scale 1.
    pub(crate) fn row_bytes(self) -> u64 {
        match self {
            Self::Nation | Self::Region => 100,
            Self::Part => 40,
            Self::Supplier => 90,
            Self::PartSupp => 60,
            Self::Customer => 90,
            Self::Orders => 45,
            Self::LineItem => 40,
        }
    }

    fn files(self, scale: f64) -> usize {
        let rows = self.rows(scale);
        let files = (rows * self.row_bytes()).div_ceil(FILE_BYTES_TARGET).max(FILES_MIN);
        let files = files.min(rows / FILE_ROWS_MIN).max(1);
        usize::try_from(files).expect("the largest scale has under a million files")
    }

    fn jobs(self, scale: f64) -> Vec<FileJob> {
        let files = self.files(scale);
        (0..files)
            .map(|file| FileJob {
                table: self.name(),
                name: data_file_name(self.name(), file, files),
                open: Box::new(move || self.batches(scale, file as i32 + 1, files as i32)),
            })
            .collect()
    }

    /// The rows of one of `parts` pieces; `part` counts from 1.
    pub(crate) fn batches(self, scale: f64, part: i32, parts: i32) -> Box<dyn RecordBatchReader + Send> {
        macro_rules! batches {
            ($arrow:ident, $generator:ident) => {
                Box::new($arrow::new($generator::new(scale, part, parts)).with_batch_size(BATCH_ROWS))
            };
        }
        match self {
            Self::Nation => batches!(NationArrow, NationGenerator),
            Self::Region => batches!(RegionArrow, RegionGenerator),
            Self::Part => batches!(PartArrow, PartGenerator),
            Self::Supplier => batches!(SupplierArrow, SupplierGenerator),
            Self::PartSupp => batches!(PartSuppArrow, PartSuppGenerator),
            Self::Customer => batches!(CustomerArrow, CustomerGenerator),
            Self::Orders => batches!(OrderArrow, OrderGenerator),
            Self::LineItem => batches!(LineItemArrow, LineItemGenerator),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_many_but_neither_tiny_nor_huge() {
        for table in [Table::Part, Table::PartSupp, Table::Customer, Table::Orders, Table::LineItem] {
            assert_eq!(table.files(1.0), 8, "{table:?}");
        }
        assert_eq!(Table::LineItem.files(0.1), 8);
        assert_eq!((Table::Nation.files(1000.0), Table::Region.files(1000.0)), (1, 1));
        assert_eq!((Table::Supplier.files(1.0), Table::Supplier.files(10.0)), (1, 8));
        assert_eq!(Table::LineItem.files(100.0), 90);
        assert!(Table::LineItem.files(SCALE_MAX) < 1_000_000);
        for table in Table::ALL {
            assert!(table.rows(SCALE_MIN) > 0, "{table:?}");
        }
    }

    #[test]
    fn writers_follow_memory_not_only_threads() {
        let mut options = Tpch { parallelism: 256, ..Tpch::new(100.0, Destination::local("data")) };
        let writers = options.writers().unwrap() as u64;
        assert!((4..256).contains(&writers) && SHARED_BYTES + writers * WRITER_BYTES_MAX <= 2 << 30, "{writers}");
        options.memory = ByteSize::mib(100);
        assert!(options.writers().unwrap_err().to_string().contains("memory of 100.0 MB is too little"));
        options.parallelism = 0;
        assert!(options.writers().unwrap_err().to_string().contains("parallelism 0"));
    }

    #[test]
    fn scales_out_of_range_are_refused() {
        for scale in [0.0, -1.0, f64::NAN, f64::INFINITY, 100_001.0, 0.0001] {
            let message = check_scale(scale).unwrap_err().to_string();
            assert!(message.starts_with(&format!("scale {scale} is out of range")), "{message}");
        }
        assert!(check_scale(0.01).is_ok() && check_scale(100_000.0).is_ok());
    }
}

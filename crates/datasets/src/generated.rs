//! Tables that are made, not read, in pieces that follow from the table alone: whoever makes them, on however many threads
//! and machines, gets the same rows, in the same order if the pieces are put one after another.

use std::ops::Range;

use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};

use crate::error::DatasetError;
use crate::events;
use crate::tpcds;
use crate::tpch;

/// Rows of a piece, about. Small enough to be dealt evenly to many threads, large enough to be worth a start.
pub(crate) const PART_ROWS: u64 = 250_000;

type Reader = Box<dyn RecordBatchReader + Send>;

/// All that a table follows from. Made by functions that check it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "set", rename_all = "lowercase")]
pub enum GeneratedTable {
    Tpch { table: String, scale: f64 },
    Tpcds { table: String, scale: f64 },
    Events { rows: u64, seed: u64 },
}

impl GeneratedTable {
    pub fn tpch(table: &str, scale: f64) -> Result<Self, DatasetError> {
        Self::Tpch { table: table.to_owned(), scale }.checked()
    }

    pub fn tpcds(table: &str, scale: f64) -> Result<Self, DatasetError> {
        Self::Tpcds { table: table.to_owned(), scale }.checked()
    }

    pub fn events(rows: u64, seed: u64) -> Result<Self, DatasetError> {
        Self::Events { rows, seed }.checked()
    }

    /// For one that came over a wire.
    pub fn checked(self) -> Result<Self, DatasetError> {
        match &self {
            Self::Tpch { table, scale } => {
                tpch::check_scale(*scale)?;
                tpch::Table::named(table)?;
            }
            Self::Tpcds { table, scale } => {
                tpcds::check_scale(*scale)?;
                tpcds::table(table)?;
            }
            Self::Events { rows, .. } => events::check_rows(*rows)?,
        }
        Ok(self)
    }

    pub fn schema(&self) -> SchemaRef {
        match self {
            Self::Tpch { table, .. } => tpch_table(table).schema(),
            Self::Tpcds { table, .. } => tpcds::schema(tpcds_table(table)),
            Self::Events { .. } => events::events_schema(),
        }
    }

    /// About.
    pub fn rows(&self) -> u64 {
        match self {
            Self::Tpch { table, scale } => tpch_table(table).rows(*scale),
            Self::Tpcds { table, scale } => tpcds::rows(tpcds_table(table), *scale),
            Self::Events { rows, .. } => *rows,
        }
    }

    /// What it has as Parquet, roughly.
    pub fn bytes(&self) -> u64 {
        let row = match self {
            Self::Tpch { table, .. } => tpch_table(table).row_bytes(),
            Self::Tpcds { .. } => 60,
            Self::Events { .. } => 150,
        };
        self.rows().saturating_mul(row)
    }

    /// Pieces that can be made apart.
    pub fn parts(&self) -> usize {
        match self {
            Self::Tpcds { table, scale } => tpcds::parts(tpcds_table(table), *scale),
            Self::Tpch { .. } | Self::Events { .. } => {
                let parts = self.rows().div_ceil(PART_ROWS).clamp(1, i32::MAX as u64);
                usize::try_from(parts).expect("it has 31 bits")
            }
        }
    }

    /// The rows of some pieces, one after another.
    pub fn open(&self, parts: Range<usize>) -> Reader {
        Box::new(Parts { schema: self.schema(), table: self.clone(), of: self.parts(), left: parts, open: None })
    }

    fn open_part(&self, part: usize, of: usize) -> Reader {
        match self {
            Self::Tpch { table, scale } => tpch_table(table).batches(*scale, part as i32 + 1, of as i32),
            Self::Tpcds { table, scale } => tpcds::open(tpcds_table(table), *scale, part, of),
            Self::Events { rows, seed } => {
                let start = |part: usize| (u128::from(*rows) * part as u128 / of as u128) as u64;
                Box::new(events::EventBatches::new(*seed, *rows, start(part)..start(part + 1)))
            }
        }
    }
}

fn tpch_table(name: &str) -> tpch::Table {
    tpch::Table::named(name).expect("names are checked when they come")
}

fn tpcds_table(name: &str) -> ::tpcdsgen::config::Table {
    tpcds::table(name).expect("names are checked when they come")
}

struct Parts {
    schema: SchemaRef,
    table: GeneratedTable,
    of: usize,
    left: Range<usize>,
    open: Option<Reader>,
}

impl Iterator for Parts {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.open.as_mut().and_then(Iterator::next) {
                return Some(batch);
            }
            self.open = Some(self.table.open_part(self.left.next()?, self.of));
        }
    }
}

impl RecordBatchReader for Parts {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

//! One Parquet file from a stream of batches: the properties all our files have, and the loop that writes them.

use std::sync::LazyLock;

use arrow::array::RecordBatchReader;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::error::DatasetError;
use crate::output::OutputFile;

/// Rows of a batch that a generator hands over.
pub(crate) const BATCH_ROWS: usize = 8192;

/// A row group is what a writer holds in memory and what a scan can be split into. Both limits depend on the data alone,
/// never on the machine, so a data set has the same bytes wherever it was made.
const ROW_GROUP_ROWS_MAX: usize = 512 * 1024;
const ROW_GROUP_BYTES_MAX: usize = 64 << 20;

/// What one writer is counted with: the pages of the largest row group, a dictionary and a page of each of up to 32 columns,
/// a batch. Deliberately high; `tests/memory.rs` measures whole runs. Change it with the limits above.
pub(crate) const WRITER_BYTES_MAX: u64 = 160 << 20;

// Page checksums would belong here. Parquet 59 verifies them when it reads, but cannot write them.
static PROPERTIES: LazyLock<WriterProperties> = LazyLock::new(|| {
    WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES_MAX))
        .set_statistics_enabled(EnabledStatistics::Page)
        .build()
});

/// Writes all batches; returns the rows. `advance` gets the rows of each batch, and ends the run by returning false.
pub(crate) fn write_batches(
    table: &str,
    batches: Box<dyn RecordBatchReader + Send>,
    output: &mut OutputFile,
    advance: impl Fn(u64) -> bool,
) -> Result<u64, DatasetError> {
    let location = output.location();
    let failed = |source| DatasetError::Parquet { location: location.clone(), source };
    // The Arrow schema is left out: it would make every reader take the generators' string views for the type of the
    // column, and Parquet's own types say all the rest.
    let options = ArrowWriterOptions::new().with_properties(PROPERTIES.clone()).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(output, batches.schema(), options).map_err(failed)?;
    let mut rows = 0;
    for batch in batches {
        let batch = batch.map_err(|source| DatasetError::Generate { table: table.to_owned(), source })?;
        writer.write(&batch).map_err(failed)?;
        rows += batch.num_rows() as u64;
        if !advance(batch.num_rows() as u64) {
            return Err(DatasetError::Stopped { location });
        }
    }
    writer.close().map_err(failed)?;
    Ok(rows)
}

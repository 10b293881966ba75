//! Writes rows as a table's directory of Parquet files.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;

/// Cuts the rows, in order, into `files` files of nearly the same length (fewer when there are fewer rows, but at least
/// one). The directory must not hold files yet.
pub fn write(directory: &Path, schema: &SchemaRef, batches: &[RecordBatch], files: usize) -> io::Result<()> {
    let all = concat_batches(schema, batches).map_err(io::Error::other)?;
    let files = files.clamp(1, all.num_rows().max(1));
    fs::create_dir_all(directory)?;
    for file in 0..files {
        let (from, to) = (all.num_rows() * file / files, all.num_rows() * (file + 1) / files);
        let out = File::create_new(directory.join(format!("part-{file:02}.parquet")))?;
        let mut writer = ArrowWriter::try_new(out, schema.clone(), None)?;
        writer.write(&all.slice(from, to - from))?;
        writer.close()?;
    }
    Ok(())
}

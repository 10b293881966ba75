//! A file of an unload while it is written: rows to CSV, JSON or Parquet, compressed, to the store.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::json::LineDelimitedWriter;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::Result;
use flate2::write::GzEncoder;
use frazil_common::{ErrorCode, Failure};
use frazil_exchange::to_datafusion;
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::arrow::AsyncArrowWriter;
use parquet::arrow::async_writer::AsyncFileWriter;
use parquet::basic::{Compression as ParquetCompression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::format::{Compression, FileFormat, FileKind};
use super::unload::UnloadTarget;
use crate::lake::ObjectFile;

pub enum OpenFile {
    Text { format: Box<FileFormat>, encoder: Encoder, object: Box<ObjectFile>, bytes: u64 },
    Parquet(Box<AsyncArrowWriter<ObjectFile>>),
}

pub enum Encoder {
    Plain(Vec<u8>),
    Gzip(Box<GzEncoder<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
}

impl OpenFile {
    pub fn create(target: &UnloadTarget, store: Arc<dyn ObjectStore>, path: Path, schema: &SchemaRef) -> Result<Self> {
        let object = ObjectFile::create(store, path, None);
        let format = &target.format;
        if format.kind == FileKind::Parquet {
            let compression = match format.compression {
                Compression::Auto | Compression::Snappy => ParquetCompression::SNAPPY,
                Compression::None => ParquetCompression::UNCOMPRESSED,
                Compression::Gzip => ParquetCompression::GZIP(GzipLevel::default()),
                Compression::Zstd => ParquetCompression::ZSTD(ZstdLevel::try_new(1)?),
            };
            let properties = WriterProperties::builder().set_compression(compression).build();
            let writer = AsyncArrowWriter::try_new(object, schema.clone(), Some(properties))?;
            return Ok(Self::Parquet(Box::new(writer)));
        }
        let mut encoder = match format.compression {
            Compression::Auto | Compression::Gzip => {
                Encoder::Gzip(Box::new(GzEncoder::new(Vec::new(), flate2::Compression::default())))
            }
            Compression::Zstd => Encoder::Zstd(Box::new(zstd::stream::write::Encoder::new(Vec::new(), 1)?)),
            Compression::None | Compression::Snappy => Encoder::Plain(Vec::new()),
        };
        if target.header && format.kind == FileKind::Csv {
            let mut line = Vec::new();
            for (index, field) in schema.fields().iter().enumerate() {
                begin_field(&mut line, format, index);
                put_text(&mut line, format, field.name())?;
            }
            line.push(format.record_delimiter);
            encoder.write(&line)?;
        }
        Ok(Self::Text { format: Box::new(format.clone()), encoder, object: Box::new(object), bytes: 0 })
    }

    pub async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Self::Parquet(writer) => Ok(writer.write(batch).await?),
            Self::Text { format, encoder, object, bytes } => {
                let text = match format.kind {
                    FileKind::Json => json(batch)?,
                    FileKind::Csv | FileKind::Parquet => csv(batch, format)?,
                };
                encoder.write(&text)?;
                let ready = encoder.take();
                *bytes += ready.len() as u64;
                Ok(object.write(ready.into()).await?)
            }
        }
    }

    /// So far, as far as it is known.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Text { bytes, .. } => *bytes,
            Self::Parquet(writer) => (writer.bytes_written() + writer.in_progress_size()) as u64,
        }
    }

    /// Returns the bytes of the file.
    pub async fn close(self) -> Result<u64> {
        match self {
            Self::Parquet(mut writer) => {
                writer.finish().await?;
                Ok(writer.bytes_written() as u64)
            }
            Self::Text { encoder, mut object, bytes, .. } => {
                let rest = encoder.finish()?;
                let bytes = bytes + rest.len() as u64;
                object.write(rest.into()).await?;
                object.complete().await?;
                Ok(bytes)
            }
        }
    }
}

impl Encoder {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Plain(ready) => {
                ready.extend_from_slice(bytes);
                Ok(())
            }
            Self::Gzip(encoder) => encoder.write_all(bytes),
            Self::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    fn take(&mut self) -> Vec<u8> {
        match self {
            Self::Plain(ready) => std::mem::take(ready),
            Self::Gzip(encoder) => std::mem::take(encoder.get_mut()),
            Self::Zstd(encoder) => std::mem::take(encoder.get_mut()),
        }
    }

    fn finish(self) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Plain(ready) => Ok(ready),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

fn json(batch: &RecordBatch) -> Result<Vec<u8>> {
    let mut writer = LineDelimitedWriter::new(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

/// Values as they are read again: binary as hexadecimal digits, moments in ISO 8601, nulls as the first text of `NULL_IF`.
fn csv(batch: &RecordBatch, format: &FileFormat) -> Result<Vec<u8>> {
    let null = format.null_if.first().cloned().unwrap_or_default();
    let options = FormatOptions::default();
    let columns = batch
        .columns()
        .iter()
        .map(|column| {
            let texts = matches!(
                column.data_type(),
                DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..)
            );
            Ok((column, texts, ArrayFormatter::try_new(column.as_ref(), &options)?))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut lines = Vec::with_capacity(batch.num_rows() * columns.len() * 8);
    let mut value = String::new();
    for row in 0..batch.num_rows() {
        for (index, (column, is_text, formatter)) in columns.iter().enumerate() {
            begin_field(&mut lines, format, index);
            if column.is_null(row) {
                lines.extend_from_slice(null.as_bytes());
                continue;
            }
            value.clear();
            std::fmt::write(&mut value, format_args!("{}", formatter.value(row))).map_err(|_| {
                to_datafusion(Failure::new(ErrorCode::InvalidData, "a value cannot be written as text"))
            })?;
            match is_text {
                true => put_text(&mut lines, format, &value)?,
                false => lines.extend_from_slice(value.as_bytes()),
            }
        }
        lines.push(format.record_delimiter);
    }
    Ok(lines)
}

fn begin_field(line: &mut Vec<u8>, format: &FileFormat, index: usize) {
    if index > 0 {
        line.extend(format.field_delimiter);
    }
}

/// In quotes where there are some, otherwise with escapes.
fn put_text(line: &mut Vec<u8>, format: &FileFormat, text: &str) -> Result<()> {
    if let Some(quote) = format.enclosed_by {
        line.push(quote);
        for byte in text.bytes() {
            if byte == quote || Some(byte) == format.escape {
                line.push(byte);
            }
            line.push(byte);
        }
        line.push(quote);
        return Ok(());
    }
    for byte in text.bytes() {
        let special = Some(byte) == format.field_delimiter
            || byte == format.record_delimiter
            || Some(byte) == format.escape_unenclosed
            || byte == b'\r';
        match (special, format.escape_unenclosed) {
            (false, _) => line.push(byte),
            (true, Some(escape)) => {
                line.push(escape);
                line.push(match byte {
                    b'\n' => b'n',
                    b'\r' => b'r',
                    other => other,
                });
            }
            (true, None) => {
                let message =
                    "a text has a delimiter in it: use FIELD_OPTIONALLY_ENCLOSED_BY or ESCAPE_UNENCLOSED_FIELD";
                return Err(to_datafusion(Failure::new(ErrorCode::InvalidData, message)));
            }
        }
    }
    Ok(())
}

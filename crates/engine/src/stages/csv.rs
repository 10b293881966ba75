//! Rows of CSV files: records, cut by [`super::csv_records`], as texts of a table's columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};
use frazil_common::ErrorCode;

use super::bytes::ByteReader;
use super::check::{Checker, Chunk, Places};
use super::csv_records::{Split, Splitter};
use super::format::FileFormat;
use super::shape::{Case, Fault, Origin, RowError};

/// Of one record. A longer one is taken for a quote that is never closed.
pub const RECORD_BYTES_MAX: usize = 64 << 20;
const CHUNK_ROWS: usize = 8192;
const CHUNK_BYTES: usize = 16 << 20;
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

pub struct CsvReader {
    bytes: ByteReader,
    checker: Arc<Checker>,
    splitter: Splitter,
    buffer: Vec<u8>,
    /// Where the next record begins in the buffer, and on which line of the file.
    at: usize,
    line: u64,
    ended: bool,
    /// By column of the table: the field of a record. `None` before the header was read.
    fields: Option<Vec<Option<usize>>>,
    /// Fields that a record must have.
    width: usize,
    builders: Vec<StringBuilder>,
    trimmed: Vec<bool>,
    /// What ended the file, to be told when the rows before it are.
    fault: Option<Fault>,
}

impl CsvReader {
    pub fn new(bytes: ByteReader, checker: Arc<Checker>) -> Self {
        let format = checker.shape.format.clone();
        let origins = checker.shape.columns.iter().map(|column| match column.origin {
            Origin::Field(field) => Some(field),
            Origin::Default(_) => None,
        });
        let origins: Vec<_> = origins.collect();
        let width = origins.iter().flatten().map(|field| field + 1).max().unwrap_or(0);
        let fields = (!format.parse_header).then_some(origins);
        let schema = checker.schema.clone();
        // Blanks around a number mean nothing.
        let trimmed = schema.fields().iter().map(|field| format.trim_space || !is_text(field.data_type())).collect();
        let builders = schema.fields().iter().map(|_| StringBuilder::new()).collect();
        Self {
            bytes,
            checker,
            splitter: Splitter::new(&format),
            buffer: Vec::new(),
            at: 0,
            line: 1,
            ended: false,
            fields,
            width,
            builders,
            trimmed,
            fault: None,
        }
    }

    fn format(&self) -> &FileFormat {
        &self.checker.shape.format
    }

    pub async fn open(&mut self) -> Result<(), Fault> {
        while self.buffer.len() < BYTE_ORDER_MARK.len() && self.fill().await? {}
        if self.buffer.starts_with(&BYTE_ORDER_MARK) {
            self.at = BYTE_ORDER_MARK.len();
        }
        for _ in 0..self.format().skip_header {
            if !self.skip_line().await? {
                return Ok(());
            }
        }
        if self.fields.is_none() {
            self.read_header().await?;
        }
        Ok(())
    }

    async fn fill(&mut self) -> Result<bool, Fault> {
        if self.ended {
            return Ok(false);
        }
        if self.at > 0 {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        if self.buffer.len() > RECORD_BYTES_MAX {
            let message = format!("a record is longer than {} MB", RECORD_BYTES_MAX >> 20);
            return Err(Fault::at_line(self.line, message));
        }
        let more = self.bytes.more(&mut self.buffer).await;
        let more = more.map_err(|fault| Fault { line: self.line, ..fault })?;
        self.ended = !more;
        Ok(more)
    }

    async fn skip_line(&mut self) -> Result<bool, Fault> {
        loop {
            if let Some(end) = self.buffer[self.at..].iter().position(|byte| *byte == self.splitter.record) {
                self.at += end + 1;
                self.line += 1;
                return Ok(true);
            }
            self.at = self.buffer.len();
            if !self.fill().await? {
                return Ok(false);
            }
        }
    }

    /// The splitter's next record; `None` at the end. What it takes is up to `splitter.end`.
    async fn split(&mut self) -> Result<Option<Split>, Fault> {
        loop {
            let tried = self.buffer.len() - self.at;
            match self.splitter.split(&self.buffer[self.at..], self.ended) {
                Split::Incomplete => {
                    // Twice as much each time, since it is looked at from its beginning.
                    while self.buffer.len() - self.at < tried * 2 + 1 && self.fill().await? {}
                }
                Split::End => return Ok(None),
                split => return Ok(Some(split)),
            }
        }
    }

    async fn read_header(&mut self) -> Result<(), Fault> {
        let names: Vec<String> = match self.split().await? {
            None => {
                self.fields = Some(vec![None; self.checker.schema.fields().len()]);
                return Ok(());
            }
            Some(Split::Record) => {
                let record = &self.buffer[self.at..];
                let names = self.splitter.fields.iter().map(|field| {
                    let name = self.splitter.value(record, field);
                    String::from_utf8(name.to_vec()).map_err(|_| Fault::at_line(self.line, "the header is not UTF-8"))
                });
                names.collect::<Result<_, _>>()?
            }
            Some(_) => return Err(Fault::at_line(self.line, "the header is malformed")),
        };
        self.take_record();
        let shape = &self.checker.shape;
        self.width = names.len();
        let position = |column: &str| match shape.by_name {
            Some(Case::Sensitive) => names.iter().position(|name| name == column),
            _ => names.iter().position(|name| name.to_lowercase() == column.to_lowercase()),
        };
        let columns = self.checker.schema.fields().iter().zip(&shape.columns);
        let fields: Vec<_> = columns
            .map(|(field, column)| match (shape.by_name, &column.origin) {
                (_, Origin::Default(_)) => None,
                (Some(_), Origin::Field(_)) => position(field.name()),
                (None, Origin::Field(place)) => Some(*place),
            })
            .collect();
        if fields.iter().all(Option::is_none) {
            return Err(Fault::at_line(1, "no column of the header is one of the table's"));
        }
        self.fields = Some(fields);
        Ok(())
    }

    /// Moves behind the record that was split off. Returns the line it begins on.
    fn take_record(&mut self) -> u64 {
        let line = self.line;
        self.at += self.splitter.end;
        self.line += self.splitter.lines;
        line
    }

    pub async fn next(&mut self) -> Result<Option<Chunk>, Fault> {
        let columns = self.builders.len();
        let mut places = CsvPlaces { lines: Vec::new(), characters: Vec::new(), columns };
        let mut errors = Vec::new();
        if self.fault.is_none() {
            self.fault = self.gather(&mut places, &mut errors).await.err();
        }
        let rows = places.lines.len();
        if rows == 0 && errors.is_empty() {
            return self.fault.take().map_or(Ok(None), Err);
        }
        let fields = self.fields.clone().unwrap_or_default();
        let sources: Vec<Option<ArrayRef>> = fields
            .iter()
            .zip(&mut self.builders)
            .map(|(field, builder)| field.map(|_| Arc::new(builder.finish()) as ArrayRef))
            .collect();
        let mut chunk = self.checker.check(&sources, rows, &places)?;
        chunk.parsed += errors.len() as u64;
        chunk.errors.append(&mut errors);
        chunk.errors.sort_by_key(|error| error.line);
        Ok(Some(chunk))
    }

    /// The records of a chunk, to the builders. Those before a fault count.
    async fn gather(&mut self, places: &mut CsvPlaces, errors: &mut Vec<RowError>) -> Result<(), Fault> {
        let mut bytes = 0;
        while places.lines.len() + errors.len() < CHUNK_ROWS && bytes < CHUNK_BYTES {
            let Some(split) = self.split().await? else { break };
            let (end, line) = (self.splitter.end, self.line);
            let wrong = |character: usize, message: String| RowError {
                line,
                character: character as u64 + 1,
                column: None,
                message,
                code: ErrorCode::InvalidData,
            };
            match split {
                Split::Record if self.splitter.is_blank() && self.format().skip_blank_lines => {}
                Split::Record => match self.append(places) {
                    Ok(()) => places.lines.push(line),
                    Err((character, message)) => errors.push(wrong(character, message)),
                },
                Split::Wrong { character, message } => errors.push(wrong(character, message.to_owned())),
                Split::Incomplete | Split::End => {}
            }
            bytes += end;
            self.take_record();
        }
        Ok(())
    }

    /// A record's fields to the builders; nothing of it if it is wrong.
    fn append(&mut self, places: &mut CsvPlaces) -> Result<(), (usize, String)> {
        let record = &self.buffer[self.at..self.at + self.splitter.end];
        if let Err(error) = std::str::from_utf8(record) {
            return Err((error.valid_up_to(), "it is not UTF-8".to_owned()));
        }
        let format = &self.checker.shape.format;
        let found = self.splitter.fields.len();
        if found != self.width && format.column_count_must_match {
            let message = format!("it has {found} fields, not {}", self.width);
            let at = self.splitter.fields.get(self.width).map_or(record.len().saturating_sub(1), |field| field.begin);
            return Err((at, message));
        }
        let fields = self.fields.as_deref().unwrap_or_default();
        for (column, (place, builder)) in fields.iter().zip(&mut self.builders).enumerate() {
            let Some(place) = place else {
                places.characters.push(0);
                continue;
            };
            let Some(field) = self.splitter.fields.get(*place) else {
                builder.append_null();
                places.characters.push(record.len() as u32);
                continue;
            };
            let value = self.splitter.value(record, field);
            // Checked above: neither delimiters nor escapes, which are ASCII, come between the bytes of a character.
            let mut text = std::str::from_utf8(value).unwrap_or("\u{fffd}");
            if self.trimmed[column] {
                text = text.trim_matches(|c: char| c == ' ' || c == '\t');
            }
            let null = (text.is_empty() && !field.enclosed && format.empty_field_as_null)
                || format.null_if.iter().any(|null| null == text);
            if null {
                builder.append_null();
            } else {
                builder.append_value(text);
            }
            places.characters.push(field.begin as u32 + 1);
        }
        Ok(())
    }
}

fn is_text(data_type: &arrow::datatypes::DataType) -> bool {
    use arrow::datatypes::DataType;
    matches!(data_type, DataType::Utf8 | DataType::Utf8View | DataType::Binary | DataType::BinaryView)
}

struct CsvPlaces {
    lines: Vec<u64>,
    /// Row by row.
    characters: Vec<u32>,
    columns: usize,
}

impl Places for CsvPlaces {
    fn line(&self, row: usize) -> u64 {
        self.lines[row]
    }

    fn character(&self, row: usize, column: usize) -> u64 {
        self.characters[row * self.columns + column].into()
    }
}

//! Objects of JSON files: one after the other, on lines of their own or not, or the elements of one array.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::json::ReaderBuilder;
use frazil_common::ErrorCode;

use super::bytes::ByteReader;
use super::check::{Checker, Chunk, Places, shorten, type_name};
use super::csv::RECORD_BYTES_MAX;
use super::json_scan::{Key, Scan, scan_value};
use super::shape::{Case, Fault, Origin, RowError};

const CHUNK_ROWS: usize = 8192;
const CHUNK_BYTES: usize = 8 << 20;

pub struct JsonReader {
    bytes: ByteReader,
    checker: Arc<Checker>,
    /// What is read of each object, in types that a JSON text can have.
    schema: SchemaRef,
    buffer: Vec<u8>,
    at: usize,
    line: u64,
    ended: bool,
    /// Inside of the outer array, if that is to be stripped.
    array: Outer,
    keys: Vec<Key>,
    /// What ended the file, to be told when the rows before it are.
    fault: Option<Fault>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outer {
    /// There may be one.
    Unknown,
    None,
    /// Before an element; before a comma or the end.
    First,
    Element,
    Comma,
    Closed,
}

/// The objects of a chunk.
#[derive(Default)]
struct Objects {
    /// Their texts, one after the other, with the names of columns for keys.
    text: Vec<u8>,
    ends: Vec<usize>,
    lines: Vec<u64>,
}

struct Lines(Vec<u64>);

impl Places for Lines {
    fn line(&self, row: usize) -> u64 {
        self.0[row]
    }

    fn character(&self, _: usize, _: usize) -> u64 {
        0
    }
}

impl JsonReader {
    pub fn new(bytes: ByteReader, checker: Arc<Checker>) -> Self {
        let fields = checker.schema.fields().iter().zip(&checker.shape.columns);
        let wanted = fields.filter(|(_, column)| matches!(column.origin, Origin::Field(_))).map(|(field, _)| {
            let data_type = match field.data_type() {
                // Hexadecimal digits, as in CSV.
                DataType::BinaryView => DataType::Binary,
                other => other.clone(),
            };
            Field::new(field.name(), data_type, true)
        });
        let schema = Arc::new(Schema::new(wanted.collect::<Vec<_>>()));
        let array = if checker.shape.format.strip_outer_array { Outer::Unknown } else { Outer::None };
        Self {
            bytes,
            checker,
            schema,
            buffer: Vec::new(),
            at: 0,
            line: 1,
            ended: false,
            array,
            keys: Vec::new(),
            fault: None,
        }
    }

    pub async fn open(&mut self) -> Result<(), Fault> {
        while self.buffer.len() < 3 && self.fill().await? {}
        if self.buffer.starts_with(&[0xef, 0xbb, 0xbf]) {
            self.at = 3;
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
            return Err(Fault::at_line(self.line, format!("a value is longer than {} MB", RECORD_BYTES_MAX >> 20)));
        }
        let more = self.bytes.more(&mut self.buffer).await;
        self.ended = !more.map_err(|fault| Fault { line: self.line, ..fault })?;
        Ok(!self.ended)
    }

    /// The next byte that is no blank, or the end.
    async fn skip_blanks(&mut self) -> Result<Option<u8>, Fault> {
        loop {
            while let Some(byte) = self.buffer.get(self.at) {
                match byte {
                    b'\n' => self.line += 1,
                    b' ' | b'\t' | b'\r' => {}
                    other => return Ok(Some(*other)),
                }
                self.at += 1;
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// Goes to the next value. False: there is none.
    async fn seek(&mut self) -> Result<bool, Fault> {
        loop {
            let Some(byte) = self.skip_blanks().await? else {
                return match self.array {
                    Outer::First | Outer::Element | Outer::Comma => {
                        Err(Fault::at_line(self.line, "the outer array is not closed"))
                    }
                    _ => Ok(false),
                };
            };
            let wrong =
                |what: &str| Err(Fault::at_line(self.line, format!("{what} is expected, not {:?}", byte as char)));
            match (self.array, byte) {
                (Outer::None | Outer::Element, _) => return Ok(true),
                (Outer::Unknown, b'[') => {
                    self.at += 1;
                    self.array = Outer::First;
                }
                (Outer::Unknown, _) => self.array = Outer::None,
                (Outer::First | Outer::Comma, b']') => {
                    self.at += 1;
                    self.array = Outer::Closed;
                }
                (Outer::First, _) => self.array = Outer::Element,
                (Outer::Comma, b',') => {
                    self.at += 1;
                    self.array = Outer::Element;
                }
                (Outer::Comma, _) => return wrong("a comma or the end of the outer array"),
                (Outer::Closed, _) => return wrong("the end of the file"),
            }
        }
    }

    async fn scan(&mut self) -> Result<Scan, Fault> {
        loop {
            let tried = self.buffer.len() - self.at;
            match scan_value(&self.buffer[self.at..], self.ended, &mut self.keys) {
                Scan::Incomplete => while self.buffer.len() - self.at < tried * 2 + 1 && self.fill().await? {},
                scan => return Ok(scan),
            }
        }
    }

    pub async fn next(&mut self) -> Result<Option<Chunk>, Fault> {
        let mut objects = Objects::default();
        let mut errors = Vec::new();
        if self.fault.is_none() {
            self.fault = self.gather(&mut objects, &mut errors).await.err();
        }
        if objects.lines.is_empty() && errors.is_empty() {
            return self.fault.take().map_or(Ok(None), Err);
        }
        let mut chunk = self.decode(objects, &mut errors)?;
        chunk.parsed += errors.len() as u64;
        chunk.errors.append(&mut errors);
        chunk.errors.sort_by_key(|error| error.line);
        Ok(Some(chunk))
    }

    /// The objects of a chunk. Those before a fault count.
    async fn gather(&mut self, objects: &mut Objects, errors: &mut Vec<RowError>) -> Result<(), Fault> {
        while objects.lines.len() + errors.len() < CHUNK_ROWS && objects.text.len() < CHUNK_BYTES && self.seek().await?
        {
            let line = self.line;
            let wrong = |character: usize, message: &str| RowError {
                line,
                character: character as u64 + 1,
                column: None,
                message: message.to_owned(),
                code: ErrorCode::InvalidData,
            };
            match self.scan().await? {
                Scan::Value { end } => {
                    let value = &self.buffer[self.at..self.at + end];
                    match value.first() {
                        _ if std::str::from_utf8(value).is_err() => errors.push(wrong(0, "it is not UTF-8")),
                        Some(b'{') => {
                            self.take_object(end, objects);
                            objects.lines.push(line);
                        }
                        Some(b'[') => errors.push(wrong(
                            0,
                            "it is an array, not an object: STRIP_OUTER_ARRAY = TRUE takes the elements of one",
                        )),
                        _ => errors.push(wrong(0, "it is not an object")),
                    }
                    self.line +=
                        self.buffer[self.at..self.at + end].iter().filter(|byte| **byte == b'\n').count() as u64;
                    self.at += end;
                    if self.array == Outer::Element {
                        self.array = Outer::Comma;
                    }
                }
                Scan::Wrong { at, message } if self.array == Outer::None => {
                    errors.push(wrong(at, message));
                    self.skip_to_line_after(at).await?;
                }
                Scan::Wrong { at, message } => {
                    let lines = self.buffer[self.at..self.at + at].iter().filter(|byte| **byte == b'\n').count();
                    return Err(Fault::at_line(self.line + lines as u64, message));
                }
                Scan::Incomplete => unreachable!("it is asked until it is complete"),
            }
        }
        Ok(())
    }

    /// After an error there: a value that began on an earlier line may have lost its end, so the line of the error itself is
    /// read; otherwise the next one.
    async fn skip_to_line_after(&mut self, at: usize) -> Result<(), Fault> {
        let value = &self.buffer[self.at..];
        let at = at.min(value.len());
        if let Some(newline) = value[..at].iter().rposition(|byte| *byte == b'\n') {
            self.line += value[..=newline].iter().filter(|byte| **byte == b'\n').count() as u64;
            self.at += newline + 1;
            return Ok(());
        }
        self.at += at;
        loop {
            if let Some(newline) = self.buffer[self.at..].iter().position(|byte| *byte == b'\n') {
                self.at += newline + 1;
                self.line += 1;
                return Ok(());
            }
            self.at = self.buffer.len();
            if !self.fill().await? {
                return Ok(());
            }
        }
    }

    /// Copies an object, its keys written as the columns' names.
    fn take_object(&self, end: usize, objects: &mut Objects) {
        let value = &self.buffer[self.at..self.at + end];
        let mut from = 0;
        if self.checker.shape.by_name != Some(Case::Sensitive) {
            for key in &self.keys {
                let Ok(name) = std::str::from_utf8(&value[key.start..key.end]) else { continue };
                if self.schema.fields().find(name).is_some() {
                    continue;
                }
                let lower: Cow<'_, str> = name.to_lowercase().into();
                let column = self.schema.fields().iter().find(|field| field.name().to_lowercase() == lower);
                let Some(column) = column else { continue };
                objects.text.extend_from_slice(&value[from..key.start]);
                let quoted = serde_json::to_string(column.name()).unwrap_or_default();
                objects.text.extend_from_slice(quoted.trim_matches('"').as_bytes());
                from = key.end;
            }
        }
        objects.text.extend_from_slice(&value[from..]);
        objects.text.push(b'\n');
        objects.ends.push(objects.text.len());
    }

    fn decode(&self, objects: Objects, errors: &mut Vec<RowError>) -> Result<Chunk, Fault> {
        let mut batches = Vec::new();
        let mut lines = Vec::new();
        self.decode_range(&objects, 0..objects.lines.len(), &mut batches, &mut lines, errors)?;
        let rows = lines.len();
        let whole =
            arrow::compute::concat_batches(&self.schema, &batches).map_err(|e| Fault::of_file(e.to_string()))?;
        let sources: Vec<Option<ArrayRef>> =
            self.checker.schema.fields().iter().map(|field| whole.column_by_name(field.name()).cloned()).collect();
        self.checker.check(&sources, rows, &Lines(lines))
    }

    /// Where some of them cannot be read, halves them until it is known which.
    fn decode_range(
        &self,
        objects: &Objects,
        range: std::ops::Range<usize>,
        batches: &mut Vec<RecordBatch>,
        lines: &mut Vec<u64>,
        errors: &mut Vec<RowError>,
    ) -> Result<(), Fault> {
        if range.is_empty() {
            return Ok(());
        }
        let begin = range.start.checked_sub(1).map_or(0, |before| objects.ends[before]);
        let text = &objects.text[begin..objects.ends[range.end - 1]];
        match read_objects(&self.schema, text, range.len()) {
            Ok(batch) => {
                batches.push(batch);
                lines.extend_from_slice(&objects.lines[range]);
                Ok(())
            }
            Err(error) if range.len() == 1 => {
                errors.push(self.explain(objects.lines[range.start], text, &error));
                Ok(())
            }
            Err(_) => {
                let middle = range.start + range.len() / 2;
                self.decode_range(objects, range.start..middle, batches, lines, errors)?;
                self.decode_range(objects, middle..range.end, batches, lines, errors)
            }
        }
    }

    /// Which column of an object has another type than the table's.
    fn explain(&self, line: u64, text: &[u8], error: &str) -> RowError {
        let row_error = |column: Option<String>, message: String| RowError {
            line,
            character: 0,
            column,
            message,
            code: ErrorCode::InvalidData,
        };
        for field in self.schema.fields() {
            let alone = Arc::new(Schema::new(vec![field.clone()]));
            if read_objects(&alone, text, 1).is_err() {
                let value = serde_json::from_slice::<serde_json::Value>(text).ok();
                let value = value.and_then(|value| Some(shorten(&value.get(field.name())?.to_string())));
                let message = match value {
                    Some(value) => format!("value {value} is not of type {}", type_name(field)),
                    None => format!("its value is not of type {}", type_name(field)),
                };
                return row_error(Some(field.name().clone()), message);
            }
        }
        row_error(None, error.to_owned())
    }
}

fn read_objects(schema: &SchemaRef, text: &[u8], rows: usize) -> Result<RecordBatch, String> {
    let decoder = ReaderBuilder::new(schema.clone()).with_batch_size(rows + 1).with_coerce_primitive(true);
    let mut decoder = decoder.build_decoder().map_err(|error| error.to_string())?;
    decoder.decode(text).map_err(|error| error.to_string())?;
    match decoder.flush().map_err(|error| error.to_string())? {
        Some(batch) if batch.num_rows() == rows => Ok(batch),
        Some(batch) => Err(format!("{} values were read in place of {rows}", batch.num_rows())),
        None => Err("no value was read".to_owned()),
    }
}

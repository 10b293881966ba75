//! Records of CSV files. The `csv` crate does not tell an enclosed field from a plain one, on which it depends whether an empty
//! field is a null, and does not say on which line a field begins.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};
use frazil_common::ErrorCode;

use super::bytes::ByteReader;
use super::check::{Checker, Chunk, Places};
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

/// What the beginning of some bytes is.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Split {
    /// Its fields are in the splitter.
    Record,
    Wrong {
        character: usize,
        message: &'static str,
    },
    /// More bytes are needed to tell.
    Incomplete,
    End,
}

struct Field {
    /// In the record: where it begins with its quote, and its value. If `copied`, the value is in `scratch`.
    begin: usize,
    start: usize,
    end: usize,
    enclosed: bool,
    copied: bool,
}

/// Cuts records and fields out of bytes.
struct Splitter {
    field: Option<u8>,
    record: u8,
    quote: Option<u8>,
    escape: Option<u8>,
    plain_escape: Option<u8>,
    /// Bytes at which a plain field may end, or change.
    special: [bool; 256],
    fields: Vec<Field>,
    scratch: Vec<u8>,
    /// Bytes and lines of the record.
    end: usize,
    lines: u64,
}

impl Splitter {
    fn new(format: &FileFormat) -> Self {
        let mut special = [false; 256];
        for byte in [format.field_delimiter, Some(format.record_delimiter), format.escape_unenclosed] {
            byte.into_iter().for_each(|byte| special[usize::from(byte)] = true);
        }
        Self {
            field: format.field_delimiter,
            record: format.record_delimiter,
            quote: format.enclosed_by,
            escape: format.escape,
            plain_escape: format.escape_unenclosed,
            special,
            fields: Vec::new(),
            scratch: Vec::new(),
            end: 0,
            lines: 0,
        }
    }

    fn value<'a>(&'a self, record: &'a [u8], field: &Field) -> &'a [u8] {
        if field.copied { &self.scratch[field.start..field.end] } else { &record[field.start..field.end] }
    }

    fn is_blank(&self) -> bool {
        matches!(self.fields.as_slice(), [field] if field.start == field.end && !field.enclosed)
    }

    fn split(&mut self, bytes: &[u8], ended: bool) -> Split {
        self.fields.clear();
        self.scratch.clear();
        self.lines = 0;
        if bytes.is_empty() {
            return if ended { Split::End } else { Split::Incomplete };
        }
        let mut at = 0;
        loop {
            let begin = at;
            let enclosed = self.quote.is_some() && bytes.get(at) == self.quote.as_ref();
            let done = if enclosed { self.enclosed(bytes, at) } else { self.plain(bytes, at) };
            match done {
                Done::Field { start, end, copied, next } => {
                    self.fields.push(Field { begin, start, end, enclosed, copied });
                    at = next;
                }
                Done::Open if !ended => return Split::Incomplete,
                Done::Open => {
                    self.end = bytes.len();
                    self.lines = count_lines(bytes);
                    let message = if enclosed { "an enclosed field is not closed" } else { "it ends with an escape" };
                    return Split::Wrong { character: begin, message };
                }
            }
            match bytes.get(at) {
                Some(byte) if Some(*byte) == self.field => at += 1,
                Some(byte) if *byte == self.record => {
                    self.end = at + 1;
                    break;
                }
                // The carriage return before a line feed, after an enclosed field.
                Some(b'\r') if self.record == b'\n' && bytes.get(at + 1) == Some(&b'\n') => {
                    self.end = at + 2;
                    break;
                }
                Some(b'\r') if self.record == b'\n' && ended && at + 1 == bytes.len() => {
                    self.end = at + 1;
                    break;
                }
                Some(_) => return self.wrong(bytes, ended, at, "characters follow an enclosed field"),
                None if !ended => return Split::Incomplete,
                None => {
                    self.end = at;
                    break;
                }
            }
            // A delimiter at the very end has an empty field after it.
            if at == bytes.len() && !ended {
                return Split::Incomplete;
            }
        }
        self.lines = count_lines(&bytes[..self.end]);
        Split::Record
    }

    /// From there to the end of the line nothing can be told.
    fn wrong(&mut self, bytes: &[u8], ended: bool, character: usize, message: &'static str) -> Split {
        match bytes[character..].iter().position(|byte| *byte == self.record) {
            Some(end) => self.end = character + end + 1,
            None if ended => self.end = bytes.len(),
            None => return Split::Incomplete,
        }
        self.lines = count_lines(&bytes[..self.end]);
        Split::Wrong { character, message }
    }

    fn plain(&mut self, bytes: &[u8], start: usize) -> Done {
        let mut at = start;
        let copy_start = self.scratch.len();
        let mut copied = false;
        let mut from = start;
        loop {
            while at < bytes.len() && !self.special[usize::from(bytes[at])] {
                at += 1;
            }
            if at < bytes.len() && Some(bytes[at]) == self.plain_escape && Some(bytes[at]) != self.field {
                let Some(escaped) = bytes.get(at + 1) else { return Done::Open };
                self.scratch.extend_from_slice(&bytes[from..at]);
                copied = true;
                match escaped {
                    b'n' => self.scratch.push(b'\n'),
                    b't' => self.scratch.push(b'\t'),
                    b'r' => self.scratch.push(b'\r'),
                    // `\N` is what it is: a null.
                    b'N' => self.scratch.extend_from_slice(&bytes[at..at + 2]),
                    other => self.scratch.push(*other),
                }
                at += 2;
                from = at;
                continue;
            }
            break;
        }
        let next = at;
        // Without a delimiter behind it, more of it may come; the caller asks.
        let mut end = at;
        let before_line_feed = self.record == b'\n' && bytes.get(at) == Some(&b'\n');
        if before_line_feed && end > from && bytes[end - 1] == b'\r' {
            end -= 1;
        }
        if !copied {
            return Done::Field { start, end, copied, next };
        }
        self.scratch.extend_from_slice(&bytes[from..end]);
        Done::Field { start: copy_start, end: self.scratch.len(), copied, next }
    }

    fn enclosed(&mut self, bytes: &[u8], begin: usize) -> Done {
        let quote = bytes[begin];
        let start = begin + 1;
        let copy_start = self.scratch.len();
        let (mut at, mut from, mut copied) = (start, start, false);
        loop {
            let Some(byte) = bytes.get(at) else { return Done::Open };
            if Some(*byte) == self.escape && *byte != quote {
                let Some(escaped) = bytes.get(at + 1) else { return Done::Open };
                self.scratch.extend_from_slice(&bytes[from..at]);
                copied = true;
                match escaped {
                    b'n' => self.scratch.push(b'\n'),
                    b't' => self.scratch.push(b'\t'),
                    b'r' => self.scratch.push(b'\r'),
                    other => self.scratch.push(*other),
                }
                at += 2;
                from = at;
            } else if *byte == quote {
                if bytes.get(at + 1) == Some(&quote) {
                    self.scratch.extend_from_slice(&bytes[from..=at]);
                    copied = true;
                    at += 2;
                    from = at;
                    continue;
                }
                let next = at + 1;
                if !copied {
                    return Done::Field { start, end: at, copied, next };
                }
                self.scratch.extend_from_slice(&bytes[from..at]);
                return Done::Field { start: copy_start, end: self.scratch.len(), copied, next };
            } else {
                at += 1;
            }
        }
    }
}

enum Done {
    Field {
        start: usize,
        end: usize,
        copied: bool,
        next: usize,
    },
    /// The bytes end in it.
    Open,
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::super::format::FileKind;
    use super::*;

    /// All records of a text as their fields, `"…"` around enclosed ones, each with its lines.
    fn records(format: &FileFormat, text: &str) -> Vec<String> {
        let mut splitter = Splitter::new(format);
        let (bytes, mut at, mut records) = (text.as_bytes(), 0, Vec::new());
        loop {
            // As it would come in pieces: nothing may change by that.
            for length in 0..bytes.len() - at {
                let early = splitter.split(&bytes[at..at + length], false);
                if early != Split::Incomplete {
                    assert!(splitter.end <= length, "{text:?} at {at}..{length}: {early:?}");
                }
            }
            match splitter.split(&bytes[at..], true) {
                Split::End => return records,
                Split::Record => {
                    let record = &bytes[at..];
                    let fields = splitter.fields.iter().map(|field| {
                        let value = String::from_utf8(splitter.value(record, field).to_vec()).unwrap();
                        if field.enclosed { format!("{value:?}") } else { value }
                    });
                    records.push(format!("{}:{}", splitter.lines, fields.collect::<Vec<_>>().join("|")));
                }
                Split::Wrong { character, message } => {
                    records.push(format!("{}:{message} at {character}", splitter.lines));
                }
                Split::Incomplete => panic!("{text:?}: incomplete at its end"),
            }
            at += splitter.end;
        }
    }

    #[test]
    fn records_are_cut_as_snowflake_cuts_them() {
        let plain = FileFormat::of(FileKind::Csv);
        let enclosed = FileFormat { enclosed_by: Some(b'"'), ..plain.clone() };
        for (format, text, expected) in [
            (&plain, "", vec![]),
            (&plain, "a,b\nc,d", vec!["1:a|b", "0:c|d"]),
            (&plain, "a,b\r\nc,\r\n", vec!["1:a|b", "1:c|"]),
            (&plain, "\n\n", vec!["1:", "1:"]),
            (&plain, ",", vec!["0:|"]),
            (&plain, "\"a,b\"\n", vec!["1:\"a|b\""]),
            (&plain, "a\\,b,c\\n\\N,\\N\n", vec!["1:a,b|c\n\\N|\\N"]),
            (&enclosed, "\"a,b\",\"\",c\n", vec!["1:\"a,b\"|\"\"|c"]),
            (&enclosed, "\"a\"\"b\",\"c\nd\"\r\ne\n", vec!["2:\"a\\\"b\"|\"c\\nd\"", "1:e"]),
            (&enclosed, "a\"b,\"c\"d\ne\n", vec!["1:characters follow an enclosed field at 7", "1:e"]),
            (&enclosed, "a,\"b\nc", vec!["1:an enclosed field is not closed at 2"]),
            (&enclosed, "\"a\"\r", vec!["0:\"a\""]),
        ] {
            assert_eq!(records(format, text), expected, "{text:?}");
        }
    }
}

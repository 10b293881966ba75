//! Cuts records and fields out of the bytes of CSV files. The `csv` crate does not tell an enclosed field from a plain one, on which
//! it depends whether an empty field is a null, and does not say on which line a field begins.

use super::format::FileFormat;

/// What the beginning of some bytes is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Split {
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

pub(super) struct Field {
    /// In the record: where it begins with its quote, and its value. If `copied`, the value is in `scratch`.
    pub begin: usize,
    start: usize,
    end: usize,
    pub enclosed: bool,
    copied: bool,
}

/// Cuts records and fields out of bytes.
pub(super) struct Splitter {
    field: Option<u8>,
    pub record: u8,
    quote: Option<u8>,
    escape: Option<u8>,
    plain_escape: Option<u8>,
    /// Bytes at which a plain field may end, or change.
    special: [bool; 256],
    pub fields: Vec<Field>,
    scratch: Vec<u8>,
    /// Bytes and lines of the record.
    pub end: usize,
    pub lines: u64,
}

impl Splitter {
    pub fn new(format: &FileFormat) -> Self {
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

    pub fn value<'a>(&'a self, record: &'a [u8], field: &Field) -> &'a [u8] {
        if field.copied { &self.scratch[field.start..field.end] } else { &record[field.start..field.end] }
    }

    pub fn is_blank(&self) -> bool {
        matches!(self.fields.as_slice(), [field] if field.start == field.end && !field.enclosed)
    }

    pub fn split(&mut self, bytes: &[u8], ended: bool) -> Split {
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
                    // `\N` is what it is: a null.
                    b'N' => self.scratch.extend_from_slice(&bytes[at..at + 2]),
                    other => self.scratch.push(unescaped(*other)),
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
                self.scratch.push(unescaped(*escaped));
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

/// What a character behind an escape stands for.
fn unescaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        other => other,
    }
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

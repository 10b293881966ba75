//! How staged files are read and written: `FILE_FORMAT = (TYPE = CSV …)`. What is not built is refused by name.

use frazil_common::{ErrorCode, Failure};
use serde::{Deserialize, Serialize};

use super::lexer::Token;
use super::parser::Parser;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FileKind {
    Csv,
    Json,
    Parquet,
}

impl FileKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Csv => "CSV",
            Self::Json => "JSON",
            Self::Parquet => "PARQUET",
        }
    }

    fn parse(name: &str) -> Result<Self, Failure> {
        match name.to_ascii_uppercase().as_str() {
            "CSV" => Ok(Self::Csv),
            "JSON" => Ok(Self::Json),
            "PARQUET" => Ok(Self::Parquet),
            other @ ("AVRO" | "ORC" | "XML" | "CUSTOM") => Err(not_supported(&format!("file format {other}"))),
            other => Err(invalid(format!("file format {other:?} is not known: CSV, JSON and PARQUET are"))),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Compression {
    /// Reading: by the first bytes of each file. Writing: gzip for texts, snappy in Parquet.
    Auto,
    None,
    Gzip,
    Zstd,
    /// Inside of Parquet files.
    Snappy,
}

impl Compression {
    fn parse(name: &str) -> Result<Self, Failure> {
        match name.to_ascii_uppercase().as_str() {
            "AUTO" => Ok(Self::Auto),
            "NONE" => Ok(Self::None),
            "GZIP" => Ok(Self::Gzip),
            "ZSTD" => Ok(Self::Zstd),
            "SNAPPY" => Ok(Self::Snappy),
            other @ ("BZ2" | "BROTLI" | "DEFLATE" | "RAW_DEFLATE" | "LZO") => {
                Err(not_supported(&format!("COMPRESSION = {other}")))
            }
            other => Err(invalid(format!("COMPRESSION = {other} is not known: AUTO, GZIP, ZSTD, SNAPPY and NONE are"))),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum BinaryFormat {
    Hex,
    Utf8,
}

/// Snowflake's options with its defaults, which say nothing of a format they do not belong to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileFormat {
    pub kind: FileKind,
    pub compression: Compression,
    /// One byte; `None`: a record is one field.
    pub field_delimiter: Option<u8>,
    /// One byte. Of `\n`, a `\r` before it is a part.
    pub record_delimiter: u8,
    pub skip_header: u64,
    /// The first record has the names of the columns.
    pub parse_header: bool,
    pub skip_blank_lines: bool,
    pub enclosed_by: Option<u8>,
    /// In enclosed fields.
    pub escape: Option<u8>,
    pub escape_unenclosed: Option<u8>,
    pub null_if: Vec<String>,
    pub empty_field_as_null: bool,
    pub trim_space: bool,
    pub column_count_must_match: bool,
    pub binary: BinaryFormat,
    pub strip_outer_array: bool,
}

impl FileFormat {
    pub fn of(kind: FileKind) -> Self {
        Self {
            kind,
            compression: Compression::Auto,
            field_delimiter: Some(b','),
            record_delimiter: b'\n',
            skip_header: 0,
            parse_header: false,
            skip_blank_lines: false,
            enclosed_by: None,
            escape: None,
            escape_unenclosed: Some(b'\\'),
            null_if: if kind == FileKind::Csv { vec!["\\N".to_owned()] } else { Vec::new() },
            empty_field_as_null: true,
            trim_space: false,
            column_count_must_match: true,
            binary: BinaryFormat::Hex,
            strip_outer_array: false,
        }
    }

    /// `(TYPE = CSV option = value …)`, with or without commas; `base` is what a format without `TYPE` is about.
    pub fn parse(parser: &mut Parser<'_>, base: FileKind) -> Result<Self, Failure> {
        parser.expect_symbol('(')?;
        let mut options = Vec::new();
        let mut kind = base;
        while !parser.accept_symbol(')') {
            if parser.accept_symbol(',') {
                continue;
            }
            let name = parser.option_name()?;
            parser.expect_symbol('=')?;
            // `FILE_FORMAT => (TYPE => CSV)` of table functions.
            parser.accept_symbol('>');
            match name.as_str() {
                "TYPE" => kind = FileKind::parse(&word_or_text(parser)?)?,
                "FORMAT_NAME" => return Err(not_supported("FILE_FORMAT = (FORMAT_NAME = …): a named file format")),
                _ => options.push((name, OptionValue::parse(parser)?)),
            }
        }
        let mut format = Self::of(kind);
        for (name, value) in options {
            format.set(&name, &value)?;
        }
        format.check()?;
        Ok(format)
    }

    pub fn by_name(name: &str) -> Result<Self, Failure> {
        FileKind::parse(name).map(Self::of)
    }

    fn set(&mut self, name: &str, value: &OptionValue) -> Result<(), Failure> {
        let csv = self.kind == FileKind::Csv;
        match name {
            "COMPRESSION" => self.compression = Compression::parse(&value.word(name)?)?,
            "FIELD_DELIMITER" if csv => self.field_delimiter = value.byte(name)?,
            "RECORD_DELIMITER" if csv => {
                self.record_delimiter = match value {
                    OptionValue::Text(text) if text == "\r\n" => b'\n',
                    value => value.byte(name)?.ok_or_else(|| not_supported("RECORD_DELIMITER = NONE"))?,
                };
            }
            "SKIP_HEADER" if csv => self.skip_header = value.number(name)?,
            "PARSE_HEADER" if csv => self.parse_header = value.boolean(name)?,
            "SKIP_BLANK_LINES" if csv => self.skip_blank_lines = value.boolean(name)?,
            "FIELD_OPTIONALLY_ENCLOSED_BY" if csv => self.enclosed_by = value.byte(name)?,
            "ESCAPE" if csv => self.escape = value.byte(name)?,
            "ESCAPE_UNENCLOSED_FIELD" if csv => self.escape_unenclosed = value.byte(name)?,
            "EMPTY_FIELD_AS_NULL" if csv => self.empty_field_as_null = value.boolean(name)?,
            "ERROR_ON_COLUMN_COUNT_MISMATCH" if csv => self.column_count_must_match = value.boolean(name)?,
            "BINARY_FORMAT" if csv => {
                self.binary = match value.word(name)?.as_str() {
                    "HEX" => BinaryFormat::Hex,
                    "UTF8" | "UTF-8" => BinaryFormat::Utf8,
                    other => return Err(not_supported(&format!("BINARY_FORMAT = {other}"))),
                };
            }
            "TRIM_SPACE" if csv => self.trim_space = value.boolean(name)?,
            "NULL_IF" if csv => self.null_if = value.texts(name)?,
            "ENCODING" if csv => match value.word(name)?.as_str() {
                "UTF8" | "UTF-8" => {}
                other => return Err(not_supported(&format!("ENCODING = {other}"))),
            },
            "DATE_FORMAT" | "TIME_FORMAT" | "TIMESTAMP_FORMAT" => match value.word(name)?.as_str() {
                "AUTO" => {}
                other => return Err(not_supported(&format!("{name} = {other}: only AUTO (ISO 8601)"))),
            },
            "STRIP_OUTER_ARRAY" if self.kind == FileKind::Json => self.strip_outer_array = value.boolean(name)?,
            // What they ask for is what we do.
            "SKIP_BYTE_ORDER_MARK" if self.kind != FileKind::Parquet && value.boolean(name)? => {}
            "SNAPPY_COMPRESSION" if self.kind == FileKind::Parquet => {
                self.compression = if value.boolean(name)? { Compression::Snappy } else { Compression::None };
            }
            "BINARY_AS_TEXT" if self.kind == FileKind::Parquet && !value.boolean(name)? => {}
            "REPLACE_INVALID_CHARACTERS"
            | "IGNORE_UTF8_ERRORS"
            | "ALLOW_DUPLICATE"
            | "ENABLE_OCTAL"
            | "STRIP_NULL_VALUES"
            | "MULTI_LINE"
                if matches!(value, OptionValue::Word(word) if word.eq_ignore_ascii_case("FALSE")) => {}
            other => {
                let what = format!("option {other} of file format {}", self.kind.name());
                return Err(not_supported(&what));
            }
        }
        Ok(())
    }

    /// Names and values, for `DESCRIBE`.
    pub fn described(&self) -> Vec<(&'static str, String)> {
        let byte =
            |byte: Option<u8>| byte.map_or("NONE".to_owned(), |byte| char::from(byte).escape_default().to_string());
        let boolean = |value: bool| if value { "TRUE".to_owned() } else { "FALSE".to_owned() };
        let mut options = vec![
            ("TYPE", self.kind.name().to_owned()),
            ("COMPRESSION", format!("{:?}", self.compression).to_uppercase()),
        ];
        match self.kind {
            FileKind::Csv => options.extend([
                ("FIELD_DELIMITER", byte(self.field_delimiter)),
                ("RECORD_DELIMITER", byte(Some(self.record_delimiter))),
                ("SKIP_HEADER", self.skip_header.to_string()),
                ("PARSE_HEADER", boolean(self.parse_header)),
                ("SKIP_BLANK_LINES", boolean(self.skip_blank_lines)),
                ("FIELD_OPTIONALLY_ENCLOSED_BY", byte(self.enclosed_by)),
                ("ESCAPE", byte(self.escape)),
                ("ESCAPE_UNENCLOSED_FIELD", byte(self.escape_unenclosed)),
                ("NULL_IF", format!("{:?}", self.null_if)),
                ("EMPTY_FIELD_AS_NULL", boolean(self.empty_field_as_null)),
                ("TRIM_SPACE", boolean(self.trim_space)),
                ("ERROR_ON_COLUMN_COUNT_MISMATCH", boolean(self.column_count_must_match)),
                ("BINARY_FORMAT", format!("{:?}", self.binary).to_uppercase()),
            ]),
            FileKind::Json => options.push(("STRIP_OUTER_ARRAY", boolean(self.strip_outer_array))),
            FileKind::Parquet => {}
        }
        options
    }

    fn check(&self) -> Result<(), Failure> {
        let text = self.kind != FileKind::Parquet;
        match self.compression {
            Compression::Snappy if text => return Err(not_supported("COMPRESSION = SNAPPY of a text file")),
            _ => {}
        }
        if self.parse_header && self.skip_header > 0 {
            return Err(invalid("SKIP_HEADER and PARSE_HEADER exclude each other"));
        }
        let special = [self.field_delimiter, Some(self.record_delimiter), self.enclosed_by];
        let mut special: Vec<u8> = special.into_iter().flatten().collect();
        special.sort_unstable();
        if special.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(invalid("field delimiter, record delimiter and enclosing character must differ"));
        }
        Ok(())
    }
}

/// The value of an option.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OptionValue {
    /// A keyword or number.
    Word(String),
    Text(String),
    List(Vec<String>),
}

impl OptionValue {
    pub fn parse(parser: &mut Parser<'_>) -> Result<Self, Failure> {
        match parser.peek() {
            Some(Token::Word(word)) => {
                let word = word.clone();
                parser.next();
                Ok(Self::Word(word))
            }
            Some(Token::Text(_)) => parser.text().map(Self::Text),
            Some(Token::Symbol('(')) => parser.texts().map(Self::List),
            _ => Err(parser.expected("a value")),
        }
    }

    pub fn word(&self, name: &str) -> Result<String, Failure> {
        match self {
            Self::Word(word) | Self::Text(word) => Ok(word.to_ascii_uppercase()),
            Self::List(_) => Err(invalid(format!("option {name} takes one value"))),
        }
    }

    pub fn boolean(&self, name: &str) -> Result<bool, Failure> {
        match self.word(name)?.as_str() {
            "TRUE" => Ok(true),
            "FALSE" => Ok(false),
            other => Err(invalid(format!("option {name} is TRUE or FALSE, not {other}"))),
        }
    }

    pub fn number(&self, name: &str) -> Result<u64, Failure> {
        let word = self.word(name)?;
        word.parse().map_err(|_| invalid(format!("option {name} is a whole number, not {word}")))
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, Failure> {
        match self {
            Self::List(texts) => Ok(texts.clone()),
            Self::Text(text) => Ok(vec![text.clone()]),
            Self::Word(_) => Err(invalid(format!("option {name} takes texts: {name} = ('', 'NULL')"))),
        }
    }

    fn byte(&self, name: &str) -> Result<Option<u8>, Failure> {
        match self {
            Self::Word(word) if word.eq_ignore_ascii_case("NONE") => Ok(None),
            Self::Text(text) if text.eq_ignore_ascii_case("NONE") => Ok(None),
            Self::Text(text) => match text.as_bytes() {
                [byte] if byte.is_ascii() => Ok(Some(*byte)),
                _ => Err(not_supported(&format!("{name} of other than one ASCII character"))),
            },
            _ => Err(invalid(format!("option {name} takes a character in quotes, or NONE"))),
        }
    }
}

fn word_or_text(parser: &mut Parser<'_>) -> Result<String, Failure> {
    OptionValue::parse(parser)?.word("TYPE")
}

pub fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::InvalidArgument, message)
}

pub fn not_supported(what: &str) -> Failure {
    Failure::new(ErrorCode::NotSupported, format!("{what} is not supported"))
}

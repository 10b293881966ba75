//! `TABLE(INFER_SCHEMA(LOCATION => '@stage', …))`: the columns of staged files. The call is replaced by the rows that it gives, before
//! the query is parsed.

use arrow::datatypes::{DataType, Field, Schema};
use arrow::json::reader::infer_json_schema_from_iterator;
use frazil_catalog::Privilege;
use frazil_common::{ErrorCode, Failure};
use futures::StreamExt;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};

use super::bytes::ByteReader;
use super::format::{FileFormat, FileKind, OptionValue, not_supported};
use super::json_scan::{Scan, scan_value};
use super::lexer::{Token, tokens};
use super::parquet::StoredFile;
use super::parser::Parser;
use super::place::{Context, StagedFile, StagedPlace};
use super::statement::parse_place;

/// Of a text file: what is looked at.
const SAMPLE_BYTES: usize = 1 << 20;
const SAMPLE_RECORDS: usize = 1000;
/// Files that are looked at; those after them are taken for alike.
const FILES_MAX: usize = 100;
const FILES_AT_ONCE: usize = 8;

struct Column {
    name: String,
    data_type: DataType,
    nullable: bool,
    files: Vec<String>,
}

/// The query with rows in place of the calls; `None`: there is none in it.
pub async fn replace_calls(sql: &str, context: &Context<'_>) -> Result<Option<String>, Failure> {
    if !sql.to_ascii_lowercase().contains("infer_schema") {
        return Ok(None);
    }
    let mut replaced = sql.to_owned();
    let mut found = false;
    while let Some((start, end, arguments)) = find_call(&replaced)? {
        let rows = rows_of(&replaced[arguments], context).await?;
        replaced.replace_range(start..end, &rows);
        found = true;
    }
    Ok(found.then_some(replaced))
}

/// `TABLE ( INFER_SCHEMA ( arguments ) )`: its bytes, and those of the arguments.
fn find_call(sql: &str) -> Result<Option<(usize, usize, std::ops::Range<usize>)>, Failure> {
    let tokens = tokens(sql)?;
    let is_word = |at: usize, word: &str| matches!(tokens.get(at).map(|spanned| &spanned.token), Some(Token::Word(found)) if found.eq_ignore_ascii_case(word));
    let is_symbol = |at: usize, symbol| tokens.get(at).is_some_and(|spanned| spanned.token == Token::Symbol(symbol));
    for at in 0..tokens.len() {
        let opens =
            is_word(at, "table") && is_symbol(at + 1, '(') && is_word(at + 2, "infer_schema") && is_symbol(at + 3, '(');
        if !opens {
            continue;
        }
        let mut depth = 0;
        for close in at + 3..tokens.len() {
            depth += i32::from(is_symbol(close, '(')) - i32::from(is_symbol(close, ')'));
            if depth == 0 {
                if !is_symbol(close + 1, ')') {
                    break;
                }
                let arguments = tokens[at + 3].end..tokens[close].start;
                return Ok(Some((tokens[at].start, tokens[close + 1].end, arguments)));
            }
        }
        return Err(Failure::new(ErrorCode::Syntax, "TABLE(INFER_SCHEMA(…)) is not closed"));
    }
    Ok(None)
}

async fn rows_of(arguments: &str, context: &Context<'_>) -> Result<String, Failure> {
    let mut parser = Parser::new(arguments)?;
    let (mut location, mut format, mut files, mut ignore_case) = (None, None, None, false);
    while !parser.is_at_end() {
        if parser.accept_symbol(',') {
            continue;
        }
        let name = parser.option_name()?;
        parser.expect_symbol('=')?;
        parser.expect_symbol('>')?;
        match name.as_str() {
            "LOCATION" => location = Some(parse_place(&parser.text()?)?),
            "FILE_FORMAT" => {
                format = Some(match parser.peek() {
                    Some(Token::Symbol('(')) => FileFormat::parse(&mut parser, FileKind::Csv)?,
                    _ => FileFormat::by_name(&parser.text()?)?,
                });
            }
            "FILES" => files = Some(parser.texts()?),
            "IGNORE_CASE" => ignore_case = OptionValue::parse(&mut parser)?.boolean("IGNORE_CASE")?,
            other => return Err(not_supported(&format!("argument {other} of INFER_SCHEMA"))),
        }
    }
    let location =
        location.ok_or_else(|| Failure::new(ErrorCode::Syntax, "INFER_SCHEMA needs LOCATION => '@stage'"))?;
    let place = context.resolve(&location, Privilege::Read).await?;
    let format = format.unwrap_or_else(|| place.format.clone());
    let mut staged = match files {
        None => place.list(None).await?,
        Some(names) => {
            let mut staged = Vec::with_capacity(names.len());
            for name in names {
                staged.push(place.file(&name).await?);
            }
            staged
        }
    };
    if staged.is_empty() {
        let message = format!("there are no files at \"{}\"", place.shown(&place.path));
        return Err(Failure::new(ErrorCode::FileUnavailable, message));
    }
    staged.truncate(FILES_MAX);
    let columns = infer(&place, staged, &format, ignore_case).await?;
    Ok(as_rows(&columns, &format))
}

async fn infer(
    place: &StagedPlace,
    files: Vec<StagedFile>,
    format: &FileFormat,
    ignore_case: bool,
) -> Result<Vec<Column>, Failure> {
    let mut schemas = futures::stream::iter(files)
        .map(|file| infer_file(place.clone(), file, format.clone()))
        .buffered(FILES_AT_ONCE);
    let mut columns: Vec<Column> = Vec::new();
    while let Some(inferred) = schemas.next().await {
        let (file, schema) = inferred?;
        for field in schema.fields() {
            let name = if ignore_case { field.name().to_lowercase() } else { field.name().clone() };
            match columns.iter_mut().find(|column| column.name == name) {
                Some(column) => {
                    column.data_type = common(&column.data_type, field.data_type());
                    column.nullable |= field.is_nullable();
                    column.files.push(file.clone());
                }
                None => columns.push(Column {
                    name,
                    data_type: field.data_type().clone(),
                    nullable: field.is_nullable(),
                    files: vec![file.clone()],
                }),
            }
        }
    }
    Ok(columns)
}

async fn infer_file(place: StagedPlace, file: StagedFile, format: FileFormat) -> Result<(String, Schema), Failure> {
    let wrong = |why: String| Failure::new(ErrorCode::FileCorrupt, format!("staged file \"{}\": {why}", file.shown));
    if format.kind == FileKind::Parquet {
        let mut stored = StoredFile::new(place.store.clone(), &file.meta);
        let metadata = ArrowReaderMetadata::load_async(&mut stored, ArrowReaderOptions::new()).await;
        let metadata = metadata.map_err(|error| wrong(format!("it cannot be read as Parquet: {error}")))?;
        return Ok((file.relative.clone(), metadata.schema().as_ref().clone()));
    }
    let mut reader = ByteReader::open(place.store.clone(), file.meta.clone(), format.compression)
        .map_err(|fault| wrong(fault.message))?;
    let mut sample = Vec::new();
    let mut ended = false;
    while sample.len() < SAMPLE_BYTES && !ended {
        ended = !reader.more(&mut sample).await.map_err(|fault| wrong(fault.message))?;
    }
    let sample = sample.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(&sample);
    let schema = match format.kind {
        FileKind::Json => infer_json(sample, ended, &format).map_err(wrong)?,
        FileKind::Csv | FileKind::Parquet => infer_csv(sample, ended, &format).map_err(wrong)?,
    };
    Ok((file.relative.clone(), schema))
}

fn infer_json(sample: &[u8], ended: bool, format: &FileFormat) -> Result<Schema, String> {
    let mut values = Vec::new();
    let mut keys = Vec::new();
    let mut at = 0;
    while values.len() < SAMPLE_RECORDS {
        let between =
            |byte: &u8| byte.is_ascii_whitespace() || (format.strip_outer_array && matches!(byte, b'[' | b',' | b']'));
        at += sample[at..].iter().position(|byte| !between(byte)).unwrap_or(sample.len() - at);
        if at == sample.len() {
            break;
        }
        match scan_value(&sample[at..], ended, &mut keys) {
            Scan::Value { end } => {
                let value: serde_json::Value =
                    serde_json::from_slice(&sample[at..at + end]).map_err(|error| error.to_string())?;
                values.push(value);
                at += end;
            }
            Scan::Incomplete => break,
            Scan::Wrong { message, .. } => return Err(message.to_owned()),
        }
    }
    infer_json_schema_from_iterator(values.iter().map(Ok)).map_err(|error| error.to_string())
}

fn infer_csv(sample: &[u8], ended: bool, format: &FileFormat) -> Result<Schema, String> {
    // Not the half of a record.
    let whole = match ended {
        true => sample.len(),
        false => sample.iter().rposition(|byte| *byte == format.record_delimiter).map_or(0, |at| at + 1),
    };
    let mut lines = &sample[..whole];
    for _ in 0..format.skip_header {
        let next = lines.iter().position(|byte| *byte == format.record_delimiter).map_or(lines.len(), |at| at + 1);
        lines = &lines[next..];
    }
    let mut csv = arrow::csv::reader::Format::default().with_header(format.parse_header);
    csv = csv.with_delimiter(format.field_delimiter.unwrap_or(0));
    // The reader's own default takes a carriage return along.
    if format.record_delimiter != b'\n' {
        csv = csv.with_terminator(format.record_delimiter);
    }
    if let Some(quote) = format.enclosed_by {
        csv = csv.with_quote(quote);
    }
    let (schema, _) = csv.infer_schema(lines, Some(SAMPLE_RECORDS)).map_err(|error| error.to_string())?;
    if format.parse_header {
        return Ok(schema);
    }
    // Snowflake's names.
    let fields = schema.fields().iter().enumerate();
    let fields = fields.map(|(index, field)| field.as_ref().clone().with_name(format!("c{}", index + 1)));
    Ok(Schema::new(fields.collect::<Vec<Field>>()))
}

/// A type that has the values of both.
fn common(one: &DataType, other: &DataType) -> DataType {
    use DataType::{Float32, Float64, Null, Utf8};
    match (one, other) {
        (one, other) if one == other => one.clone(),
        (Null, other) => other.clone(),
        (one, Null) => one.clone(),
        (one, other) if one.is_integer() && other.is_integer() => DataType::Int64,
        (one, other) if one.is_numeric() && matches!(other, Float32 | Float64) => Float64,
        (Float32 | Float64, other) if other.is_numeric() => Float64,
        _ => Utf8,
    }
}

/// As `CREATE TABLE` takes it.
fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 => "TINYINT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::UInt8 => "TINYINT UNSIGNED".to_owned(),
        DataType::UInt16 => "SMALLINT UNSIGNED".to_owned(),
        DataType::UInt32 => "INT UNSIGNED".to_owned(),
        DataType::UInt64 => "BIGINT UNSIGNED".to_owned(),
        DataType::Float16 | DataType::Float32 => "FLOAT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => format!("DECIMAL({precision},{scale})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => "VARCHAR".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "BYTEA".to_owned()
        }
        DataType::Date32 | DataType::Date64 => "DATE".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "TIME".to_owned(),
        DataType::Timestamp(_, None) => "TIMESTAMP".to_owned(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE".to_owned(),
        DataType::List(item) | DataType::LargeList(item) => format!("{}[]", sql_type(item.data_type())),
        DataType::Dictionary(_, values) => sql_type(values),
        other => other.to_string(),
    }
}

fn as_rows(columns: &[Column], format: &FileFormat) -> String {
    let names = "column_name, type, nullable, expression, filenames, order_id";
    let quote = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let rows = columns.iter().enumerate().map(|(index, column)| {
        let kind = sql_type(&column.data_type);
        let expression = match format.kind {
            FileKind::Csv => format!("${}::{kind}", index + 1),
            FileKind::Json | FileKind::Parquet => format!("$1:{}::{kind}", column.name),
        };
        format!(
            "({}, {}, {}, {}, {}, {index})",
            quote(&column.name),
            quote(&kind),
            column.nullable,
            quote(&expression),
            quote(&column.files.join(", "))
        )
    });
    let rows: Vec<String> = rows.collect();
    match rows.is_empty() {
        true => format!("(SELECT * FROM (VALUES ('', '', true, '', '', 0)) AS inferred({names}) WHERE false)"),
        false => format!("(SELECT * FROM (VALUES {}) AS inferred({names}))", rows.join(", ")),
    }
}

//! A finished statement's answer: its columns, its first rows, and where the others are.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Schema};
use arrow::error::ArrowError;
use arrow_ipc::writer::StreamEncoder;
use axum::body::Body;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use frazil_common::{ErrorCode, Failure, NameCase};
use frazil_coordinator::statement::{Phase, ResultInfo, StatementStatus};
use futures::stream;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::encoding;
use super::envelope::Refused;
use super::parameters::Format;
use super::row_type::{Column, as_text, columns};
use super::session::Client;
use super::statement::Kind;
use crate::cells::{NullCell, write_rows, write_rows_bare};
use crate::ipc::push_chunks;
use crate::rest::json_bytes;

/// Cells above which rows are written off the I/O threads: about a millisecond of work.
const INLINE_CELLS_MAX: usize = 10_000;

/// How a statement's rows are to be read.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub kind: Kind,
    pub format: Format,
    /// Of the columns.
    name_case: NameCase,
}

impl Wish {
    /// Only queries are answered with Arrow: what others answer is counted by clients that look for text.
    pub fn new(kind: Kind, format: Format) -> Self {
        Self { kind, format: if kind.is_query() { format } else { Format::Json }, name_case: NameCase::AsKept }
    }

    /// Names of a query's columns are the user's, or those that we have given it for them; what other statements answer is called the same
    /// by every client.
    fn of(self, status: &StatementStatus) -> Self {
        let name_case = if Kind::of(&status.sql).is_query() { NameCase::Upper } else { NameCase::AsKept };
        Self { name_case, ..self }
    }

    fn columns(self, schema: &Schema) -> Vec<Column> {
        let mut columns = columns(schema, self.name_case);
        if self.format == Format::Json {
            columns.iter_mut().for_each(as_text);
        }
        columns
    }
}

/// The answer to whoever waits for a statement that has ended.
pub async fn ended(
    client: &Client,
    headers: &HeaderMap,
    status: StatementStatus,
    wish: Wish,
) -> Result<Response, Refused> {
    let (id, wish) = (status.id, wish.of(&status));
    match status.phase {
        Phase::Finished => {
            let nothing = || ResultInfo { schema: Arc::new(Schema::empty()), rows: 0, partitions: Vec::new() };
            let result = status.result.clone().unwrap_or_else(nothing);
            finished(client, headers, &status, result, wish).await.map_err(|failure| Refused::of(failure, id))
        }
        _ => {
            let missing = || Failure::internal(format!("statement {id} failed without a cause"));
            let failure = status.failure.clone().unwrap_or_else(missing);
            if is_harmless(wish.kind, &failure) {
                return Ok(harmless(client, &status, wish)?);
            }
            Err(Refused::of(failure, id))
        }
    }
}

/// Snowflake's clients end transactions that are not open, and begin such that are.
pub fn is_harmless(kind: Kind, failure: &Failure) -> bool {
    kind == Kind::TRANSACTION && matches!(failure.code, ErrorCode::NoTransaction | ErrorCode::TransactionOpen)
}

fn harmless(client: &Client, status: &StatementStatus, wish: Wish) -> Result<Response, Failure> {
    let schema = Schema::new(vec![Field::new("status", DataType::Utf8, false)]);
    let text: ArrayRef = Arc::new(StringArray::from(vec!["Statement executed successfully."]));
    let batch = RecordBatch::try_new(Arc::new(schema.clone()), vec![text]);
    let batch = batch.map_err(|error| Failure::internal(error.to_string()))?;
    let mut head = head(client, status, wish, 1)?;
    head["rowtype"] = json!(wish.columns(&schema));
    inline(head, &[batch], wish, &schema)
}

async fn finished(
    client: &Client,
    headers: &HeaderMap,
    status: &StatementStatus,
    result: ResultInfo,
    wish: Wish,
) -> Result<Response, Failure> {
    let first = match result.partitions.is_empty() {
        true => Vec::new(),
        false => client.caller.result_partition(status.id, 0).await?,
    };
    let schema = result.schema.clone();
    let mut head = head(client, status, wish, result.rows)?;
    head["rowtype"] = json!(wish.columns(&schema));
    if wish.kind.counts() {
        head["stats"] = stats(&first);
    }
    let later: Vec<_> = result.partitions.iter().enumerate().skip(1).collect();
    if !later.is_empty() {
        let base = base_url(headers, client.tls);
        let token = client.results_token()?;
        let format = if wish.format == Format::Arrow { "arrow" } else { "json" };
        let chunks = later.into_iter().map(|(number, partition)| {
            json!({
                "url": format!("{base}/queries/{}/chunks/{number}?format={format}&token={token}", status.id),
                "rowCount": partition.rows,
                "uncompressedSize": partition.bytes,
                "compressedSize": partition.bytes,
            })
        });
        head["chunks"] = chunks.collect();
        // Otherwise clients take their own headers for what a chunk's address needs.
        head["chunkHeaders"] = json!({});
    }
    let cells = first.iter().map(|batch| batch.num_rows() * batch.num_columns()).sum::<usize>();
    match cells <= INLINE_CELLS_MAX {
        true => inline(head, &first, wish, &schema),
        false => blocking(move || inline(head, &first, wish, &schema)).await,
    }
}

/// All but the rows.
fn head(client: &Client, status: &StatementStatus, wish: Wish, rows: u64) -> Result<Value, Failure> {
    let (database, schema) = client.names()?;
    Ok(json!({
        "parameters": client.parameters(|parameters| parameters.list()),
        "total": rows,
        "returned": rows,
        "queryId": status.id,
        "databaseProvider": null,
        "finalDatabaseName": database,
        "finalSchemaName": schema,
        "finalWarehouseName": client.warehouse(),
        "finalRoleName": client.role(),
        "numberOfBinds": 0,
        "arrayBindSupported": wish.kind == Kind::INSERT,
        "statementTypeId": wish.kind.0,
        "version": 1,
        "sendResultTime": status.ended_ms,
        "queryResultFormat": if wish.format == Format::Arrow { "arrow" } else { "json" },
        "queryContext": { "entries": [] },
        "sqlState": "00000",
    }))
}

/// Where the client has reached us, so that it does again.
fn base_url(headers: &HeaderMap, tls: bool) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let own = if tls { "https" } else { "http" };
    // As a proxy before us says.
    let scheme = text("x-forwarded-proto").filter(|scheme| matches!(*scheme, "http" | "https")).unwrap_or(own);
    format!("{scheme}://{}", text(header::HOST.as_str()).unwrap_or("localhost"))
}

/// What a change has counted, by Snowflake's names.
fn stats(rows: &[RecordBatch]) -> Value {
    let count = |name: &str| {
        let batch = rows.first()?;
        let column = cast(batch.column_by_name(name)?, &DataType::Int64).ok()?;
        (column.len() == 1).then(|| column.as_primitive::<arrow::datatypes::Int64Type>().value(0))
    };
    json!({
        "numRowsInserted": count("number of rows inserted").unwrap_or(0),
        "numRowsUpdated": count("number of rows updated").unwrap_or(0),
        "numRowsDeleted": count("number of rows deleted").unwrap_or(0),
        "numDmlDuplicates": 0,
    })
}

/// The answer with the rows in it.
fn inline(head: Value, rows: &[RecordBatch], wish: Wish, schema: &Schema) -> Result<Response, Failure> {
    let mut body = b"{\"data\":".to_vec();
    body.extend_from_slice(head.to_string().as_bytes());
    // The object is left open for the rows.
    body.pop();
    match wish.format {
        Format::Arrow => {
            // Without rows there is no stream, as clients expect it: they know the columns.
            let mut stream = Vec::new();
            if rows.iter().any(|batch| batch.num_rows() > 0) {
                arrow_pieces(rows, &wish.columns(schema))?.iter().for_each(|piece| stream.extend_from_slice(piece));
            }
            body.extend_from_slice(b",\"rowsetBase64\":\"");
            let start = body.len();
            body.resize(start + base64::encoded_len(stream.len(), true).unwrap_or(0), 0);
            STANDARD
                .encode_slice(&stream, &mut body[start..])
                .map_err(|error| Failure::internal(format!("rows as base64: {error}")))?;
            body.push(b'"');
        }
        Format::Json => {
            body.extend_from_slice(b",\"rowset\":");
            write_rows(&for_text(rows)?, NullCell::Null, &mut body)?;
        }
    }
    body.extend_from_slice(b"},\"code\":null,\"message\":null,\"success\":true}");
    Ok(json_bytes(StatusCode::OK, body))
}

/// One later part of a result.
pub async fn part(rows: Vec<RecordBatch>, format: Format) -> Result<Response, Failure> {
    let pieces = blocking(move || {
        let Some(first) = rows.first() else { return Ok(VecDeque::new()) };
        match format {
            Format::Arrow => arrow_pieces(&rows, &columns(first.schema_ref(), NameCase::Upper)),
            Format::Json => {
                let mut bytes = Vec::new();
                write_rows_bare(&for_text(&rows)?, NullCell::Null, &mut bytes)?;
                Ok(VecDeque::from([Bytes::from(bytes)]))
            }
        }
    });
    let pieces = pieces.await?;
    let content_type = match format {
        Format::Arrow => "application/octet-stream",
        // As text, because it is not JSON without the brackets around it.
        Format::Json => "text/plain; charset=utf-8",
    };
    let length = pieces.iter().map(Bytes::len).sum::<usize>();
    let mut response = Response::new(Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, Infallible>))));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Ok(response)
}

/// An Arrow stream, around the memory that the columns have.
fn arrow_pieces(rows: &[RecordBatch], columns: &[Column]) -> Result<VecDeque<Bytes>, Failure> {
    let failed = |error: ArrowError| Failure::internal(format!("rows as arrow: {error}"));
    let schema = encoding::schema(columns);
    let mut encoder = StreamEncoder::try_new(&schema).map_err(failed)?;
    let mut pieces = VecDeque::new();
    for batch in rows {
        push_chunks(encoder.encode(&encoding::encode(batch, columns, &schema)?).map_err(failed)?, &mut pieces);
    }
    push_chunks(encoder.finish().map_err(failed)?, &mut pieces);
    Ok(pieces)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Failure::internal("panic while rows were written")))
}

/// The rows with columns whose text the drivers read: truth values are `1` and `0`, numbers without end are `Infinity`.
fn for_text(rows: &[RecordBatch]) -> Result<Vec<RecordBatch>, Failure> {
    let failed = |error: ArrowError| Failure::internal(format!("rows as text: {error}"));
    let column = |array: &ArrayRef| -> Result<ArrayRef, Failure> {
        match array.data_type() {
            DataType::Boolean => cast(array, &DataType::Int8).map_err(failed),
            DataType::Float32 | DataType::Float64 => Ok(endless(array).unwrap_or_else(|| array.clone())),
            _ => Ok(array.clone()),
        }
    };
    let batch = |batch: &RecordBatch| {
        let arrays = batch.columns().iter().map(column).collect::<Result<Vec<_>, Failure>>()?;
        let fields = batch.schema_ref().fields().iter().zip(&arrays);
        let fields: Vec<Field> =
            fields.map(|(field, array)| Field::new(field.name(), array.data_type().clone(), true)).collect();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options).map_err(failed)
    };
    rows.iter().map(batch).collect()
}

/// The text of numbers of which some have no end; `None` if all have one.
fn endless(array: &ArrayRef) -> Option<ArrayRef> {
    let text = |number: f64, finite: String| match number {
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        number if number.is_nan() => "NaN".to_owned(),
        _ => finite,
    };
    let texts: StringArray = match array.data_type() {
        DataType::Float32 => {
            let array = array.as_primitive::<Float32Type>();
            if array.iter().flatten().all(f32::is_finite) {
                return None;
            }
            array.iter().map(|number| number.map(|number| text(number.into(), number.to_string()))).collect()
        }
        _ => {
            let array = array.as_primitive::<Float64Type>();
            if array.iter().flatten().all(f64::is_finite) {
                return None;
            }
            array.iter().map(|number| number.map(|number| text(number, number.to_string()))).collect()
        }
    };
    Some(Arc::new(texts))
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, Float64Array};

    use super::*;

    #[test]
    fn addresses_lead_to_where_the_client_has_reached_us() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("wh.example:8642"));
        assert_eq!(base_url(&headers, false), "http://wh.example:8642");
        assert_eq!(base_url(&headers, true), "https://wh.example:8642");
        headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        assert_eq!(base_url(&headers, false), "https://wh.example:8642");
        headers.insert("x-forwarded-proto", HeaderValue::from_static("javascript"));
        assert_eq!(base_url(&headers, false), "http://wh.example:8642");
    }

    #[test]
    fn text_is_what_drivers_read() {
        let truths: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]));
        let numbers: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, f64::NEG_INFINITY, 1.5]));
        let batch = RecordBatch::try_from_iter([("t", truths), ("n", numbers)]).unwrap();
        let mut text = Vec::new();
        write_rows(&for_text(&[batch]).unwrap(), NullCell::Null, &mut text).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), r#"[["1","NaN"],["0","-Infinity"],[null,"1.5"]]"#);
    }
}

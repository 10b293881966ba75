//! DataFusion's errors as failures with a code, a position and a message for people.

use datafusion::common::{Diagnostic, SchemaError};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use frazil_common::failure::is_disk_full;
use frazil_common::{ErrorCode, Failure};
use frazil_exchange::find_failure;

/// Messages longer than this are cut: an error may quote a whole plan or a 4 MB statement.
const MESSAGE_BYTES_MAX: usize = 4000;

/// Finds the cause under all wrapping. Failures of our own, remote ones included, come out unchanged.
pub fn to_failure(error: &DataFusionError) -> Failure {
    if let Some(failure) = find_failure(error) {
        return failure;
    }
    let (code, message) = match is_disk_full(error) {
        true => (ErrorCode::DiskFull, format!("the disk is full: {}", classify(error).1)),
        false => classify(error),
    };
    let mut failure = Failure::new(code, shorten(tidy(&message)));
    if let Some((line, column)) = position(error) {
        failure = failure.at_position(line, column);
    }
    failure
}

fn classify(error: &DataFusionError) -> (ErrorCode, String) {
    match error {
        DataFusionError::Context(context, inner) => {
            let (code, message) = classify(inner);
            (code, format!("{context}: {message}"))
        }
        DataFusionError::Diagnostic(_, inner) => classify(inner),
        DataFusionError::Shared(inner) => classify(inner),
        DataFusionError::Collection(errors) => match errors.first() {
            Some(first) => classify(first),
            None => (ErrorCode::Internal, "an empty list of errors".to_owned()),
        },
        DataFusionError::SQL(parser, _) => {
            let message = match parser.as_ref() {
                ParserError::TokenizerError(message) | ParserError::ParserError(message) => message.clone(),
                ParserError::RecursionLimitExceeded => {
                    return (ErrorCode::TooComplex, "the statement nests too deeply".to_owned());
                }
            };
            (ErrorCode::Syntax, message)
        }
        DataFusionError::NotImplemented(message) => (ErrorCode::NotSupported, message.clone()),
        DataFusionError::Plan(message) => (plan_code(message), message.clone()),
        DataFusionError::SchemaError(schema, _) => {
            let code = match schema.as_ref() {
                SchemaError::FieldNotFound { .. } => ErrorCode::UndefinedColumn,
                _ => ErrorCode::InvalidStatement,
            };
            (code, schema.to_string())
        }
        DataFusionError::Configuration(message) => (ErrorCode::InvalidArgument, message.clone()),
        DataFusionError::ResourcesExhausted(message) => (ErrorCode::ResourcesExhausted, message.clone()),
        DataFusionError::ObjectStore(store) => (store_code(store), store.to_string()),
        DataFusionError::IoError(io) => (ErrorCode::FileUnavailable, io.to_string()),
        DataFusionError::ParquetError(parquet) => {
            // A file that cannot be fetched is not a corrupt one.
            let code = find_store_error(parquet.as_ref()).map_or(ErrorCode::FileCorrupt, store_code);
            (code, parquet.to_string())
        }
        DataFusionError::ArrowError(arrow, _) => (arrow_code(arrow), arrow.to_string()),
        DataFusionError::Execution(message) => (execution_code(message), message.clone()),
        DataFusionError::ExecutionJoin(join) if join.is_panic() => {
            (ErrorCode::Internal, format!("an operator panicked: {join}"))
        }
        DataFusionError::ExecutionJoin(join) => (ErrorCode::Cancelled, join.to_string()),
        DataFusionError::Internal(message) => (ErrorCode::Internal, message.clone()),
        DataFusionError::External(inner) => match inner.downcast_ref::<DataFusionError>() {
            Some(inner) => classify(inner),
            None => (ErrorCode::InvalidData, inner.to_string()),
        },
        other => (ErrorCode::Internal, other.strip_backtrace()),
    }
}

fn store_code(error: &object_store::Error) -> ErrorCode {
    match error {
        object_store::Error::NotSupported { .. } => ErrorCode::NotSupported,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            ErrorCode::AccessDenied
        }
        // Changed under the statement, which may be sent again.
        object_store::Error::Precondition { .. } => ErrorCode::Conflict,
        _ => ErrorCode::FileUnavailable,
    }
}

fn find_store_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a object_store::Error> {
    let mut cause = Some(error);
    while let Some(current) = cause {
        if let Some(store) = current.downcast_ref() {
            return Some(store);
        }
        cause = current.source();
    }
    None
}

/// DataFusion runs declarations, so what is wrong with one is an execution error, too.
fn execution_code(message: &str) -> ErrorCode {
    match plan_code(message) {
        code @ (ErrorCode::DuplicateTable | ErrorCode::UndefinedTable) => code,
        _ => ErrorCode::InvalidData,
    }
}

fn plan_code(message: &str) -> ErrorCode {
    let lower = message.to_ascii_lowercase();
    if lower.contains("already exists") {
        ErrorCode::DuplicateTable
    } else if lower.contains("function") && (lower.contains("invalid function") || lower.contains("not found")) {
        ErrorCode::UndefinedFunction
    } else if lower.starts_with("no files found at ") {
        ErrorCode::FileUnavailable
    } else if is_about_a_missing_table(&lower) {
        ErrorCode::UndefinedTable
    } else {
        ErrorCode::InvalidStatement
    }
}

fn is_about_a_missing_table(message: &str) -> bool {
    let place = ["table", "schema", "catalog"].iter().any(|place| message.contains(place));
    let missing = ["not found", "doesn't exist", "does not exist", "failed to resolve"];
    place && missing.iter().any(|missing| message.contains(missing))
}

fn arrow_code(error: &arrow::error::ArrowError) -> ErrorCode {
    use arrow::error::ArrowError;
    match error {
        ArrowError::ParquetError(_) | ArrowError::IpcError(_) | ArrowError::CsvError(_) | ArrowError::JsonError(_) => {
            ErrorCode::FileCorrupt
        }
        ArrowError::IoError(..) => ErrorCode::FileUnavailable,
        ArrowError::MemoryError(_) | ArrowError::OffsetOverflowError(_) => ErrorCode::ResourcesExhausted,
        ArrowError::NotYetImplemented(_) => ErrorCode::NotSupported,
        // A panic that DataFusion or arrow turned into an error on its way between threads.
        ArrowError::ExternalError(inner) if inner.to_string().contains("panic") => ErrorCode::Internal,
        _ => ErrorCode::InvalidData,
    }
}

/// Line and column, both from 1: from DataFusion's diagnostics, or out of the parser's message.
fn position(error: &DataFusionError) -> Option<(u32, u32)> {
    if let Some(span) = error.diagnostic().and_then(diagnostic_span) {
        return Some(span);
    }
    let text = error.strip_backtrace();
    let at = text.find("Line: ")?;
    let rest = &text[at + "Line: ".len()..];
    let (line, rest) = rest.split_once(',')?;
    let column: String = rest.trim().strip_prefix("Column: ")?.chars().take_while(char::is_ascii_digit).collect();
    Some((line.trim().parse().ok()?, column.parse().ok()?))
}

fn diagnostic_span(diagnostic: &Diagnostic) -> Option<(u32, u32)> {
    let start = diagnostic.span?.start;
    Some((u32::try_from(start.line).ok()?, u32::try_from(start.column).ok()?))
}

/// Takes the parser's own position, DataFusion's prefixes and its requests for bug reports out of a message.
fn tidy(message: &str) -> String {
    let message = message.split(" at Line: ").next().unwrap_or(message);
    let message = message.split("\n\nbacktrace:").next().unwrap_or(message);
    let message = message.split("\nThis issue was likely caused by a bug").next().unwrap_or(message);
    let mut message = message.trim();
    for prefix in ["sql parser error: ", "Error during planning: ", "Execution error: ", "External error: "] {
        message = message.strip_prefix(prefix).unwrap_or(message);
    }
    message.trim_end_matches('.').to_owned()
}

fn shorten(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let mut end = MESSAGE_BYTES_MAX;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.push('…');
    }
    message
}

/// What a caught panic said.
pub fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_comes_out_of_any_wrapping() {
        let inner = Failure::new(ErrorCode::FileCorrupt, "file \"x\" is truncated");
        let wrapped = DataFusionError::Context(
            "while reading".to_owned(),
            Box::new(DataFusionError::ArrowError(
                Box::new(arrow::error::ArrowError::ExternalError(Box::new(DataFusionError::Shared(
                    std::sync::Arc::new(frazil_exchange::to_datafusion(inner.clone())),
                )))),
                None,
            )),
        );
        assert_eq!(to_failure(&wrapped), inner);
    }

    #[test]
    fn a_place_without_files_is_not_bad_sql() {
        let message =
            "No files found at s3://bucket/t/. Cannot infer schema from an empty location; either add data files";
        assert_eq!(to_failure(&DataFusionError::Plan(message.to_owned())).code, ErrorCode::FileUnavailable);
    }

    #[test]
    fn parser_errors_keep_their_place() {
        let error = ParserError::ParserError("Expected: an expression, found: FROM at Line: 3, Column: 14".to_owned());
        let failure = to_failure(&DataFusionError::SQL(Box::new(error), None));
        assert_eq!(failure.code, ErrorCode::Syntax);
        assert_eq!(failure.position, Some((3, 14)));
        assert_eq!(failure.message, "Expected: an expression, found: FROM");
    }
}

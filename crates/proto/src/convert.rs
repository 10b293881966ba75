//! Ids and failures as messages. A failure keeps its code and place through gRPC status and task events alike.

use bytes::Bytes;
use frazil_common::{BootId, ErrorCode, Failure, Place, QueryId};
use prost::Message;
use tonic::{Code, Status};

use crate::v1;

pub fn query_id_to_bytes(id: QueryId) -> Bytes {
    Bytes::copy_from_slice(id.0.as_bytes())
}

pub fn query_id_from_bytes(bytes: &[u8]) -> Result<QueryId, Failure> {
    uuid::Uuid::from_slice(bytes)
        .map(QueryId)
        .map_err(|_| Failure::internal(format!("query id of {} bytes, expected 16", bytes.len())))
}

pub fn boot_id_to_bytes(id: BootId) -> Bytes {
    Bytes::copy_from_slice(id.0.as_bytes())
}

pub fn boot_id_from_bytes(bytes: &[u8]) -> Result<BootId, Failure> {
    uuid::Uuid::from_slice(bytes)
        .map(BootId)
        .map_err(|_| Failure::internal(format!("boot id of {} bytes, expected 16", bytes.len())))
}

pub fn failure_to_message(failure: &Failure) -> v1::FailureMessage {
    v1::FailureMessage {
        code: failure.code.name(),
        message: failure.message.clone(),
        executor: failure.place.executor.clone().unwrap_or_default(),
        stage: failure.place.stage.unwrap_or_default(),
        has_place: failure.place.executor.is_some(),
    }
}

pub fn failure_from_message(message: v1::FailureMessage) -> Failure {
    let code = ErrorCode::from_name(&message.code).unwrap_or(ErrorCode::Internal);
    let mut failure = Failure::new(code, message.message);
    if message.has_place {
        failure.place = Place { executor: Some(message.executor), stage: Some(message.stage) };
    }
    failure
}

/// The failure travels whole in the status details; code and message are for people who look at the wire.
pub fn failure_to_status(failure: &Failure) -> Status {
    let code = match failure.code {
        ErrorCode::AccessDenied => Code::PermissionDenied,
        ErrorCode::NotAuthenticated | ErrorCode::ExpiredToken => Code::Unauthenticated,
        ErrorCode::InvalidArgument => Code::InvalidArgument,
        ErrorCode::UndefinedStatement => Code::NotFound,
        ErrorCode::ResourcesExhausted | ErrorCode::TooManyStatements => Code::ResourceExhausted,
        ErrorCode::Timeout => Code::DeadlineExceeded,
        ErrorCode::Cancelled => Code::Cancelled,
        ErrorCode::NoExecutors | ErrorCode::ExecutorLost => Code::Unavailable,
        ErrorCode::NotSupported => Code::Unimplemented,
        ErrorCode::Internal => Code::Internal,
        _ => Code::FailedPrecondition,
    };
    Status::with_details(code, failure.to_string(), failure_to_message(failure).encode_to_vec().into())
}

/// A status without details did not come from our handlers: the peer is unreachable or not one of ours.
pub fn failure_from_status(status: &Status) -> Failure {
    if !status.details().is_empty()
        && let Ok(message) = v1::FailureMessage::decode(status.details())
        && !message.code.is_empty()
    {
        return failure_from_message(message);
    }
    let code = match status.code() {
        Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded | Code::Unknown => ErrorCode::ExecutorLost,
        Code::Unauthenticated | Code::PermissionDenied => ErrorCode::AccessDenied,
        _ => ErrorCode::Internal,
    };
    Failure::new(code, format!("{}: {}", status.code(), status.message()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_survives_a_status() {
        let failure = Failure::new(ErrorCode::FileCorrupt, "file \"a\" is truncated").at_stage(3, "executor-1");
        assert_eq!(failure_from_status(&failure_to_status(&failure)), failure);
    }
}

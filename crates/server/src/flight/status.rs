//! Failures as gRPC's.

use frazil_common::Failure;
use tonic::{Code, Status};

/// Metadata of a failed call.
const SQL_STATE: &str = "frazil-sqlstate";
const CODE: &str = "frazil-code";

/// Each failure's own words, with SQLSTATE and code beside them.
pub fn of(failure: Failure) -> Status {
    let code = Code::from_i32(failure.code.grpc_status());
    let mut status = Status::new(code, failure.to_string());
    for (key, value) in [(SQL_STATE, failure.code.sql_state()), (CODE, failure.code.number())] {
        if let Ok(value) = value.parse() {
            status.metadata_mut().insert(key, value);
        }
    }
    status
}

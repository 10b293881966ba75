//! The one shape of all answers.

use axum::response::{IntoResponse, Response};
use frazil_common::{ErrorCode, Failure, StatementId};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};

/// The session has ended, or never was: the client has to log in.
const SESSION_GONE: &str = "390111";
/// The session's token has expired: the client renews it.
const SESSION_EXPIRED: &str = "390112";
/// Likewise of the token that renews.
const RENEWAL_UNKNOWN: &str = "390113";
const RENEWAL_EXPIRED: &str = "390114";

pub fn succeeded(data: impl Serialize) -> Response {
    answer(&json!({ "data": data, "code": null, "message": null, "success": true }))
}

pub fn answer(body: &Value) -> Response {
    let mut response = body.to_string().into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A request that is answered with a failure.
pub struct Refused {
    code: &'static str,
    failure: Failure,
    statement: Option<StatementId>,
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self { code: failure.code.number(), failure, statement: None }
    }
}

impl Refused {
    pub fn into_failure(self) -> Failure {
        self.failure
    }

    pub fn of(failure: Failure, statement: StatementId) -> Self {
        Self { statement: Some(statement), ..Self::from(failure) }
    }

    /// What was shown to log in. An access token that has expired is one that is not good: at the code of a session's token that has
    /// expired clients would try to renew that, and tell of nothing else.
    pub fn log_in(failure: Failure) -> Self {
        let code = match failure.code {
            ErrorCode::ExpiredToken => ErrorCode::NotAuthenticated,
            other => other,
        };
        Self { code: code.number(), failure: Failure { code, ..failure }, statement: None }
    }

    /// A token that came with a request and is not a session's.
    pub fn token(failure: Failure) -> Self {
        let code = match failure.code {
            ErrorCode::ExpiredToken => SESSION_EXPIRED,
            ErrorCode::NotAuthenticated | ErrorCode::UndefinedSession => SESSION_GONE,
            other => other.number(),
        };
        Self { code, failure, statement: None }
    }

    /// A token that was sent to renew another.
    pub fn renewal(failure: Failure) -> Self {
        let code = match failure.code {
            ErrorCode::ExpiredToken => RENEWAL_EXPIRED,
            ErrorCode::NotAuthenticated | ErrorCode::UndefinedSession => RENEWAL_UNKNOWN,
            other => other.number(),
        };
        Self { code, failure, statement: None }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let id = self.statement.map(|id| id.to_string());
        let (line, position) = self.failure.position.unzip();
        let data = json!({
            "internalError": self.failure.code == ErrorCode::Internal,
            "errorCode": self.code,
            "sqlState": self.failure.code.sql_state(),
            "queryId": id,
            "line": line.map_or(-1, i64::from),
            "pos": position.map_or(-1, i64::from),
            "type": "COMPILATION",
        });
        let message = self.failure.to_string();
        let mut response = answer(&json!({ "data": data, "code": self.code, "message": message, "success": false }));
        // Snowflake's clients look into the body; what is too much is told to others by the status.
        *response.status_mut() = StatusCode::OK;
        response
    }
}

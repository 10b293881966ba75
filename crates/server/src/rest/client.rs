//! Who asks: from a request's headers to a [`Caller`].
//!
//! ```text
//! Authorization: Bearer token     with X-Snowflake-Authorization-Token-Type: KEYPAIR_JWT | PROGRAMMATIC_ACCESS_TOKEN
//! Authorization: Basic …          a user and its password (our addition)
//! ```
//! Without the type, what looks like a JSON web token is one, as Snowflake has it.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use frazil_common::{ErrorCode, Failure};
use frazil_coordinator::Caller;
use frazil_coordinator::credentials::Credentials;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};

use super::Door;
use super::answer::Refused;
use crate::basic::user_and_password;
use crate::listen::Peer;

const TOKEN_TYPE: &str = "x-snowflake-authorization-token-type";
/// Longer ones are of no kind that we know.
const HEADER_BYTES_MAX: usize = 16 << 10;

/// The client of a request, logged in.
pub struct Client(pub Caller);

impl FromRequestParts<Arc<Door>> for Client {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, door: &Arc<Door>) -> Result<Self, Refused> {
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
        let credentials = credentials(&parts.headers)?;
        Ok(Self(door.statements.log_in_from(credentials, peer).await?))
    }
}

/// What the headers of a request show. No message quotes anything of it.
pub fn credentials(headers: &HeaderMap) -> Result<Credentials, Failure> {
    let mut shown = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(authorization), None) = (shown.next(), shown.next()) else {
        return match headers.contains_key(header::AUTHORIZATION) {
            true => Err(refused("the request has several Authorization headers")),
            false => Ok(Credentials::None),
        };
    };
    let text = authorization.to_str().ok().filter(|text| text.len() <= HEADER_BYTES_MAX);
    let Some((scheme, value)) = text.and_then(|text| text.trim().split_once(' ')) else {
        return Err(refused("the Authorization header is neither Bearer with a token nor Basic"));
    };
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("basic") {
        let Some((user, password)) = user_and_password(value) else {
            return Err(refused(
                "what follows Basic in the Authorization header is not a user and a password in base64",
            ));
        };
        return Ok(Credentials::Password { user, password });
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(refused("the Authorization header is neither Bearer with a token nor Basic"));
    }
    let kind = headers.get(TOKEN_TYPE).map(HeaderValue::to_str).transpose();
    let kind = kind.map_err(|_| refused(&format!("header {TOKEN_TYPE} is not text")))?;
    match kind.map(str::to_ascii_uppercase).as_deref() {
        Some("KEYPAIR_JWT") => Ok(Credentials::KeyPair(value.to_owned())),
        Some("PROGRAMMATIC_ACCESS_TOKEN") => Ok(Credentials::Token(value.to_owned())),
        None if value.split('.').count() == 3 => Ok(Credentials::KeyPair(value.to_owned())),
        None => Ok(Credentials::Token(value.to_owned())),
        Some("OAUTH") => Err(refused("OAuth tokens are not supported")),
        Some(_) => Err(refused(&format!("header {TOKEN_TYPE} is neither KEYPAIR_JWT nor PROGRAMMATIC_ACCESS_TOKEN"))),
    }
}

fn refused(message: &str) -> Failure {
    Failure::new(ErrorCode::NotAuthenticated, message)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn read(headers: &[(&'static str, &str)]) -> Result<Credentials, Failure> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        credentials(&map)
    }

    #[test]
    fn headers_are_read() {
        assert!(matches!(read(&[]), Ok(Credentials::None)));
        let basic = format!("basic {}", STANDARD.encode("a b:c:d"));
        let Ok(Credentials::Password { user, password }) = read(&[("authorization", &basic)]) else { panic!() };
        assert_eq!((user.as_str(), password.as_str()), ("a b", "c:d"));
        let bearer = |token: &str, kind: &str| {
            let header = format!("Bearer {token}");
            match kind {
                "" => read(&[("authorization", &header)]),
                kind => read(&[("authorization", &header), (TOKEN_TYPE, kind)]),
            }
        };
        assert!(matches!(bearer("a.b.c", ""), Ok(Credentials::KeyPair(_))));
        assert!(matches!(bearer("abc", ""), Ok(Credentials::Token(_))));
        assert!(matches!(bearer("a.b.c", "programmatic_access_token"), Ok(Credentials::Token(_))));
        assert!(matches!(bearer("abc", "KEYPAIR_JWT"), Ok(Credentials::KeyPair(_))));
        for refused in [
            bearer("hush", "OAUTH"),
            bearer("hush", "hush"),
            read(&[("authorization", "hush")]),
            read(&[("authorization", "Basic hush")]),
            read(&[("authorization", "Digest hush")]),
            read(&[("authorization", "Bearer a"), ("authorization", "Bearer hush")]),
        ] {
            let failure = refused.unwrap_err();
            assert_eq!(failure.code, ErrorCode::NotAuthenticated);
            assert!(!failure.message.contains("hush"), "{failure}");
        }
    }
}

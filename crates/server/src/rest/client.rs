//! Who asks: from a request's headers to a [`Caller`].

use std::sync::Arc;

use axum::extract::FromRequestParts;
use frazil_coordinator::Caller;
use frazil_coordinator::credentials::Credentials;
use http::request::Parts;

use super::Door;
use super::answer::Refused;

/// The client of a request, logged in.
pub struct Client(pub Caller);

impl FromRequestParts<Arc<Door>> for Client {
    type Rejection = Refused;

    async fn from_request_parts(_: &mut Parts, door: &Arc<Door>) -> Result<Self, Refused> {
        Ok(Self(door.statements.log_in(Credentials::None).await?))
    }
}

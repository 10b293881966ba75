//! Who asks: from a call's metadata to a [`Caller`], and to its session if it has one.
//!
//! A client that has logged in (`Handshake` with `authorization: Basic …`) gets a bearer token, which is its session's. Others show their
//! credentials with each call: a password, an access token, a signed token, or nothing where that is enough. A session can also be
//! told by the cookie that `SetSessionOptions` hands out.

use std::net::IpAddr;
use std::time::Duration;

use arrow_flight::{BasicAuth, HandshakeRequest, HandshakeResponse};
use bytes::Bytes;
use frazil_common::{ErrorCode, Failure, SessionId};
use frazil_coordinator::Caller;
use frazil_coordinator::credentials::Credentials;
use frazil_coordinator::tokens::Purpose;
use futures::StreamExt;
use futures::stream;
use prost::Message;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::{Answers, Door, status};
use crate::basic::user_and_password;
use crate::listen::Peer;

/// As long as an idle session is kept at most by default; a client whose token has expired logs in again.
const TOKEN_VALID: Duration = Duration::from_secs(12 * 3600);
const AUTHORIZATION: &str = "authorization";
/// What the specification calls it.
const COOKIE: &str = "arrow_flight_session_id";

/// The cookie of clients that have no session: by sending it back, one shows that it keeps cookies.
const NO_SESSION: &str = "none";

/// The client of a call, logged in.
pub struct Client {
    pub caller: Caller,
    pub session: Option<SessionId>,
    /// Whether it could be told a session: by its token, or by a cookie.
    pub keeps_session: bool,
}

impl Door {
    /// Of the request it needs no more than its metadata and its peer, and so waits for nothing that only one thread may see.
    pub fn client<'a, T>(
        &'a self,
        request: &'a Request<T>,
    ) -> impl Future<Output = Result<Client, Status>> + use<'a, T> {
        let (metadata, peer) = (request.metadata(), peer(request));
        async move { self.identify(metadata, peer).await.map_err(status::of) }
    }

    async fn identify(&self, metadata: &MetadataMap, peer: Option<IpAddr>) -> Result<Client, Failure> {
        let sent = cookie(metadata);
        let keeps_session = sent.is_some();
        let cookie = match sent.filter(|token| token != NO_SESSION) {
            Some(token) => Some(self.statements.by_token(&token, Purpose::Session)?),
            None => None,
        };
        let shown = shown(metadata)?;
        if let Shown::Bearer(token) = &shown {
            match self.statements.by_token(token, Purpose::Session) {
                Ok((caller, session)) => {
                    let own = cookie.filter(|(by_cookie, _)| by_cookie.principal() == caller.principal());
                    let session = own.map_or(session, |(_, session)| session);
                    return Ok(Client { caller, session: Some(session), keeps_session: true });
                }
                Err(failure) if failure.code == ErrorCode::ExpiredToken => return Err(failure),
                // None of our tokens; it may be one of its user's.
                Err(_) => {}
            }
        }
        let credentials = match shown {
            Shown::Nothing => match cookie {
                Some((caller, session)) => return Ok(Client { caller, session: Some(session), keeps_session }),
                None => Credentials::None,
            },
            Shown::Credentials(credentials) => credentials,
            Shown::Bearer(token) => bearer(token),
        };
        let caller = self.statements.log_in_from(credentials, peer).await?;
        let session = cookie.filter(|(by_cookie, _)| by_cookie.principal() == caller.principal());
        Ok(Client { caller, session: session.map(|(_, session)| session), keeps_session })
    }

    /// Logs a client in, and opens a session for it. The token comes as metadata, as clients expect, and as the answer's payload.
    pub async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Answers<HandshakeResponse>>, Status> {
        let (shown, peer) = (shown(request.metadata()).map_err(status::of)?, peer(&request));
        let credentials = match shown {
            Shown::Credentials(credentials) => credentials,
            Shown::Bearer(token) => bearer(token),
            Shown::Nothing => in_payload(request.into_inner()).await?,
        };
        let caller = self.statements.log_in_from(credentials, peer).await.map_err(status::of)?;
        let session = caller.open_session(None, None, Vec::new()).map_err(status::of)?;
        let token = caller.issue_token(session, Purpose::Session, TOKEN_VALID).map_err(status::of)?;
        let answer = HandshakeResponse { protocol_version: 0, payload: Bytes::from(token.clone()) };
        let mut response = Response::new(stream::iter([Ok(answer)]).boxed());
        let value = format!("Bearer {token}").parse().map_err(|_| status::of(Failure::internal("a token as text")))?;
        response.metadata_mut().insert(AUTHORIZATION, value);
        Ok(response)
    }
}

/// Where a call comes from: attempts to log in are counted for each.
fn peer<T>(request: &Request<T>) -> Option<IpAddr> {
    request.extensions().get::<Peer>().map(|peer| peer.0)
}

/// Asks a client whether it keeps cookies, by a cookie.
pub fn ask_for_cookies<T>(response: &mut Response<T>, client: &Client) {
    if !client.keeps_session
        && let Ok(value) = format!("{COOKIE}={NO_SESSION}; Path=/; HttpOnly").parse()
    {
        response.metadata_mut().insert("set-cookie", value);
    }
}

/// A cookie that tells this session from now on.
pub fn set_cookie<T>(response: &mut Response<T>, client: &Caller, session: SessionId) -> Result<(), Failure> {
    let token = client.issue_token(session, Purpose::Session, TOKEN_VALID)?;
    let value = format!("{COOKIE}={token}; Path=/; HttpOnly");
    let value = value.parse().map_err(|_| Failure::internal("a cookie as text"))?;
    response.metadata_mut().insert("set-cookie", value);
    Ok(())
}

enum Shown {
    Nothing,
    Credentials(Credentials),
    Bearer(String),
}

fn shown(metadata: &MetadataMap) -> Result<Shown, Failure> {
    let Some(value) = metadata.get(AUTHORIZATION) else { return Ok(Shown::Nothing) };
    let unreadable = || Failure::new(ErrorCode::NotAuthenticated, "metadata \"authorization\" cannot be read");
    let value = value.to_str().map_err(|_| unreadable())?;
    let (scheme, rest) = value.split_once(' ').ok_or_else(unreadable)?;
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => Ok(Shown::Bearer(rest.trim().to_owned())),
        "basic" => {
            let (user, password) = user_and_password(rest).ok_or_else(unreadable)?;
            Ok(Shown::Credentials(Credentials::Password { user, password }))
        }
        _ => Err(unreadable()),
    }
}

/// A signed token has three parts.
fn bearer(token: String) -> Credentials {
    match token.split('.').count() {
        3 => Credentials::KeyPair(token),
        _ => Credentials::Token(token),
    }
}

/// Older clients send user and password in the call itself.
async fn in_payload(mut requests: Streaming<HandshakeRequest>) -> Result<Credentials, Status> {
    let Some(first) = requests.message().await? else { return Ok(Credentials::None) };
    if first.payload.is_empty() {
        return Ok(Credentials::None);
    }
    let unreadable = || Failure::new(ErrorCode::NotAuthenticated, "the payload holds no user and password");
    let basic = BasicAuth::decode(first.payload).map_err(|_| status::of(unreadable()))?;
    Ok(Credentials::Password { user: basic.username, password: basic.password })
}

fn cookie(metadata: &MetadataMap) -> Option<String> {
    let sent = metadata.get_all("cookie").iter().filter_map(|value| value.to_str().ok());
    let mut pairs = sent.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, token)| token.trim_matches('"').to_owned())
}

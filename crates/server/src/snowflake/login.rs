//! Log-in, and what keeps a session alive.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use frazil_common::{ErrorCode, Failure, SessionId};
use frazil_coordinator::Caller;
use frazil_coordinator::credentials::Credentials;
use frazil_coordinator::tokens::Purpose;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Door;
use super::body::{self, SMALL};
use super::envelope::{Refused, answer, succeeded};
use super::parameters::{Effect, Parameters};
use super::session::{Client, query_of, token_of};
use super::text::kept;
use crate::listen::Peer;

#[derive(Deserialize)]
struct LogIn {
    data: LogInData,
}

/// What clients send; what they say of their platform is not looked at.
#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct LogInData {
    #[serde(default)]
    client_app_id: String,
    login_name: Option<String>,
    password: Option<String>,
    token: Option<String>,
    authenticator: Option<String>,
    #[serde(default)]
    session_parameters: Map<String, Value>,
}

impl LogInData {
    fn credentials(&self) -> Result<Credentials, Failure> {
        let authenticator = self.authenticator.as_deref().unwrap_or("SNOWFLAKE").to_ascii_uppercase();
        let token = || {
            let missing = || Failure::new(ErrorCode::InvalidArgument, "field \"TOKEN\" is missing");
            self.token.clone().filter(|token| !token.is_empty()).ok_or_else(missing)
        };
        match authenticator.as_str() {
            "SNOWFLAKE" | "USERNAME_PASSWORD_MFA" => Ok(match (&self.login_name, &self.password) {
                (Some(user), Some(password)) => Credentials::Password { user: kept(user), password: password.clone() },
                _ => Credentials::None,
            }),
            "PROGRAMMATIC_ACCESS_TOKEN" | "OAUTH" => token().map(Credentials::Token),
            "SNOWFLAKE_JWT" => token().map(Credentials::KeyPair),
            _ => {
                let message = format!("authenticator {authenticator} is not supported");
                Err(Failure::new(ErrorCode::NotSupported, message))
            }
        }
    }
}

pub async fn log_in(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    let query = query_of(&parts.uri);
    let LogIn { data } = body::read(&door, &parts.headers, body, SMALL).await?;
    let peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
    let logged_in = door.statements.log_in_from(data.credentials()?, peer).await;
    let mut caller = logged_in.map_err(Refused::log_in)?;
    if let Some(role) = query.get("roleName").filter(|role| !role.is_empty()) {
        caller = caller.in_role(&kept(role)).await?;
    }
    let mut parameters = Parameters::of_client(&data.client_app_id);
    let mut settings = Vec::new();
    for (name, value) in &data.session_parameters {
        let (name, value, effect) = Parameters::check(name, value)?;
        if let Effect::Setting { key, value } = effect {
            settings.push((key.to_owned(), value));
        }
        parameters.set(name, value);
    }
    let name = |field: &str| query.get(field).filter(|name| !name.is_empty()).map(|name| kept(name));
    let session = caller.open_session(name("databaseName"), name("schemaName"), settings)?;
    let warehouse = query.get("warehouse").filter(|name| !name.is_empty());
    let warehouse = warehouse.map(|name| frazil_common::NameCase::Upper.shown(&kept(name)).into_owned());
    let client = Client::enter(caller, session, parameters, warehouse, door.options.tls)?;
    let tokens = Tokens::issue(&door, &client.caller, session)?;
    let (database, schema) = client.names()?;
    Ok(succeeded(json!({
        "token": tokens.session,
        "validityInSeconds": tokens.session_valid_s,
        "masterToken": tokens.renewal,
        "masterValidityInSeconds": tokens.renewal_valid_s,
        "displayUserName": frazil_common::NameCase::Upper.shown(client.caller.principal().user()),
        "serverVersion": env!("CARGO_PKG_VERSION"),
        "firstLogin": false,
        "remMeToken": null,
        "remMeValidityInSeconds": 0,
        "healthCheckInterval": 45,
        "newClientForUpgrade": null,
        "sessionId": session.number(),
        "parameters": client.parameters(|parameters| parameters.list()),
        "sessionInfo": {
            "databaseName": database,
            "schemaName": schema,
            "warehouseName": client.warehouse(),
            "roleName": client.role(),
        },
        "idToken": null,
        "idTokenValidityInSeconds": 0,
        "responseData": null,
        "mfaToken": null,
        "mfaTokenValidityInSeconds": 0,
    })))
}

struct Tokens {
    session: String,
    session_valid_s: u64,
    renewal: String,
    renewal_valid_s: u64,
}

impl Tokens {
    fn issue(door: &Door, caller: &Caller, session: SessionId) -> Result<Self, Failure> {
        let (session_valid, renewal_valid) = door.statements.token_validity();
        Ok(Self {
            session: caller.issue_token(session, Purpose::Session, session_valid)?,
            session_valid_s: session_valid.as_secs(),
            renewal: caller.issue_token(session, Purpose::Renewal, renewal_valid)?,
            renewal_valid_s: renewal_valid.as_secs(),
        })
    }
}

pub async fn renew(State(door): State<Arc<Door>>, headers: HeaderMap) -> Result<Response, Refused> {
    let token = token_of(&headers).unwrap_or_default();
    let (caller, session) = door.statements.by_token(token, Purpose::Renewal).map_err(Refused::renewal)?;
    // The session may have been closed for being idle.
    caller.attached(session).map_err(Refused::renewal)?;
    let tokens = Tokens::issue(&door, &caller, session)?;
    Ok(succeeded(json!({
        "sessionToken": tokens.session,
        "validityInSecondsST": tokens.session_valid_s,
        "masterToken": tokens.renewal,
        "validityInSecondsMT": tokens.renewal_valid_s,
        "masterValidityInSeconds": tokens.renewal_valid_s,
        "sessionId": session.number(),
    })))
}

pub async fn heartbeat(_: Client) -> Response {
    succeeded(Value::Null)
}

/// `?delete=true`, which is all that there is to do with one.
pub async fn log_out(client: Client, request: Request) -> Result<Response, Refused> {
    if query_of(request.uri()).get("delete").map(String::as_str) != Some("true") {
        let message = "a session can only be deleted: POST /session?delete=true";
        return Err(Failure::new(ErrorCode::InvalidArgument, message).into());
    }
    client.caller.close_session(client.session)?;
    Ok(succeeded(Value::Null))
}

pub async fn authenticator() -> Response {
    let message =
        "log-in by way of a browser or another server is not supported: use a password, an access token or a key pair";
    answer(&json!({ "data": null, "code": "390190", "message": message, "success": false }))
}

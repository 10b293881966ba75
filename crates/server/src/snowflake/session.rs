//! What this door remembers of a session, beside what the session is: parameters, the warehouse, runs of several statements.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, Path};
use frazil_common::{ErrorCode, Failure, NameCase, SessionId, StatementId};
use frazil_coordinator::Caller;
use frazil_coordinator::tokens::Purpose;
use http::request::Parts;
use http::{HeaderMap, header};
use parking_lot::Mutex;
use uuid::Uuid;

use super::Door;
use super::envelope::Refused;
use super::multiple::Run;
use super::parameters::Parameters;

/// How long the address of a part of a result can be used; results are let go of before.
const RESULTS_TOKEN_VALID: Duration = Duration::from_secs(3600);
/// A token that is valid for less is not handed out any more.
const RESULTS_TOKEN_LEFT: Duration = Duration::from_secs(1800);

/// Queries of a session that can be stopped by their requests' ids: more than a client has under way.
const QUERIES_MAX: usize = 256;

/// Runs of several statements that are remembered of a session.
const RUNS_MAX: usize = 16;

pub struct DoorSession {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    parameters: Parameters,
    /// A name and nothing more: there are no warehouses to choose from.
    warehouse: Option<String>,
    /// Kept names, as they were when somebody could see them last.
    names: (String, String),
    results_token: Option<(String, Instant)>,
    runs: Vec<Arc<Run>>,
    queries: VecDeque<(Uuid, StatementId)>,
}

/// A client with its session. Of a request: by the token in its header.
#[derive(Clone)]
pub struct Client {
    pub caller: Caller,
    pub session: SessionId,
    pub door: Arc<DoorSession>,
    /// It speaks TLS with us.
    pub tls: bool,
}

impl FromRequestParts<Arc<Door>> for Client {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, door: &Arc<Door>) -> Result<Self, Refused> {
        Self::of(door, &parts.headers)
    }
}

/// The statement that a request's path names.
pub struct Named(pub StatementId);

impl FromRequestParts<Arc<Door>> for Named {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, door: &Arc<Door>) -> Result<Self, Refused> {
        let unknown = |_| Failure::new(ErrorCode::UndefinedStatement, "the path names no statement that there is");
        let Path(id) = Path::from_request_parts(parts, door).await.map_err(unknown)?;
        Ok(Self(id))
    }
}

impl Client {
    /// Opens the door's part of a new session.
    pub fn enter(
        caller: Caller,
        session: SessionId,
        parameters: Parameters,
        warehouse: Option<String>,
        tls: bool,
    ) -> Result<Self, Failure> {
        let state = State { parameters, warehouse, ..State::default() };
        let door = Arc::new(DoorSession { state: Mutex::new(state) });
        caller.attach(session, door.clone())?;
        let client = Self { caller, session, door, tls };
        client.names()?;
        Ok(client)
    }

    fn of(door: &Door, headers: &HeaderMap) -> Result<Self, Refused> {
        let token = token_of(headers).unwrap_or_default();
        let (caller, session) = door.statements.by_token(token, Purpose::Session).map_err(Refused::token)?;
        let tls = door.options.tls;
        let attached = caller.attached(session).map_err(Refused::token)?;
        let missing = || Refused::from(Failure::internal("the session was opened by another door"));
        let door = attached.and_then(|attached| attached.downcast().ok()).ok_or_else(missing)?;
        Ok(Self { caller, session, door, tls })
    }

    /// The database and schema, as they are shown.
    pub fn names(&self) -> Result<(String, String), Failure> {
        let names = self.caller.session_names(self.session)?;
        let mut state = self.door.state.lock();
        if let Some(names) = names {
            state.names = names;
        }
        let shown = |name: &str| NameCase::Upper.shown(name).into_owned();
        Ok((shown(&state.names.0), shown(&state.names.1)))
    }

    pub fn role(&self) -> String {
        NameCase::Upper.shown(self.caller.principal().role()).into_owned()
    }

    pub fn warehouse(&self) -> Option<String> {
        self.door.state.lock().warehouse.clone()
    }

    pub fn use_warehouse(&self, name: &str) {
        self.door.state.lock().warehouse = Some(name.to_owned());
    }

    pub fn parameters<T>(&self, look: impl FnOnce(&mut Parameters) -> T) -> T {
        look(&mut self.door.state.lock().parameters)
    }

    /// For addresses of parts of this client's results.
    pub fn results_token(&self) -> Result<String, Failure> {
        let mut state = self.door.state.lock();
        let now = Instant::now();
        if let Some((token, until)) = &state.results_token
            && until.saturating_duration_since(now) >= RESULTS_TOKEN_LEFT
        {
            return Ok(token.clone());
        }
        let token = self.caller.issue_token(self.session, Purpose::Results, RESULTS_TOKEN_VALID)?;
        state.results_token = Some((token.clone(), now + RESULTS_TOKEN_VALID));
        Ok(token)
    }

    /// Remembers a run of several statements; the oldest is forgotten for it. Returns the run that came with the same request id before,
    /// if there is one, and forgets the new one.
    pub fn remember(&self, run: Arc<Run>) -> Option<Arc<Run>> {
        let runs = &mut self.door.state.lock().runs;
        let known = runs.iter().find(|known| run.request_id.is_some() && known.request_id == run.request_id);
        if let Some(known) = known {
            return Some(known.clone());
        }
        if runs.len() >= RUNS_MAX {
            runs.remove(0);
        }
        runs.push(run);
        None
    }

    /// Remembers which request a query came with.
    pub fn note_query(&self, request_id: Uuid, id: StatementId) {
        let queries = &mut self.door.state.lock().queries;
        if queries.len() >= QUERIES_MAX {
            queries.pop_front();
        }
        queries.push_back((request_id, id));
    }

    /// The statement that came with a request, to be stopped.
    pub fn statement_of_request(&self, request_id: Uuid) -> Option<StatementId> {
        let queries = &self.door.state.lock().queries;
        let noted = queries.iter().rev().find(|(known, _)| *known == request_id).map(|(_, id)| *id);
        noted.or_else(|| self.caller.by_request(request_id))
    }

    pub fn run(&self, id: StatementId) -> Option<Arc<Run>> {
        self.door.state.lock().runs.iter().find(|run| run.id == id).cloned()
    }

    pub fn run_of_request(&self, request_id: Uuid) -> Option<Arc<Run>> {
        self.door.state.lock().runs.iter().find(|run| run.request_id == Some(request_id)).cloned()
    }
}

/// `Authorization: Snowflake Token="…"`.
pub fn token_of(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (_, token) = value.split_once("Token=")?;
    Some(token.trim().trim_matches('"'))
}

/// The fields of a query string.
pub fn query_of(uri: &http::Uri) -> HashMap<String, String> {
    let query = axum::extract::Query::<HashMap<String, String>>::try_from_uri(uri);
    query.map(|axum::extract::Query(query)| query).unwrap_or_default()
}

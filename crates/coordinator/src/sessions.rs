//! Sessions: what one statement of a client leaves to the next. Names to look up, settings, and an open transaction.
//!
//! A session's statements may run at the same time. Those in a transaction change it one after the other: each begins with what
//! the ones before have changed, and leaves its own changes, all or none, when it is done.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use frazil_catalog::Transaction;
use frazil_common::{ErrorCode, Failure, Principal, SessionId, StatementId};
use frazil_engine::lake::Lakes;
use frazil_engine::session::{AUTOCOMMIT, DEFAULT_DATABASE, DEFAULT_SCHEMA, is_on};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use crate::statement::StatementRequest;

/// How often sessions are looked at for being idle.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What an operator can bound.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    pub sessions_max: usize,
    /// A session that sends nothing for so long is closed.
    pub session_idle: Duration,
    /// A transaction whose session sends nothing for so long is rolled back.
    pub transaction_idle: Duration,
    /// From its `BEGIN` on; files that belong to nothing may be removed when they are older.
    pub transaction_limit: Duration,
}

pub struct Sessions {
    limits: SessionLimits,
    by_id: Mutex<HashMap<SessionId, Arc<Session>>>,
}

struct Session {
    id: SessionId,
    /// For one transaction: it is closed when that would be rolled back for sending nothing.
    for_transaction: bool,
    principal: Principal,
    created: SystemTime,
    used: Mutex<Instant>,
    attached: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
    state: Arc<tokio::sync::Mutex<SessionState>>,
}

/// A statement has it to itself while it changes it.
#[derive(Default)]
pub struct SessionState {
    database: Option<String>,
    schema: Option<String>,
    settings: BTreeMap<String, String>,
    /// That it has taken with `USE ROLE`.
    role: Option<String>,
    transaction: TransactionState,
    last_statement: Option<StatementId>,
}

#[derive(Default)]
enum TransactionState {
    #[default]
    None,
    Open(OpenTransaction),
    /// It was rolled back, and the session has not been told yet.
    Lost(Failure),
}

struct OpenTransaction {
    /// The databases as it sees them, its own changes included.
    lakes: Arc<Lakes>,
    begun: Instant,
    read_only: bool,
}

/// Where a session's names are looked up, and what is set in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionOptions {
    pub database: Option<String>,
    pub schema: Option<String>,
    pub settings: Vec<(String, String)>,
}

/// What is shown of a session; not its id, which is all it takes to use it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionStatus {
    pub created_ms: u64,
    pub idle_ms: u64,
    /// Since when a transaction is open. `None` also while a statement changes the session.
    pub transaction_ms: Option<u64>,
}

/// A session's state while one statement holds it.
pub type SessionGuard = OwnedMutexGuard<SessionState>;

impl Sessions {
    pub fn new(limits: SessionLimits) -> Self {
        Self { limits, by_id: Mutex::default() }
    }

    /// `database` and `schema` are exact names, which are checked by the statements that use them.
    pub fn open(
        &self,
        principal: Principal,
        database: Option<String>,
        schema: Option<String>,
        settings: Vec<(String, String)>,
    ) -> Result<SessionId, Failure> {
        self.open_with(principal, SessionOptions { database, schema, settings }, false)
    }

    /// A session of one transaction, with the names and settings of another.
    pub async fn open_for_transaction(
        &self,
        principal: &Principal,
        like: Option<SessionId>,
    ) -> Result<SessionId, Failure> {
        let options = match like {
            Some(like) => self.enter(principal, like).await?.options(),
            None => SessionOptions::default(),
        };
        self.open_with(principal.clone(), options, true)
    }

    fn open_with(
        &self,
        principal: Principal,
        options: SessionOptions,
        for_transaction: bool,
    ) -> Result<SessionId, Failure> {
        let mut sessions = self.by_id.lock();
        if sessions.len() >= self.limits.sessions_max {
            let message = format!("{} sessions are open already", sessions.len());
            return Err(Failure::new(ErrorCode::TooManyStatements, message));
        }
        let SessionOptions { database, schema, settings } = options;
        let settings = settings.into_iter().map(|(key, value)| (key.to_ascii_lowercase(), value)).collect();
        let state = SessionState { database, schema, settings, ..SessionState::default() };
        let session = Session {
            id: SessionId::mint(),
            for_transaction,
            principal,
            created: SystemTime::now(),
            used: Mutex::new(Instant::now()),
            attached: Mutex::default(),
            state: Arc::new(tokio::sync::Mutex::new(state)),
        };
        let id = session.id;
        sessions.insert(id, Arc::new(session));
        Ok(id)
    }

    /// Rolls back what it has not committed. A statement of it that is under way goes on.
    pub fn close(&self, principal: &Principal, id: SessionId) -> Result<(), Failure> {
        let mut sessions = self.by_id.lock();
        match sessions.get(&id) {
            Some(session) if principal.may_act_for(&session.principal) => {
                sessions.remove(&id);
                Ok(())
            }
            _ => Err(undefined()),
        }
    }

    /// All of a user who is logged out.
    pub fn close_user(&self, user: &str) {
        self.by_id.lock().retain(|_, session| !session.principal.user().eq_ignore_ascii_case(user));
    }

    /// Those of the principal, or all for one that administers all.
    pub fn list(&self, principal: &Principal) -> Vec<SessionStatus> {
        let sessions: Vec<_> = self.by_id.lock().values().cloned().collect();
        let sessions = sessions.into_iter().filter(|session| principal.may_act_for(&session.principal));
        let sessions: Vec<_> = sessions.collect();
        let mut listed: Vec<_> = sessions.iter().map(|session| session.status()).collect();
        listed.sort_by_key(|session| session.created_ms);
        listed
    }

    /// Waits until no other statement changes the session. Only its own user enters it.
    pub async fn enter(&self, principal: &Principal, id: SessionId) -> Result<SessionGuard, Failure> {
        let session = self.own(principal, id)?;
        *session.used.lock() = Instant::now();
        let guard = session.state.clone().lock_owned().await;
        *session.used.lock() = Instant::now();
        Ok(guard)
    }

    fn own(&self, principal: &Principal, id: SessionId) -> Result<Arc<Session>, Failure> {
        let session = self.by_id.lock().get(&id).cloned();
        session.filter(|session| session.principal.user() == principal.user()).ok_or_else(undefined)
    }

    /// Leaves something with a session; it goes with it.
    pub fn attach(
        &self,
        principal: &Principal,
        id: SessionId,
        what: Arc<dyn Any + Send + Sync>,
    ) -> Result<(), Failure> {
        *self.own(principal, id)?.attached.lock() = Some(what);
        Ok(())
    }

    pub fn attached(
        &self,
        principal: &Principal,
        id: SessionId,
    ) -> Result<Option<Arc<dyn Any + Send + Sync>>, Failure> {
        let session = self.own(principal, id)?;
        *session.used.lock() = Instant::now();
        let attached = session.attached.lock().clone();
        Ok(attached)
    }

    /// Where its names are looked up; `None` while a statement changes the session.
    pub fn names(&self, principal: &Principal, id: SessionId) -> Result<Option<(String, String)>, Failure> {
        let session = self.own(principal, id)?;
        let Ok(state) = session.state.try_lock() else { return Ok(None) };
        let database = state.database.clone().unwrap_or_else(|| DEFAULT_DATABASE.to_owned());
        Ok(Some((database, state.schema.clone().unwrap_or_else(|| DEFAULT_SCHEMA.to_owned()))))
    }

    /// To be called as long as the coordinator lives.
    pub async fn watch(self: Arc<Self>) {
        let mut interval = tokio::time::interval(LOOK_INTERVAL);
        loop {
            interval.tick().await;
            self.look(Instant::now());
        }
    }

    fn look(&self, now: Instant) {
        let limits = self.limits;
        self.by_id.lock().retain(|_, session| {
            // Who holds it, uses it.
            let Ok(mut state) = session.state.try_lock() else { return true };
            let idle = now.saturating_duration_since(*session.used.lock());
            if let TransactionState::Open(open) = &state.transaction {
                let cause = if idle >= limits.transaction_idle {
                    Some(format!("its session sent nothing for {} s", limits.transaction_idle.as_secs()))
                } else if now.saturating_duration_since(open.begun) >= limits.transaction_limit {
                    Some(format!("it was open for {} s", limits.transaction_limit.as_secs()))
                } else {
                    None
                };
                if let Some(cause) = cause {
                    let message = format!("the transaction was rolled back: {cause}");
                    state.transaction = TransactionState::Lost(Failure::new(ErrorCode::TransactionLost, message));
                }
            }
            idle < if session.for_transaction { limits.transaction_idle } else { limits.session_idle }
        });
    }
}

impl Session {
    fn status(&self) -> SessionStatus {
        let now = Instant::now();
        let open = self.state.try_lock().ok().and_then(|state| match &state.transaction {
            TransactionState::Open(open) => Some(milliseconds(now.saturating_duration_since(open.begun))),
            _ => None,
        });
        SessionStatus {
            created_ms: milliseconds(self.created.duration_since(UNIX_EPOCH).unwrap_or_default()),
            idle_ms: milliseconds(now.saturating_duration_since(*self.used.lock())),
            transaction_ms: open,
        }
    }
}

impl SessionState {
    /// Where a statement's names are looked up: what it says itself, else what the session says.
    pub fn names_for(&self, request: &StatementRequest) -> (Option<String>, Option<String>) {
        match (&request.database, &request.schema) {
            (Some(database), schema) => (Some(database.clone()), schema.clone()),
            (None, Some(schema)) => (self.database.clone(), Some(schema.clone())),
            (None, None) => (self.database.clone(), self.schema.clone()),
        }
    }

    /// The session's settings, and over them the statement's.
    pub fn settings_for(&self, request: &StatementRequest) -> Vec<(String, String)> {
        let own = self.settings.iter().map(|(key, value)| (key.clone(), value.clone()));
        own.chain(request.settings.iter().cloned()).collect()
    }

    /// In which role a statement of the session is run: its own, or the session's, unless it came in with something that is good
    /// for one role alone.
    pub fn principal_for(&self, request: &StatementRequest) -> Principal {
        match request.role.as_ref().or(self.role.as_ref()) {
            Some(role) if !request.principal.is_restricted() => request.principal.with_role(role),
            _ => request.principal.clone(),
        }
    }

    pub fn use_role(&mut self, role: String) {
        self.role = Some(role);
    }

    pub fn options(&self) -> SessionOptions {
        let settings = self.settings.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        SessionOptions { database: self.database.clone(), schema: self.schema.clone(), settings }
    }

    pub fn use_names(&mut self, database: String, schema: String) {
        self.database = Some(database);
        self.schema = Some(schema);
    }

    pub fn set(&mut self, key: String, value: String) {
        self.settings.insert(key.to_ascii_lowercase(), value);
    }

    pub fn reset(&mut self, key: &str) {
        self.settings.remove(key);
    }

    /// Whether a change is committed with its statement, when no transaction is open. Otherwise it opens one.
    pub fn autocommit(&self) -> bool {
        self.settings.get(AUTOCOMMIT).is_none_or(|value| is_on(value) != Some(false))
    }

    /// The statement before this one.
    pub fn begin_statement(&mut self, id: StatementId) -> Option<StatementId> {
        self.last_statement.replace(id)
    }

    /// The last statement that began.
    pub fn last_statement(&self) -> Option<StatementId> {
        self.last_statement
    }

    /// What the open transaction sees; `None` without one.
    pub fn lakes(&self) -> Option<Arc<Lakes>> {
        match &self.transaction {
            TransactionState::Open(open) => Some(open.lakes.clone()),
            TransactionState::None | TransactionState::Lost(_) => None,
        }
    }

    /// Fails if there was a transaction that was rolled back, until its client ends it.
    pub fn check_kept(&self) -> Result<(), Failure> {
        match &self.transaction {
            TransactionState::Lost(failure) => Err(failure.clone()),
            TransactionState::None | TransactionState::Open(_) => Ok(()),
        }
    }

    /// No transaction is open, and none was lost.
    pub fn has_none(&self) -> bool {
        matches!(self.transaction, TransactionState::None)
    }

    pub fn is_open(&self) -> bool {
        matches!(self.transaction, TransactionState::Open(_))
    }

    pub fn begin(&mut self, lakes: Arc<Lakes>, read_only: bool) -> Result<(), Failure> {
        if self.is_open() {
            return Err(Failure::new(ErrorCode::TransactionOpen, "a transaction is open already"));
        }
        self.transaction = TransactionState::Open(OpenTransaction { lakes, begun: Instant::now(), read_only });
        Ok(())
    }

    /// Ends the transaction. Returns its changes, if there are any: to be committed, or dropped.
    pub fn take(&mut self) -> Result<Option<Arc<Transaction>>, Failure> {
        match std::mem::take(&mut self.transaction) {
            TransactionState::Open(open) => Ok(open.lakes.transaction().cloned()),
            TransactionState::Lost(failure) => Err(failure),
            TransactionState::None => Err(Failure::new(ErrorCode::NoTransaction, "no transaction is open")),
        }
    }

    /// Whether the open transaction may take changes of this one's database.
    pub fn check_change(&self, change: &Transaction) -> Result<(), Failure> {
        let TransactionState::Open(open) = &self.transaction else { return Ok(()) };
        if open.read_only {
            return Err(Failure::new(ErrorCode::ReadOnlyTransaction, "the transaction is READ ONLY"));
        }
        let wanted = change.database().name();
        match open.lakes.transaction() {
            Some(changed) if changed.database().name() != wanted => {
                let message = format!(
                    "the transaction has changed database \"{}\" and cannot change \"{wanted}\" as well",
                    changed.database().name()
                );
                Err(Failure::new(ErrorCode::NotSupported, message))
            }
            _ => Ok(()),
        }
    }

    /// Leaves a statement's changes to those that come after it.
    pub fn put(&mut self, change: Transaction) {
        if let TransactionState::Open(open) = &mut self.transaction {
            open.lakes = Arc::new(open.lakes.with(change));
        }
    }
}

fn undefined() -> Failure {
    Failure::new(ErrorCode::UndefinedSession, "the session is not known, or no longer: open another")
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(idle_s: u64) -> Sessions {
        let idle = Duration::from_secs(idle_s);
        Sessions::new(SessionLimits {
            sessions_max: 2,
            session_idle: idle,
            transaction_idle: idle,
            transaction_limit: idle,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn idle_sessions_are_closed_unless_a_statement_holds_them() {
        let sessions = sessions(10);
        let (held, idle) = (
            sessions.open(Principal::embedded(), None, None, vec![]).unwrap(),
            sessions.open(Principal::embedded(), None, None, vec![]).unwrap(),
        );
        assert_eq!(
            sessions.open(Principal::embedded(), None, None, vec![]).unwrap_err().code,
            ErrorCode::TooManyStatements
        );
        let guard = sessions.enter(&Principal::embedded(), held).await.unwrap();
        tokio::time::advance(Duration::from_secs(11)).await;
        sessions.look(Instant::now());
        assert_eq!(
            sessions.enter(&Principal::embedded(), idle).await.err().map(|failure| failure.code),
            Some(ErrorCode::UndefinedSession)
        );
        drop(guard);
        assert!(sessions.enter(&Principal::embedded(), held).await.is_ok());
        sessions.close(&Principal::embedded(), held).unwrap();
        assert!(sessions.list(&Principal::embedded()).is_empty());
    }

    #[test]
    fn a_statement_s_own_names_and_settings_come_first() {
        let mut state = SessionState::default();
        state.use_names("d".to_owned(), "s".to_owned());
        state.set("A".to_owned(), "1".to_owned());
        let mut request = StatementRequest::new("select 1", crate::statement::Delivery::Spooled);
        let names = |request: &StatementRequest| state.names_for(request);
        let pair = |database: &str, schema: Option<&str>| (Some(database.to_owned()), schema.map(str::to_owned));
        assert_eq!(names(&request), pair("d", Some("s")));
        request.schema = Some("t".to_owned());
        assert_eq!(names(&request), pair("d", Some("t")));
        (request.database, request.schema) = (Some("e".to_owned()), None);
        assert_eq!(names(&request), pair("e", None));
        request.settings = vec![("a".to_owned(), "2".to_owned())];
        assert_eq!(state.settings_for(&request).last().unwrap().1, "2");
    }
}

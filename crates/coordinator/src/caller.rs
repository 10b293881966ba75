//! What one client may ask of the statement service: its own statements, its own sessions.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use frazil_common::{ErrorCode, Failure, Principal, SessionId, StatementId};
use frazil_engine::planner::KeptPlan;
use uuid::Uuid;

use crate::describe::check_length;
use crate::history::{Filter, StatementRecord, SystemView};
use crate::lifecycle::Statement;
use crate::run::run_to_end;
use crate::service::{Inner, StatementService};
use crate::sessions::{SessionOptions, SessionStatus};
use crate::statement::{ClusterStatus, Phase, ResultStream, StatementRequest, StatementStatus};
use crate::tokens::Purpose;

/// The longest that one call waits; the statement's own limit ends it.
const WAIT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// The service as a principal sees it, from [`StatementService::log_in`] on. The handles of others are as unknown to it as those
/// that never were, unless it administers all. Cheap to clone.
#[derive(Clone)]
pub struct Caller {
    service: StatementService,
    principal: Principal,
}

/// A statement as far as it is known.
enum Known {
    /// Remembered, with its rows.
    Live(Arc<Statement>),
    /// Told of by the history.
    Recorded(Arc<StatementRecord>),
}

impl Known {
    fn status(&self) -> StatementStatus {
        match self {
            Self::Live(statement) => statement.status(),
            Self::Recorded(record) => record.status(),
        }
    }
}

impl Caller {
    pub(crate) fn new(service: StatementService, principal: Principal) -> Self {
        Self { service, principal }
    }

    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The same user in another of its roles, by any spelling of its name. Of an instance without users there is only one.
    pub async fn in_role(&self, role: &str) -> Result<Self, Failure> {
        let access = self.inner().databases.access().await.map_err(Failure::from)?;
        if !access.has_users() {
            return Ok(self.clone());
        }
        let user = self.principal.user();
        let found = access.role(role).filter(|role| access.roles_of_user(user).contains(role));
        match found {
            Some(role) if role == self.principal.role() => Ok(self.clone()),
            Some(role) if !self.principal.is_restricted() => {
                Ok(Self::new(self.service.clone(), self.principal.with_role(role)))
            }
            _ => {
                let message = format!("user \"{user}\" cannot take role \"{role}\"");
                Err(Failure::new(ErrorCode::AccessDenied, message))
            }
        }
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        self.service.inner()
    }

    /// Takes a statement on; it runs whether or not anyone waits for it. Fails only when it is refused outright: too
    /// long, too many are open, or its request id is that of another. Bad SQL is a statement whose phase becomes `failed`.
    pub async fn submit(&self, request: StatementRequest) -> Result<StatementId, Failure> {
        self.begin(request)
    }

    /// [`Caller::submit`], with the plan that its description came with, which is used if it is as good as a new one.
    pub async fn submit_planned(
        &self,
        request: StatementRequest,
        kept: Option<KeptPlan>,
    ) -> Result<StatementId, Failure> {
        self.begin_planned(request, kept)
    }

    /// [`Caller::submit`], which waits for nothing.
    pub(crate) fn begin(&self, request: StatementRequest) -> Result<StatementId, Failure> {
        self.begin_planned(request, None)
    }

    fn begin_planned(&self, mut request: StatementRequest, kept: Option<KeptPlan>) -> Result<StatementId, Failure> {
        request.principal = self.principal.clone();
        let inner = self.inner();
        let options = &inner.options;
        check_length(&request, options.statement_bytes_max)?;
        let most = Duration::from_secs(options.statement_limit_s.max(1));
        let limit = request.time_limit.filter(|limit| !limit.is_zero()).unwrap_or(most).min(most);
        let bindings = request.take_bindings();
        let statement = {
            let mut statements = inner.statements.lock();
            if let Some(known) = statements.of_request(&request)? {
                return Ok(known);
            }
            let open_max = options.statements_queued_max + options.statements_running_max;
            if let Some(forgotten) = statements.make_room(options.history_max.max(open_max))? {
                inner.results.remove(forgotten);
            }
            let statement = Statement::new(request, limit, bindings, kept, inner.history.clone());
            statements.insert(statement.clone());
            statement
        };
        let id = statement.id;
        tracing::info!(statement = %id, "statement received");
        tokio::spawn(run_to_end(inner.clone(), statement));
        Ok(id)
    }

    /// The statement that came with a request id.
    pub fn by_request(&self, request_id: Uuid) -> Option<StatementId> {
        let found = self.inner().statements.lock().by_request(request_id);
        found.filter(|statement| self.may_see(statement)).map(|statement| statement.id)
    }

    fn find(&self, id: StatementId) -> Result<Known, Failure> {
        let live = self.inner().statements.lock().get(id);
        if let Some(statement) = live.filter(|statement| self.may_see(statement)) {
            return Ok(Known::Live(statement));
        }
        let record = self.inner().history.get(id);
        let own =
            |record: &Arc<StatementRecord>| self.principal.may_act_for(&Principal::new(&record.user, &record.role));
        match record.filter(own) {
            Some(record) => Ok(Known::Recorded(record)),
            None => Err(Failure::new(ErrorCode::UndefinedStatement, format!("statement {id} is not known"))),
        }
    }

    fn may_see(&self, statement: &Statement) -> bool {
        self.principal.may_act_for(statement.principal())
    }

    /// Returns when the phase is terminal, or after `limit` with the phase it has then. A streamed statement also
    /// returns as soon as its rows can be taken (`Running` with a `result`).
    pub async fn wait(&self, id: StatementId, limit: Duration) -> Result<StatementStatus, Failure> {
        let known = self.find(id)?;
        if let Known::Live(statement) = &known {
            let _ = tokio::time::timeout(limit.min(WAIT_MAX), statement.settled()).await;
        }
        Ok(known.status())
    }

    /// `UndefinedStatement` when there is no such handle, or no longer.
    pub fn status(&self, id: StatementId) -> Result<StatementStatus, Failure> {
        self.find(id).map(|known| known.status())
    }

    /// Returns when the phase is another than this, and at the latest after `limit`.
    pub async fn wait_for_change(
        &self,
        id: StatementId,
        phase: Phase,
        limit: Duration,
    ) -> Result<StatementStatus, Failure> {
        let known = self.find(id)?;
        if let Known::Live(statement) = &known {
            let _ = tokio::time::timeout(limit, statement.left(phase)).await;
        }
        Ok(known.status())
    }

    /// Those that the filter lets through, newest first, as far as they are kept.
    pub fn list(&self, filter: &Filter) -> Vec<Arc<StatementRecord>> {
        let records = SystemView::new(self.inner().clone(), self.principal.clone()).records();
        records.into_iter().filter(|record| filter.accepts(record)).take(filter.limit).collect()
    }

    /// Idempotent; a statement that has ended stays as it is.
    pub async fn cancel(&self, id: StatementId) -> Result<StatementStatus, Failure> {
        let statement = match self.find(id)? {
            Known::Live(statement) => statement,
            Known::Recorded(record) => return Ok(record.status()),
        };
        statement.stop(Failure::new(ErrorCode::Cancelled, "the statement was cancelled"));
        let _ = tokio::time::timeout(Duration::from_secs(2), statement.ended_for_good()).await;
        Ok(statement.status())
    }

    /// Asks a statement to end, if it has not.
    pub(crate) fn stop(&self, id: StatementId, cause: Failure) {
        if let Ok(Known::Live(statement)) = self.find(id)
            && statement.ended().is_none()
        {
            statement.stop(cause);
        }
    }

    /// A partition of a spooled result, by its number in [`ResultInfo::partitions`](crate::statement::ResultInfo).
    pub async fn result_partition(&self, id: StatementId, partition: usize) -> Result<Vec<RecordBatch>, Failure> {
        let known = self.find(id)?;
        if let Known::Recorded(record) = &known {
            return record.partition(partition);
        }
        let results = self.inner().results.clone();
        let read = tokio::task::spawn_blocking(move || results.read(id, partition)).await;
        read.unwrap_or_else(|error| Err(Failure::internal(format!("reading a result: {error}"))))
    }

    /// The rows of a streamed statement; can be taken once. Waits until the first stage runs.
    pub async fn result_stream(&self, id: StatementId) -> Result<ResultStream, Failure> {
        let statement = match self.find(id)? {
            Known::Live(statement) => statement,
            Known::Recorded(record) => return Err(record.failure.clone().unwrap_or_else(|| record.expired())),
        };
        statement.settled().await;
        match statement.take_stream() {
            Some(stream) => Ok(stream),
            None => Err(statement.status().failure.unwrap_or_else(|| {
                Failure::new(ErrorCode::InvalidArgument, format!("the rows of statement {id} were taken already"))
            })),
        }
    }

    /// Opens a session; see [`Sessions::open`](crate::sessions::Sessions::open).
    pub fn open_session(
        &self,
        database: Option<String>,
        schema: Option<String>,
        settings: Vec<(String, String)>,
    ) -> Result<SessionId, Failure> {
        self.inner().sessions.open(self.principal.clone(), database, schema, settings)
    }

    /// Opens a session for one transaction, with the names and settings of another session.
    pub async fn open_transaction_session(&self, like: Option<SessionId>) -> Result<SessionId, Failure> {
        self.inner().sessions.open_for_transaction(&self.principal, like).await
    }

    /// Waits until no statement changes the session.
    pub async fn session_options(&self, id: SessionId) -> Result<SessionOptions, Failure> {
        Ok(self.inner().sessions.enter(&self.principal, id).await?.options())
    }

    /// The database and schema in which the names of a session's statements are looked up; `None` while a statement changes them.
    pub fn session_names(&self, session: SessionId) -> Result<Option<(String, String)>, Failure> {
        self.inner().sessions.names(&self.principal, session)
    }

    /// Leaves with a session what its door has to know of it, as long as it is open.
    pub fn attach(&self, session: SessionId, what: Arc<dyn Any + Send + Sync>) -> Result<(), Failure> {
        self.inner().sessions.attach(&self.principal, session, what)
    }

    /// What [`Caller::attach`] has left; the session counts as used.
    pub fn attached(&self, session: SessionId) -> Result<Option<Arc<dyn Any + Send + Sync>>, Failure> {
        self.inner().sessions.attached(&self.principal, session)
    }

    /// A token for one of its sessions; see [`Tokens::issue`](crate::tokens::Tokens::issue).
    pub fn issue_token(&self, session: SessionId, purpose: Purpose, valid: Duration) -> Result<String, Failure> {
        self.inner().tokens.issue(&self.principal, session, purpose, valid)
    }

    /// Its tokens end with it.
    pub fn close_session(&self, id: SessionId) -> Result<(), Failure> {
        let inner = self.inner();
        inner.sessions.close(&self.principal, id)?;
        inner.tokens.revoke(id);
        Ok(())
    }

    /// Oldest first.
    pub fn sessions(&self) -> Vec<SessionStatus> {
        self.inner().sessions.list(&self.principal)
    }

    pub fn cluster(&self) -> ClusterStatus {
        let inner = self.inner();
        ClusterStatus {
            version: frazil_proto::VERSION,
            executors: inner.runner.registry.status(),
            statements_queued: inner.admission.queued(),
            statements_running: inner.admission.running(),
        }
    }
}

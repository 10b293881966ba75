//! The statement service: the one lifecycle behind every front door.
//!
//! A door logs its client in, and works with the [`Caller`] it gets.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use frazil_catalog::Databases;
use frazil_common::{ErrorCode, Failure, SessionId};
use frazil_engine::planner::Planner;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::admission::Admission;
use crate::caller::Caller;
use crate::credentials::Credentials;
use crate::history::History;
use crate::log_in::LogIn;
use crate::options::CoordinatorOptions;
use crate::query::QueryRunner;
use crate::remembered::Statements;
use crate::results::ResultStore;
use crate::sessions::Sessions;
use crate::tokens::{Purpose, Tokens};
use crate::vacuum;

/// Cheap to clone; all clones are the same service.
#[derive(Clone)]
pub struct StatementService {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub planner: Arc<Planner>,
    pub sessions: Arc<Sessions>,
    pub databases: Databases,
    pub runner: Arc<QueryRunner>,
    pub admission: Admission,
    /// Held by whoever removes what is no longer needed.
    pub vacuuming: tokio::sync::Mutex<()>,
    pub results: Arc<ResultStore>,
    pub history: Arc<History>,
    pub options: CoordinatorOptions,
    pub statements: Mutex<Statements>,
    /// Of files that clients send to stages.
    pub uploads: Semaphore,
    pub tokens: Tokens,
    pub log_in: LogIn,
}

impl StatementService {
    pub(crate) fn new(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn of(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Whether clients have to log in.
    pub async fn has_users(&self) -> Result<bool, Failure> {
        Ok(self.inner.databases.access().await.map_err(Failure::from)?.has_users())
    }

    /// Checks who a client is. Of an instance without users, whoever reaches it may do everything. Attempts that fail are counted
    /// for each peer, where it is known from which one the credentials come.
    pub async fn log_in_from(&self, credentials: Credentials, peer: Option<IpAddr>) -> Result<Caller, Failure> {
        let access = self.inner.databases.access().await.map_err(Failure::from)?;
        let principal = self.inner.log_in.check(&access, credentials, peer).await?;
        Ok(Caller::new(self.clone(), principal))
    }

    /// How long a session's token is valid, and one that renews it.
    pub fn token_validity(&self) -> (Duration, Duration) {
        let options = &self.inner.options;
        (Duration::from_secs(options.token_valid_s.max(1)), Duration::from_secs(options.renewal_valid_s.max(1)))
    }

    /// The client and the session of a token that a [`Caller`] has issued.
    pub fn by_token(&self, token: &str, purpose: Purpose) -> Result<(Caller, SessionId), Failure> {
        let (principal, session) = self.inner.tokens.find(token, purpose)?;
        Ok((Caller::new(self.clone(), principal), session))
    }

    /// Stops every open statement and waits for their ends.
    pub(crate) async fn stop_all(&self, limit: Duration) {
        let open = self.inner.statements.lock().all();
        for statement in &open {
            statement.stop(Failure::new(ErrorCode::Cancelled, "the coordinator is shutting down"));
        }
        let ended = futures::future::join_all(open.iter().map(|statement| statement.ended_for_good()));
        let _ = tokio::time::timeout(limit, ended).await;
        open.iter().for_each(|statement| statement.record_if_ended());
        let history = self.inner.history.clone();
        let _ = tokio::time::timeout(limit, tokio::task::spawn_blocking(move || history.close())).await;
        let _ = tokio::time::timeout(limit, self.inner.databases.close()).await;
    }

    /// To be called as long as the coordinator lives.
    pub(crate) async fn vacuum_regularly(self) {
        vacuum::regularly(self.inner).await;
    }

    /// To be called as long as the coordinator lives: lets go of results that nobody fetched for too long.
    pub(crate) async fn expire_results(self) {
        let kept = Duration::from_secs(self.inner.options.result_kept_s.max(1));
        let mut interval = tokio::time::interval(Duration::from_secs(5).min(kept));
        loop {
            interval.tick().await;
            let expired = self.inner.statements.lock().expire(SystemTime::now(), kept);
            expired.into_iter().for_each(|id| self.inner.results.remove(id));
        }
    }
}

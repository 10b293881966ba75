//! Transactions of clients: each is a session of its own, so that a client may have several, beside statements in none.
//!
//! ```text
//!  BeginTransaction ─▶ known ── first statement: a session, BEGIN ─▶ open ── EndTransaction: COMMIT or ROLLBACK, the session is closed
//! ```
//!
//! A transaction begins with its first statement, as clients expect that begin one with each connection and after each commit: what it
//! sees is of that moment, and one that is never used costs nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use frazil_common::{ErrorCode, Failure, Principal, SessionId};
use frazil_coordinator::statement::{Delivery, StatementRequest};
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use super::identity::Client;

/// Clients that go away without a word leave theirs; more than this are not begun until some are over.
const TRANSACTIONS_MAX: usize = 100_000;
/// After which one that was not used is forgotten.
const IDLE_MAX: Duration = Duration::from_secs(24 * 3600);

#[derive(Default)]
pub struct Transactions {
    by_id: Mutex<HashMap<Uuid, Arc<Transaction>>>,
}

struct Transaction {
    principal: Principal,
    /// Whose names and settings it begins with.
    like: Option<SessionId>,
    used: Mutex<Instant>,
    state: tokio::sync::Mutex<State>,
}

#[derive(Clone, Copy)]
enum State {
    /// No statement came yet.
    Known,
    Open(SessionId),
    /// Its commit has failed, and its client has not ended it yet.
    Failed,
}

impl Transactions {
    pub fn begin(&self, client: &Client) -> Result<Bytes, Failure> {
        let mut by_id = self.by_id.lock();
        if by_id.len() >= TRANSACTIONS_MAX {
            let now = Instant::now();
            by_id.retain(|_, transaction| now.saturating_duration_since(*transaction.used.lock()) < IDLE_MAX);
        }
        if by_id.len() >= TRANSACTIONS_MAX {
            let message = format!("{} transactions are open already", by_id.len());
            return Err(Failure::new(ErrorCode::TooManyStatements, message));
        }
        let id = Uuid::new_v4();
        let transaction = Transaction {
            principal: client.caller.principal().clone(),
            like: client.session,
            used: Mutex::new(Instant::now()),
            state: tokio::sync::Mutex::new(State::Known),
        };
        by_id.insert(id, Arc::new(transaction));
        Ok(Bytes::copy_from_slice(id.as_bytes()))
    }

    fn find(&self, client: &Client, id: &Bytes) -> Result<(Uuid, Arc<Transaction>), Failure> {
        let id = Uuid::from_slice(id).map_err(|_| unknown())?;
        let found = self.by_id.lock().get(&id).cloned();
        let found = found.filter(|found| found.principal == *client.caller.principal()).ok_or_else(unknown)?;
        *found.used.lock() = Instant::now();
        Ok((id, found))
    }

    /// The session that a statement runs in: that of its transaction, which begins with it if it has not, or its client's own.
    pub async fn enter(&self, client: &Client, id: Option<&Bytes>) -> Result<Option<SessionId>, Failure> {
        let Some(id) = id.filter(|id| !id.is_empty()) else { return Ok(client.session) };
        let (_, found) = self.find(client, id)?;
        let mut state = found.state.lock().await;
        match *state {
            State::Open(session) => Ok(Some(session)),
            State::Failed => Err(unknown()),
            State::Known => {
                let session = client.caller.open_transaction_session(found.like).await?;
                run(client, session, "BEGIN").await?;
                *state = State::Open(session);
                Ok(Some(session))
            }
        }
    }

    /// The session that a statement would run in, for one that is only planned.
    pub async fn session(&self, client: &Client, id: &Bytes) -> Result<Option<SessionId>, Failure> {
        if id.is_empty() {
            return Ok(client.session);
        }
        let (_, found) = self.find(client, id)?;
        match *found.state.lock().await {
            State::Open(session) => Ok(Some(session)),
            State::Known => Ok(found.like),
            State::Failed => Err(unknown()),
        }
    }

    /// A commit that fails leaves the transaction to be rolled back.
    pub async fn end(&self, client: &Client, id: &Bytes, commit: bool) -> Result<(), Failure> {
        let (id, found) = self.find(client, id)?;
        let mut state = found.state.lock().await;
        let ended = match *state {
            State::Open(session) => {
                let ended = run(client, session, if commit { "COMMIT" } else { "ROLLBACK" }).await;
                // With whatever it has not committed.
                client.caller.close_session(session).ok();
                ended
            }
            State::Known => Ok(()),
            State::Failed if commit => Err(unknown()),
            State::Failed => Ok(()),
        };
        match ended {
            Err(failure) if commit => {
                *state = State::Failed;
                Err(failure)
            }
            // There is nothing left to be rolled back.
            Ok(()) | Err(_) => {
                self.by_id.lock().remove(&id);
                Ok(())
            }
        }
    }

    /// Those of a session that its client closes.
    pub async fn close_of(&self, client: &Client, session: SessionId) {
        let own: Vec<_> = {
            let mut by_id = self.by_id.lock();
            let own: Vec<_> =
                by_id.iter().filter(|(_, found)| found.like == Some(session)).map(|(id, _)| *id).collect();
            own.into_iter().filter_map(|id| by_id.remove(&id)).collect()
        };
        for transaction in own {
            if let State::Open(session) = *transaction.state.lock().await {
                client.caller.close_session(session).ok();
            }
        }
    }
}

async fn run(client: &Client, session: SessionId, sql: &str) -> Result<(), Failure> {
    let request = StatementRequest { session: Some(session), ..StatementRequest::new(sql, Delivery::Spooled) };
    let id = client.caller.submit(request).await?;
    let status = client.caller.wait(id, Duration::MAX).await?;
    match status.failure {
        None => Ok(()),
        // The session is closed when nothing comes in it for too long.
        Some(failure) if failure.code == ErrorCode::UndefinedSession => Err(unknown()),
        Some(failure) => Err(failure),
    }
}

fn unknown() -> Failure {
    let message =
        "the transaction is not known: it has ended, or was rolled back since nothing was sent in it for too long";
    Failure::new(ErrorCode::TransactionLost, message)
}

//! Where a statement's changes go: into a commit of its own, or into the transaction that its session has open.

use std::sync::Arc;

use frazil_catalog::{CommitInfo, Transaction};
use frazil_common::{ErrorCode, Failure, failpoint};
use frazil_engine::lake::Change;
use frazil_engine::session_statements::SessionChange;

use crate::lifecycle::Statement;
use crate::service::Inner;
use crate::sessions::SessionGuard;

pub enum Scope {
    /// They are committed when the statement is done.
    Statement,
    /// They are left to the statements that follow in the session, which wait for this one.
    Transaction(SessionGuard),
}

impl Scope {
    /// Fails if the changes cannot go there, before work is put into them.
    pub fn check(&self, change: &Transaction) -> Result<(), Failure> {
        match self {
            Self::Statement => Ok(()),
            Self::Transaction(session) => session.check_change(change),
        }
    }

    /// Commits the changes, or leaves them to the session.
    pub async fn finish(self, statement: &Statement, change: Transaction) -> Result<(), Failure> {
        self.check(&change)?;
        match self {
            Self::Statement => commit(statement, change).await,
            Self::Transaction(mut session) => {
                session.put(change);
                Ok(())
            }
        }
    }

    /// A change without rows. Returns what the user is told.
    pub async fn change(self, inner: &Inner, statement: &Arc<Statement>, change: Change) -> Result<String, Failure> {
        match change {
            Change::Nothing { done } => Ok(done),
            Change::Commit { transaction, done } => self.finish(statement, *transaction).await.map(|()| done),
            _ if matches!(self, Self::Transaction(_)) => {
                let message = "databases, secrets and how long data are kept cannot be changed in a transaction";
                Err(Failure::new(ErrorCode::TransactionOpen, message))
            }
            change => {
                let _committing = statement.committing();
                let done = change.perform(&inner.databases, commit_info(statement)).await;
                failpoint::reach("write.committed");
                done
            }
        }
    }
}

async fn commit(statement: &Statement, change: Transaction) -> Result<(), Failure> {
    let _committing = statement.committing();
    let committed = change.commit(commit_info(statement)).await;
    let committed = committed.map_err(|error| Failure::new(error.code(), error.to_string()))?;
    tracing::info!(statement = %statement.id, snapshot = %committed.snapshot, "committed");
    failpoint::reach("write.committed");
    Ok(())
}

fn commit_info(statement: &Statement) -> CommitInfo {
    CommitInfo {
        statement: Some(statement.id),
        request_id: statement.request.request_id.map(|id| id.to_string()),
        fingerprint: statement.request.request_id.map(|_| statement.request.fingerprint()),
        ..CommitInfo::default()
    }
}

/// What a statement does to its session, if it has one. Returns what the user is told.
pub async fn change_session(
    inner: &Inner,
    statement: &Arc<Statement>,
    session: Option<SessionGuard>,
    change: SessionChange,
) -> Result<String, Failure> {
    let Some(mut session) = session else {
        return match change {
            SessionChange::Set { key, .. } => Ok(format!("{key} is set for this statement")),
            SessionChange::Reset { key } => Ok(format!("{key} has its default")),
            SessionChange::Use { database, schema } => Ok(format!("{database}.{schema} is there")),
            SessionChange::Begin { .. } | SessionChange::Commit | SessionChange::Rollback => {
                Err(Failure::new(ErrorCode::NoTransaction, "a transaction needs a session, and the request names none"))
            }
        };
    };
    Ok(match change {
        SessionChange::Begin { read_only } => {
            session.begin(inner.planner.snapshot().await?, read_only)?;
            "transaction begun".to_owned()
        }
        // Without autocommit a transaction is begun when there is something to commit.
        SessionChange::Commit | SessionChange::Rollback if !session.autocommit() && session.has_none() => {
            "nothing was changed since the last transaction".to_owned()
        }
        SessionChange::Commit => match session.take()? {
            Some(changes) => {
                let committed = commit(statement, Transaction::clone(&changes)).await;
                committed.map_err(|failure| Failure {
                    message: format!("{}; the transaction is rolled back", failure.message),
                    ..failure
                })?;
                "transaction committed".to_owned()
            }
            None => "transaction committed: it has changed nothing".to_owned(),
        },
        SessionChange::Rollback => match session.take() {
            Ok(_) => "transaction rolled back".to_owned(),
            // Now its client knows.
            Err(failure) if failure.code == ErrorCode::TransactionLost => failure.message,
            Err(failure) => return Err(failure),
        },
        SessionChange::Use { database, schema } => {
            let done = format!("names are looked up in {database}.{schema}");
            session.use_names(database, schema);
            done
        }
        SessionChange::Set { key, value } => {
            let done = format!("{key} is set for this session");
            session.set(key, value);
            done
        }
        SessionChange::Reset { key } => {
            session.reset(&key);
            format!("{key} has its default")
        }
    })
}

//! A text of several statements: they run one after the other in one session, and the first that fails ends it.

use std::sync::Arc;

use arrow::datatypes::Schema;
use frazil_common::{ErrorCode, Failure, SessionId, StatementId};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use uuid::Uuid;

use crate::caller::Caller;
use crate::lifecycle::Statement;
use crate::service::{Inner, StatementService};
use crate::statement::{Delivery, Phase, ResultInfo, StatementRequest};

/// Runs the statements of the text. Each has a handle of its own, and keeps its rows.
pub async fn run(inner: &Arc<Inner>, statement: &Arc<Statement>) -> Result<(), Failure> {
    let request = &statement.request;
    let caller = Caller::new(StatementService::of(inner.clone()), request.principal.clone());
    statement.advance(Phase::Planned);
    statement.advance(Phase::Running);
    let own = match request.session {
        Some(_) => None,
        None => {
            let (database, schema) = (request.database.clone(), request.schema.clone());
            Some(OwnSession {
                id: caller.open_session(database, schema, request.settings.clone())?,
                caller: caller.clone(),
            })
        }
    };
    let count = request.parts.len();
    for (index, sql) in request.parts.iter().enumerate() {
        let mut part = StatementRequest::new(sql.as_str(), Delivery::Spooled);
        part.time_limit = Some(statement.deadline.saturating_duration_since(Instant::now()));
        part.request_id = request.request_id.map(|id| request_id_of_part(id, index));
        match &own {
            Some(own) => part.session = Some(own.id),
            None => {
                part.session = request.session;
                (part.database, part.schema) = (request.database.clone(), request.schema.clone());
                part.settings = request.settings.clone();
            }
        }
        let id = caller.begin(part)?;
        statement.add_part(id);
        let running = StopWhenDropped { caller: &caller, id };
        let status = caller.wait(id, statement.deadline.saturating_duration_since(Instant::now())).await?;
        drop(running);
        if status.phase != Phase::Finished {
            let unsaid = || Failure::new(ErrorCode::Timeout, "the statement's time limit has passed");
            let failure = status.failure.unwrap_or_else(unsaid);
            let message = format!("statement {} of {count}: {}", index + 1, failure.message);
            return Err(Failure { message, ..failure });
        }
    }
    statement.finish(ResultInfo { schema: Arc::new(Schema::empty()), rows: 0, partitions: vec![] });
    Ok(())
}

/// The same for the same part whenever the text is sent again, so that a part is applied once.
fn request_id_of_part(id: Uuid, index: usize) -> Uuid {
    let digest = Sha256::new().chain_update(id.as_bytes()).chain_update((index as u64).to_le_bytes()).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// Rolled back and closed when the text is done, however that comes.
struct OwnSession {
    id: SessionId,
    caller: Caller,
}

impl Drop for OwnSession {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.caller.close_session(self.id);
    }
}

/// Stops a part when the whole is stopped.
struct StopWhenDropped<'a> {
    caller: &'a Caller,
    id: StatementId,
}

impl Drop for StopWhenDropped<'_> {
    fn drop(&mut self) {
        self.caller.stop(self.id, Failure::new(ErrorCode::Cancelled, "the text that it is part of was stopped"));
    }
}

//! The statements that are remembered: by their ids, and by the ids of the requests that brought them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use frazil_common::{ErrorCode, Failure, StatementId};
use uuid::Uuid;

use crate::lifecycle::Statement;
use crate::statement::StatementRequest;

/// What is remembered; bounded by `history_max`.
#[derive(Default)]
pub struct Statements {
    by_id: BTreeMap<StatementId, Arc<Statement>>,
    by_request: HashMap<Uuid, StatementId>,
}

impl Statements {
    pub fn get(&self, id: StatementId) -> Option<Arc<Statement>> {
        self.by_id.get(&id).cloned()
    }

    /// Newest first.
    pub fn all(&self) -> Vec<Arc<Statement>> {
        self.by_id.values().rev().cloned().collect()
    }

    pub fn insert(&mut self, statement: Arc<Statement>) {
        if let Some(request) = statement.request.request_id {
            self.by_request.insert(request, statement.id);
        }
        self.by_id.insert(statement.id, statement);
    }

    /// The statement that was submitted with the same request id. Another statement under that id is refused: the client
    /// would take the first one's rows for those of what it has sent now.
    pub fn of_request(&self, request: &StatementRequest) -> Result<Option<StatementId>, Failure> {
        let Some(request_id) = request.request_id else { return Ok(None) };
        let known = self.by_request.get(&request_id).and_then(|known| self.by_id.get(known));
        let Some(known) = known else { return Ok(None) };
        let first = &known.request;
        let is_same = (&first.principal, &first.role, &first.sql, &first.database, &first.schema, first.session)
            == (&request.principal, &request.role, &request.sql, &request.database, &request.schema, request.session);
        if is_same && (first.bindings_digest, first.describe_only) == (request.bindings_digest, request.describe_only) {
            return Ok(Some(known.id));
        }
        let message = format!("requestId {request_id} came with another statement before: give each its own");
        Err(Failure::new(ErrorCode::RequestIdReused, message))
    }

    /// The statement that came with a request id.
    pub fn by_request(&self, request_id: Uuid) -> Option<Arc<Statement>> {
        self.by_request.get(&request_id).and_then(|id| self.get(*id))
    }

    pub fn forget_request(&mut self, statement: &Statement) {
        if let Some(request) = statement.request.request_id
            && self.by_request.get(&request) == Some(&statement.id)
        {
            self.by_request.remove(&request);
        }
    }

    /// Makes room for one more: at most `most` are remembered. Returns the oldest ended one, which is forgotten, when there are
    /// too many; open ones are never forgotten.
    pub fn make_room(&mut self, most: usize) -> Result<Option<StatementId>, Failure> {
        if self.by_id.len() < most {
            return Ok(None);
        }
        let oldest = self.by_id.values().find(|statement| statement.ended().is_some()).map(|ended| ended.id);
        let Some(oldest) = oldest else {
            let message = format!("{} statements are open already", self.by_id.len());
            return Err(Failure::new(ErrorCode::TooManyStatements, message));
        };
        self.forget(oldest);
        Ok(Some(oldest))
    }

    /// Forgets those that ended longer ago than `kept`, and returns which.
    pub fn expire(&mut self, now: SystemTime, kept: Duration) -> Vec<StatementId> {
        let expired = self.by_id.values().filter(|statement| {
            statement.ended().is_some_and(|ended| now.duration_since(ended).is_ok_and(|age| age > kept))
        });
        let expired: Vec<StatementId> = expired.map(|statement| statement.id).collect();
        expired.iter().for_each(|id| self.forget(*id));
        expired
    }

    fn forget(&mut self, id: StatementId) {
        if let Some(forgotten) = self.by_id.remove(&id) {
            self.forget_request(&forgotten);
        }
    }
}

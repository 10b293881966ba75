//! What a statement would be, without running it: for clients that prepare statements, or want columns before rows.

use frazil_common::{ErrorCode, Failure};
pub use frazil_engine::describe::{Description, StatementKind};
pub use frazil_engine::planner::KeptPlan;
use frazil_engine::session_functions::StatementContext;

use crate::caller::Caller;
use crate::run::plan_request;
use crate::statement::StatementRequest;

impl Caller {
    /// Plans a statement, as its session sees things now, and leaves it at that. It is no statement of the service: it has no id, no
    /// phases, and is not listed.
    ///
    /// The plan of a query comes with it, if it can be kept until the statement is run ([`Caller::submit_planned`]).
    pub async fn describe(&self, mut request: StatementRequest) -> Result<(Description, Option<KeptPlan>), Failure> {
        request.principal = self.principal().clone();
        let inner = self.inner();
        check_length(&request, inner.options.statement_bytes_max)?;
        // Let go of before it is planned: nobody need wait for a description.
        let plan = match request.session {
            None => plan_request(inner, &request, None, &StatementContext::default()),
            Some(id) => {
                let session = inner.sessions.enter(&request.principal, id).await?;
                let context = StatementContext {
                    session: Some(id.number().to_string()),
                    last_statement: session.last_statement().map(|last| last.to_string()),
                    ..StatementContext::default()
                };
                plan_request(inner, &request, Some(&session), &context)
            }
        };
        inner.planner.describe(plan).await
    }
}

/// Refuses what nobody writes by hand.
pub(crate) fn check_length(request: &StatementRequest, most: frazil_common::ByteSize) -> Result<(), Failure> {
    if request.sql.len() as u64 <= most.0 {
        return Ok(());
    }
    let message = format!("the statement has {} bytes, at most {most} are taken", request.sql.len());
    Err(Failure::new(ErrorCode::TooComplex, message))
}

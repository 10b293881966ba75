//! What a statement does from its text to its last row.

use std::sync::{Arc, Weak};
use std::time::Duration;

use arrow::array::RecordBatch;
use frazil_common::{ErrorCode, Failure, Principal};
use frazil_engine::lake::Written;
use frazil_engine::planner::{PlanRequest, Planned, PlannedQuery};
use frazil_engine::session::{AUTOCOMMIT, client_settings};
use frazil_engine::session_functions::StatementContext;
use frazil_engine::session_statements::SessionChange;
use futures::future::BoxFuture;

use crate::deliver::{Rows, deliver, status_row};
use crate::history::SystemView;
use crate::lifecycle::Statement;
use crate::query::RunOptions;
use crate::service::Inner;
use crate::sessions::{SessionGuard, SessionState};
use crate::statement::{Phase, StatementRequest};
use crate::transactions::{self, Scope};
use crate::{batch, explained, loads, users, vacuum, writes};

/// A statement that runs for longer is noted in the history before it ends.
const NOTED_AFTER: Duration = Duration::from_millis(100);

/// A compaction that others have made impossible is planned anew so often.
const COMPACTIONS_MAX: u32 = 5;

/// Whatever comes of it is in the statement when this returns.
///
/// Boxed: a text of several statements runs them by the same way.
pub fn run_to_end(inner: Arc<Inner>, statement: Arc<Statement>) -> BoxFuture<'static, ()> {
    Box::pin(run_whole(inner, statement))
}

async fn run_whole(inner: Arc<Inner>, statement: Arc<Statement>) {
    let mut running = std::pin::pin!(run(&inner, &statement));
    let mut is_long = std::pin::pin!(tokio::time::sleep(NOTED_AFTER));
    let mut is_noted = false;
    let outcome = loop {
        tokio::select! {
            outcome = &mut running => break outcome,
            () = statement.stop.cancelled() => break Err(statement.stop_cause()),
            () = tokio::time::sleep_until(statement.deadline) => {
                break Err(Failure::new(ErrorCode::Timeout, "the statement's time limit has passed"));
            }
            () = &mut is_long, if !is_noted => {
                is_noted = true;
                statement.record_open();
            }
        }
    };
    let outcome = match outcome {
        // A commit is not stopped half-way: nobody could tell whether it was done.
        Err(_) if statement.is_committing() => running.await,
        outcome => outcome,
    };
    // Whatever still runs for it, ends.
    statement.stop.cancel();
    drop(statement.take_kept());
    if let Err(failure) = outcome {
        statement.fail(failure);
    }
    statement.record_if_ended();
}

async fn run(inner: &Arc<Inner>, statement: &Arc<Statement>) -> Result<(), Failure> {
    let request = &statement.request;
    let before = writes::committed_before(inner, request).await;
    if before.as_ref().is_err_and(|failure| failure.code == ErrorCode::RequestIdReused) {
        // The id is the committed request's, and must still be when that comes again.
        inner.statements.lock().forget_request(statement);
    }
    if let Some(done) = before? {
        statement.advance(Phase::Planned);
        return deliver(inner, statement, Rows::Ready(status_row(done)?)).await;
    }
    let (mut session, mut context) = (None, StatementContext::default());
    if let Some(id) = request.session {
        let mut entered = inner.sessions.enter(&request.principal, id).await?;
        context.session = Some(id.number().to_string());
        context.last_statement = entered.begin_statement(statement.id).map(|last| last.to_string());
        session = Some(entered);
    }
    let own_autocommit = request.settings.iter().any(|(key, _)| key.trim().eq_ignore_ascii_case(AUTOCOMMIT));
    if own_autocommit {
        let message = "setting \"autocommit\" is a session's, and cannot be set for one statement";
        return Err(Failure::new(ErrorCode::InvalidArgument, message));
    }
    statement.act_as(principal_of(request, session.as_ref()));
    let settings = match &session {
        Some(session) => session.settings_for(request),
        None => request.settings.clone(),
    };
    if !settings.is_empty() {
        statement.set_client_settings(client_settings(settings));
    }
    if !request.parts.is_empty() {
        // Each of them enters the session by itself.
        drop(session);
        return batch::run(inner, statement).await;
    }
    let start = std::time::Instant::now();
    let planned = plan(inner, statement, plan_statement(inner, statement, session.as_ref(), &context)).await;
    tracing::debug!(statement = %statement.id, elapsed = ?start.elapsed(), "planned");
    if let Some(session) = &session
        && !matches!(planned, Ok(Planned::Session(SessionChange::Rollback)))
    {
        session.check_kept()?;
    }
    let mut planned = planned?;
    if request.describe_only {
        statement.advance(Phase::Planned);
        return deliver(inner, statement, Rows::Ready(RecordBatch::new_empty(planned.schema()))).await;
    }
    if let Some(session) = &mut session
        && !session.autocommit()
        && !session.is_open()
        && planned.changes_rows()
    {
        session.begin(inner.planner.snapshot().await?, false)?;
        planned = inner.planner.plan(plan_statement(inner, statement, Some(session), &context)).await?;
    }
    statement.advance(Phase::Planned);
    let scope = |session: Option<SessionGuard>| match session {
        Some(session) if session.is_open() => Scope::Transaction(session),
        _ => Scope::Statement,
    };
    let query = match planned {
        Planned::Done(text) => return deliver(inner, statement, Rows::Ready(status_row(text)?)).await,
        Planned::Vacuum(request) => {
            if let Scope::Transaction(_) = scope(session) {
                let message = "VACUUM cannot run in a transaction";
                return Err(Failure::new(ErrorCode::TransactionOpen, message));
            }
            let done = vacuum::statement(inner, request).await?;
            return deliver(inner, statement, Rows::Ready(done)).await;
        }
        Planned::Rows(rows) => return deliver(inner, statement, Rows::Ready(rows)).await,
        Planned::Explain { query, logical, physical } => {
            let rows = explained::plan(inner, &query, logical, physical)?;
            return deliver(inner, statement, Rows::Ready(rows)).await;
        }
        Planned::Analyze { query, verbose } => {
            drop(session);
            let _permit = inner.admission.admit(|| statement.advance(Phase::Queued)).await?;
            statement.advance(Phase::Running);
            let rows = explained::analyze(inner, statement, &query, verbose).await?;
            return deliver(inner, statement, Rows::Ready(rows)).await;
        }
        Planned::Change(change) => {
            let done = scope(session).change(inner, statement, change).await?;
            return deliver(inner, statement, Rows::Ready(status_row(done)?)).await;
        }
        Planned::Session(change) => {
            let done = transactions::change_session(inner, statement, session, change).await?;
            return deliver(inner, statement, Rows::Ready(status_row(done)?)).await;
        }
        Planned::Access(action) => {
            if let Scope::Transaction(_) = scope(session) {
                let message = "users, roles and grants cannot be changed in a transaction";
                return Err(Failure::new(ErrorCode::TransactionOpen, message));
            }
            let done = users::perform(inner, statement, action).await?;
            return deliver(inner, statement, Rows::Ready(done)).await;
        }
        Planned::Stage(action) => {
            drop(session);
            if let Some(created) = action.created() {
                users::own(inner, statement, vec![created]).await?;
            }
            let _committing = statement.committing();
            let rows = action.perform().await?;
            return deliver(inner, statement, Rows::Ready(rows)).await;
        }
        Planned::Load { query, written, load } => {
            let _permit = inner.admission.admit(|| statement.advance(Phase::Queued)).await?;
            statement.advance(Phase::Running);
            let options = run_options(statement, false);
            let rows = loads::load(inner, statement, &query, written, load, &options, scope(session)).await?;
            return deliver(inner, statement, Rows::Ready(rows)).await;
        }
        Planned::Unload { query, unload } => {
            drop(session);
            let _permit = inner.admission.admit(|| statement.advance(Phase::Queued)).await?;
            statement.advance(Phase::Running);
            let options = run_options(statement, false);
            let rows = loads::unload(inner, statement, &query, unload, &options).await?;
            return deliver(inner, statement, Rows::Ready(rows)).await;
        }
        Planned::TryLoad { query, load } => {
            drop(session);
            let _permit = inner.admission.admit(|| statement.advance(Phase::Queued)).await?;
            statement.advance(Phase::Running);
            let rows = loads::try_load(inner, &query, &load, &run_options(statement, false)).await?;
            return deliver(inner, statement, Rows::Ready(rows)).await;
        }
        Planned::Remove { written, rows } => {
            let counted = writes::remove(inner, statement, written, rows, scope(session)).await?;
            return deliver(inner, statement, Rows::Ready(counted)).await;
        }
        Planned::Write { query, written } => {
            let _permit = inner.admission.admit(|| statement.advance(Phase::Queued)).await?;
            statement.advance(Phase::Running);
            let counted = match written.can_be_planned_again() {
                true => compact(inner, statement, session, &context, query, written).await?,
                false => {
                    let options = run_options(statement, false);
                    writes::write(inner, statement, &query, written, &options, scope(session)).await?
                }
            };
            return deliver(inner, statement, Rows::Ready(counted)).await;
        }
        Planned::Query(query) => query,
    };
    // Whoever reads needs what was planned, and nothing more of the session.
    drop(session);
    let _permit = inner.admission.admit(|| statement.advance(Phase::Queued)).await?;
    statement.advance(Phase::Running);
    let running = inner.runner.run(&query, &run_options(statement, false)).await?;
    deliver(inner, statement, Rows::Running(Box::new(running))).await
}

/// By the plan that it came with, while that is good.
async fn plan(inner: &Inner, statement: &Statement, request: PlanRequest) -> Result<Planned, Failure> {
    if let Some(kept) = statement.take_kept()
        && let Some(planned) = inner.planner.still_planned(kept, &request).await?
    {
        return Ok(planned);
    }
    inner.planner.plan(request).await
}

/// For whom a statement is run, in which role.
fn principal_of(request: &StatementRequest, session: Option<&SessionGuard>) -> Principal {
    match session {
        Some(session) => session.principal_for(request),
        None => SessionState::default().principal_for(request),
    }
}

fn plan_statement(
    inner: &Arc<Inner>,
    statement: &Statement,
    session: Option<&SessionGuard>,
    context: &StatementContext,
) -> PlanRequest {
    PlanRequest { bindings: statement.bindings(), ..plan_request(inner, &statement.request, session, context) }
}

/// As a request says it, in its session.
pub fn plan_request(
    inner: &Arc<Inner>,
    request: &StatementRequest,
    session: Option<&SessionGuard>,
    context: &StatementContext,
) -> PlanRequest {
    let (database, schema) = match session {
        Some(session) => session.names_for(request),
        None => (request.database.clone(), request.schema.clone()),
    };
    let principal = principal_of(request, session);
    PlanRequest {
        sql: request.sql.clone(),
        principal: principal.clone(),
        database,
        schema,
        settings: session.map_or_else(|| request.settings.clone(), |session| session.settings_for(request)),
        lakes: session.and_then(|session| session.lakes()),
        system: Some(Arc::new(SystemView::new(inner.clone(), principal.clone()))),
        bindings: request.bindings.clone(),
        uploaded: request.uploaded.as_ref().and_then(Weak::upgrade),
        describe_only: request.describe_only,
        context: StatementContext {
            user: principal.user().to_owned(),
            role: principal.role().to_owned(),
            warehouse: request.warehouse.clone(),
            name_case: request.name_case,
            ..context.clone()
        },
        slots: inner.runner.registry.slots(),
        executors: inner.runner.registry.executors(),
    }
}

/// Files are replaced by others with the same rows. Where somebody has changed them meanwhile, it is planned anew.
async fn compact(
    inner: &Arc<Inner>,
    statement: &Arc<Statement>,
    session: Option<SessionGuard>,
    context: &StatementContext,
    mut query: PlannedQuery,
    mut written: Written,
) -> Result<RecordBatch, Failure> {
    let options = run_options(statement, false);
    let mut tries = 0;
    loop {
        let failure = match writes::write(inner, statement, &query, written, &options, Scope::Statement).await {
            Err(failure) if failure.code == ErrorCode::Conflict && tries < COMPACTIONS_MAX => failure,
            done => return done,
        };
        tries += 1;
        tracing::info!(statement = %statement.id, tries, %failure, "planning again");
        match inner.planner.plan(plan_statement(inner, statement, session.as_ref(), context)).await? {
            Planned::Write { query: again, written: anew } => (query, written) = (again, anew),
            Planned::Remove { written, rows } => {
                return writes::remove(inner, statement, written, rows, Scope::Statement).await;
            }
            _ => return Err(failure),
        }
    }
}

pub fn run_options(statement: &Arc<Statement>, metrics: bool) -> RunOptions {
    RunOptions {
        statement: statement.id.to_string(),
        deadline: statement.deadline.into_std(),
        stop: statement.stop.clone(),
        metrics,
        observer: statement.clone(),
    }
}

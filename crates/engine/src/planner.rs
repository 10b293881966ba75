//! From SQL text to what is to be done for it, off the I/O threads: on a thread of its own with a large stack, for a limited time.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::{LogicalPlan, Statement};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::parser::Statement as ParsedStatement;
use frazil_catalog::{AccessRecords, Databases, Privilege};
use frazil_common::{ByteSize, ErrorCode, Failure, NameCase, Principal};
use futures::{FutureExt, Stream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

mod declare;
mod described;
mod kept;
mod physical;
mod planned;
mod refusals;

pub use kept::KeptPlan;
pub use planned::{PlanRequest, Planned, PlannedQuery};
pub(crate) use refusals::refuse_unsupported;

use crate::access::{self, Objects};
use crate::base_session::{BaseSession, InnerSession, running_context};
use crate::errors::{panic_message, to_failure};
use crate::lake::{
    self, Change, ExternalTables, Lakes, OwnStatement, PlannedWrite, UploadedRows, WriteFilesExec, WriteOptions,
};
use crate::limits::{self, StatementLimits};
use crate::rules::ClusterOptions;
use crate::runtime::DeepThreads;
use crate::secrets::{self, SecretStatement, Secrets};
use crate::session_functions::{self, StatementContext};
use crate::session_statements::{SessionChange, session_change};
use crate::stages::{self, PlannedLoad, PlannedStage, StageAction, StageStatement, StagedPlace};
use crate::storage::{ObjectStores, StorageOptions};
use crate::{bindings, dialect, explain, session, session_statements, sql_types};

/// Virtual memory, touched only as deep as an expression nests.
const STACK_BYTES: usize = 512 << 20;
/// Longer statements get a thread of their own: how deep a stack was touched follows from the text, and a thread that is
/// kept for the next statement keeps what it has touched.
const POOLED_SQL_BYTES_MAX: usize = 64 << 10;
/// Statements in planning, those included whose time was up but whose thread still works.
const PLANNERS_MAX: usize = 16;
/// For one of them to be done: many short statements come at once, and long ones are no reason to wait for minutes.
const PLANNER_WAIT: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub struct PlannerOptions {
    pub limits: StatementLimits,
    pub time_limit: Duration,
    pub partitions_per_slot: usize,
    /// A query that scans less has one partition.
    pub small_scan: ByteSize,
    /// A written file that has so many bytes is closed, and another begun.
    pub file_bytes: ByteSize,
    /// A data file of which more rows are deleted than this part is written anew; others get a delete file.
    pub deleted_part_max: f64,
}

/// Plans statements over the catalog's databases.
pub struct Planner {
    base: Arc<BaseSession>,
    databases: Databases,
    external: Arc<ExternalTables>,
    storage: Arc<StorageOptions>,
    stores: ObjectStores,
    options: PlannerOptions,
    permits: Arc<Semaphore>,
    threads: DeepThreads,
    io: Handle,
}

impl Planner {
    /// `io` drives what planning reads: the catalog, directories and footers.
    pub fn new(
        env: Arc<RuntimeEnv>,
        databases: Databases,
        storage: Arc<StorageOptions>,
        options: PlannerOptions,
        io: Handle,
    ) -> Result<Arc<Self>, Failure> {
        let base = Arc::new(BaseSession::new(env));
        let threads = DeepThreads::new("planner", STACK_BYTES, PLANNERS_MAX)
            .map_err(|error| Failure::internal(format!("threads for planning: {error}")))?;
        let permits = Arc::new(Semaphore::new(PLANNERS_MAX));
        let external = Arc::new(ExternalTables::new(storage.clone()));
        let stores = ObjectStores::new(storage.clone());
        Ok(Arc::new(Self { base, databases, external, storage, stores, options, permits, threads, io }))
    }

    /// What reaches files outside of queries, with all secrets.
    pub async fn file_stores(&self) -> Result<(Arc<RuntimeEnv>, Arc<ObjectStores>), Failure> {
        let secrets = self.databases.secrets().await.map_err(Failure::from)?;
        let stores = Arc::new(self.stores.with_secrets(Secrets::new(secrets)));
        let env = session::statement_env(self.base.runtime_env(), stores.clone());
        Ok((env.map_err(|error| to_failure(&error))?, stores))
    }

    /// Plans one statement, or fails with a code and, for bad SQL, a position.
    pub async fn plan(self: &Arc<Self>, request: PlanRequest) -> Result<Planned, Failure> {
        self.on_deep_thread(request, async |planner, request| planner.plan_here(&request).await).await
    }

    /// Does `work` for a statement, on a thread with a large stack and within the time for planning.
    async fn on_deep_thread<T: Send + 'static>(
        self: &Arc<Self>,
        request: PlanRequest,
        work: impl AsyncFnOnce(&Planner, PlanRequest) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        limits::check(&request.sql, &self.options.limits)?;
        let permit = tokio::time::timeout(PLANNER_WAIT, self.permits.clone().acquire_owned()).await;
        let permit = permit.map_err(|_| {
            Failure::new(ErrorCode::TooManyStatements, format!("{PLANNERS_MAX} statements are being planned already"))
        })?;
        let permit = permit.map_err(|_| Failure::internal("planning has ended"))?;
        let (sender, receiver) = oneshot::channel();
        let sql_bytes = request.sql.len();
        let planner = self.clone();
        let work = move || {
            let planning = AssertUnwindSafe(work(&planner, request)).catch_unwind();
            let planned = planner.io.block_on(planning);
            let planned = planned.unwrap_or_else(|panic| {
                Err(Failure::internal(format!("planning panicked: {}", panic_message(&*panic))))
            });
            // The statement's time may be up by now.
            let _ = sender.send(planned);
            drop(permit);
        };
        if sql_bytes <= POOLED_SQL_BYTES_MAX {
            self.threads.run(work);
        } else {
            let thread =
                std::thread::Builder::new().name("deep-planner".to_owned()).stack_size(STACK_BYTES).spawn(work);
            thread.map_err(|error| {
                Failure::new(ErrorCode::ResourcesExhausted, format!("no thread for planning: {error}"))
            })?;
        }
        match tokio::time::timeout(self.options.time_limit, receiver).await {
            Ok(Ok(planned)) => planned,
            Ok(Err(_)) => Err(Failure::internal("the planner thread ended without an answer")),
            Err(_) => {
                let message = format!("planning took more than {} s", self.options.time_limit.as_secs());
                Err(Failure::new(ErrorCode::TooComplex, message))
            }
        }
    }

    /// The databases as they are now.
    pub async fn snapshot(&self) -> Result<Arc<Lakes>, Failure> {
        Lakes::latest(&self.databases, self.external.clone()).await.map_err(|error| to_failure(&error))
    }

    /// A statement's own session, and the number of partitions that its settings force.
    fn statement_state(
        &self,
        request: &PlanRequest,
        lakes: &Arc<Lakes>,
        stores: &Arc<ObjectStores>,
    ) -> Result<(SessionState, Option<usize>), Failure> {
        let forced = session::forced_partitions(&request.settings)?;
        // External tables may be opened for it, with its secrets.
        let inner = InnerSession::new(self.base.clone(), stores.clone(), request.context.clone());
        // The number of partitions is not known yet; nothing before the physical plan looks at it.
        let mut state = session::statement_state(
            &self.base,
            lake::catalogs(lakes, inner, request.system.clone(), request.context.name_case),
            forced.unwrap_or(1),
            request.database.as_deref(),
            request.schema.as_deref(),
            &request.settings,
            stores.clone(),
        )?;
        let cluster = ClusterOptions { executors: request.executors };
        state.config_mut().options_mut().extensions.insert(cluster);
        session_functions::register(&mut state, &request.context)?;
        state.config_mut().set_extension(Arc::new(request.context.name_case));
        if let Some(rows) = &request.uploaded {
            rows.register(&state)?;
        }
        Ok((state, forced))
    }

    /// What is planned here may be done by whoever asked for it.
    async fn plan_here(&self, request: &PlanRequest) -> Result<Planned, Failure> {
        let access = self.databases.access().await.map_err(Failure::from)?;
        let lakes = match &request.lakes {
            Some(lakes) => lakes.clone(),
            None => self.snapshot().await?,
        };
        self.plan_over(request, &access, &lakes).await
    }

    async fn plan_over(
        &self,
        request: &PlanRequest,
        access: &Arc<AccessRecords>,
        lakes: &Lakes,
    ) -> Result<Planned, Failure> {
        let lakes = lakes.seen_by(access.clone(), access::rights_of(access, &request.principal)?);
        let planned = self.plan_for(request, access, &lakes).await?;
        access::check(&planned, &lakes)?;
        Ok(planned)
    }

    async fn plan_for(
        &self,
        request: &PlanRequest,
        access: &AccessRecords,
        lakes: &Arc<Lakes>,
    ) -> Result<Planned, Failure> {
        for (key, value) in &request.settings {
            access::check_setting(lakes.rights(), key, value)?;
        }
        if let Some(statement) = access::parse(&request.sql)? {
            let database = request.database.as_deref().unwrap_or(session::DEFAULT_DATABASE);
            let schema = request.schema.as_deref().unwrap_or(session::DEFAULT_SCHEMA);
            let objects = Objects { lakes, database, schema };
            return access::plan(statement, access, &request.principal, &objects).await;
        }
        let secrets = self.databases.secrets().await.map_err(Failure::from)?;
        let stores = Arc::new(self.stores.with_secrets(Secrets::new(secrets)));
        let sql = match secrets::parse(&request.sql)? {
            None => Cow::Borrowed(request.sql.as_str()),
            Some(SecretStatement::Show) => {
                access::demand_admin(lakes.rights(), "SHOW SECRETS")?;
                Cow::Owned(secrets::show(stores.secrets()))
            }
            Some(SecretStatement::Create { secret, if_exists }) => {
                self.storage.check_secret(&secret)?;
                return Ok(Planned::Change(Change::CreateSecret { secret, if_exists }));
            }
            Some(SecretStatement::Drop { name, if_exists }) => {
                return Ok(Planned::Change(Change::DropSecret { name, if_exists }));
            }
        };
        let (mut state, forced) = self.statement_state(request, lakes, &stores)?;
        if let Some(own) = lake::parse_own(&request.sql)? {
            return plan_own(own, lakes, &state).await;
        }
        if let Some(change) = session_statements::use_statement(&request.sql, &state)? {
            return Ok(Planned::Session(change));
        }
        let writing =
            WriteOptions { file_bytes: self.options.file_bytes.0, deleted_part_max: self.options.deleted_part_max };
        if let Some(optimize) = lake::parse_optimize(&request.sql)? {
            let partitions = |bytes| forced.unwrap_or_else(|| self.choose_partitions(bytes, request.slots));
            let write = lake::plan_optimize(&optimize, lakes, &state, writing, partitions).await?;
            return self.plan_write(write, &mut state, forced, request.slots, &stores).await;
        }
        if let Some(statement) = stages::parse(&request.sql)? {
            return self.plan_stage(statement, lakes, &mut state, forced, request.slots, &stores).await;
        }
        let context = stages::Context { lakes, state: &state, storage: &self.storage };
        let replaced = stages::replace_calls(&sql, &context).await?;
        let sql = replaced.as_deref().unwrap_or(&sql);
        let mut statement = parse_one(&state, sql)?;
        explain::check_options(&mut statement)?;
        if request.context.name_case == NameCase::Upper {
            sql_types::as_snowflake_means(&mut statement);
        }
        match &request.bindings {
            None if request.describe_only => bindings::bind_nulls(&mut statement)?,
            values => bindings::bind(&mut statement, values.as_ref(), &state)?,
        }
        if let Some(change) = session_change(&statement)? {
            return Ok(Planned::Session(change));
        }
        if let Some(rows) = lake::show(&statement, lakes, &state).await? {
            return Ok(Planned::Rows(rows));
        }
        if let Some(change) = lake::plan_ddl(&statement, lakes, &state).await? {
            return Ok(Planned::Change(change));
        }
        lake::check_columns(&statement)?;
        lake::look_back(&mut statement, lakes, &state).await?;
        let declared = match &statement {
            ParsedStatement::CreateExternalTable(declared) => Some(declared.clone()),
            _ => None,
        };
        let table = lake::Declared::take(&mut statement);
        lake::put_defaults(&mut statement, lakes, &state)?;
        lake::take_out_values(&mut statement, &state).await?;
        let (statement, spelling) = lake::as_merge(statement)?;
        let plan = state.statement_to_plan(statement).await.map_err(|error| to_failure(&error))?;
        let write = lake::plan_write(&plan, spelling, &table, lakes, &state, writing).await?;
        if let Some(write) = write {
            return self.plan_write(write, &mut state, forced, request.slots, &stores).await;
        }
        match plan {
            LogicalPlan::Ddl(_) if request.describe_only => Ok(Planned::Done(String::new())),
            LogicalPlan::Ddl(ddl) => match lakes.rights().is_admin() {
                true => self.declare(ddl, declared, state).await.map(Planned::Done),
                false => access::refuse_declaration(&ddl, lakes, &state).map(Planned::Done),
            },
            LogicalPlan::Statement(Statement::SetVariable(set)) => {
                access::check_setting(lakes.rights(), &set.variable, &set.value)?;
                session::apply_setting(state.config_mut().options_mut(), &set.variable, &set.value)?;
                Ok(Planned::Session(SessionChange::Set { key: session::full_key(&set.variable), value: set.value }))
            }
            LogicalPlan::Explain(explain) => {
                explain::check_format(&explain.explain_format)?;
                let (query, logical) =
                    self.plan_query(&mut state, &explain.plan, forced, request.slots, &stores).await?;
                let physical = explain.verbose.then(|| explain::with_statistics(&query.plan));
                Ok(Planned::Explain { query, logical, physical })
            }
            LogicalPlan::Analyze(analyze) => {
                explain::check_format(&analyze.format)?;
                let (query, _) = self.plan_query(&mut state, &analyze.input, forced, request.slots, &stores).await?;
                Ok(Planned::Analyze { query, verbose: analyze.verbose })
            }
            query => {
                let (query, _) = self.plan_query(&mut state, &query, forced, request.slots, &stores).await?;
                Ok(Planned::Query(query))
            }
        }
    }

    /// Takes rows that a client sends beside a statement, to where the database of that name has its tables.
    pub async fn upload(
        &self,
        principal: &Principal,
        database: Option<&str>,
        schema: SchemaRef,
        rows: impl Stream<Item = Result<RecordBatch, Failure>>,
        bytes_max: ByteSize,
    ) -> Result<UploadedRows, Failure> {
        let name = database.unwrap_or(session::DEFAULT_DATABASE);
        let access = self.databases.access().await.map_err(Failure::from)?;
        let rights = access::rights_of(&access, principal)?;
        let lakes = self.snapshot().await?.seen_by(access, rights);
        let Some(seen) = lakes.get(name) else {
            return Err(Failure::new(ErrorCode::UndefinedDatabase, format!("database \"{name}\" not found")));
        };
        let secrets = self.databases.secrets().await.map_err(Failure::from)?;
        let stores = Arc::new(self.stores.with_secrets(Secrets::new(secrets)));
        let env = session::statement_env(self.base.runtime_env(), stores).map_err(|error| to_failure(&error))?;
        UploadedRows::write(&env, &seen.database, schema, rows, bytes_max).await
    }

    /// A place in a stage, for a file that a client sends or fetches, which `privilege` says: `@name/path`.
    pub async fn staged_place(
        &self,
        principal: &Principal,
        privilege: Privilege,
        database: Option<&str>,
        schema: Option<&str>,
        place: &str,
    ) -> Result<StagedPlace, Failure> {
        let access = self.databases.access().await.map_err(Failure::from)?;
        let rights = access::rights_of(&access, principal)?;
        let lakes = self.snapshot().await?.seen_by(access, rights);
        let secrets = self.databases.secrets().await.map_err(Failure::from)?;
        let stores = Arc::new(self.stores.with_secrets(Secrets::new(secrets)));
        let inner = InnerSession::new(self.base.clone(), stores.clone(), StatementContext::default());
        let catalogs = lake::catalogs(&lakes, inner, None, NameCase::default());
        let state = session::statement_state(&self.base, catalogs, 1, database, schema, &[], stores)?;
        let context = stages::Context { lakes: &lakes, state: &state, storage: &self.storage };
        context.resolve(&stages::parse_place(place)?, privilege).await
    }

    async fn plan_stage(
        &self,
        statement: StageStatement,
        lakes: &Arc<Lakes>,
        state: &mut SessionState,
        forced: Option<usize>,
        slots: usize,
        stores: &Arc<ObjectStores>,
    ) -> Result<Planned, Failure> {
        let context = stages::Context { lakes, state, storage: &self.storage };
        let choose = |bytes| forced.unwrap_or_else(|| self.choose_partitions(bytes, slots));
        let planned = stages::plan(statement, &context, choose, self.options.file_bytes.0).await?;
        if let PlannedStage::Unload { unload, query } = planned {
            let mut parsed = parse_one(state, &query)?;
            lake::look_back(&mut parsed, lakes, state).await?;
            let plan = state.statement_to_plan(parsed).await.map_err(|error| to_failure(&error))?;
            let (mut query, _) = self.plan_query(state, &plan, forced, slots, stores).await?;
            query.plan = unload.over(query.plan)?;
            query.schema = query.plan.schema();
            return Ok(Planned::Unload { query, unload });
        }
        let query = |plan: Arc<dyn ExecutionPlan>, partitions| PlannedQuery {
            schema: plan.schema(),
            plan,
            context: running_context(state),
            partitions,
            scan_bytes: 0,
            only_catalog_tables: false,
            pruned: Vec::new(),
            stores: stores.clone(),
            catalogs: state.catalog_list().clone(),
        };
        Ok(match planned {
            PlannedStage::Unload { .. } => unreachable!("it was returned above"),
            PlannedStage::Action(action) => Planned::Stage(action),
            PlannedStage::Load(PlannedLoad::Write { plan, partitions, written, load }) => {
                Planned::Load { query: query(plan, partitions), written, load }
            }
            PlannedStage::Load(PlannedLoad::Try { plan, partitions, load }) => {
                Planned::TryLoad { query: query(plan, partitions), load }
            }
            PlannedStage::Load(PlannedLoad::Rows { plan }) => Planned::Query(query(plan, 1)),
            PlannedStage::Load(PlannedLoad::Nothing(rows)) => Planned::Stage(StageAction::Rows(rows)),
        })
    }

    async fn plan_write(
        &self,
        write: PlannedWrite,
        state: &mut SessionState,
        forced: Option<usize>,
        slots: usize,
        stores: &Arc<ObjectStores>,
    ) -> Result<Planned, Failure> {
        match write {
            PlannedWrite::Change(change) => Ok(Planned::Change(change)),
            PlannedWrite::NoRows { written, rows } => Ok(Planned::Remove { written, rows }),
            PlannedWrite::Rows { input, target, table_schema, order, written } => {
                let (mut query, _) = self.plan_query(state, &input, forced, slots, stores).await?;
                let rows = lake::sorted(query.plan, order);
                query.plan = Arc::new(WriteFilesExec::new(rows, target, table_schema));
                query.schema = query.plan.schema();
                Ok(Planned::Write { query, written })
            }
            PlannedWrite::Compact { plan, written, bytes, partitions } => {
                let query = PlannedQuery {
                    schema: plan.schema(),
                    plan,
                    context: running_context(state),
                    partitions,
                    scan_bytes: bytes,
                    only_catalog_tables: true,
                    catalogs: state.catalog_list().clone(),
                    pruned: vec![],
                    stores: stores.clone(),
                };
                Ok(Planned::Write { query, written })
            }
            PlannedWrite::Changes { input, changes, written } => {
                let (mut query, _) = self.plan_query(state, &input, forced, slots, stores).await?;
                query.plan = changes.complete(query.plan).map_err(|error| to_failure(&error))?;
                query.schema = query.plan.schema();
                Ok(Planned::Write { query, written })
            }
        }
    }
}

async fn plan_own(statement: OwnStatement, lakes: &Arc<Lakes>, state: &SessionState) -> Result<Planned, Failure> {
    match statement {
        OwnStatement::Undrop { kind, name } => lake::plan_undrop(kind, &name, lakes, state).await.map(Planned::Change),
        OwnStatement::Clone(clone) => lake::plan_clone(&clone, lakes, state).await.map(Planned::Change),
        OwnStatement::Rename { kind, name, to } => {
            lake::plan_rename(kind, &name, &to, lakes, state).map(Planned::Change)
        }
        OwnStatement::Retention { kind, name, days } => {
            lake::plan_retention(kind, &name, days, lakes, state).map(Planned::Change)
        }
        OwnStatement::ShowSnapshots { database } => {
            lake::show_snapshots(database.as_ref(), lakes, state).await.map(Planned::Rows)
        }
        OwnStatement::Describe { name } => lake::describe(&name, state).await.map(Planned::Rows),
        OwnStatement::Vacuum(vacuum) => lake::check_vacuum(vacuum).map(Planned::Vacuum),
    }
}

fn parse_one(state: &SessionState, sql: &str) -> Result<ParsedStatement, Failure> {
    let trimmed = sql.trim().trim_end_matches(';').trim();
    if trimmed.is_empty() {
        return Err(Failure::new(ErrorCode::Syntax, "the statement is empty").at_position(1, 1));
    }
    dialect::parse(sql, state).map_err(|error| match &error {
        // DataFusion counts what it parsed; a second statement is never run.
        DataFusionError::NotImplemented(message) if message.contains("multiple") => {
            Failure::new(ErrorCode::NotSupported, "a request holds one statement")
        }
        DataFusionError::Configuration(message) => {
            explain::unknown_format(message).unwrap_or_else(|| to_failure(&error))
        }
        _ => to_failure(&error),
    })
}

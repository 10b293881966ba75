//! From SQL text to a physical plan, off the I/O threads: on a thread of its own with a large stack, for a limited time.

use std::borrow::Cow;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::CatalogProviderList;
use datafusion::common::TableReference;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::listing::{ListingTable, ListingTableUrl};
use datafusion::datasource::source_as_provider;
use datafusion::error::DataFusionError;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::logical_expr::{CreateExternalTable, DdlStatement, LogicalPlan, Statement};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::{CreateExternalTable as CreateExternalTableStatement, Statement as ParsedStatement};
use frazil_catalog::{Databases, ExternalTable};
use frazil_common::{ByteSize, ErrorCode, Failure, NameCase};
use futures::future::try_join_all;
use futures::{FutureExt, Stream, TryStreamExt};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use crate::balance::balance_scans;
use crate::describe::Description;
use crate::errors::{panic_message, to_failure};
use crate::generate::GeneratedProvider;
use crate::lake::{
    self, Change, ExternalTables, LakeTable, Lakes, OwnStatement, PlannedWrite, PrunedScan, PrunedScans, UploadedRows, VacuumRequest,
    WriteFilesExec, WriteOptions, Written,
};
use crate::limits::{self, StatementLimits};
use crate::rules::ClusterOptions;
use crate::runtime::DeepThreads;
use crate::secrets::{self, SecretStatement, Secrets};
use crate::session_functions::{self, StatementContext};
use crate::session_statements::{SessionChange, session_change};
use crate::stages::{self, Load, PlannedLoad, PlannedStage, StageAction, StageStatement, StagedPlace, Unload};
use crate::storage::{ObjectStores, StorageOptions};
use crate::{bindings, dialect, explain, session, session_statements, sql_types, suspects};

/// Virtual memory, touched only as deep as an expression nests.
const STACK_BYTES: usize = 512 << 20;
/// Longer statements get a thread of their own: how deep a stack was touched follows from the text, and a thread that is
/// kept for the next statement keeps what it has touched.
const POOLED_SQL_BYTES_MAX: usize = 64 << 10;
/// Statements in planning, those included whose time was up but whose thread still works.
const PLANNERS_MAX: usize = 16;
/// Compressed bytes of scanned files that one partition may have before there are more of them than slots. More cost
/// something: at scale 10 (7 GB) four partitions a slot instead of one made q21 5.8 s of 3.8 s on two slots. Too few cost more,
/// where a hash table grows large: q18 (5.4 GB) on one slot takes 60 s in one partition, 22 in two, 16 in three, 15 in four.
const PARTITION_BYTES_MAX: u64 = 4 << 30;
/// What a partition has when there are more.
const PARTITION_BYTES: u64 = 2 << 30;
/// More partitions a slot than this cost more than they gain.
const PARTITIONS_PER_SLOT_MAX: usize = 4;

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

pub struct PlanRequest {
    pub sql: String,
    /// Exact names, where unqualified ones are looked up.
    pub database: Option<String>,
    pub schema: Option<String>,
    /// The databases as the session's open transaction sees them; `None` is as they are now.
    pub lakes: Option<Arc<Lakes>>,
    pub settings: Vec<(String, String)>,
    /// Values for its placeholders: a column for each, a row for each run.
    pub bindings: Option<RecordBatch>,
    /// Rows that came with it, which it reads as [`UPLOADED_ROWS`](crate::lake::UPLOADED_ROWS).
    pub uploaded: Option<Arc<UploadedRows>>,
    /// Its rows are not wanted, only what they would be: placeholders may have no values.
    pub describe_only: bool,
    pub context: StatementContext,
    /// Slots that the query may use.
    pub slots: usize,
    /// Executors that have them.
    pub executors: usize,
}

/// What is to be done for a statement.
pub enum Planned {
    Query(PlannedQuery),
    Explain {
        query: PlannedQuery,
        logical: String,
        /// The plan before the cut, with statistics, where `VERBOSE` asks for it.
        physical: Option<String>,
    },
    /// `EXPLAIN ANALYZE`; `verbose` wants each task's figures, too.
    Analyze {
        query: PlannedQuery,
        verbose: bool,
    },
    /// Rows that are to be written, and the change that they are part of.
    Write {
        query: PlannedQuery,
        written: Written,
    },
    /// A change that removes rows and writes none; `rows` is what it counts.
    Remove {
        written: Written,
        rows: i64,
    },
    Change(Change),
    Stage(StageAction),
    /// Staged files that are to be loaded: a write that also reports on each of them.
    Load {
        query: PlannedQuery,
        written: Written,
        load: Load,
    },
    /// Staged files that are only looked at; the query reports what is wrong with them.
    TryLoad {
        query: PlannedQuery,
        load: Load,
    },
    /// Rows that go into files of a stage.
    Unload {
        query: PlannedQuery,
        unload: Unload,
    },
    Vacuum(VacuumRequest),
    /// An answer that is there already.
    Rows(RecordBatch),
    Session(SessionChange),
    /// Done while planning: declarations. The text tells the user.
    Done(String),
}

impl Planned {
    /// Whether rows of tables are written or removed.
    pub fn changes_rows(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::Remove { .. } | Self::Load { .. })
    }

    /// The columns of the answer.
    pub fn schema(&self) -> SchemaRef {
        match self {
            Self::Query(query) => query.schema.clone(),
            Self::Rows(rows) => rows.schema(),
            Self::Write { written, .. } | Self::Remove { written, .. } => {
                let counts = written.answer_without_rows(0).into_iter();
                let fields: Vec<_> = counts.map(|(name, _)| Field::new(name, DataType::Int64, false)).collect();
                Arc::new(Schema::new(fields))
            }
            Self::Explain { .. } | Self::Analyze { .. } => Arc::new(Schema::new(vec![
                Field::new("plan_type", DataType::Utf8, false),
                Field::new("plan", DataType::Utf8, false),
            ])),
            _ => Arc::new(Schema::new(vec![Field::new("status", DataType::Utf8, false)])),
        }
    }
}

#[derive(Clone)]
pub struct PlannedQuery {
    pub plan: Arc<dyn ExecutionPlan>,
    /// As the client sees it.
    pub schema: SchemaRef,
    /// For the parts that run on the coordinator.
    pub context: Arc<TaskContext>,
    /// Session options that executors need.
    pub options: HashMap<String, String>,
    pub partitions: usize,
    /// Compressed bytes of all files it may read.
    pub scan_bytes: u64,
    /// What it sees, which is not expired as long as this is held.
    pub catalogs: Arc<dyn CatalogProviderList>,
    /// What the catalog's statistics have left out.
    pub pruned: Vec<PrunedScan>,
    /// With the secrets that it may use.
    pub stores: Arc<ObjectStores>,
}

/// Plans statements over the catalog's databases.
pub struct Planner {
    base: Arc<SessionState>,
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
        let base = Arc::new(session::base_state(env.clone()));
        let threads = DeepThreads::new("planner", STACK_BYTES, PLANNERS_MAX)
            .map_err(|error| Failure::internal(format!("threads for planning: {error}")))?;
        let permits = Arc::new(Semaphore::new(PLANNERS_MAX));
        let external = Arc::new(ExternalTables::new(storage.clone()));
        let stores = ObjectStores::new(storage.clone());
        Ok(Arc::new(Self { base, databases, external, storage, stores, options, permits, threads, io }))
    }

    /// What reaches files outside of queries, with all secrets.
    pub async fn file_env(&self) -> Result<Arc<RuntimeEnv>, Failure> {
        let secrets = self.databases.secrets().await.map_err(Failure::from)?;
        let stores = Arc::new(self.stores.with_secrets(Secrets::new(secrets)));
        session::statement_env(self.base.runtime_env(), stores).map_err(|error| to_failure(&error))
    }

    /// Plans one statement, or fails with a code and, for bad SQL, a position.
    pub async fn plan(self: &Arc<Self>, request: PlanRequest) -> Result<Planned, Failure> {
        self.on_deep_thread(request, async |planner, request| planner.plan_here(&request).await).await
    }

    /// What a statement would be. Nothing is changed, and its placeholders may have no values yet.
    pub async fn describe(self: &Arc<Self>, request: PlanRequest) -> Result<Description, Failure> {
        self.on_deep_thread(request, async |planner, request| planner.describe_here(request).await).await
    }

    /// Does `work` for a statement, on a thread with a large stack and within the time for planning.
    async fn on_deep_thread<T: Send + 'static>(
        self: &Arc<Self>,
        request: PlanRequest,
        work: impl AsyncFnOnce(&Planner, PlanRequest) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        limits::check(&request.sql, &self.options.limits)?;
        let permit = self.permits.clone().try_acquire_owned().map_err(|_| {
            Failure::new(ErrorCode::TooManyStatements, format!("{PLANNERS_MAX} statements are being planned already"))
        })?;
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

    async fn describe_here(&self, mut request: PlanRequest) -> Result<Description, Failure> {
        request.describe_only = true;
        if request.lakes.is_none() {
            request.lakes = Some(self.snapshot().await?);
        }
        let described = Description::of(&self.plan_here(&request).await?);
        if request.bindings.is_some() || !request.sql.contains(['?', '$', ':']) {
            return Ok(described);
        }
        let secrets = self.databases.secrets().await.map_err(Failure::from)?;
        let stores = Arc::new(self.stores.with_secrets(Secrets::new(secrets)));
        let lakes = request.lakes.clone().expect("it was set above");
        let (state, _) = self.statement_state(&request, &lakes, &stores)?;
        // What only we can read, has no placeholders.
        let Ok(mut statement) = parse_one(&state, &request.sql) else { return Ok(described) };
        match bindings::number_all(&mut statement)? {
            0 => Ok(described),
            count => {
                let takes_rows = bindings::takes_rows(&statement);
                let plan = plan_with_placeholders(statement, &lakes, &state).await;
                if let Err(failure) = &plan {
                    tracing::debug!(%failure, "types of placeholders are not known");
                }
                Ok(Description { takes_rows, ..described.with_parameters(count, plan.as_ref().ok()) })
            }
        }
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
        let base = Arc::new(session::with_stores(&self.base, stores.clone())?);
        // The number of partitions is not known yet; nothing before the physical plan looks at it.
        let mut state = session::statement_state(
            &base,
            lake::catalogs(lakes, &base, request.context.name_case),
            forced.unwrap_or(1),
            request.database.as_deref(),
            request.schema.as_deref(),
            &request.settings,
            stores.clone(),
        )?;
        let cluster = ClusterOptions { executors: request.executors };
        state.config_mut().options_mut().extensions.insert(cluster);
        session_functions::register(&mut state, &request.context)?;
        if let Some(rows) = &request.uploaded {
            rows.register(&state)?;
        }
        Ok((state, forced))
    }

    async fn plan_here(&self, request: &PlanRequest) -> Result<Planned, Failure> {
        let lakes = match &request.lakes {
            Some(lakes) => lakes.clone(),
            None => self.snapshot().await?,
        };
        let secrets = self.databases.secrets().await.map_err(Failure::from)?;
        let stores = Arc::new(self.stores.with_secrets(Secrets::new(secrets)));
        let sql = match secrets::parse(&request.sql)? {
            None => Cow::Borrowed(request.sql.as_str()),
            Some(SecretStatement::Show) => Cow::Owned(secrets::show(stores.secrets())),
            Some(SecretStatement::Create { secret, if_exists }) => {
                self.storage.check_secret(&secret.options)?;
                return Ok(Planned::Change(Change::CreateSecret { secret, if_exists }));
            }
            Some(SecretStatement::Drop { name, if_exists }) => {
                return Ok(Planned::Change(Change::DropSecret { name, if_exists }));
            }
        };
        let (mut state, forced) = self.statement_state(request, &lakes, &stores)?;
        if let Some(own) = lake::parse_own(&request.sql)? {
            return plan_own(own, &lakes, &state).await;
        }
        if let Some(change) = session_statements::use_statement(&request.sql, &state)? {
            return Ok(Planned::Session(change));
        }
        let writing =
            WriteOptions { file_bytes: self.options.file_bytes.0, deleted_part_max: self.options.deleted_part_max };
        if let Some(optimize) = lake::parse_optimize(&request.sql)? {
            let partitions = |bytes| forced.unwrap_or_else(|| self.choose_partitions(bytes, request.slots));
            let write = lake::plan_optimize(&optimize, &lakes, &state, writing, partitions).await?;
            return self.plan_write(write, &mut state, forced, request.slots, &stores).await;
        }
        if let Some(statement) = stages::parse(&request.sql)? {
            return self.plan_stage(statement, &lakes, &mut state, forced, request.slots, &stores).await;
        }
        let context = stages::Context { lakes: &lakes, state: &state, storage: &self.storage };
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
        if let Some(rows) = lake::show(&statement, &lakes, &state).await? {
            return Ok(Planned::Rows(rows));
        }
        if let Some(change) = lake::plan_ddl(&statement, &lakes, &state).await? {
            return Ok(Planned::Change(change));
        }
        lake::look_back(&mut statement, &lakes, &state).await?;
        let declared = match &statement {
            ParsedStatement::CreateExternalTable(declared) => Some(declared.clone()),
            _ => None,
        };
        let cluster_by = lake::take_cluster_by(&mut statement);
        lake::put_defaults(&mut statement, &lakes, &state)?;
        lake::take_out_values(&mut statement, &state).await?;
        let (statement, spelling) = lake::as_merge(statement)?;
        let plan = state.statement_to_plan(statement).await.map_err(|error| to_failure(&error))?;
        let write = lake::plan_write(&plan, spelling, cluster_by.as_deref(), &lakes, &state, writing).await?;
        if let Some(write) = write {
            return self.plan_write(write, &mut state, forced, request.slots, &stores).await;
        }
        match plan {
            LogicalPlan::Ddl(_) if request.describe_only => Ok(Planned::Done(String::new())),
            LogicalPlan::Ddl(ddl) => self.declare(ddl, declared, state).await.map(Planned::Done),
            LogicalPlan::Statement(Statement::SetVariable(set)) => {
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
        database: Option<&str>,
        schema: SchemaRef,
        rows: impl Stream<Item = Result<RecordBatch, Failure>>,
        bytes_max: ByteSize,
    ) -> Result<UploadedRows, Failure> {
        let name = database.unwrap_or(session::DEFAULT_DATABASE);
        let lakes = self.snapshot().await?;
        let Some(seen) = lakes.get(name) else {
            return Err(Failure::new(ErrorCode::UndefinedDatabase, format!("database \"{name}\" not found")));
        };
        let env = self.file_env().await?;
        UploadedRows::write(&env, &seen.database, schema, rows, bytes_max).await
    }

    /// A place in a stage, for a file that a client sends or fetches: `@name/path`.
    pub async fn staged_place(
        &self,
        database: Option<&str>,
        schema: Option<&str>,
        place: &str,
    ) -> Result<StagedPlace, Failure> {
        let lakes = self.snapshot().await?;
        let catalogs = lake::catalogs(&lakes, &self.base, NameCase::default());
        let secrets = self.databases.secrets().await.map_err(Failure::from)?;
        let stores = Arc::new(self.stores.with_secrets(Secrets::new(secrets)));
        let state = session::statement_state(&self.base, catalogs, 1, database, schema, &[], stores)?;
        let context = stages::Context { lakes: &lakes, state: &state, storage: &self.storage };
        context.resolve(&stages::parse_place(place)?).await
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
            context: state.task_ctx(),
            options: session::options_that_travel(state.config_options()),
            partitions,
            scan_bytes: 0,
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
                    context: state.task_ctx(),
                    options: session::options_that_travel(state.config_options()),
                    partitions,
                    scan_bytes: bytes,
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

    async fn plan_query(
        &self,
        state: &mut SessionState,
        plan: &LogicalPlan,
        forced: Option<usize>,
        slots: usize,
        stores: &Arc<ObjectStores>,
    ) -> Result<(PlannedQuery, String), Failure> {
        refuse_unsupported(plan)?;
        let optimized = state.optimize(plan).map_err(|error| to_failure(&error))?;
        let optimized = lake::answer_from_catalog(optimized).await.map_err(|error| to_failure(&error))?;
        let planning = AssertUnwindSafe(self.plan_physical(state, &optimized, forced, slots, stores)).catch_unwind();
        let planned = planning.await.unwrap_or_else(|panic| {
            // Statistics come from footers, and readers panic over some malformed ones.
            Err(Failure::internal(format!("planning panicked: {}", panic_message(&*panic))))
        });
        let query = match planned {
            Ok(query) => query,
            Err(failure) => return Err(suspects::name_file(failure, &suspects::of_plan(&optimized), state).await),
        };
        Ok((query, optimized.display_indent().to_string()))
    }

    async fn plan_physical(
        &self,
        state: &mut SessionState,
        optimized: &LogicalPlan,
        forced: Option<usize>,
        slots: usize,
        stores: &Arc<ObjectStores>,
    ) -> Result<PlannedQuery, Failure> {
        let scan_bytes = scanned_bytes(optimized, state).await?;
        let partitions = forced.unwrap_or_else(|| self.choose_partitions(scan_bytes, slots));
        let pruned = Arc::new(PrunedScans::default());
        state.config_mut().set_extension(pruned.clone());
        let options = state.config_mut().options_mut();
        options.execution.target_partitions = partitions;
        options.optimizer.repartition_file_scans = partitions > 1;
        let physical = state.query_planner().create_physical_plan(optimized, state).await;
        let physical = physical.map_err(|error| to_failure(&error))?;
        // One executor runs all partitions in one process, where they take files from each other.
        let executors =
            state.config_options().extensions.get::<ClusterOptions>().map_or(1, |cluster| cluster.executors);
        let physical = match executors > 1 {
            true => balance_scans(physical, state.runtime_env()).await.map_err(|error| to_failure(&error))?,
            false => physical,
        };
        Ok(PlannedQuery {
            schema: physical.schema(),
            plan: physical,
            context: state.task_ctx(),
            options: session::options_that_travel(state.config_options()),
            partitions,
            scan_bytes,
            catalogs: state.catalog_list().clone(),
            pruned: pruned.take(),
            stores: stores.clone(),
        })
    }

    fn choose_partitions(&self, scan_bytes: u64, slots: usize) -> usize {
        if scan_bytes <= self.options.small_scan.0 {
            return 1;
        }
        let slots = slots.max(1);
        let base = slots * self.options.partitions_per_slot.max(1);
        if scan_bytes / base as u64 <= PARTITION_BYTES_MAX {
            return base;
        }
        let by_size = usize::try_from(scan_bytes.div_ceil(PARTITION_BYTES)).unwrap_or(usize::MAX);
        // A multiple of the slots, so that each gets as many as the others.
        by_size.div_ceil(slots).saturating_mul(slots).clamp(base, base.max(slots * PARTITIONS_PER_SLOT_MAX))
    }

    /// Declares an external table, which `declared` is the statement of, or takes a declaration back.
    async fn declare(
        &self,
        ddl: DdlStatement,
        declared: Option<CreateExternalTableStatement>,
        state: SessionState,
    ) -> Result<String, Failure> {
        let (ddl, done, name, definition) = match ddl {
            DdlStatement::CreateExternalTable(mut table) => {
                self.check_external_table(&mut table)?;
                let done = format!("table {} created", table.name);
                let name = lake::resolve(table.name.clone(), &state);
                let parts = [&*name.catalog, &*name.schema, &*name.table];
                let exists = self.external.has(&name.catalog, &name.schema, &name.table);
                let definition = match declared.filter(|_| !(exists && table.if_not_exists)) {
                    Some(declared) => Some(lake::definition_of(&declared, parts, &table)?),
                    None => None,
                };
                (DdlStatement::CreateExternalTable(table), done, name, definition)
            }
            DdlStatement::DropTable(table) => {
                let done = format!("table {} dropped", table.name);
                let name = lake::resolve(table.name.clone(), &state);
                (DdlStatement::DropTable(table), done, name, None)
            }
            other => return Err(not_supported(&other.name().to_lowercase())),
        };
        // Catalogs are shared by all statements, so what this session declares stays.
        let context = SessionContext::new_with_state(state);
        let (location, declared, suspects) = match &ddl {
            DdlStatement::CreateExternalTable(table) => {
                let suspects = suspects::of_declaration(table, &context.state());
                (table.locations.join(", "), Some(table.name.clone()), suspects)
            }
            _ => (String::new(), None, vec![]),
        };
        let declaring = AssertUnwindSafe(context.execute_logical_plan(LogicalPlan::Ddl(ddl))).catch_unwind();
        let declared_or_not = declaring.await.unwrap_or_else(|panic| {
            // Declaring reads footers, and readers panic over some malformed ones.
            let message = format!("a file cannot be read: {}", panic_message(&*panic));
            Err(frazil_exchange::to_datafusion(Failure::new(ErrorCode::FileCorrupt, message)))
        });
        if let Err(error) = declared_or_not {
            let mut failure = suspects::name_file(to_failure(&error), &suspects, &context.state()).await;
            if !location.is_empty() && failure.code != ErrorCode::DuplicateTable && !failure.message.contains(&location)
            {
                failure.message = format!("location {location:?}: {}", failure.message);
            }
            return Err(failure);
        }
        if let Some(name) = declared.clone() {
            self.refuse_empty_table(&context, name, &location).await?;
        }
        let kept = match (definition, declared) {
            (Some(definition), _) => {
                let table = ExternalTable { schema: name.schema.to_string(), name: name.table.to_string(), definition };
                self.external.keep(&name.catalog, table).await
            }
            (None, Some(_)) => Ok(()),
            (None, None) => self.external.forget(&name.catalog, &name.schema, &name.table).await,
        };
        kept.map_err(Failure::from)?;
        Ok(done)
    }

    /// A table without columns comes of a location without files that say what they hold.
    async fn refuse_empty_table(
        &self,
        context: &SessionContext,
        name: TableReference,
        location: &str,
    ) -> Result<(), Failure> {
        let provider = context.table_provider(name.clone()).await.map_err(|error| to_failure(&error))?;
        if !provider.schema().fields().is_empty() {
            return Ok(());
        }
        context.deregister_table(name).map_err(|error| to_failure(&error))?;
        let message = format!("location {location:?} has no file with columns");
        Err(Failure::new(ErrorCode::FileUnavailable, message))
    }

    fn check_external_table(&self, table: &mut CreateExternalTable) -> Result<(), Failure> {
        let format = table.file_type.to_ascii_uppercase();
        if !["PARQUET", "CSV", "JSON", "NDJSON"].contains(&format.as_str()) {
            return Err(not_supported(&format!("a table stored as {}", table.file_type)));
        }
        if table.unbounded {
            return Err(not_supported("an unbounded table"));
        }
        // Options of formats only: those of stores hold credentials and endpoints, which are the operator's.
        if let Some(key) = table.options.keys().find(|key| !key.to_ascii_lowercase().starts_with("format.")) {
            let message = format!("option {key:?} of table {} is not known: only format options are", table.name);
            return Err(Failure::new(ErrorCode::InvalidArgument, message));
        }
        for location in &mut table.locations {
            *location = self.storage.check_location(location)?;
        }
        Ok(())
    }
}

/// The logical plan of a query or a write whose placeholders, which are numbered, have no values.
async fn plan_with_placeholders(
    mut statement: ParsedStatement,
    lakes: &Arc<Lakes>,
    state: &SessionState,
) -> Result<LogicalPlan, Failure> {
    lake::look_back(&mut statement, lakes, state).await?;
    lake::take_cluster_by(&mut statement);
    lake::put_defaults(&mut statement, lakes, state)?;
    lake::take_out_values(&mut statement, state).await?;
    let (statement, _) = lake::as_merge(statement)?;
    state.statement_to_plan(statement).await.map_err(|error| to_failure(&error))
}

async fn plan_own(statement: OwnStatement, lakes: &Arc<Lakes>, state: &SessionState) -> Result<Planned, Failure> {
    match statement {
        OwnStatement::Undrop { kind, name } => lake::plan_undrop(kind, &name, lakes, state).await.map(Planned::Change),
        OwnStatement::Clone(clone) => lake::plan_clone(&clone, lakes, state).await.map(Planned::Change),
        OwnStatement::Rename { kind, name, to } => {
            lake::plan_rename(kind, &name, &to, lakes, state).map(Planned::Change)
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

/// Anything but reading.
pub(crate) fn refuse_unsupported(plan: &LogicalPlan) -> Result<(), Failure> {
    let mut refused = None;
    let visited = plan.apply_with_subqueries(|node| {
        refused = match node {
            LogicalPlan::Dml(dml) => Some(dml.op.to_string().to_lowercase()),
            LogicalPlan::Copy(_) => Some("copy".to_owned()),
            LogicalPlan::Ddl(ddl) => Some(ddl.name().to_lowercase()),
            LogicalPlan::Statement(statement) => Some(statement.name().to_lowercase()),
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        Ok(TreeNodeRecursion::Stop)
    });
    visited.map_err(|error| to_failure(&error))?;
    refused.map_or(Ok(()), |what| Err(not_supported(&what)))
}

fn not_supported(what: &str) -> Failure {
    Failure::new(ErrorCode::NotSupported, format!("{what} is not supported"))
}

/// Compressed bytes of the files that the scans read, as far as the catalog's statistics tell; a file counted for each of them.
/// Of generated tables, what they would have.
async fn scanned_bytes(plan: &LogicalPlan, state: &SessionState) -> Result<u64, Failure> {
    let (mut tables, mut lakes) = (Vec::new(), Vec::new());
    let visited = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Ok(provider) = source_as_provider(&scan.source)
        {
            if provider.downcast_ref::<LakeTable>().is_some() {
                lakes.push((provider.clone(), scan.filters.clone()));
            }
            tables.push(provider);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    visited.map_err(|error| to_failure(&error))?;
    let mut urls: HashMap<&str, (&ListingTable, &ListingTableUrl, u64)> = HashMap::new();
    let listed = tables.iter().filter_map(|provider| provider.downcast_ref::<ListingTable>());
    for (table, url) in listed.flat_map(|table| table.table_paths().iter().map(move |url| (table, url))) {
        urls.entry(url.as_str()).or_insert((table, url, 0)).2 += 1;
    }
    // Together, since each waits for its directory; the listings stay in the statement's cache.
    let sizes = urls.into_values().map(|(table, url, times)| async move {
        let store = state.runtime_env().object_store(url)?;
        let files = url.list_all_files(state, store.as_ref(), &table.options().file_extension).await?;
        let bytes: u64 = files.try_fold(0, async |sum, file| Ok(sum + file.size)).await?;
        Result::<u64, DataFusionError>::Ok(bytes * times)
    });
    let sizes = try_join_all(sizes).await.map_err(|error| to_failure(&error))?;
    let lakes = lakes.iter().filter_map(|(provider, filters)| Some((provider.downcast_ref::<LakeTable>()?, filters)));
    let lakes = lakes.map(|(table, filters)| table.bytes(filters));
    let lakes = try_join_all(lakes).await.map_err(|error| to_failure(&error))?;
    let made = tables.iter().filter_map(|provider| provider.downcast_ref::<GeneratedProvider>());
    Ok(sizes.into_iter().chain(lakes).chain(made.map(GeneratedProvider::bytes)).sum())
}

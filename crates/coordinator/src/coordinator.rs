//! A coordinator: its parts, how they are started and how they end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use frazil_catalog::{Backing, CatalogError, Databases, Holder};
use frazil_common::{ByteSize, ErrorCode, Failure};
use frazil_engine::errors::to_failure;
use frazil_engine::lake::ensure_default_schema;
use frazil_engine::limits::StatementLimits;
use frazil_engine::memory::{process_directory, runtime_env};
use frazil_engine::planner::{Planner, PlannerOptions};
use frazil_engine::runtime::CpuRuntime;
use frazil_engine::session::DEFAULT_DATABASE;
use frazil_engine::storage::StorageOptions;
use frazil_exchange::{DataServer, Hub};
use frazil_proto::secret::{ClusterSecret, DemandSecret, ShowSecret};
use frazil_proto::transport::InProcessListener;
use frazil_proto::v1::membership_server::MembershipServer;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::admission::Admission;
use crate::membership::{MembershipService, Registry};
use crate::options::CoordinatorOptions;
use crate::query::QueryRunner;
use crate::remembered::Statements;
use crate::results::ResultStore;
use crate::service::{Inner, StatementService};
use crate::sessions::Sessions;
use crate::tokens::Tokens;

/// Disk for the coordinator's own sorts; its queries are small.
const SPILL: ByteSize = ByteSize::gib(1);
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// For opening all databases before the first statement is taken.
const WARM_LIMIT: Duration = Duration::from_secs(10);

/// A running coordinator. Dropping it ends its services; statements that run are cancelled.
pub struct Coordinator {
    statements: StatementService,
    rpc_address: String,
    data_address: String,
    tasks: Vec<JoinHandle<()>>,
    _data: Option<DataServer>,
}

impl Coordinator {
    /// Runs on the calling runtime, which is its I/O runtime. Serves executors at once; front doors are given
    /// [`Coordinator::statements`].
    pub async fn start(
        options: CoordinatorOptions,
        storage: Arc<StorageOptions>,
        secret: ClusterSecret,
        data_directory: PathBuf,
    ) -> Result<Self, Failure> {
        let internal = |error: std::io::Error| Failure::internal(format!("coordinator: {error}"));
        storage.check()?;
        // First, since another coordinator may hold it: nothing has to be taken back then.
        let databases = open_catalog(&options, &data_directory).await?;
        warm(&databases).await;
        let (data_listener, data_address) = bind(&options.data_listen).await?;
        let data_address = options.data_advertise.clone().unwrap_or(data_address);
        let hub = Hub::new(&data_address);
        let data = data_listener
            .map(|listener| DataServer::serve(listener, hub.clone(), Handle::current()))
            .transpose()
            .map_err(internal)?;

        let interval = Duration::from_millis(options.heartbeat_interval_ms.max(10));
        let registry = Registry::new(ShowSecret::new(&secret), interval, options.heartbeat_limit());
        let membership = MembershipServer::new(MembershipService(registry.clone()));
        let membership = InterceptedService::new(membership, DemandSecret(secret));
        let server = Server::builder().add_service(membership);
        let (rpc_address, rpc) = match options.rpc_listen.strip_prefix("inproc://") {
            Some(name) => {
                let mut listener = InProcessListener::bind(name).map_err(|e| cannot_listen(&options.rpc_listen, &e))?;
                let address = listener.address();
                let served = async move {
                    let incoming = listener.incoming();
                    report(server.serve_with_incoming(incoming).await);
                };
                (address, tokio::spawn(served))
            }
            None => {
                let (listener, address) = bind(&options.rpc_listen).await?;
                let listener = listener.expect("only in-process addresses have none");
                let served = async move {
                    report(server.serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))).await)
                };
                (format!("http://{address}"), tokio::spawn(served))
            }
        };

        let spill = process_directory(&data_directory, "spill", "coordinator").map_err(internal)?;
        let env = runtime_env(options.memory, SPILL, &spill, &storage).map_err(|error| to_failure(&error))?;
        let planner = Planner::new(
            env,
            databases.clone(),
            storage,
            PlannerOptions {
                limits: StatementLimits {
                    statement_bytes_max: options.statement_bytes_max.as_usize(),
                    expression_terms_max: options.expression_terms_max,
                    nesting_max: options.nesting_max,
                    ..StatementLimits::default()
                },
                time_limit: options.planning_limit(),
                partitions_per_slot: options.partitions_per_slot,
                small_scan: options.small_scan,
                file_bytes: options.file_bytes,
                deleted_part_max: f64::from(options.deleted_percent_max) / 100.0,
            },
            Handle::current(),
        )?;
        let runner = Arc::new(QueryRunner {
            registry: registry.clone(),
            hub,
            cpu: CpuRuntime::new("merge", options.threads).map_err(internal)?,
            no_executor_limit: Duration::from_secs(options.no_executor_limit_s),
            retries_max: options.retries_max,
        });
        let admission = Admission::new(
            options.statements_running_max,
            options.statements_queued_max,
            Duration::from_secs(options.queue_limit_s),
        );
        let kept = process_directory(&data_directory, "results", "coordinator").map_err(internal)?;
        let results = ResultStore::new(kept, options.result_memory, options.result_disk);
        let sessions = Arc::new(Sessions::new(options.session_limits()));
        // One of each purpose for a session, and as many that its client has let go of.
        let tokens = Tokens::new(6 * options.sessions_max);
        let statements = StatementService::new(Inner {
            planner,
            sessions: sessions.clone(),
            databases,
            runner,
            admission,
            vacuuming: tokio::sync::Mutex::default(),
            results: Arc::new(results),
            options,
            statements: parking_lot::Mutex::new(Statements::default()),
            uploads: tokio::sync::Semaphore::new(crate::staged_files::UPLOADS_MAX),
            tokens,
        });
        let tasks = vec![
            rpc,
            tokio::spawn(registry.watch_heartbeats()),
            tokio::spawn(statements.clone().expire_results()),
            tokio::spawn(statements.clone().vacuum_regularly()),
            tokio::spawn(sessions.watch()),
        ];
        Ok(Self { statements, rpc_address, data_address, tasks, _data: data })
    }

    pub fn statements(&self) -> StatementService {
        self.statements.clone()
    }

    pub fn rpc_address(&self) -> &str {
        &self.rpc_address
    }

    pub fn data_address(&self) -> &str {
        &self.data_address
    }

    /// Cancels what runs, tells the executors, and ends.
    pub async fn shutdown(self) {
        self.statements.stop_all(STOP_LIMIT).await;
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.tasks.iter().for_each(|task| task.abort());
    }
}

/// Opens the databases, and makes the one that unqualified names are looked up in.
async fn open_catalog(options: &CoordinatorOptions, data: &Path) -> Result<Databases, Failure> {
    let failed = |error: CatalogError| Failure::new(error.code(), error.to_string());
    let absolute = |path: PathBuf| {
        std::path::absolute(&path).map_err(|error| Failure::internal(format!("directory {path:?}: {error}")))
    };
    let backing = match options.catalog.as_deref() {
        Some(url) if url.starts_with("postgres") => Backing::Postgres(url.to_owned()),
        Some(directory) => Backing::Directory(absolute(PathBuf::from(directory))?),
        None => Backing::Directory(absolute(data.join("catalog"))?),
    };
    let root = match options.warehouse.as_deref() {
        Some(url) if url.contains("://") => StorageOptions::check_warehouse(url)?,
        Some(directory) => absolute(PathBuf::from(directory))?.display().to_string(),
        None => absolute(data.join("warehouse"))?.display().to_string(),
    };
    let databases = Databases::open(backing, &root, &Holder::current(&options.http_listen)).await.map_err(failed)?;
    let database = match databases.get(DEFAULT_DATABASE).await {
        Err(CatalogError::UndefinedDatabase(_)) => databases.create(DEFAULT_DATABASE).await,
        opened => opened,
    };
    ensure_default_schema(&database.map_err(failed)?).await.map_err(failed)?;
    Ok(databases)
}

/// Opens all databases, since every statement looks at each. What cannot be opened, or takes too long, is left to the
/// statements, which say why.
async fn warm(databases: &Databases) {
    match tokio::time::timeout(WARM_LIMIT, databases.warm()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "not all databases can be opened"),
        Err(_) => tracing::warn!("opening all databases takes more than {} s", WARM_LIMIT.as_secs()),
    }
}

fn report(served: Result<(), tonic::transport::Error>) {
    if let Err(error) = served {
        tracing::error!(%error, "the control plane has stopped");
    }
}

fn cannot_listen(address: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(ErrorCode::InvalidArgument, format!("cannot listen at {address:?}: {error}"))
}

async fn bind(listen: &str) -> Result<(Option<TcpListener>, String), Failure> {
    if listen.starts_with("inproc://") {
        return Ok((None, listen.to_owned()));
    }
    let listener = TcpListener::bind(listen).await.map_err(|error| cannot_listen(listen, &error))?;
    let address = listener.local_addr().map_err(|error| cannot_listen(listen, &error))?;
    Ok((Some(listener), address.to_string()))
}

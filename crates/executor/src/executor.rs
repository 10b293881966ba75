//! An executor: its parts, how they are started and how they end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::MemoryPool;
use frazil_common::{BootId, ByteSize, ErrorCode, ExecutorId, Failure};
use frazil_engine::errors::to_failure;
use frazil_engine::memory::{machine_memory, process_directory, runtime_env};
use frazil_engine::runtime::CpuRuntime;
use frazil_engine::session;
use frazil_engine::storage::{ObjectStores, StorageOptions};
use frazil_exchange::{DataServer, Hub, LinkTls};
use frazil_proto::secret::{ClusterCredentials, ClusterSecret, DemandSecret, ShowSecret};
use frazil_proto::tls::ClusterTls;
use frazil_proto::transport::{self, InProcessListener, MESSAGE_BYTES_MAX};
use frazil_proto::v1::tasks_server::TasksServer;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::membership::{self, Announcement};
use crate::options::ExecutorOptions;
use crate::query::RunningQueries;
use crate::service::TaskService;

/// What an executor's tasks share.
pub struct Shared {
    pub id: ExecutorId,
    pub boot: BootId,
    /// The session that task contexts are made from.
    pub base: SessionState,
    pub stores: ObjectStores,
    pub cpu: CpuRuntime,
    pub io: Handle,
    pub hub: Arc<Hub>,
    pub queries: Mutex<RunningQueries>,
    pub spill_directory: PathBuf,
    /// A query has ended.
    pub idle: Notify,
    tasks: AtomicU32,
    draining: AtomicBool,
}

/// Counts a task while it runs.
pub struct CountedTask(Arc<Shared>);

impl Drop for CountedTask {
    fn drop(&mut self) {
        self.0.tasks.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    pub fn count_task(self: &Arc<Self>) -> CountedTask {
        self.tasks.fetch_add(1, Ordering::Relaxed);
        CountedTask(self.clone())
    }

    pub fn running_tasks(&self) -> u32 {
        self.tasks.load(Ordering::Relaxed)
    }

    pub fn memory_used(&self) -> usize {
        let pool: &Arc<dyn MemoryPool> = &self.base.runtime_env().memory_pool;
        pool.reserved()
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// A running executor. Dropping it aborts its tasks.
pub struct Executor {
    shared: Arc<Shared>,
    announcement: Announcement,
    rpc: JoinHandle<()>,
    heartbeats: Mutex<Option<JoinHandle<Failure>>>,
    _data: Option<DataServer>,
}

impl Executor {
    /// Returns when the coordinator has registered it. Runs on the calling runtime, which is its I/O runtime.
    pub async fn start(
        options: ExecutorOptions,
        storage: Arc<StorageOptions>,
        credentials: impl Into<ClusterCredentials>,
        data_directory: PathBuf,
    ) -> Result<Self, Failure> {
        let ClusterCredentials { secret, tls } = credentials.into();
        storage.check()?;
        let slots = if options.slots == 0 { available_processors() } else { options.slots };
        let memory = if options.memory.0 == 0 { ByteSize(machine_memory().0 / 10 * 7) } else { options.memory };

        let (listener, data_address) = bind_data(&options).await?;
        let rpc_listener = RpcListener::bind(&options.rpc_listen).await?;
        let rpc_address = options.rpc_advertise.clone().unwrap_or_else(|| rpc_listener.address(tls.is_some()));
        let id = ExecutorId(options.id.clone().unwrap_or_else(|| default_id(&rpc_address)));
        check_id(&id)?;

        let io_failure = |error: std::io::Error| Failure::internal(format!("executor {id}: {error}"));
        let spill = process_directory(&data_directory, "spill", &id.0).map_err(io_failure)?;
        let env = runtime_env(memory, options.spill, &spill, &storage).map_err(|error| to_failure(&error))?;
        let hub = Hub::secured(&data_address, link_tls(tls.as_ref())?);
        let cpu = CpuRuntime::new("slot", slots).map_err(io_failure)?;
        let shared = Arc::new(Shared {
            base: session::base_state(env),
            stores: ObjectStores::new(storage.clone()),
            id: id.clone(),
            boot: BootId::mint(),
            io: Handle::current(),
            cpu,
            hub: hub.clone(),
            queries: Mutex::default(),
            spill_directory: spill,
            idle: Notify::new(),
            tasks: AtomicU32::new(0),
            draining: AtomicBool::new(false),
        });
        let data = listener
            .map(|listener| DataServer::serve(listener, hub, shared.cpu.handle().clone()))
            .transpose()
            .map_err(io_failure)?;
        let rpc = tokio::spawn(rpc_listener.serve(shared.clone(), secret.clone(), tls.clone()));

        let announcement = Announcement { slots: slots as u32, rpc_address, data_address, memory_bytes: memory.0 };
        let channel = transport::channel_over(&options.coordinator, tls.as_ref())
            .map_err(|message| Failure::new(ErrorCode::InvalidArgument, message))?;
        let mut client = membership::client(channel, ShowSecret::new(&secret));
        let executor = Self { shared, announcement, rpc, heartbeats: Mutex::new(None), _data: data };
        let interval = membership::register(&mut client, &executor.shared, &executor.announcement).await?;
        let beats = membership::keep_alive(client, executor.shared.clone(), executor.announcement.clone(), interval);
        *executor.heartbeats.lock() = Some(tokio::spawn(beats));
        Ok(executor)
    }

    pub fn id(&self) -> &str {
        &self.shared.id.0
    }

    pub fn rpc_address(&self) -> &str {
        &self.announcement.rpc_address
    }

    pub fn data_address(&self) -> &str {
        &self.announcement.data_address
    }

    /// Resolves when the coordinator refuses this executor for good.
    pub async fn lost(&self) -> Failure {
        let beats = self.heartbeats.lock().take();
        match beats {
            Some(mut beats) => match (&mut beats).await {
                Ok(failure) => failure,
                Err(_) => Failure::internal("heartbeats have stopped"),
            },
            None => std::future::pending().await,
        }
    }

    /// Takes no new tasks, and returns when the running ones have ended or `limit` has passed.
    pub async fn drain(&self, limit: Duration) {
        self.shared.draining.store(true, Ordering::Relaxed);
        let ended = async {
            loop {
                let idle = self.shared.idle.notified();
                tokio::pin!(idle);
                idle.as_mut().enable();
                if self.shared.queries.lock().is_empty() {
                    return;
                }
                idle.await;
            }
        };
        if tokio::time::timeout(limit, ended).await.is_err() {
            tracing::warn!(executor = %self.shared.id, "queries still ran when the drain limit was reached");
        }
    }

    /// Ends at once; what still runs is aborted.
    pub async fn shutdown(self) {
        for (_, stop) in self.shared.queries.lock().drain() {
            stop.cancel();
        }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.rpc.abort();
        if let Some(beats) = self.heartbeats.lock().take() {
            beats.abort();
        }
        for (_, stop) in self.shared.queries.lock().drain() {
            stop.cancel();
        }
        let _ = std::fs::remove_dir_all(&self.shared.spill_directory);
    }
}

fn available_processors() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get())
}

fn default_id(rpc_address: &str) -> String {
    let plain = rpc_address.split("://").last().unwrap_or(rpc_address);
    format!("executor-{}", plain.replace(':', "-"))
}

/// The id becomes a directory's name.
fn check_id(id: &ExecutorId) -> Result<(), Failure> {
    let plain = id.0.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if plain && !id.0.is_empty() && id.0.len() <= 100 && !id.0.starts_with('.') {
        return Ok(());
    }
    let message = format!("executor id {:?} may hold letters, digits, \"-\", \"_\" and \".\" only", id.0);
    Err(Failure::new(ErrorCode::InvalidArgument, message))
}

fn cannot_listen(address: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(ErrorCode::InvalidArgument, format!("cannot listen at {address:?}: {error}"))
}

async fn bind_data(options: &ExecutorOptions) -> Result<(Option<TcpListener>, String), Failure> {
    let listen = &options.data_listen;
    if listen.starts_with("inproc://") {
        return Ok((None, listen.clone()));
    }
    let listener = DataServer::bind(listen).await.map_err(|error| cannot_listen(listen, &error))?;
    let bound: SocketAddr = listener.local_addr().map_err(|error| cannot_listen(listen, &error))?;
    let address = options.data_advertise.clone().unwrap_or_else(|| bound.to_string());
    Ok((Some(listener), address))
}

/// What exchange streams are made with.
fn link_tls(tls: Option<&ClusterTls>) -> Result<Option<LinkTls>, Failure> {
    let link = |tls: &ClusterTls| LinkTls::new(&tls.ca, &tls.certificate, &tls.key, tls.name.as_deref());
    let wrong = |error| Failure::new(ErrorCode::InvalidArgument, format!("the cluster's certificates: {error}"));
    tls.map(link).transpose().map_err(wrong)
}

enum RpcListener {
    Tcp(TcpListener, SocketAddr),
    InProcess(InProcessListener),
}

impl RpcListener {
    async fn bind(listen: &str) -> Result<Self, Failure> {
        if let Some(name) = listen.strip_prefix("inproc://") {
            return InProcessListener::bind(name).map(Self::InProcess).map_err(|error| cannot_listen(listen, &error));
        }
        let listener = TcpListener::bind(listen).await.map_err(|error| cannot_listen(listen, &error))?;
        let address = listener.local_addr().map_err(|error| cannot_listen(listen, &error))?;
        Ok(Self::Tcp(listener, address))
    }

    fn address(&self, secured: bool) -> String {
        match self {
            Self::Tcp(_, address) if secured => format!("https://{address}"),
            Self::Tcp(_, address) => format!("http://{address}"),
            Self::InProcess(listener) => listener.address(),
        }
    }

    async fn serve(self, shared: Arc<Shared>, secret: ClusterSecret, tls: Option<ClusterTls>) {
        let service = TasksServer::new(TaskService { shared }).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let service = tonic::service::interceptor::InterceptedService::new(service, DemandSecret(secret));
        let mut server = Server::builder();
        if let (Some(tls), Self::Tcp(..)) = (&tls, &self) {
            server = match server.tls_config(tls.server()) {
                Ok(server) => server,
                Err(error) => return tracing::error!(%error, "the cluster's certificates cannot be used"),
            };
        }
        let server = server.add_service(service);
        let served = match self {
            Self::Tcp(listener, _) => {
                server.serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))).await
            }
            Self::InProcess(mut listener) => {
                let incoming = listener.incoming();
                server.serve_with_incoming(incoming).await
            }
        };
        if let Err(error) = served {
            tracing::error!(%error, "the control plane has stopped");
        }
    }
}

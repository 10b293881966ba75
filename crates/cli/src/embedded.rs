//! A whole cluster inside this process, without ports: what `frazil sql` runs on when it is given no address.
//!
//! The same coordinator, executors and router as elsewhere; only what would be a socket is a channel.

use std::sync::Arc;

use axum::Router;
use frazil_common::ErrorCode;
use frazil_coordinator::Coordinator;
use frazil_executor::Executor;
use frazil_proto::secret::ClusterSecret;
use frazil_server::RestOptions;

use crate::client::Client;
use crate::config::Config;
use crate::directory::RunDirectory;
use crate::failure::CommandError;
use crate::processes::memory;

pub struct Embedded {
    coordinator: Coordinator,
    executors: Vec<Executor>,
    router: Router,
    _directory: RunDirectory,
}

impl Embedded {
    /// `executors` share the machine's processors and memory where the configuration does not say what each may have.
    /// Where another process has the data directory's tables, this one begins without any.
    pub async fn start(config: &Config, executors: usize) -> Result<Self, CommandError> {
        Self::start_with(config, executors, true).await
    }

    /// With the data directory's tables, or not at all.
    pub async fn start_lasting(config: &Config, executors: usize) -> Result<Self, CommandError> {
        Self::start_with(config, executors, false).await
    }

    async fn start_with(config: &Config, executors: usize, may_be_without: bool) -> Result<Self, CommandError> {
        let directory = RunDirectory::create(&config.cluster.data)?;
        let data = directory.path().to_owned();
        let secret = ClusterSecret::random();
        let storage = Arc::new(config.storage.clone());
        let name = format!("{:016x}", rand::random::<u64>());

        let mut options = config.coordinator.clone();
        options.rpc_listen = format!("inproc://coordinator-{name}-rpc");
        options.data_listen = format!("inproc://coordinator-{name}-data");
        options.data_advertise = None;
        // The tables are those of the data directory, unless a coordinator has them already.
        let lasting = |part: &str| Some(config.cluster.data.join(part).display().to_string());
        let mut shared = options.clone();
        shared.catalog = shared.catalog.or_else(|| lasting("catalog"));
        shared.warehouse = shared.warehouse.or_else(|| lasting("warehouse"));
        shared.history = shared.history.or_else(|| lasting("history"));
        let start = |options| Coordinator::start(options, storage.clone(), secret.clone(), data.clone());
        let coordinator = match start(shared).await {
            Err(failure) if failure.code == ErrorCode::CatalogLocked && !may_be_without => {
                return Err(CommandError::Failed(format!("{failure}; --url loads into its tables")));
            }
            Err(failure) if failure.code == ErrorCode::CatalogLocked && options.catalog.is_none() => {
                eprintln!("warning: {failure}; tables made here end with this session, --url has the others");
                start(options).await?
            }
            started => started?,
        };

        let mut started = Vec::with_capacity(executors);
        for number in 1..=executors {
            let mut options = config.executor.clone();
            options.id = Some(format!("executor-{number}"));
            options.coordinator = coordinator.rpc_address().to_owned();
            options.rpc_listen = format!("inproc://executor-{name}-{number}-rpc");
            options.data_listen = format!("inproc://executor-{name}-{number}-data");
            (options.rpc_advertise, options.data_advertise) = (None, None);
            if options.slots == 0 {
                let processors = std::thread::available_parallelism().map_or(1, usize::from);
                options.slots = (processors / executors).max(1);
            }
            if let (0, Some(machine)) = (options.memory.0, memory::machine()) {
                options.memory.0 = machine.0 / 10 * 7 / executors as u64;
            }
            started.push(Executor::start(options, storage.clone(), secret.clone(), data.clone()).await?);
        }
        let router = frazil_server::router(coordinator.statements(), RestOptions::default());
        Ok(Self { coordinator, executors: started, router, _directory: directory })
    }

    pub fn client(&self) -> Client {
        Client::in_process(self.router.clone())
    }

    pub async fn stop(self) {
        drop(self.router);
        for executor in self.executors {
            executor.shutdown().await;
        }
        self.coordinator.shutdown().await;
    }
}

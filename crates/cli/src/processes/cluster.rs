//! A coordinator and its executors, as processes of this machine that talk over loopback.

use std::path::{Path, PathBuf};

use frazil_common::ByteSize;
use futures::future::{join_all, try_join_all};

use super::{ChildProcess, Stderr, memory};
use crate::directory::{self, RunDirectory};
use crate::failure::CommandError;

#[derive(Clone, Debug)]
pub struct ClusterShape {
    pub executors: usize,
    /// Of each executor.
    pub slots: usize,
    pub data: PathBuf,
    /// What it keeps is in a directory of its own, and goes with the cluster.
    pub own_directory: bool,
    /// Of a cluster with its own directory: the catalog whose tables it has, as they are when it starts.
    pub catalog: Option<PathBuf>,
    /// Read by every process of the cluster.
    pub config_file: Option<PathBuf>,
    /// `127.0.0.1:0` picks a free port.
    pub http_listen: String,
    /// Of each executor; `None` shares the machine's memory among them.
    pub executor_memory: Option<ByteSize>,
    pub log_level: String,
    pub stderr: Stderr,
}

pub struct Cluster {
    coordinator: ChildProcess,
    executors: Vec<ChildProcess>,
    url: String,
    _directory: Option<RunDirectory>,
}

impl Cluster {
    /// Returns when every executor is registered. On failure nothing is left running.
    pub async fn start(shape: &ClusterShape) -> Result<Self, CommandError> {
        let directory = if shape.own_directory { Some(RunDirectory::create(&shape.data)?) } else { None };
        let data = directory.as_ref().map_or(shape.data.as_path(), RunDirectory::path);
        let mut arguments = shape.common_arguments("coordinator", data);
        arguments.extend(listen("--http-listen", &shape.http_listen));
        arguments.extend(listen("--rpc-listen", "127.0.0.1:0"));
        arguments.extend(listen("--data-listen", "127.0.0.1:0"));
        if let (true, Some(catalog)) = (shape.own_directory, &shape.catalog) {
            let own = [data.join("catalog"), data.join("warehouse")];
            directory::copy_catalog(catalog, &own[0])?;
            let [catalog, warehouse] = own.map(|path| path.to_string_lossy().into_owned());
            arguments.extend(listen("--catalog", &catalog));
            arguments.extend(listen("--warehouse", &warehouse));
        }
        let mut coordinator = ChildProcess::start("coordinator", &arguments, shape.stderr)?;
        let ready = coordinator.ready().await?;
        let (Some(url), Some(rpc)) = (ready.get("http").cloned(), ready.get("rpc").cloned()) else {
            return Err(coordinator.failed("did not say its addresses").await);
        };
        match start_executors(shape, data, &rpc).await {
            Ok(executors) => Ok(Self { coordinator, executors, url, _directory: directory }),
            Err(error) => {
                coordinator.stop().await;
                Err(error)
            }
        }
    }

    /// Of the REST API.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Coordinator first.
    pub fn processes(&self) -> impl Iterator<Item = &ChildProcess> {
        std::iter::once(&self.coordinator).chain(&self.executors)
    }

    /// Resolves when a process ends that should not, and says which.
    pub async fn broken(&mut self) -> CommandError {
        let children = std::iter::once(&mut self.coordinator).chain(&mut self.executors);
        let endings = children.map(|child| {
            Box::pin(async move {
                let _ = child.ended().await;
                child.failed("ended by itself").await
            })
        });
        futures::future::select_all(endings).await.0
    }

    /// The coordinator first: it cancels what runs, and executors that have nothing to do need not drain.
    pub async fn stop(self) {
        self.coordinator.stop().await;
        join_all(self.executors.into_iter().map(ChildProcess::stop)).await;
    }
}

impl ClusterShape {
    fn common_arguments(&self, role: &str, data: &Path) -> Vec<String> {
        let mut arguments = vec![role.to_owned(), "--data".to_owned(), data.to_string_lossy().into_owned()];
        arguments.extend(["--log-level".to_owned(), self.log_level.clone()]);
        if let Some(file) = &self.config_file {
            arguments.extend(["--config".to_owned(), file.to_string_lossy().into_owned()]);
        }
        arguments
    }

    /// An executor by itself takes 70 % of the machine; several of them, and the coordinator, have to share.
    fn memory_of_each(&self) -> Option<ByteSize> {
        let shared = memory::machine().map(|machine| ByteSize(machine.0 / 10 * 7 / self.executors.max(1) as u64));
        self.executor_memory.or(shared)
    }
}

async fn start_executors(shape: &ClusterShape, data: &Path, rpc: &str) -> Result<Vec<ChildProcess>, CommandError> {
    let mut executors = Vec::with_capacity(shape.executors);
    for number in 1..=shape.executors {
        let mut arguments = shape.common_arguments("executor", data);
        let id = format!("executor-{number}");
        arguments.extend(["--coordinator".to_owned(), rpc.to_owned(), "--id".to_owned(), id.clone()]);
        arguments.extend(["--slots".to_owned(), shape.slots.to_string()]);
        arguments.extend(listen("--rpc-listen", "127.0.0.1:0"));
        arguments.extend(listen("--data-listen", "127.0.0.1:0"));
        if let Some(memory) = shape.memory_of_each() {
            arguments.extend(["--memory".to_owned(), memory.0.to_string()]);
        }
        executors.push(ChildProcess::start(&id, &arguments, shape.stderr)?);
    }
    // Each registers by itself; whoever fails first is reported, and dropping the others kills them.
    try_join_all(executors.iter_mut().map(ChildProcess::ready)).await?;
    Ok(executors)
}

fn listen(flag: &str, address: &str) -> [String; 2] {
    [flag.to_owned(), address.to_owned()]
}

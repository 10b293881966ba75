//! `frazil local`: a cluster of real processes on this machine, with a shell on it.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use crate::client::{Access, Client, StatementContext};
use crate::config::{Config, ServerOptions};
use crate::failure::CommandError;
use crate::processes::{Cluster, ClusterShape, Stderr};
use crate::signals::StopSignals;
use crate::sql::{Session, shell};

pub struct LocalRequest {
    pub executors: usize,
    pub slots: usize,
    pub config_file: Option<PathBuf>,
}

pub async fn run(config: Config, request: LocalRequest) -> Result<(), CommandError> {
    let mut signals = StopSignals::new()?;
    let shell_wanted = std::io::stdin().is_terminal();
    let shape = ClusterShape {
        executors: request.executors,
        slots: request.slots,
        data: config.cluster.data.clone(),
        own_directory: false,
        catalog: None,
        config_file: request.config_file,
        http_listen: config.coordinator.http_listen.clone(),
        executor_memory: Some(config.executor.memory).filter(|memory| memory.0 > 0),
        log_level: config.log.level.clone(),
        stderr: if shell_wanted { Stderr::Kept } else { Stderr::Forwarded },
    };
    let mut cluster = tokio::select! {
        started = Cluster::start(&shape) => started?,
        _ = signals.next() => return Ok(()),
    };
    let outcome =
        if shell_wanted { serve_shell(&config, &cluster).await } else { serve(&mut cluster, &mut signals).await };
    // A fresh one: the Ctrl-C that cancelled a statement an hour ago is not meant.
    StopSignals::new()?.exit_at_next();
    cluster.stop().await;
    outcome
}

async fn serve_shell(config: &Config, cluster: &Cluster) -> Result<(), CommandError> {
    eprintln!("coordinator at {}, {} executors", cluster.url(), cluster.processes().count() - 1);
    let client = Client::connect(cluster.url(), &Access::of(&config.client.server)?)?;
    let ServerOptions { database, schema, .. } = config.client.server.clone();
    let context = StatementContext { database, schema, ..StatementContext::default() };
    shell::run(Session::open(client, context, config).await?).await
}

async fn serve(cluster: &mut Cluster, signals: &mut StopSignals) -> Result<(), CommandError> {
    let mut out = std::io::stdout();
    writeln!(out, "frazil local ready http={}", cluster.url())
        .and_then(|()| out.flush())
        .map_err(CommandError::doing("saying that it is ready"))?;
    tokio::select! {
        _ = signals.next() => Ok(()),
        error = cluster.broken() => Err(error),
    }
}

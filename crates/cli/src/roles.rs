//! `frazil coordinator` and `frazil executor`: one role, until a signal ends it.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use frazil_coordinator::Coordinator;
use frazil_executor::Executor;
use frazil_server::RestOptions;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, cluster_credentials, create_cluster_credentials};
use crate::directory;
use crate::exposure::Exposure;
use crate::failure::CommandError;
use crate::signals::StopSignals;

/// What open requests get to end, once the statements are cancelled.
/// Above the server's own limit.
const DOOR_LIMIT: Duration = Duration::from_secs(6);

pub async fn run_coordinator(mut config: Config) -> Result<(), CommandError> {
    let mut signals = StopSignals::new()?;
    let _claim = directory::claim(&config.cluster.data)?;
    let credentials = create_cluster_credentials(&config.cluster)?;
    let listen = config.coordinator.http_listen.clone();
    let listener =
        TcpListener::bind(&listen).await.map_err(CommandError::doing(format_args!("listening on {listen}")))?;
    let address = listener.local_addr().map_err(CommandError::doing("reading the address listened on"))?;
    let exposure = Exposure::of(&config.coordinator, address)?;

    // Whom others are told of, with the port that was found.
    config.coordinator.http_listen = address.to_string();
    let storage = Arc::new(config.storage);
    let coordinator = Coordinator::start(config.coordinator, storage, credentials, config.cluster.data).await?;
    exposure.check(&coordinator).await?;
    let stop = CancellationToken::new();
    let options = RestOptions { tls: exposure.tls.is_some(), ..RestOptions::default() };
    let router = frazil_server::router(coordinator.statements(), options);
    let mut door =
        tokio::spawn(frazil_server::serve_over(listener, exposure.tls.clone(), router, stop.clone().cancelled_owned()));

    let (rpc, data) = (coordinator.rpc_address(), coordinator.data_address());
    let scheme = exposure.scheme();
    say_ready(&format!("frazil coordinator ready http={scheme}://{address} rpc={rpc} data={data}"))?;

    let outcome = tokio::select! {
        signal = signals.next() => {
            tracing::info!(?signal, "coordinator stops");
            Ok(())
        }
        ended = &mut door => Err(CommandError::Failed(match ended {
            Ok(Ok(())) => format!("the REST server on {address} ended by itself"),
            Ok(Err(e)) => format!("the REST server on {address} failed: {e}"),
            Err(e) => format!("the REST server on {address} broke down: {e}"),
        })),
    };
    signals.exit_at_next();
    stop.cancel();
    coordinator.shutdown().await;
    if outcome.is_ok() && tokio::time::timeout(DOOR_LIMIT, &mut door).await.is_err() {
        door.abort();
    }
    outcome
}

pub async fn run_executor(config: Config) -> Result<(), CommandError> {
    let mut signals = StopSignals::new()?;
    let credentials = cluster_credentials(&config.cluster)?;
    let data = &config.cluster.data;
    std::fs::create_dir_all(data).map_err(CommandError::doing(format_args!("creating the data directory {data:?}")))?;
    let drain_limit = Duration::from_secs(config.executor.drain_limit_s);
    let start = Executor::start(config.executor, Arc::new(config.storage), credentials, config.cluster.data);
    let executor = tokio::select! {
        started = start => started?,
        _ = signals.next() => return Ok(()),
    };
    let (id, rpc, data) = (executor.id(), executor.rpc_address(), executor.data_address());
    say_ready(&format!("frazil executor ready id={id} rpc={rpc} data={data}"))?;

    let outcome = tokio::select! {
        signal = signals.next() => {
            tracing::info!(?signal, executor = executor.id(), "executor drains");
            Ok(())
        }
        failure = executor.lost() => Err(CommandError::from(failure)),
    };
    signals.exit_at_next();
    if outcome.is_ok() {
        executor.drain(drain_limit).await;
    }
    executor.shutdown().await;
    outcome
}

/// The only line of a role on stdout; whoever started the process waits for it.
fn say_ready(line: &str) -> Result<(), CommandError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(CommandError::doing("saying that it is ready"))
}

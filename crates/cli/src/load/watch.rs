//! A statement that writes, watched while it runs.

use std::io::IsTerminal;
use std::time::Duration;

use frazil_common::ByteSize;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::client::{Access, Client, ClientError, StatementContext};
use crate::config::Config;
use crate::embedded::Embedded;
use crate::failure::CommandError;
use crate::signals::StopSignals;

/// Between two looks at a statement: short at first, for those that take no time.
const LOOK_FIRST: Duration = Duration::from_millis(5);
const LOOK_LAST: Duration = Duration::from_millis(200);

/// The coordinator that tables are loaded into.
pub struct Target {
    client: Client,
    embedded: Option<Embedded>,
}

impl Target {
    /// That of the address, or one in this process, with the tables of the data directory.
    pub async fn open(config: &Config) -> Result<Self, CommandError> {
        let access = Access::of(&config.client.server)?;
        match &config.client.server.url {
            Some(url) => Ok(Self { client: Client::connect(url, &access)?, embedded: None }),
            None => {
                let embedded = Embedded::start_lasting(config, 1).await?;
                Ok(Self { client: embedded.client_of(&access), embedded: Some(embedded) })
            }
        }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Ends `work` at a signal; the statement that it waits for is cancelled by being dropped.
    pub async fn until_stopped<T>(
        &self,
        work: impl Future<Output = Result<T, CommandError>>,
    ) -> Result<T, CommandError> {
        let mut signals = StopSignals::new()?;
        tokio::select! {
            done = work => done,
            _ = signals.next() => {
                // Dropped by now. What cancels it is sent from a task.
                tokio::time::sleep(Duration::from_millis(300)).await;
                Err(CommandError::Failed("stopped; tables that were whole stay".to_owned()))
            }
        }
    }

    pub async fn close(self) {
        if let Some(embedded) = self.embedded {
            embedded.stop().await;
        }
    }
}

/// Cancels a statement that nobody waits for any more.
struct CancelOnDrop {
    client: Client,
    handle: Option<String>,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            let client = self.client.clone();
            tokio::spawn(async move { client.cancel(&handle).await });
        }
    }
}

/// Runs a statement with a bar on a terminal, and quietly elsewhere; returns its answer as JSON. `rows`: about how many it
/// writes.
pub async fn watch(
    client: &Client,
    sql: &str,
    context: &StatementContext,
    name: &str,
    rows: Option<u64>,
) -> Result<Value, ClientError> {
    let bar = std::io::stderr().is_terminal().then(|| bar(name, rows));
    let handle = client.submit(sql, context).await?;
    let mut running = CancelOnDrop { client: client.clone(), handle: Some(handle.clone()) };
    let mut pause = LOOK_FIRST;
    let ended = loop {
        let status = match client.status(&handle).await {
            Ok(status) => status,
            Err(error) => break Err(error),
        };
        if let Some(bar) = &bar {
            show(bar, &status["stats"]);
        }
        if status.get("data").is_some() {
            break Ok(status);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LOOK_LAST);
    };
    if !matches!(ended, Err(ClientError::Unreachable(_))) {
        running.handle = None;
    }
    if let Some(bar) = bar {
        match &ended {
            Ok(_) => {
                bar.set_length(bar.position());
                bar.finish();
            }
            Err(_) => bar.abandon(),
        }
    }
    ended
}

fn bar(name: &str, rows: Option<u64>) -> ProgressBar {
    let (bar, template) = match rows {
        Some(rows) => (ProgressBar::new(rows), "{prefix:>22} {bar:32} {percent:>3}% {human_pos:>13} rows  {msg}"),
        None => (ProgressBar::new_spinner(), "{prefix:>22} {spinner} {human_pos:>13} rows  {msg}"),
    };
    let style = ProgressStyle::with_template(template).expect("the templates are constants that a test parses");
    bar.with_style(style).with_prefix(name.to_owned())
}

fn show(bar: &ProgressBar, stats: &Value) {
    let figure = |name: &str| stats.get(name).and_then(Value::as_u64).unwrap_or_default();
    bar.set_position(figure("rowsWritten"));
    bar.set_message(ByteSize(figure("bytesWritten")).to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_show_rows_and_bytes() {
        for rows in [Some(10), None] {
            let bar = bar("lineitem", rows);
            show(&bar, &serde_json::json!({ "rowsWritten": 7, "bytesWritten": 3 << 20 }));
            assert_eq!((bar.position(), bar.message()), (7, "3.0 MB".to_owned()));
        }
    }
}

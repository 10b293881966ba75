//! `frazil sql`: statements from a flag, a file, a pipe or a keyboard, sent over REST, and their rows printed.

mod format;
mod run;
mod session;
pub mod shell;
pub use frazil_common::split;
mod transfer;
mod trouble;

use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::time::Duration;

use crate::client::{Client, StatementContext};
use crate::config::Config;
use crate::embedded::Embedded;
use crate::failure::CommandError;

pub use format::{Format, Printed, Printer};
pub use run::{Outcome, Session};

/// What to run and how, as the flags say.
#[derive(Clone, Debug, Default)]
pub struct SqlRequest {
    pub command: Option<String>,
    pub file: Option<PathBuf>,
    pub database: Option<String>,
    pub schema: Option<String>,
    pub time_limit: Option<Duration>,
    /// In-process executors, when there is no address.
    pub executors: usize,
}

pub async fn run(config: Config, request: SqlRequest) -> Result<(), CommandError> {
    let script = script(&request)?;
    let embedded = match &config.client.url {
        Some(_) => None,
        None => Some(Embedded::start(&config, request.executors).await?),
    };
    let client = match (&embedded, &config.client.url) {
        (Some(embedded), _) => embedded.client(),
        (None, Some(url)) => Client::http(url)?,
        (None, None) => unreachable!("one of them was chosen above"),
    };
    let context = StatementContext {
        database: request.database,
        schema: request.schema,
        time_limit: request.time_limit,
        ..StatementContext::default()
    };
    let mut session = Session::open(client, context, config.client.format).await?;
    let outcome = match script {
        Some(text) => {
            let outcome = session.run_script(&text).await;
            session.close().await;
            outcome
        }
        None => shell::run(session).await,
    };
    if let Some(embedded) = embedded {
        embedded.stop().await;
    }
    outcome
}

/// The text to run; `None` is a shell.
fn script(request: &SqlRequest) -> Result<Option<String>, CommandError> {
    if let Some(command) = &request.command {
        return Ok(Some(command.clone()));
    }
    if let Some(path) = &request.file {
        let text = std::fs::read_to_string(path);
        return text.map(Some).map_err(|e| CommandError::Usage(format!("reading {path:?}: {e}")));
    }
    if std::io::stdin().is_terminal() {
        return Ok(None);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(CommandError::doing("reading statements from stdin"))?;
    Ok(Some(text))
}

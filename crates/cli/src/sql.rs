//! `frazil sql`: statements from a flag, a file, a pipe or a keyboard, sent over REST, and their rows printed.

mod command;
mod format;
mod names;
mod output;
mod perform;
mod progress;
mod read;
mod run;
mod script;
mod session;
pub mod shell;
mod transfer;
mod trouble;
mod view;
mod visible;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

pub use frazil_common::split;

use crate::client::{Access, Client, StatementContext};
use crate::config::Config;
use crate::embedded::Embedded;
use crate::failure::CommandError;

pub use format::{Expanded, Format, Printed, Printer};
pub use run::{Outcome, Session};
pub use view::Color;
pub use visible::visible_lines;

/// What to run and how, as the flags say.
#[derive(Clone, Debug, Default)]
pub struct SqlRequest {
    pub command: Option<String>,
    pub file: Option<PathBuf>,
    /// Statements that fail do not keep the next ones from being run.
    pub keep_going: bool,
    /// Ask for a password, whatever the configuration has.
    pub ask_password: bool,
    pub time_limit: Option<Duration>,
    /// In-process executors, when there is no address.
    pub executors: usize,
}

pub async fn run(mut config: Config, request: SqlRequest) -> Result<(), CommandError> {
    if request.ask_password {
        let client = &mut config.client.server;
        if client.user.is_none() {
            return Err(CommandError::Usage("--password needs a user: --user".to_owned()));
        }
        (client.password, client.password_file) = (None, None);
    }
    let access = Access::of(&config.client.server)?;
    let script = script(&request)?;
    let embedded = match &config.client.server.url {
        Some(_) => None,
        None => Some(Embedded::start(&config, request.executors).await?),
    };
    let client = match (&embedded, &config.client.server.url) {
        (Some(embedded), _) => embedded.client_of(&access),
        (None, Some(url)) => Client::connect(url, &access)?,
        (None, None) => unreachable!("one of them was chosen above"),
    };
    let context = StatementContext {
        database: config.client.server.database.clone(),
        schema: config.client.server.schema.clone(),
        time_limit: request.time_limit,
        ..StatementContext::default()
    };
    let outcome = match Session::open(client, context, &config).await {
        Ok(session) => run_session(session, script.as_deref(), request.keep_going).await,
        Err(error) => Err(error),
    };
    if let Some(embedded) = embedded {
        embedded.stop().await;
    }
    outcome
}

async fn run_session(mut session: Session, script: Option<&str>, keep_going: bool) -> Result<(), CommandError> {
    let Some(text) = script else { return shell::run(session).await };
    if keep_going {
        session.keep_going();
    }
    let outcome = session.run_text(text).await;
    session.close().await;
    outcome.result()
}

/// The text to run; `None` is a shell.
fn script(request: &SqlRequest) -> Result<Option<String>, CommandError> {
    match (&request.command, &request.file) {
        (Some(command), _) => Ok(Some(command.clone())),
        (None, Some(path)) => read::read_text(path).map(Some),
        (None, None) if std::io::stdin().is_terminal() => Ok(None),
        (None, None) => read::read_input().map(Some),
    }
}

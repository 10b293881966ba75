//! Runs statements one after the other and prints what comes.

use std::io::{BufWriter, IsTerminal, Write, stderr, stdout};
use std::time::Instant;

use super::session::Change;
use super::split::{Statement, statements};
use super::{Format, Printed, Printer, transfer, trouble};
use frazil_engine::stages::client_statement;

use crate::client::{Client, ClientError, StatementContext};
use crate::failure::CommandError;
use crate::signals::{Stop, StopSignals};

const OUTPUT_BUFFER_BYTES: usize = 64 << 10;

/// How a statement ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Done,
    /// It failed, and the user has been told.
    Failed,
    /// Whoever read our output has gone: there is no use in going on.
    OutputClosed,
    /// Ctrl-C.
    Interrupted,
    /// The process is to end.
    Terminated,
}

/// A client with what its statements have left behind.
pub struct Session {
    client: Client,
    context: StatementContext,
    format: Format,
    signals: StopSignals,
    /// Whether someone reads along, and wants to know how many rows in what time.
    watched: bool,
}

impl Session {
    pub async fn open(client: Client, mut context: StatementContext, format: Format) -> Result<Self, CommandError> {
        let watched = stderr().is_terminal() && stdout().is_terminal();
        let signals = StopSignals::new()?;
        context.session = Some(client.open_session().await?);
        Ok(Self { client, context, format, signals, watched })
    }

    /// What was not committed is rolled back. The coordinator closes a session by itself, only later.
    pub async fn close(self) {
        if let Some(session) = &self.context.session {
            let _ = self.client.close_session(session).await;
        }
    }

    /// After the coordinator was started anew, or the session was idle for too long. The statement that found out is not sent
    /// again: it may have been part of a transaction.
    async fn open_again(&mut self) {
        match self.client.open_session().await {
            Ok(session) => {
                self.context.session = Some(session);
                eprintln!("a new session is open; what was not committed is rolled back");
            }
            Err(error) => eprintln!("error: opening a session: {error}"),
        }
    }

    pub fn set_format(&mut self, format: Format) {
        self.format = format;
    }

    pub fn signals(&mut self) -> &mut StopSignals {
        &mut self.signals
    }

    /// In order; the first statement that fails is the last.
    pub async fn run_script(&mut self, text: &str) -> Result<(), CommandError> {
        match self.run_text(text).await {
            Outcome::Done | Outcome::OutputClosed => Ok(()),
            Outcome::Failed | Outcome::Interrupted | Outcome::Terminated => Err(CommandError::Reported),
        }
    }

    pub async fn run_text(&mut self, text: &str) -> Outcome {
        for statement in statements(text) {
            match self.run_statement(&statement, text).await {
                Outcome::Done => {}
                other => return other,
            }
        }
        Outcome::Done
    }

    async fn run_statement(&mut self, statement: &Statement<'_>, whole: &str) -> Outcome {
        let change = Change::of(statement.text);
        let started = Instant::now();
        let mut handle = None;
        let ended = tokio::select! {
            ended = print(&self.client, &self.context, self.format, statement.text, &mut handle) => ended,
            signal = self.signals.next() => {
                self.give_up(handle).await;
                return match signal {
                    Stop::Terminate => Outcome::Terminated,
                    Stop::Interrupt => Outcome::Interrupted,
                };
            }
        };
        match ended {
            Ok(printed) => {
                if let Some(change) = change {
                    change.apply(&mut self.context);
                }
                self.tell(printed, started);
                Outcome::Done
            }
            Err(Trouble::Output(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => Outcome::OutputClosed,
            Err(Trouble::Output(e)) => {
                eprintln!("error: writing the result: {e}");
                Outcome::Failed
            }
            Err(Trouble::Client(error)) => {
                eprint!("{}", trouble::report(&error, statement, whole));
                if is_lost(&error) {
                    self.open_again().await;
                }
                Outcome::Failed
            }
        }
    }

    /// The connection has been dropped already, which is enough; asking is for a proxy in between that holds on to it.
    async fn give_up(&self, handle: Option<String>) {
        if let Some(handle) = handle {
            let _ = self.client.cancel(&handle).await;
        }
        eprintln!("cancelled");
    }

    fn tell(&self, printed: Printed, started: Instant) {
        let shown = printed.rows - printed.left_out;
        if printed.left_out > 0 {
            eprintln!("{shown} of {} rows shown, {} more: use --format csv for all", printed.rows, printed.left_out);
        }
        if self.watched {
            let plural = if printed.rows == 1 { "" } else { "s" };
            eprintln!("{} row{plural} in {:.3} s", printed.rows, started.elapsed().as_secs_f64());
        }
    }
}

/// Whether it says that the coordinator does not know the session.
fn is_lost(error: &ClientError) -> bool {
    matches!(error, ClientError::Statement(failure) if failure.sql_state == "08003")
}

enum Trouble {
    Client(ClientError),
    Output(std::io::Error),
}

/// `handle` is filled in as soon as it is known, for whoever gives this future up.
async fn print(
    client: &Client,
    context: &StatementContext,
    format: Format,
    sql: &str,
    handle: &mut Option<String>,
) -> Result<Printed, Trouble> {
    if let Some(files) = client_statement(sql).map_err(|failure| Trouble::Client(transfer::refused(failure)))? {
        let moved = transfer::run(client, context, files).await.map_err(Trouble::Client)?;
        let out = BufWriter::with_capacity(OUTPUT_BUFFER_BYTES, stdout());
        let mut printer = Printer::new(format, &moved.schema(), out).map_err(Trouble::Output)?;
        printer.print(&moved).map_err(Trouble::Output)?;
        return printer.finish().map_err(Trouble::Output);
    }
    let mut rows = client.stream(sql, context).await.map_err(Trouble::Client)?;
    *handle = rows.handle().map(str::to_owned);
    let mut next = rows.next().await.map_err(Trouble::Client)?;
    let schema = rows.schema().map_err(Trouble::Client)?;
    let out = BufWriter::with_capacity(OUTPUT_BUFFER_BYTES, stdout());
    let mut printer = Printer::new(format, &schema, out).map_err(Trouble::Output)?;
    while let Some(batch) = next {
        printer.print(&batch).map_err(Trouble::Output)?;
        next = rows.next().await.map_err(Trouble::Client)?;
    }
    let printed = printer.finish().map_err(Trouble::Output)?;
    stdout().flush().map_err(Trouble::Output)?;
    Ok(printed)
}

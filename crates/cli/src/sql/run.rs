//! Runs statements one after the other and prints what comes.

use std::io::{IsTerminal, stderr, stdout};
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use frazil_engine::stages::client_statement;
use uuid::Uuid;

use super::names::KnownNames;
use super::output::{Output, Screen, Target, pager, screen_size};
use super::progress::Progress;
use super::script::{Piece, Pieces};
use super::session::Change;
use super::split::Statement;
use super::view::View;
use super::visible::visible_lines;
use super::{Expanded, Printed, Printer, transfer, trouble};
use crate::client::{Client, ClientError, StatementContext};
use crate::config::Config;
use crate::failure::CommandError;
use crate::signals::{Stop, StopSignals};

/// A screen whose size is not told.
const SCREEN_USUAL: (usize, usize) = (24, 80);

/// How a statement or command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Done,
    /// It failed, and the user has been told.
    Failed,
    /// Likewise, as the coordinator cannot be reached, or went away.
    Unreachable,
    /// Whoever read our output has gone: there is no use in going on.
    OutputClosed,
    /// Ctrl-C.
    Interrupted,
    /// The process is to end.
    Terminated,
    /// As was asked for.
    Quit,
}

impl Outcome {
    /// Of a whole script.
    pub fn result(self) -> Result<(), CommandError> {
        match self {
            Self::Done | Self::OutputClosed | Self::Quit => Ok(()),
            Self::Failed => Err(CommandError::Reported),
            Self::Unreachable => Err(CommandError::ReportedUnreachable),
            Self::Interrupted => Err(CommandError::Interrupted),
            Self::Terminated => Err(CommandError::Terminated),
        }
    }
}

/// A client with what its statements have left behind.
pub struct Session {
    pub(super) client: Client,
    pub(super) context: StatementContext,
    pub(super) view: View,
    pub(super) target: Target,
    pub(super) config: Config,
    /// The profile whose server it speaks with.
    pub(super) profile: Option<String>,
    pub(super) names: KnownNames,
    /// What `\watch` runs again.
    pub(super) last: Option<String>,
    /// How deep `\i` is in files.
    pub(super) depth: usize,
    signals: StopSignals,
    /// Whether someone reads along, and wants to know how many rows in what time.
    watched: bool,
    keep_going: bool,
    /// What was printed is a result that another one cannot follow.
    standard_full: bool,
}

impl Session {
    pub async fn open(client: Client, mut context: StatementContext, config: &Config) -> Result<Self, CommandError> {
        let watched = stderr().is_terminal() && stdout().is_terminal();
        let signals = StopSignals::new()?;
        context.session = Some(client.open_session().await?);
        Ok(Self {
            client,
            context,
            view: View::of(&config.client),
            target: Target::Standard,
            profile: config.client.profile.clone(),
            config: config.clone(),
            names: KnownNames::default(),
            last: None,
            depth: 0,
            signals,
            watched,
            keep_going: false,
            standard_full: false,
        })
    }

    /// Statements that fail do not keep the next ones from being run.
    pub fn keep_going(&mut self) {
        self.keep_going = true;
    }

    /// Someone types statements: results may be paged, and are shown as they fit; names are fetched for completion.
    pub fn serve_a_shell(&mut self) {
        self.view.in_shell = self.watched;
        self.names.refresh(&self.client, &self.context);
    }

    pub fn known_names(&self) -> KnownNames {
        self.names.clone()
    }

    /// What was not committed is rolled back. The coordinator closes a session by itself, only later.
    pub async fn close(self) {
        self.names.stop();
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
            Err(error) => eprintln!("error: opening a session: {}", visible_lines(&error.to_string())),
        }
    }

    pub fn signals(&mut self) -> &mut StopSignals {
        &mut self.signals
    }

    pub(super) fn is_watched(&self) -> bool {
        self.watched
    }

    /// In order; the first statement that fails is the last, unless it was said to keep going.
    pub async fn run_text(&mut self, text: &str) -> Outcome {
        let mut all = Outcome::Done;
        for piece in Pieces::of(text) {
            let outcome = match piece {
                Piece::Statement(statement) => self.run_statement(&statement, text).await,
                Piece::Command(line) => self.run_command(line).await,
            };
            match outcome {
                Outcome::Done => {}
                Outcome::Failed if self.keep_going => all = Outcome::Failed,
                other => return other,
            }
        }
        all
    }

    pub(super) async fn run_statement(&mut self, statement: &Statement<'_>, whole: &str) -> Outcome {
        let change = Change::of(statement.text);
        self.last = Some(statement.text.to_owned());
        if change.is_none()
            && let Err(refused) = self.has_room()
        {
            eprintln!("error: {refused}");
            return Outcome::Failed;
        }
        let started = Instant::now();
        let mut running = Running { handle: None, printed: false };
        let printing = Printing {
            // The word on it would take the place of the one result.
            is_told: change.is_none() || !self.view.format.is_one_result(),
            client: &self.client,
            context: &self.context,
            view: &self.view,
            target: &self.target,
        };
        let ended = tokio::select! {
            ended = printing.print(statement.text, self.watched, &mut running) => ended,
            signal = self.signals.next() => {
                self.give_up(running.handle).await;
                return match signal {
                    Stop::Terminate => Outcome::Terminated,
                    Stop::Interrupt => Outcome::Interrupted,
                };
            }
        };
        if running.printed {
            self.note_printed();
        }
        // Ctrl-C in a pager is meant for the pager.
        self.signals.forget_interrupts();
        match ended {
            Ok(printed) => {
                if let Some(change) = change {
                    change.apply(&mut self.context);
                }
                if self.view.in_shell && KnownNames::are_changed_by(statement.text) {
                    self.names.refresh(&self.client, &self.context);
                }
                self.tell(printed, started);
                Outcome::Done
            }
            Err(Trouble::PagerLeft) => Outcome::Done,
            Err(Trouble::Output(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => Outcome::OutputClosed,
            Err(Trouble::Output(e)) => {
                eprintln!("error: writing the result: {}", visible_lines(&e.to_string()));
                Outcome::Failed
            }
            Err(Trouble::Client(error)) => {
                eprint!("{}", visible_lines(&trouble::report(&error, statement, whole)));
                if is_lost(&error) {
                    self.open_again().await;
                }
                match error {
                    ClientError::Unreachable(_) | ClientError::Incomplete { .. } => Outcome::Unreachable,
                    ClientError::Statement(_) | ClientError::Protocol(_) | ClientError::Invalid(_) => Outcome::Failed,
                }
            }
        }
    }

    /// Refuses what could not be printed, before it has run.
    fn has_room(&self) -> Result<(), String> {
        let format = self.view.format;
        let (terminal, full) = match &self.target {
            Target::Standard => (stdout().is_terminal(), self.standard_full),
            Target::File { full, .. } => (false, *full),
        };
        if format.is_binary() && terminal {
            return Err(format!("{format} is not for a terminal: \\o FILE writes to a file"));
        }
        if full {
            return Err(format!("a {format} file holds one result, and there is one: this statement was not run"));
        }
        Ok(())
    }

    fn note_printed(&mut self) {
        if self.view.format.is_one_result() {
            match &mut self.target {
                Target::Standard => self.standard_full = true,
                Target::File { full, .. } => *full = true,
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
        if self.watched && self.view.timing {
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
    /// Whoever looked at the result has seen enough.
    PagerLeft,
}

/// What is known of a statement, for whoever gives it up.
struct Running {
    handle: Option<String>,
    /// Something of a result was.
    printed: bool,
}

struct Printing<'a> {
    /// Whether the answer is printed.
    is_told: bool,
    client: &'a Client,
    context: &'a StatementContext,
    view: &'a View,
    target: &'a Target,
}

impl Printing<'_> {
    async fn print(&self, sql: &str, watched: bool, running: &mut Running) -> Result<Printed, Trouble> {
        if let Some(files) = client_statement(sql).map_err(|failure| Trouble::Client(transfer::refused(failure)))? {
            let moved = transfer::run(self.client, self.context, files).await.map_err(Trouble::Client)?;
            let mut printer = self.printer(&moved.schema(), running)?;
            printer.print(&moved).map_err(|e| self.trouble(e))?;
            return self.finish(printer);
        }
        // Where nobody looks, nobody asks for it by another name.
        let request = watched.then(Uuid::new_v4);
        let mut progress = request.map(|request| Progress::of(self.client, request));
        let rows = self.client.stream_as(sql, self.context, request).await;
        let mut rows = rows.map_err(Trouble::Client)?;
        running.handle = rows.handle().map(str::to_owned);
        let mut next = rows.next().await.map_err(Trouble::Client)?;
        let schema = rows.schema().map_err(Trouble::Client)?;
        if !self.is_told {
            while next.is_some() {
                next = rows.next().await.map_err(Trouble::Client)?;
            }
            return Ok(Printed::default());
        }
        let shows_at_end = self.view.shows_at_end();
        if !shows_at_end && matches!(self.target, Target::Standard) {
            progress = None;
        }
        let mut printer = self.printer(&schema, running)?;
        while let Some(batch) = next {
            printer.print(&batch).map_err(|e| self.trouble(e))?;
            next = rows.next().await.map_err(Trouble::Client)?;
        }
        drop(progress);
        self.finish(printer)
    }

    fn printer(&self, schema: &SchemaRef, running: &mut Running) -> Result<Printer<Output>, Trouble> {
        let view = self.view;
        let format = view.format;
        let terminal = matches!(self.target, Target::Standard) && stdout().is_terminal();
        let (lines, columns) = screen_size().unwrap_or(SCREEN_USUAL);
        let output = match self.target {
            Target::File { file, .. } => Output::file(file).map_err(Trouble::Output)?,
            Target::Standard if !terminal => Output::standard(),
            Target::Standard => Output::screen(Screen {
                lines,
                pager: if view.in_shell && view.pager { pager() } else { None },
                makes_visible: !format.is_for_people(),
            }),
        };
        running.printed |= !schema.fields().is_empty();
        let expanded = view.expanded(terminal.then_some(columns));
        Printer::new(format, expanded, schema, output).map_err(|e| self.trouble(e))
    }

    fn finish(&self, printer: Printer<Output>) -> Result<Printed, Trouble> {
        let (printed, output) = printer.finish().map_err(|e| self.trouble(e))?;
        output.finish().map_err(|e| self.trouble(e))?;
        Ok(printed)
    }

    fn trouble(&self, error: std::io::Error) -> Trouble {
        let paged = self.view.in_shell && matches!(self.target, Target::Standard);
        match error.kind() {
            std::io::ErrorKind::BrokenPipe if paged => Trouble::PagerLeft,
            _ => Trouble::Output(error),
        }
    }
}

impl View {
    fn expanded(&self, columns: Option<usize>) -> Expanded {
        use super::command::Switch;
        match (self.expanded, columns) {
            (Switch::On, _) => Expanded::On,
            (Switch::Auto, Some(columns)) => Expanded::WiderThan(columns),
            (Switch::Off | Switch::Auto, _) => Expanded::Off,
        }
    }
}

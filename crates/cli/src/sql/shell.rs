//! The SQL shell: lines from a keyboard until a `;`, with history.

mod keyboard;

use std::io::IsTerminal;

use super::split::is_complete;
use super::{Format, Outcome, Session};
use crate::failure::CommandError;
use crate::signals::Stop;

use keyboard::{Entered, Keyboard};

const HELP: &str = "\
  Statements end with ; and may span lines. Ctrl-C clears what is typed, or cancels what runs.
  USE database.schema    where unqualified table names are looked up
  SET option = value     for the statements that follow
  BEGIN, COMMIT          several statements as one change; ROLLBACK gives it up
  \\d                     the tables there are
  \\format FORMAT         table, csv, json or arrow
  \\q, Ctrl-D             leave";

/// Returns when the user leaves, or SIGTERM ends the process.
pub async fn run(mut session: Session) -> Result<(), CommandError> {
    let outcome = read_and_run(&mut session).await;
    session.close().await;
    outcome
}

async fn read_and_run(session: &mut Session) -> Result<(), CommandError> {
    let _terminal = Terminal::save();
    let keyboard = Keyboard::start()?;
    eprintln!("frazil {}: \\? for help", env!("CARGO_PKG_VERSION"));
    let mut typed = String::new();
    loop {
        let prompt = if typed.is_empty() { "frazil> " } else { "   ...> " };
        let entered = tokio::select! {
            entered = keyboard.line(prompt) => entered,
            stop = session.signals().next() => match stop {
                Stop::Terminate => return Ok(()),
                Stop::Interrupt => Entered::Interrupt { line_empty: true },
            }
        };
        match entered {
            Entered::Line(line) if typed.is_empty() && line.trim().starts_with('\\') => {
                if command(session, line.trim()).await == Next::Leave {
                    return Ok(());
                }
            }
            Entered::Line(line) if typed.is_empty() && matches!(line.trim(), "quit" | "exit" | "quit;" | "exit;") => {
                return Ok(());
            }
            Entered::Line(line) => {
                typed.push_str(&line);
                if !is_complete(&typed) {
                    typed.push('\n');
                    continue;
                }
                keyboard.remember(typed.trim());
                let outcome = session.run_text(&typed).await;
                typed.clear();
                if matches!(outcome, Outcome::Terminated | Outcome::OutputClosed) {
                    return Ok(());
                }
            }
            Entered::Interrupt { line_empty: true } if typed.is_empty() => return Ok(()),
            Entered::Interrupt { .. } => typed.clear(),
            Entered::End => return Ok(()),
            Entered::Broken(e) => return Err(CommandError::Failed(format!("the terminal cannot be read: {e}"))),
        }
    }
}

#[derive(PartialEq, Eq)]
enum Next {
    Stay,
    Leave,
}

async fn command(session: &mut Session, line: &str) -> Next {
    let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    match name {
        "\\q" => return Next::Leave,
        "\\?" | "\\h" => eprintln!("{HELP}"),
        "\\d" => {
            if session.run_text("SHOW TABLES").await == Outcome::Terminated {
                return Next::Leave;
            }
        }
        "\\format" => match argument.trim().parse::<Format>() {
            Ok(format) => session.set_format(format),
            Err(e) => eprintln!("error: {e}"),
        },
        other => eprintln!("error: unknown command {other}: \\? lists them"),
    }
    Next::Stay
}

/// The terminal as it was: the editor's thread may hold it in raw mode when the process ends.
struct Terminal(Option<libc::termios>);

impl Terminal {
    fn save() -> Self {
        if !std::io::stdin().is_terminal() {
            return Self(None);
        }
        // SAFETY: the structure is plain numbers, filled in by the call, and used only if the call succeeds.
        unsafe {
            let mut state = std::mem::zeroed::<libc::termios>();
            Self((libc::tcgetattr(libc::STDIN_FILENO, &mut state) == 0).then_some(state))
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(state) = &self.0 {
            // SAFETY: `state` was filled in by `tcgetattr`.
            unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, state) };
        }
    }
}

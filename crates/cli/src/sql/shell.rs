//! The SQL shell: lines from a keyboard until a `;`, with history.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;

use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use tokio::sync::oneshot;

use super::split::is_complete;
use super::{Format, Outcome, Session};
use crate::failure::CommandError;

const HELP: &str = "\
  Statements end with ; and may span lines. Ctrl-C clears what is typed, or cancels what runs.
  USE database.schema    where unqualified table names are looked up
  SET option = value     for the statements that follow
  \\d                     the tables there are
  \\format FORMAT         table, csv, json or arrow
  \\q, Ctrl-D             leave";

/// Returns when the user leaves, or SIGTERM ends the process.
pub async fn run(mut session: Session) -> Result<(), CommandError> {
    let _terminal = Terminal::save();
    let keyboard = Keyboard::start()?;
    eprintln!("frazil {}: \\? for help", env!("CARGO_PKG_VERSION"));
    let mut typed = String::new();
    loop {
        let prompt = if typed.is_empty() { "frazil> " } else { "   ...> " };
        let entered = tokio::select! {
            entered = keyboard.line(prompt) => entered,
            name = session.signals().next() => {
                if name == "SIGTERM" { return Ok(()) }
                Entered::Interrupt
            }
        };
        match entered {
            Entered::Line(line) if typed.is_empty() && line.trim().starts_with('\\') => {
                if command(&mut session, line.trim()).await == Next::Leave {
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
            Entered::Interrupt if typed.is_empty() => return Ok(()),
            Entered::Interrupt => typed.clear(),
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

enum Entered {
    Line(String),
    Interrupt,
    End,
    Broken(String),
}

enum Request {
    Line(String, oneshot::Sender<Entered>),
    Remember(String),
}

/// The editor blocks while it waits for keys, so it has a thread of its own. The thread ends with the process: nothing
/// can wake it from the terminal.
struct Keyboard(mpsc::Sender<Request>);

impl Keyboard {
    fn start() -> Result<Self, CommandError> {
        // Bounded by its user, who asks for the next line when the last one is answered.
        let (sender, requests) = mpsc::channel();
        let thread = thread::Builder::new().name("keyboard".to_owned()).spawn(move || serve(&requests));
        thread.map_err(CommandError::doing("starting a thread for the terminal"))?;
        Ok(Self(sender))
    }

    async fn line(&self, prompt: &str) -> Entered {
        let (sender, answer) = oneshot::channel();
        if self.0.send(Request::Line(prompt.to_owned(), sender)).is_err() {
            return Entered::End;
        }
        answer.await.unwrap_or(Entered::End)
    }

    fn remember(&self, statement: &str) {
        if !statement.is_empty() {
            let _ = self.0.send(Request::Remember(statement.to_owned()));
        }
    }
}

fn serve(requests: &mpsc::Receiver<Request>) {
    let history = history_file();
    let mut editor = DefaultEditor::new();
    if let (Ok(editor), Some(path)) = (&mut editor, &history) {
        // There is none the first time.
        let _ = editor.load_history(path);
    }
    for request in requests {
        match (request, &mut editor) {
            (Request::Line(prompt, answer), Ok(editor)) => {
                let _ = answer.send(read_line(editor, &prompt));
            }
            (Request::Line(_, answer), Err(e)) => {
                let _ = answer.send(Entered::Broken(e.to_string()));
            }
            (Request::Remember(text), Ok(editor)) => {
                let _ = editor.add_history_entry(text);
                if let Some(path) = &history {
                    let _ = editor.save_history(path);
                }
            }
            (Request::Remember(_), Err(_)) => {}
        }
    }
}

fn read_line(editor: &mut DefaultEditor, prompt: &str) -> Entered {
    loop {
        return match editor.readline(prompt) {
            Ok(line) => Entered::Line(line),
            Err(ReadlineError::Interrupted) => Entered::Interrupt,
            Err(ReadlineError::Eof) => Entered::End,
            // The window was resized.
            Err(ReadlineError::Signal(_)) => continue,
            Err(e) => Entered::Broken(e.to_string()),
        };
    }
}

/// `$XDG_STATE_HOME/frazil/history`; statements may hold what is private, so the directory is the user's alone.
fn history_file() -> Option<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = named("XDG_STATE_HOME").or_else(|| named("HOME").map(|home| home.join(".local/state")))?;
    let directory = state.join("frazil");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).ok()?;
    Some(directory.join("history"))
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

//! Lines from a terminal, with history and editing.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Context, Editor, Helper};
use tokio::sync::oneshot;

use crate::failure::CommandError;

pub enum Entered {
    Line(String),
    /// Ctrl-C, and whether anything stood in the line.
    Interrupt {
        line_empty: bool,
    },
    End,
    Broken(String),
}

enum Request {
    Line(String, oneshot::Sender<Entered>),
    Remember(String),
}

/// The editor blocks while it waits for keys, so it has a thread of its own. The thread ends with the process: nothing
/// can wake it from the terminal.
pub struct Keyboard(mpsc::Sender<Request>);

impl Keyboard {
    pub fn start() -> Result<Self, CommandError> {
        // Bounded by its user, who asks for the next line when the last one is answered.
        let (sender, requests) = mpsc::channel();
        let thread = thread::Builder::new().name("keyboard".to_owned()).spawn(move || serve(&requests));
        thread.map_err(CommandError::doing("starting a thread for the terminal"))?;
        Ok(Self(sender))
    }

    pub async fn line(&self, prompt: &str) -> Entered {
        let (sender, answer) = oneshot::channel();
        if self.0.send(Request::Line(prompt.to_owned(), sender)).is_err() {
            return Entered::End;
        }
        answer.await.unwrap_or(Entered::End)
    }

    pub fn remember(&self, statement: &str) {
        if !statement.is_empty() {
            let _ = self.0.send(Request::Remember(statement.to_owned()));
        }
    }
}

fn serve(requests: &mpsc::Receiver<Request>) {
    let history = history_file();
    let mut editor = keeping_interrupts(LineEditor::new);
    if let Ok(editor) = &mut editor {
        editor.set_helper(Some(Watcher::default()));
    }
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

/// The editor takes SIGINT for itself when it is made, for as long as it lives; but it needs it never (it reads Ctrl-C as a
/// key), and a statement that runs between two of its lines needs it to be cancelled.
fn keeping_interrupts<T>(make: impl FnOnce() -> T) -> T {
    // SAFETY: the structure is plain data, filled in by the first call, and put back as it was by the second.
    unsafe {
        let mut action = std::mem::zeroed::<libc::sigaction>();
        let known = libc::sigaction(libc::SIGINT, std::ptr::null(), &mut action) == 0;
        let made = make();
        if known {
            libc::sigaction(libc::SIGINT, &action, std::ptr::null_mut());
        }
        made
    }
}

fn read_line(editor: &mut LineEditor, prompt: &str) -> Entered {
    loop {
        let empty = editor.helper().map(|watcher| watcher.line_empty.clone()).unwrap_or_default();
        empty.set(true);
        return match editor.readline(prompt) {
            Ok(line) => Entered::Line(line),
            Err(ReadlineError::Interrupted) => Entered::Interrupt { line_empty: empty.get() },
            Err(ReadlineError::Eof) => Entered::End,
            // The window was resized.
            Err(ReadlineError::Signal(_)) => continue,
            Err(e) => Entered::Broken(e.to_string()),
        };
    }
}

type LineEditor = Editor<Watcher, FileHistory>;

/// The editor does not say what stood in a line that ended with Ctrl-C; but it asks for hints whenever the line changes.
#[derive(Default)]
struct Watcher {
    line_empty: Rc<Cell<bool>>,
}

impl Hinter for Watcher {
    type Hint = String;

    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        self.line_empty.set(line.is_empty());
        None
    }
}

impl Completer for Watcher {
    type Candidate = String;
}

impl Highlighter for Watcher {}
impl Validator for Watcher {}
impl Helper for Watcher {}

/// `$XDG_STATE_HOME/frazil/history`; statements may hold what is private, so the directory is the user's alone.
fn history_file() -> Option<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = named("XDG_STATE_HOME").or_else(|| named("HOME").map(|home| home.join(".local/state")))?;
    let directory = state.join("frazil");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).ok()?;
    Some(directory.join("history"))
}

//! Statements and commands from a terminal, with history and editing.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;

use rustyline::config::Configurer;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};
use tokio::sync::oneshot;

use super::ahead::{Ahead, TypedAhead};
use super::helper::ShellHelper;
use crate::failure::CommandError;
use crate::sql::names::KnownNames;

const HISTORY_MAX: usize = 10_000;
/// Of completions; more are shown when asked for.
const SHOWN_MAX: usize = 120;

pub enum Entered {
    /// A command, or statements to their ends.
    Text(String),
    /// Ctrl-C, and whether anything was typed.
    Interrupt {
        line_empty: bool,
    },
    End,
    Broken(String),
}

enum Request {
    Text { prompt: String, initial: String, answer: oneshot::Sender<Entered> },
    Remember(String),
    ForgetAhead,
}

/// The editor blocks while it waits for keys, so it has a thread of its own. The thread ends with the process: nothing
/// can wake it from the terminal.
pub struct Keyboard(mpsc::Sender<Request>);

impl Keyboard {
    pub fn start(names: KnownNames, profiles: Vec<String>, in_color: bool) -> Result<Self, CommandError> {
        // Bounded by its user, who asks for the next text when the last one is answered.
        let (sender, requests) = mpsc::channel();
        let serve = move || serve(&requests, names, profiles, in_color);
        let thread = thread::Builder::new().name("keyboard".to_owned()).spawn(serve);
        thread.map_err(CommandError::doing("starting a thread for the terminal"))?;
        Ok(Self(sender))
    }

    /// `initial` is there to be changed.
    pub async fn text(&self, prompt: &str, initial: String) -> Entered {
        let (answer, answered) = oneshot::channel();
        if self.0.send(Request::Text { prompt: prompt.to_owned(), initial, answer }).is_err() {
            return Entered::End;
        }
        answered.await.unwrap_or(Entered::End)
    }

    pub fn forget_what_is_typed_ahead(&self) {
        let _ = self.0.send(Request::ForgetAhead);
    }

    pub fn remember(&self, text: &str) {
        if !text.is_empty() {
            let _ = self.0.send(Request::Remember(text.to_owned()));
        }
    }
}

type TextEditor = Editor<ShellHelper, FileHistory>;

fn serve(requests: &mpsc::Receiver<Request>, names: KnownNames, profiles: Vec<String>, in_color: bool) {
    let history = history_file();
    let line_empty = Rc::new(Cell::new(true));
    let mut ahead = TypedAhead::default();
    let mut editor = keeping_interrupts(|| new_editor(ShellHelper::new(names, profiles, in_color, line_empty.clone())));
    if let (Ok(editor), Some(path)) = (&mut editor, &history) {
        // There is none the first time.
        let _ = editor.load_history(path);
    }
    for request in requests {
        match (request, &mut editor) {
            (Request::Text { prompt, initial, answer }, Ok(editor)) => {
                ahead.read_terminal();
                let entered = match ahead.next(&initial) {
                    Ahead::Whole(text) => {
                        println!("{prompt}{text}");
                        Entered::Text(text)
                    }
                    Ahead::Begun(text) => read_text(editor, &prompt, &text, &line_empty),
                    Ahead::End => Entered::End,
                };
                let _ = answer.send(entered);
            }
            (Request::Text { answer, .. }, Err(e)) => {
                let _ = answer.send(Entered::Broken(e.to_string()));
            }
            (Request::Remember(text), Ok(editor)) => {
                let _ = editor.add_history_entry(text);
                if let Some(path) = &history {
                    let _ = editor.save_history(path);
                }
            }
            (Request::ForgetAhead, _) => ahead.forget(),
            (Request::Remember(_), Err(_)) => {}
        }
    }
}

fn new_editor(helper: ShellHelper) -> rustyline::Result<TextEditor> {
    let config = Config::builder()
        .max_history_size(HISTORY_MAX)?
        .history_ignore_dups(true)?
        .completion_type(rustyline::CompletionType::List)
        .completion_prompt_limit(SHOWN_MAX)
        .build();
    let mut editor = TextEditor::with_config(config)?;
    editor.set_bell_style(rustyline::config::BellStyle::None);
    editor.set_helper(Some(helper));
    Ok(editor)
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

fn read_text(editor: &mut TextEditor, prompt: &str, initial: &str, line_empty: &Cell<bool>) -> Entered {
    loop {
        line_empty.set(true);
        return match editor.readline_with_initial(prompt, (initial, "")) {
            Ok(text) => Entered::Text(text),
            Err(ReadlineError::Interrupted) => Entered::Interrupt { line_empty: line_empty.get() },
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

//! The SQL shell: statements and commands from a keyboard, with history.

mod ahead;
mod complete;
mod editor;
mod helper;
mod highlight;
mod keyboard;
mod words;

use std::io::IsTerminal;

use frazil_engine::lexemes::{Kind, lexemes};

use super::command::Command;
use super::visible::visible_lines;
use super::{Outcome, Session};
use crate::failure::CommandError;
use crate::signals::Stop;

use ahead::Unseen;
use keyboard::{Entered, Keyboard};

/// Returns when the user leaves, or SIGTERM ends the process.
pub async fn run(mut session: Session) -> Result<(), CommandError> {
    session.serve_a_shell();
    let outcome = read_and_run(&mut session).await;
    session.close().await;
    outcome
}

async fn read_and_run(session: &mut Session) -> Result<(), CommandError> {
    let _terminal = Terminal::save();
    let profiles = session.config.profiles.keys().cloned().collect();
    let in_color = session.config.client.color.is_wanted();
    let keyboard = Keyboard::start(session.known_names(), profiles, in_color)?;
    eprintln!("frazil {}: \\? for help", env!("CARGO_PKG_VERSION"));
    let mut initial = String::new();
    // One Ctrl-C may have been meant for the statement that ended just before.
    let mut asked_to_leave = false;
    loop {
        let entered = tokio::select! {
            entered = keyboard.text("frazil> ", std::mem::take(&mut initial)) => entered,
            stop = session.signals().next() => match stop {
                Stop::Terminate => return Ok(()),
                Stop::Interrupt => Entered::Interrupt { line_empty: true },
            }
        };
        let text = match entered {
            Entered::Text(text) => text,
            Entered::Interrupt { line_empty: true } if asked_to_leave => return Ok(()),
            Entered::Interrupt { line_empty } => {
                asked_to_leave = line_empty;
                if line_empty {
                    eprintln!("once more, or Ctrl-D, leaves");
                }
                continue;
            }
            Entered::End => return Ok(()),
            Entered::Broken(e) => return Err(CommandError::Failed(format!("the terminal cannot be read: {e}"))),
        };
        asked_to_leave = false;
        let text = text.trim();
        if matches!(text, "quit" | "exit" | "quit;" | "exit;") {
            return Ok(());
        }
        if !holds_a_secret(text) {
            keyboard.remember(text);
        }
        if text.starts_with('\\')
            && let Ok(Command::Edit(file)) = Command::parse(text)
        {
            let last = session.last.clone().map(|last| format!("{last};")).unwrap_or_default();
            match editor::edit(&last, file.as_deref()) {
                Ok(text) => initial = text,
                Err(error) => eprintln!("error: {}", visible_lines(&error)),
            }
            session.signals().forget_interrupts();
            continue;
        }
        let unseen = Unseen::set();
        let outcome = session.run_text(text).await;
        drop(unseen);
        match outcome {
            Outcome::Done | Outcome::Failed | Outcome::Unreachable => {}
            Outcome::Interrupted => keyboard.forget_what_is_typed_ahead(),
            Outcome::Quit | Outcome::Terminated | Outcome::OutputClosed => return Ok(()),
        }
    }
}

/// Such statements are not written into the history.
fn holds_a_secret(text: &str) -> bool {
    const MARKS: [&str; 4] = ["SECRET", "PASSWORD", "TOKEN", "RSA_PUBLIC_KEY"];
    let found = lexemes(text);
    let has_text = found.iter().any(|lexeme| lexeme.kind == Kind::Text);
    let has_mark = found.iter().filter(|lexeme| lexeme.kind == Kind::Word).any(|lexeme| {
        let word = &text[lexeme.bytes.clone()];
        MARKS.iter().any(|mark| word.eq_ignore_ascii_case(mark))
    });
    has_text && has_mark
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_a_secret_is_not_remembered() {
        for text in ["create user a password = 'x';", "CREATE SECRET s (TYPE S3, SECRET 'x');"] {
            assert!(holds_a_secret(text), "{text}");
        }
        for text in ["show secrets;", "select 'password';", "\\d", "drop secret s;"] {
            assert!(!holds_a_secret(text), "{text}");
        }
    }
}

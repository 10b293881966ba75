//! What the editor asks while something is typed: colours, completions, whether it is all.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;

use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};

use super::complete::{Completion, Known, complete};
use super::highlight::highlighted;
use crate::sql::names::KnownNames;
use crate::sql::split::is_complete;

pub struct ShellHelper {
    names: KnownNames,
    profiles: Vec<String>,
    files: FilenameCompleter,
    in_color: bool,
    line_empty: Rc<Cell<bool>>,
}

impl ShellHelper {
    pub fn new(names: KnownNames, profiles: Vec<String>, in_color: bool, line_empty: Rc<Cell<bool>>) -> Self {
        Self { names, profiles, files: FilenameCompleter::new(), in_color, line_empty }
    }
}

/// Whether what is typed can be sent.
pub fn is_whole(text: &str) -> bool {
    let trimmed = text.trim();
    trimmed.starts_with('\\') || matches!(trimmed, "quit" | "exit") || is_complete(text)
}

impl Validator for ShellHelper {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if is_whole(context.input()) { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

/// The editor does not say what stood in a line that ended with Ctrl-C; but it asks for hints whenever the line changes.
impl Hinter for ShellHelper {
    type Hint = String;

    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        self.line_empty.set(line.is_empty());
        None
    }
}

impl Completer for ShellHelper {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, context: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let names = self.names.get();
        let known = Known { names: &names, profiles: &self.profiles };
        let (text, behind) = line.split_at(at);
        match complete(text, behind, &known) {
            Some(Completion { start, offered }) => {
                let pair = |word: String| Pair { display: word.clone(), replacement: word };
                Ok((start, offered.into_iter().map(pair).collect()))
            }
            None if text.trim_start().starts_with('\\') => self.files.complete(line, at, context),
            None => Ok((at, Vec::new())),
        }
    }
}

impl Highlighter for ShellHelper {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        if self.in_color { highlighted(line) } else { Cow::Borrowed(line) }
    }

    /// A character may make a word a keyword, or all that follows a text.
    fn highlight_char(&self, _: &str, _: usize, kind: CmdKind) -> bool {
        self.in_color && kind != CmdKind::MoveCursor
    }
}

impl Helper for ShellHelper {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enter_sends_what_is_whole() {
        for text in ["", "  ", "select 1;", "\\d", " \\x on", "quit", "-- x", "select 1; -- done"] {
            assert!(is_whole(text), "{text:?}");
        }
        for text in ["select 1", "select ';", "select 1; select", "/* x", "quit x", "select\n'a;\n"] {
            assert!(!is_whole(text), "{text:?}");
        }
    }
}

//! A text of statements and commands, in order.

use super::split::{Statement, next_statement};

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece<'a> {
    Statement(Statement<'a>),
    /// From a backslash where a statement could begin to the end of its line.
    Command(&'a str),
}

/// The piece that begins at the byte `start` or behind it, and the byte from which the next one may.
pub fn next_piece(text: &str, start: usize) -> Option<(Piece<'_>, usize)> {
    let begins = behind_blanks(text, start);
    let mut at = begins;
    // A command may follow lines of comment.
    while let Some(comment) = text[at..].strip_prefix("--") {
        let line = comment.find('\n')?;
        at = behind_blanks(text, text.len() - comment.len() + line);
    }
    if text[at..].starts_with('\\') {
        let line = text[at..].lines().next().unwrap_or_default();
        return Some((Piece::Command(line.trim_end()), at + line.len()));
    }
    next_statement(text, begins).map(|(found, end)| (Piece::Statement(found), end))
}

fn behind_blanks(text: &str, start: usize) -> usize {
    text.len() - text[start..].trim_start_matches(|c: char| c.is_whitespace() || c == ';').len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<String> {
        let (mut found, mut start) = (Vec::new(), 0);
        while let Some((piece, end)) = next_piece(text, start) {
            assert!(end > start);
            start = end;
            found.push(match piece {
                Piece::Statement(statement) => format!("{}:{} {}", statement.line, statement.column, statement.text),
                Piece::Command(line) => line.to_owned(),
            });
        }
        found
    }

    #[test]
    fn commands_stand_where_statements_begin() {
        assert_eq!(
            pieces("\\x\nselect 1;\n\\d t\n-- why\n\\timing off  \nselect\n '\\x\n\\y' ; \\q"),
            ["\\x", "2:1 select 1", "\\d t", "\\timing off", "6:1 select\n '\\x\n\\y'", "\\q"]
        );
        assert_eq!(pieces("-- a\nselect 1"), ["1:1 -- a\nselect 1"]);
        assert_eq!(pieces(" ;; -- nothing"), [""; 0]);
        assert_eq!(pieces(""), [""; 0]);
        assert_eq!(pieces("select 1 \\d"), ["1:1 select 1 \\d"]);
    }

    #[test]
    fn comments_may_be_long() {
        let comment = "-- a line\n".repeat(300_000);
        assert_eq!(pieces(&format!("{comment}\\x")), ["\\x"]);
        assert_eq!(pieces(&format!("{comment}select 1")).len(), 1);
        assert_eq!(pieces(&comment), [""; 0]);
    }
}

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
    let rest = &text[start..];
    let begins = start + (rest.len() - rest.trim_start_matches(|c: char| c.is_whitespace() || c == ';').len());
    if text[begins..].starts_with('\\') {
        let line = text[begins..].lines().next().unwrap_or_default();
        return Some((Piece::Command(line.trim_end()), begins + line.len()));
    }
    if let Some(comment) = text[begins..].strip_prefix("--") {
        // A command may follow a line of comment.
        let behind = text.len() - comment.len() + comment.find('\n')?;
        return match next_piece(text, behind)? {
            found @ (Piece::Command(_), _) => Some(found),
            (Piece::Statement(_), _) => next_statement(text, begins).map(|(found, end)| (Piece::Statement(found), end)),
        };
    }
    next_statement(text, begins).map(|(found, end)| (Piece::Statement(found), end))
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
}

//! A text of statements and commands, in order.

use super::split::{Place, Statement, next_statement};

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece<'a> {
    Statement(Statement<'a>),
    /// From a backslash where a statement could begin to the end of its line.
    Command(&'a str),
}

pub struct Pieces<'a> {
    text: &'a str,
    /// The byte from which the next piece may begin.
    start: usize,
    place: Place,
}

impl<'a> Pieces<'a> {
    pub fn of(text: &'a str) -> Self {
        Self { text, start: 0, place: Place::default() }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let text = self.text;
        let begins = behind_blanks(text, self.start);
        let mut at = begins;
        // A command may follow lines of comment.
        while let Some(comment) = text[at..].strip_prefix("--") {
            let line = comment.find('\n')?;
            at = behind_blanks(text, text.len() - comment.len() + line);
        }
        if text[at..].starts_with('\\') {
            let line = text[at..].lines().next().unwrap_or_default();
            self.start = at + line.len();
            return Some(Piece::Command(line.trim_end()));
        }
        let (bytes, end) = next_statement(text, begins)?;
        self.start = end;
        Some(Piece::Statement(self.place.statement(text, bytes)))
    }
}

fn behind_blanks(text: &str, start: usize) -> usize {
    text.len() - text[start..].trim_start_matches(|c: char| c.is_whitespace() || c == ';').len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<String> {
        let shown = |piece| match piece {
            Piece::Statement(Statement { text, line, column }) => format!("{line}:{column} {text}"),
            Piece::Command(line) => line.to_owned(),
        };
        Pieces::of(text).map(shown).collect()
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

    #[test]
    fn scripts_may_be_long() {
        let found = pieces(&"select 1; \n\\x\n".repeat(100_000));
        assert_eq!(found.len(), 200_000);
        assert_eq!(found[199_998..], ["199999:1 select 1", "\\x"]);
    }
}

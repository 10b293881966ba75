//! Cuts a text into statements at `;`, and nowhere that a `;` is part of something else.

use std::ops::Range;

/// A statement and where it stands in the text it was cut from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement<'a> {
    /// Without surrounding blanks and without its `;`.
    pub text: &'a str,
    /// Line and column of its first character, from 1.
    pub line: u32,
    pub column: u32,
}

/// How far a text has been gone through. Lines are counted once for all statements of a text, and not for each from its start.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    at: usize,
    line: u32,
    column: u32,
}

impl Default for Place {
    fn default() -> Self {
        Self { at: 0, line: 1, column: 1 }
    }
}

impl Place {
    /// The statement of these bytes, which are not before those of an earlier call.
    pub fn statement<'a>(&mut self, text: &'a str, bytes: Range<usize>) -> Statement<'a> {
        let passed = &text[self.at..bytes.start];
        match passed.rfind('\n') {
            Some(newline) => {
                self.line += passed.matches('\n').count() as u32;
                self.column = 1 + passed[newline + 1..].chars().count() as u32;
            }
            None => self.column += passed.chars().count() as u32,
        }
        self.at = bytes.start;
        Statement { text: &text[bytes], line: self.line, column: self.column }
    }
}

impl Statement<'_> {
    /// A place in this statement as a place in the whole text.
    pub fn place_in_whole(&self, (line, column): (u32, u32)) -> (u32, u32) {
        (line + self.line - 1, if line == 1 { column + self.column - 1 } else { column })
    }
}

/// The statements that hold more than comments, in order.
pub fn statements(text: &str) -> Vec<Statement<'_>> {
    let mut found = Vec::new();
    let (mut start, mut place) = (0, Place::default());
    while let Some((bytes, behind)) = next_statement(text, start) {
        found.push(place.statement(text, bytes));
        start = behind;
    }
    found
}

/// The bytes of the next statement from the byte `start` on, which is where another one may begin, and the byte behind its `;`
/// or the text's end. `None` where nothing but comments is left.
pub fn next_statement(text: &str, mut start: usize) -> Option<(Range<usize>, usize)> {
    while start < text.len() {
        let piece = scan(&text[start..]);
        let end = start + piece.length;
        let behind = end + usize::from(piece.terminated);
        if piece.holds_words {
            let raw = &text[start..end];
            let first = start + (raw.len() - raw.trim_start().len());
            return Some((first..first + raw.trim().len(), behind));
        }
        start = behind;
    }
    None
}

/// Whether a shell should send `text` now, or wait for more lines.
pub fn is_complete(text: &str) -> bool {
    let mut rest = text;
    loop {
        let piece = scan(rest);
        if !piece.terminated {
            return !piece.holds_words && !piece.open;
        }
        rest = &rest[piece.length + 1..];
    }
}

struct Piece {
    /// Bytes before the `;`, or to the end.
    length: usize,
    /// There was a `;`.
    terminated: bool,
    /// Something other than blanks and comments is in it.
    holds_words: bool,
    /// The text ends inside a quote or comment.
    open: bool,
}

fn scan(text: &str) -> Piece {
    let bytes = text.as_bytes();
    // A path of theirs may look like a comment: `PUT file:///tmp/*.csv @stage`.
    let moves_files = matches!(first_word(text).as_str(), "PUT" | "GET");
    let mut holds_words = false;
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let (length, closed) = match bytes[at] {
            b';' => return Piece { length: at, terminated: true, holds_words, open: false },
            b'-' if rest.starts_with("--") => (rest.find('\n').map_or(rest.len(), |end| end + 1), true),
            b'/' if rest.starts_with("/*") && !moves_files => block_comment(rest),
            byte => {
                holds_words |= !byte.is_ascii_whitespace();
                match byte {
                    b'\'' => quoted(rest, b'\'', follows_escape_mark(&bytes[..at])),
                    b'"' | b'`' => quoted(rest, byte, false),
                    b'$' if !follows_a_word(&bytes[..at]) => dollar_quoted(rest),
                    _ => (rest.chars().next().map_or(1, char::len_utf8), true),
                }
            }
        };
        if !closed {
            return Piece { length: bytes.len(), terminated: false, holds_words, open: true };
        }
        at += length;
    }
    Piece { length: bytes.len(), terminated: false, holds_words, open: false }
}

fn first_word(text: &str) -> String {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    text[..end.min(16)].to_ascii_uppercase()
}

/// The length of what begins `rest`, and whether it is closed. Comments nest, as in PostgreSQL.
fn block_comment(rest: &str) -> (usize, bool) {
    let bytes = rest.as_bytes();
    let (mut at, mut depth) = (0, 0usize);
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return (at, true);
        }
    }
    (rest.len(), false)
}

/// A doubled quote is a quote; a backslash escapes in `E'…'` alone.
fn quoted(rest: &str, quote: u8, backslash_escapes: bool) -> (usize, bool) {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if backslash_escapes => at += 2,
            byte if byte == quote && bytes.get(at + 1) == Some(&quote) => at += 2,
            byte if byte == quote => return (at + 1, true),
            _ => at += 1,
        }
    }
    (rest.len(), false)
}

/// `$$ … $$` or `$tag$ … $tag$`; a `$` that opens neither (as in `$1`) is a character like others.
fn dollar_quoted(rest: &str) -> (usize, bool) {
    let tag = rest[1..].find(|c: char| !(c.is_alphanumeric() || c == '_')).map(|end| &rest[..end + 1]);
    let Some(tag) =
        tag.filter(|tag| rest[tag.len()..].starts_with('$') && !tag[1..].starts_with(|c: char| c.is_ascii_digit()))
    else {
        return (1, true);
    };
    let mark = &rest[..tag.len() + 1];
    match rest[mark.len()..].find(mark) {
        Some(end) => (mark.len() + end + mark.len(), true),
        None => (rest.len(), false),
    }
}

fn follows_a_word(before: &[u8]) -> bool {
    before.last().is_some_and(|&byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80)
}

/// Whether what stands before a quote is the `E` of `E'…'`, and not the end of a longer word.
fn follows_escape_mark(before: &[u8]) -> bool {
    matches!(before, [rest @ .., b'e' | b'E'] if !follows_a_word(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        statements(text).into_iter().map(|statement| statement.text).collect()
    }

    #[test]
    fn semicolons_inside_of_things_do_not_cut() {
        assert_eq!(texts("SELECT 1; SELECT 2"), ["SELECT 1", "SELECT 2"]);
        assert_eq!(texts("SELECT 'a;''b;'; SELECT \"c;\"\"d;\""), ["SELECT 'a;''b;'", "SELECT \"c;\"\"d;\""]);
        assert_eq!(texts("SELECT `a;b`;"), ["SELECT `a;b`"]);
        assert_eq!(texts("SELECT 1 -- no; not here\n; SELECT 2"), ["SELECT 1 -- no; not here", "SELECT 2"]);
        assert_eq!(texts("SELECT /* a; /* b; */ c; */ 1; SELECT 2"), ["SELECT /* a; /* b; */ c; */ 1", "SELECT 2"]);
        assert_eq!(texts("SELECT $$a;b$$; SELECT $x$ $$;$y$; $x$"), ["SELECT $$a;b$$", "SELECT $x$ $$;$y$; $x$"]);
        assert_eq!(texts("SELECT $1; SELECT a$b; SELECT $"), ["SELECT $1", "SELECT a$b", "SELECT $"]);
        assert_eq!(
            texts(r"SELECT E'a\';b'; SELECT name'\'; SELECT 3"),
            [r"SELECT E'a\';b'", r"SELECT name'\'", "SELECT 3"]
        );
        assert_eq!(texts("SELECT 'é;ü'; SELECT ü"), ["SELECT 'é;ü'", "SELECT ü"]);
        assert_eq!(texts("PUT file:///tmp/*.csv @s; SELECT 1"), ["PUT file:///tmp/*.csv @s", "SELECT 1"]);
    }

    #[test]
    fn what_holds_no_words_is_no_statement() {
        assert!(texts("").is_empty());
        assert!(texts(" ;; -- nothing\n ; /* ; */ ;").is_empty());
        assert_eq!(texts("-- first\nSELECT 1;\n-- last"), ["-- first\nSELECT 1"]);
        assert_eq!(texts("SELECT 'open;"), ["SELECT 'open;"]);
    }

    #[test]
    fn places_are_those_of_the_whole_text() {
        let text = "SELECT 1;\n\n  SELECT 2;  SELECT\n3";
        let found = statements(text);
        assert_eq!(found.iter().map(|s| (s.line, s.column)).collect::<Vec<_>>(), [(1, 1), (3, 3), (3, 14)]);
        assert_eq!(found[1].place_in_whole((1, 8)), (3, 10));
        assert_eq!(found[2].place_in_whole((2, 1)), (4, 1));
    }

    /// On one line and on many: neither is gone through again for each statement, which would take minutes.
    #[test]
    fn long_scripts_are_gone_through_once() {
        const STATEMENTS: usize = 100_000;
        let one = "insert into t values ('é'); ";
        let others = STATEMENTS as u32 - 1;
        for (end, place) in [(" ", (1, 1 + others * one.chars().count() as u32)), ("\n", (1 + others, 1))] {
            let text = format!("{}{end}", one.trim_end()).repeat(STATEMENTS);
            let start = std::time::Instant::now();
            let found = statements(&text);
            let took = start.elapsed();
            assert_eq!(found.len(), STATEMENTS);
            let last = found.last().expect("it is not empty");
            assert_eq!((last.line, last.column), place);
            assert!(took < std::time::Duration::from_secs(20), "{took:?}");
        }
    }

    #[test]
    fn a_shell_waits_for_the_end() {
        for complete in ["SELECT 1;", "SELECT 1; -- done", "SELECT 1; SELECT 2;", "", "  ", "-- only this", ";"] {
            assert!(is_complete(complete), "{complete:?}");
        }
        for open in ["SELECT 1", "SELECT ';", "SELECT 1; SELECT", "SELECT $$;", "/* ;", "SELECT 1; /* ;"] {
            assert!(!is_complete(open), "{open:?}");
        }
    }
}

//! Snowflake's SQL as text: what is a literal, a quoted name, a comment, and where a statement ends.
//!
//! The texts differ in two ways from those that the planner reads. Literals have escapes (`'it\'s'`), which clients put there when
//! they write values into a statement; and quoted names are upper case where they mean a plain name (`"ORDERS"` is `orders`).

use std::borrow::Cow;

use frazil_common::{Failure, NameCase};

/// Statements whose literals the planner reads with escapes itself.
const STAGES: [&[&str]; 10] = [
    &["COPY"],
    &["LIST"],
    &["LS"],
    &["REMOVE"],
    &["RM"],
    &["CREATE", "STAGE"],
    &["CREATE", "FILE"],
    &["CREATE", "OR", "REPLACE", "STAGE"],
    &["CREATE", "OR", "REPLACE", "FILE"],
    &["ALTER", "STAGE"],
];

/// A piece of a statement, and its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// White space and comments.
    Blank,
    Word,
    /// `"…"`.
    Quoted,
    /// `'…'`.
    Literal,
    /// `$$…$$`.
    Dollars,
    /// Where a statement ends.
    Semicolon,
    Other,
}

/// All of a text, in pieces.
pub fn pieces(sql: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < sql.len() {
        let (kind, length) = next(&sql[at..]);
        pieces.push(Piece { kind, start: at, end: at + length });
        at += length;
    }
    pieces
}

fn next(rest: &str) -> (Kind, usize) {
    let bytes = rest.as_bytes();
    let until = |from: usize, end: &str| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    match bytes[0] {
        b'\'' => (Kind::Literal, literal_length(bytes)),
        b'"' => (Kind::Quoted, doubled_length(bytes)),
        b'$' if rest.starts_with("$$") => (Kind::Dollars, until(2, "$$")),
        b';' => (Kind::Semicolon, 1),
        b'-' if rest.starts_with("--") => (Kind::Blank, until(2, "\n")),
        b'/' if rest.starts_with("//") => (Kind::Blank, until(2, "\n")),
        b'/' if rest.starts_with("/*") => (Kind::Blank, until(2, "*/")),
        first if first.is_ascii_whitespace() => (Kind::Blank, 1),
        _ => {
            let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
            match rest.find(|c| !is_word(c)) {
                Some(0) => (Kind::Other, rest.chars().next().map_or(1, char::len_utf8)),
                Some(end) => (Kind::Word, end),
                None => (Kind::Word, rest.len()),
            }
        }
    }
}

/// A doubled quote does not end it, and neither does one behind a backslash.
fn literal_length(bytes: &[u8]) -> usize {
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'\'' if bytes.get(at + 1) == Some(&b'\'') => at += 2,
            b'\'' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn doubled_length(bytes: &[u8]) -> usize {
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' if bytes.get(at + 1) == Some(&b'"') => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The first words, in upper case, as far as they are words.
pub fn words(sql: &str, count: usize) -> Vec<String> {
    let mut words = Vec::with_capacity(count);
    let mut at = 0;
    while at < sql.len() && words.len() < count {
        let (kind, length) = next(&sql[at..]);
        match kind {
            Kind::Blank => {}
            Kind::Word => words.push(sql[at..at + length].to_uppercase()),
            _ => break,
        }
        at += length;
    }
    words
}

/// How many `?` a statement has.
pub fn question_marks(sql: &str) -> usize {
    let pieces = pieces(sql).into_iter();
    pieces.filter(|piece| piece.kind == Kind::Other && &sql[piece.start..piece.end] == "?").count()
}

/// The statements of a text, without what is between them; empty ones are left out.
pub fn statements(sql: &str) -> Vec<&str> {
    let mut statements = Vec::new();
    let (mut start, mut has_text) = (0, false);
    for piece in pieces(sql) {
        match piece.kind {
            Kind::Semicolon => {
                if has_text {
                    statements.push(sql[start..piece.start].trim());
                }
                (start, has_text) = (piece.end, false);
            }
            Kind::Blank => {}
            _ => has_text = true,
        }
    }
    if has_text {
        statements.push(sql[start..].trim());
    }
    statements
}

/// A statement for the planner, and which byte of it was which of the original.
pub struct Translated<'a> {
    original: &'a str,
    pub sql: String,
    /// From each of these bytes of `sql` on, so many bytes of the original were more.
    shifts: Vec<(usize, isize)>,
}

impl Translated<'_> {
    /// A statement that the client has not written.
    pub fn ours(sql: String) -> Self {
        Self { original: "", sql, shifts: Vec::new() }
    }
}

pub fn translate(original: &str) -> Translated<'_> {
    let first = words(original, 4);
    let keeps_literals =
        STAGES.iter().any(|stage| first.iter().zip(*stage).filter(|(a, b)| a == b).count() == stage.len());
    let mut translated = Translated { original, sql: String::with_capacity(original.len()), shifts: Vec::new() };
    for piece in pieces(original) {
        let text = &original[piece.start..piece.end];
        let new = match piece.kind {
            Kind::Literal if !keeps_literals => unescaped(text),
            Kind::Quoted => Cow::Owned(kept_name(text)),
            Kind::Blank if text.starts_with("//") => Cow::Owned(format!("--{}", &text[2..])),
            _ => Cow::Borrowed(text),
        };
        translated.sql.push_str(&new);
        let shift = piece.end as isize - translated.sql.len() as isize;
        if translated.shifts.last().map_or(0, |(_, last)| *last) != shift {
            translated.shifts.push((translated.sql.len(), shift));
        }
    }
    translated
}

/// `"ORDERS"` as `"orders"`.
fn kept_name(quoted: &str) -> String {
    match quoted.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')) {
        Some(inner) => format!("\"{}\"", NameCase::Upper.kept(inner)),
        // It has no end, which the planner says.
        None => quoted.to_owned(),
    }
}

/// A literal without escapes, if it has any.
fn unescaped(literal: &str) -> Cow<'_, str> {
    if !literal.contains('\\') || literal.len() < 2 || !literal.ends_with('\'') {
        return Cow::Borrowed(literal);
    }
    let mut plain = String::with_capacity(literal.len());
    let mut push = |c: char| {
        if c == '\'' {
            plain.push('\'');
        }
        plain.push(c);
    };
    let mut chars = literal[1..literal.len() - 1].chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                chars.next();
                push('\'');
            }
            '\\' => match chars.next() {
                Some('n') => push('\n'),
                Some('t') => push('\t'),
                Some('r') => push('\r'),
                Some('b') => push('\u{8}'),
                Some('f') => push('\u{c}'),
                Some('0') => push('\0'),
                Some(form @ ('x' | 'u')) => {
                    let length = if form == 'x' { 2 } else { 4 };
                    let digits: String = chars.clone().take(length).collect();
                    let code = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == length);
                    match code.and_then(char::from_u32) {
                        Some(c) => {
                            chars.nth(length - 1);
                            push(c);
                        }
                        None => push(form),
                    }
                }
                Some(other) => push(other),
                None => push('\\'),
            },
            other => push(other),
        }
    }
    Cow::Owned(format!("'{plain}'"))
}

impl Translated<'_> {
    /// The failure with its place in the original.
    pub fn in_original(&self, mut failure: Failure) -> Failure {
        if !self.shifts.is_empty()
            && let Some((line, column)) = failure.position
        {
            let at = offset_of(&self.sql, line, column);
            let shift = self.shifts.iter().take_while(|(from, _)| *from <= at).last().map_or(0, |(_, shift)| *shift);
            failure.position = Some(position_of(self.original, at.saturating_add_signed(shift)));
        }
        failure
    }
}

fn offset_of(text: &str, line: u32, column: u32) -> usize {
    let lines = text.split_inclusive('\n');
    let before: usize = lines.clone().take(line.saturating_sub(1) as usize).map(str::len).sum();
    let within = text[before..].char_indices().nth(column.saturating_sub(1) as usize);
    before + within.map_or(text.len() - before, |(at, _)| at)
}

fn position_of(text: &str, offset: usize) -> (u32, u32) {
    let before: String = text.char_indices().take_while(|(at, _)| *at < offset).map(|(_, c)| c).collect();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

/// `"ORDERS"` or `orders` as the name that is kept.
pub fn kept(name: &str) -> String {
    match name.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')) {
        Some(inner) => NameCase::Upper.kept(&inner.replace("\"\"", "\"")).into_owned(),
        None => name.to_lowercase(),
    }
}

/// A literal of the planner's SQL.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// What a literal or a word stands for.
pub fn value_of(piece: &str) -> String {
    if piece.len() >= 2 && piece.starts_with('\'') && piece.ends_with('\'') {
        let plain = unescaped(piece);
        return plain[1..plain.len() - 1].replace("''", "'");
    }
    piece.trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use frazil_common::ErrorCode;

    use super::*;

    fn check(original: &str, sql: &str) {
        assert_eq!(translate(original).sql, sql);
    }

    #[test]
    fn literals_lose_their_escapes_and_names_their_case() {
        check(r"SELECT 'it\'s', 'a\\b', 'c''d'", r"SELECT 'it''s', 'a\b', 'c''d'");
        check(r"SELECT 'x\ny\u00e4\x41\q'", "SELECT 'x\nyäAq'");
        check(r#"SELECT "A", "a", "Ab", "A ""B""" FROM "S"."T""#, r#"SELECT "a", "A", "Ab", "A ""B""" FROM "s"."t""#);
        check("SELECT '\"A\"' -- \"A\"\n, \"A\" // 'x", "SELECT '\"A\"' -- \"A\"\n, \"a\" -- 'x");
        check(r"SELECT $$it\'s$$", r"SELECT $$it\'s$$");
        check(
            r"COPY INTO t FROM @s FILE_FORMAT = (ESCAPE = '\\')",
            r"COPY INTO t FROM @s FILE_FORMAT = (ESCAPE = '\\')",
        );
        check(r"SELECT 'no end\'", r"SELECT 'no end\'");
        check("SELECT \"no end", "SELECT \"no end");
    }

    #[test]
    fn a_text_is_split_at_semicolons_that_end_statements() {
        let text = "SELECT ';';\n-- ; \nSELECT \";\" ; ; SELECT $$;$$ /* ; */; -- end";
        assert_eq!(statements(text), ["SELECT ';'", "-- ; \nSELECT \";\"", "SELECT $$;$$ /* ; */"]);
        assert!(statements(" ; -- nothing").is_empty());
        assert_eq!(words("/* c */ show -- x\n tables in", 2), ["SHOW", "TABLES"]);
    }

    #[test]
    fn a_failure_has_its_place_in_the_original() {
        let translated = translate("SELECT 'a\\'b\\n',\n  missing");
        assert_eq!(translated.sql, "SELECT 'a''b\n',\n  missing");
        let failure = Failure::new(ErrorCode::UndefinedColumn, "column missing").at_position(3, 3);
        assert_eq!(translated.in_original(failure).position, Some((2, 3)));
    }
}

//! Words, texts and places of the statements about stages. sqlparser's tokens will not do: a place is written without quotes,
//! as `@s/2026-11-24/*.csv.gz`, where SQL would see operators and comments.

use frazil_common::{ErrorCode, Failure};

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Token {
    /// As written. Keywords are compared without case.
    Word(String),
    /// `"name"`.
    Quoted(String),
    /// `'text'`, its escapes resolved, or `$$text$$`.
    Text(String),
    /// `@name/path`, all of it.
    Place(String),
    Symbol(char),
}

/// A token and its bytes in the statement.
#[derive(Clone, Debug)]
pub struct Spanned {
    pub token: Token,
    pub start: usize,
    pub end: usize,
}

/// All tokens of a statement.
pub fn tokens(sql: &str) -> Result<Vec<Spanned>, Failure> {
    let mut lexer = Lexer { sql, at: 0 };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next()? {
        tokens.push(token);
    }
    Ok(tokens)
}

/// The first words of a statement, in upper case, as far as they are words: to tell whose statement it is.
pub fn first_words(sql: &str, count: usize) -> Vec<String> {
    let mut lexer = Lexer { sql, at: 0 };
    let mut words = Vec::with_capacity(count);
    while words.len() < count {
        match lexer.next() {
            Ok(Some(Spanned { token: Token::Word(word), .. })) => words.push(word.to_ascii_uppercase()),
            _ => break,
        }
    }
    words
}

struct Lexer<'a> {
    sql: &'a str,
    at: usize,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.sql[self.at..]
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let blanks = rest.len() - rest.trim_start().len();
            let rest = &rest[blanks..];
            let comment = if rest.starts_with("--") {
                rest.find('\n').map_or(rest.len(), |end| end + 1)
            } else if rest.starts_with("/*") {
                rest.find("*/").map_or(rest.len(), |end| end + 2)
            } else {
                0
            };
            self.at += blanks + comment;
            if comment == 0 {
                return;
            }
        }
    }

    fn next(&mut self) -> Result<Option<Spanned>, Failure> {
        self.skip_blanks();
        let start = self.at;
        let Some(first) = self.rest().chars().next() else { return Ok(None) };
        let token = match first {
            '\'' => Token::Text(self.text()?),
            '"' => Token::Quoted(self.quoted()?),
            '@' => Token::Place(self.place()?),
            '$' if self.rest().starts_with("$$") => Token::Text(self.dollars()?),
            c if is_word(c) || c == '$' => {
                let rest = self.rest();
                let length = rest.find(|c| !(is_word(c) || c == '$')).unwrap_or(rest.len());
                let word = rest[..length].to_owned();
                self.at += length;
                Token::Word(word)
            }
            symbol => {
                self.at += symbol.len_utf8();
                Token::Symbol(symbol)
            }
        };
        Ok(Some(Spanned { token, start, end: self.at }))
    }

    /// Escapes as Snowflake has them in literals: a doubled quote, and a backslash before what it knows.
    fn text(&mut self) -> Result<String, Failure> {
        let start = self.at;
        let mut text = String::new();
        let mut chars = self.sql[start + 1..].char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                '\'' if chars.peek().is_some_and(|(_, next)| *next == '\'') => {
                    chars.next();
                    text.push('\'');
                }
                '\'' => {
                    self.at = start + 1 + at + 1;
                    return Ok(text);
                }
                '\\' => match chars.next().map(|(_, escaped)| escaped) {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some('0') => text.push('\0'),
                    Some('b') => text.push('\u{8}'),
                    Some('f') => text.push('\u{c}'),
                    Some('x') => {
                        let digits: String = [chars.next(), chars.next()].iter().flatten().map(|(_, c)| *c).collect();
                        let code = u8::from_str_radix(&digits, 16).ok().filter(u8::is_ascii);
                        let code = code.ok_or_else(|| self.wrong(start, "has an escape \\x that is not ASCII"))?;
                        text.push(char::from(code));
                    }
                    // `'\\'`, `'\''`, and patterns such as `'.*\.csv'`, which mean the dot.
                    Some(other @ ('\\' | '\'' | '"')) => text.push(other),
                    Some(other) => {
                        text.push('\\');
                        text.push(other);
                    }
                    None => break,
                },
                other => text.push(other),
            }
        }
        Err(self.wrong(start, "does not end"))
    }

    fn quoted(&mut self) -> Result<String, Failure> {
        let start = self.at;
        let mut name = String::new();
        let mut chars = self.sql[start + 1..].char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' if chars.peek().is_some_and(|(_, next)| *next == '"') => {
                    chars.next();
                    name.push('"');
                }
                '"' => {
                    self.at = start + 1 + at + 1;
                    return Ok(name);
                }
                other => name.push(other),
            }
        }
        Err(self.wrong(start, "does not end"))
    }

    fn dollars(&mut self) -> Result<String, Failure> {
        let start = self.at;
        let body = &self.sql[start + 2..];
        let Some(end) = body.find("$$") else { return Err(self.wrong(start, "does not end")) };
        let text = body[..end].to_owned();
        self.at = start + 2 + end + 2;
        Ok(text)
    }

    /// To the next blank, comma, parenthesis or semicolon that is not in double quotes.
    fn place(&mut self) -> Result<String, Failure> {
        let start = self.at;
        let mut in_quotes = false;
        let rest = self.rest();
        let end = rest.find(|c: char| {
            in_quotes ^= c == '"';
            !in_quotes && (c.is_whitespace() || matches!(c, ',' | '(' | ')' | ';'))
        });
        let end = end.unwrap_or(rest.len());
        let place = rest[..end].to_owned();
        if in_quotes {
            return Err(self.wrong(start, "does not end"));
        }
        self.at += end;
        Ok(place)
    }

    fn wrong(&self, start: usize, why: &str) -> Failure {
        let shown: String = self.sql[start..].chars().take(20).collect();
        let failure = Failure::new(ErrorCode::Syntax, format!("what begins with {shown:?} {why}"));
        let (line, column) = position(self.sql, start);
        failure.at_position(line, column)
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Line and column of a byte, from 1.
pub fn position(sql: &str, at: usize) -> (u32, u32) {
    let before = &sql[..at];
    let line = before.matches('\n').count() as u32 + 1;
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) as u32 + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(sql: &str) -> Vec<Token> {
        tokens(sql).unwrap().into_iter().map(|spanned| spanned.token).collect()
    }

    #[test]
    fn places_are_taken_whole() {
        let word = |text: &str| Token::Word(text.to_owned());
        let place = |text: &str| Token::Place(text.to_owned());
        assert_eq!(
            kinds("copy into t from @db.s.\"My stage\"/2026-11-24/*.csv -- all\n;"),
            [
                word("copy"),
                word("into"),
                word("t"),
                word("from"),
                place("@db.s.\"My stage\"/2026-11-24/*.csv"),
                Token::Symbol(';')
            ]
        );
        assert_eq!(kinds("(@s, 1)")[1], place("@s"));
    }

    #[test]
    fn escapes_are_those_of_snowflake() {
        let text = |sql: &str| match kinds(sql).remove(0) {
            Token::Text(text) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(text(r"'\t'"), "\t");
        assert_eq!(text(r"'it''s'"), "it's");
        assert_eq!(text(r"'it\'s'"), "it's");
        assert_eq!(text(r"'\\N'"), "\\N");
        assert_eq!(text(r"'.*\.csv'"), ".*\\.csv");
        assert_eq!(text(r"'\x01'"), "\u{1}");
        assert_eq!(text("$$a'b$$"), "a'b");
        assert!(tokens("'open").is_err());
    }
}

//! What a text of SQL consists of, for whoever shows it or completes it. Never fails: what does not end is what it begins as.

use std::ops::Range;

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace};

use crate::dialect::FrazilDialect;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A word without quotes: a keyword or a name, which only its place tells.
    Word,
    /// A name in quotes.
    Quoted,
    Number,
    /// A text, or the beginning of one.
    Text,
    Comment,
    /// A dot, a comma, a parenthesis, an operator.
    Sign,
}

/// One of them, and its bytes in the text. Blanks are left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lexeme {
    pub kind: Kind,
    pub bytes: Range<usize>,
}

/// In their order, without gaps but for blanks.
pub fn lexemes(text: &str) -> Vec<Lexeme> {
    let dialect = FrazilDialect::default();
    let mut tokens: Vec<TokenWithSpan> = Vec::new();
    // On an error the tokens before it are there; what is left is looked at below.
    let complete = Tokenizer::new(&dialect, text).tokenize_with_location_into_buf(&mut tokens).is_ok();
    let mut places = Places { text, at: 0, line: 1, column: 1 };
    let mut found = Vec::with_capacity(tokens.len());
    let mut end = 0;
    for token in &tokens {
        let start = places.byte(token.span.start.line, token.span.start.column);
        end = places.byte(token.span.end.line, token.span.end.column);
        if let Some(kind) = kind(&token.token).filter(|_| start < end) {
            found.push(Lexeme { kind, bytes: start..end });
        }
    }
    if !complete {
        let rest = &text[end..];
        let start = end + (rest.len() - rest.trim_start().len());
        if start < text.len() {
            found.push(Lexeme { kind: unfinished(&text[start..]), bytes: start..text.len() });
        }
    }
    found
}

fn kind(token: &Token) -> Option<Kind> {
    Some(match token {
        Token::EOF => return None,
        Token::Whitespace(Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_)) => Kind::Comment,
        Token::Whitespace(_) => return None,
        Token::Word(word) if word.quote_style.is_some() => Kind::Quoted,
        Token::Word(_) => Kind::Word,
        Token::Number(..) => Kind::Number,
        Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::TripleSingleQuotedString(_)
        | Token::TripleDoubleQuotedString(_)
        | Token::DollarQuotedString(_)
        | Token::SingleQuotedByteStringLiteral(_)
        | Token::DoubleQuotedByteStringLiteral(_)
        | Token::NationalStringLiteral(_)
        | Token::EscapedStringLiteral(_)
        | Token::UnicodeStringLiteral(_)
        | Token::HexStringLiteral(_) => Kind::Text,
        // Every sign that there is or will be.
        _ => Kind::Sign,
    })
}

fn unfinished(rest: &str) -> Kind {
    match rest.as_bytes() {
        [b'/', b'*', ..] => Kind::Comment,
        [b'"' | b'`', ..] => Kind::Quoted,
        _ => Kind::Text,
    }
}

/// Turns the tokenizer's lines and columns, in characters and rising, into bytes.
struct Places<'a> {
    text: &'a str,
    at: usize,
    line: u64,
    column: u64,
}

impl Places<'_> {
    fn byte(&mut self, line: u64, column: u64) -> usize {
        for character in self.text[self.at..].chars() {
            if (self.line, self.column) >= (line, column) {
                break;
            }
            self.at += character.len_utf8();
            (self.line, self.column) =
                if character == '\n' { (self.line + 1, 1) } else { (self.line, self.column + 1) };
        }
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<(Kind, &str)> {
        lexemes(text).into_iter().map(|lexeme| (lexeme.kind, &text[lexeme.bytes])).collect()
    }

    #[test]
    fn texts_are_told_apart() {
        use Kind::*;
        assert_eq!(
            shown("select \"Ä b\", 'é''x',\n 1.5e3 -- why\nfrom t /* c\n */ where a<>'x'"),
            [
                (Word, "select"),
                (Quoted, "\"Ä b\""),
                (Sign, ","),
                (Text, "'é''x'"),
                (Sign, ","),
                (Number, "1.5e3"),
                (Comment, "-- why\n"),
                (Word, "from"),
                (Word, "t"),
                (Comment, "/* c\n */"),
                (Word, "where"),
                (Word, "a"),
                (Sign, "<>"),
                (Text, "'x'"),
            ]
        );
    }

    #[test]
    fn what_does_not_end_is_what_it_begins_as() {
        assert_eq!(shown("select 'a b"), [(Kind::Word, "select"), (Kind::Text, "'a b")]);
        assert_eq!(shown("select \"a b"), [(Kind::Word, "select"), (Kind::Quoted, "\"a b")]);
        assert_eq!(shown("x /* a"), [(Kind::Word, "x"), (Kind::Comment, "/* a")]);
        assert_eq!(shown(""), []);
        assert_eq!(shown("  "), []);
        for text in ["'", "$$", "\u{0}", "a\u{301}'", "`", "E'\\", "🦀 '🦀", "select 1 \\", "U&'\\"] {
            let found = lexemes(text);
            assert!(found.iter().all(|lexeme| text.get(lexeme.bytes.clone()).is_some()), "{text:?}: {found:?}");
        }
    }
}

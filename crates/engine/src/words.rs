//! A statement's words, for those statements whose texts no message may quote: secrets and passwords.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};
use frazil_common::{ErrorCode, Failure};

/// A name, a value: longer ones are a mistake.
pub const TEXT_BYTES_MAX: usize = 8192;

/// All tokens but blanks and comments; an error where a text or quoted name does not end.
pub fn tokens(sql: &str) -> Result<Vec<TokenWithSpan>, ()> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location().map_err(|_| ())?;
    Ok(tokens.into_iter().filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF)).collect())
}

/// Whether a token is this word, without quotes; `word` is in lower case.
pub fn is_word(token: &TokenWithSpan, word: &str) -> bool {
    matches!(&token.token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
}

/// What is left of a statement.
pub struct Words<'a> {
    pub tokens: &'a [TokenWithSpan],
}

impl Words<'_> {
    /// Takes the words if they come next.
    pub fn take(&mut self, words: &[&str]) -> bool {
        let come =
            words.len() <= self.tokens.len() && words.iter().zip(self.tokens).all(|(word, token)| is_word(token, word));
        if come {
            self.tokens = &self.tokens[words.len()..];
        }
        come
    }

    pub fn expect(&mut self, word: &str) -> Result<(), Failure> {
        match self.take(&[&word.to_ascii_lowercase()]) {
            true => Ok(()),
            false => Err(syntax(format!("expected {word}{}", self.found()))),
        }
    }

    pub fn token(&mut self, wanted: &Token) -> bool {
        let comes = self.tokens.first().is_some_and(|token| token.token == *wanted);
        if comes {
            self.tokens = &self.tokens[1..];
        }
        comes
    }

    /// The next word, whatever it is, in upper case.
    pub fn any_word(&mut self) -> Option<String> {
        let (first, rest) = self.tokens.split_first()?;
        match &first.token {
            Token::Word(word) if word.quote_style.is_none() => {
                self.tokens = rest;
                Some(word.value.to_ascii_uppercase())
            }
            _ => None,
        }
    }

    /// One part, in lower case where it is not quoted.
    pub fn name(&mut self, of: &str) -> Result<String, Failure> {
        let Some((TokenWithSpan { token: Token::Word(word), .. }, rest)) = self.tokens.split_first() else {
            return Err(syntax(format!("{of} has a name")));
        };
        if !matches!(word.quote_style, None | Some('"')) {
            return Err(syntax(format!("{of} has a name, without quotes or in double ones")));
        }
        self.tokens = rest;
        let name = if word.quote_style.is_some() { word.value.clone() } else { word.value.to_lowercase() };
        match name.is_empty() || name.len() > TEXT_BYTES_MAX {
            true => Err(syntax(format!("{of} has a name of some letters"))),
            false => Ok(name),
        }
    }

    /// `a`, `a.b`, `a.b.c`.
    pub fn names(&mut self, of: &str) -> Result<Vec<String>, Failure> {
        let mut parts = vec![self.name(of)?];
        while self.token(&Token::Period) {
            parts.push(self.name(of)?);
        }
        Ok(parts)
    }

    /// `'text'`.
    pub fn text(&mut self, of: &str) -> Result<String, Failure> {
        match self.tokens.split_first() {
            Some((TokenWithSpan { token: Token::SingleQuotedString(text), .. }, rest)) => {
                self.tokens = rest;
                if text.len() > TEXT_BYTES_MAX {
                    return Err(invalid(format!("{of} has more than {TEXT_BYTES_MAX} bytes")));
                }
                Ok(text.clone())
            }
            _ => Err(syntax(format!("{of} is a text in single quotes"))),
        }
    }

    pub fn number(&mut self, of: &str) -> Result<u64, Failure> {
        match self.tokens.split_first() {
            Some((TokenWithSpan { token: Token::Number(digits, _), .. }, rest)) if digits.parse::<u64>().is_ok() => {
                self.tokens = rest;
                Ok(digits.parse().unwrap_or_default())
            }
            _ => Err(syntax(format!("{of} is a whole number"))),
        }
    }

    pub fn is_at_end(&self) -> bool {
        self.tokens.iter().all(|token| token.token == Token::SemiColon)
    }

    /// What comes next, if it may be told: a word.
    pub fn found(&self) -> String {
        match self.tokens.first().map(|token| &token.token) {
            Some(Token::Word(word)) if word.quote_style.is_none() => format!(", found {}", word.value),
            Some(_) => String::new(),
            None => ", and the statement ends".to_owned(),
        }
    }

    pub fn end(&self, what: &str) -> Result<(), Failure> {
        match self.is_at_end() {
            true => Ok(()),
            false => Err(syntax(format!("something follows {what}{}", self.found()))),
        }
    }
}

pub fn syntax(message: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::Syntax, message)
}

pub fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::InvalidArgument, message)
}

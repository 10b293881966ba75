//! A cursor over tokens.

use frazil_common::{ErrorCode, Failure};

use super::lexer::{Spanned, Token, position, tokens};

pub struct Parser<'a> {
    pub sql: &'a str,
    tokens: Vec<Spanned>,
    at: usize,
}

impl<'a> Parser<'a> {
    pub fn new(sql: &'a str) -> Result<Self, Failure> {
        Ok(Self { sql, tokens: tokens(sql)?, at: 0 })
    }

    pub fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|spanned| &spanned.token)
    }

    pub fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    /// Takes the keyword if it comes next.
    pub fn accept(&mut self, keyword: &str) -> bool {
        let next = matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(keyword));
        self.at += usize::from(next);
        next
    }

    /// Takes all of the keywords if they come next, or none.
    pub fn accept_all(&mut self, keywords: &[&str]) -> bool {
        let before = self.at;
        let all = keywords.iter().all(|keyword| self.accept(keyword));
        if !all {
            self.at = before;
        }
        all
    }

    pub fn expect(&mut self, keyword: &str) -> Result<(), Failure> {
        if self.accept(keyword) { Ok(()) } else { Err(self.expected(keyword)) }
    }

    pub fn accept_symbol(&mut self, symbol: char) -> bool {
        let next = self.peek() == Some(&Token::Symbol(symbol));
        self.at += usize::from(next);
        next
    }

    pub fn expect_symbol(&mut self, symbol: char) -> Result<(), Failure> {
        if self.accept_symbol(symbol) { Ok(()) } else { Err(self.expected(&format!("{symbol:?}"))) }
    }

    /// The next word, whatever it is, in upper case: the name of an option.
    pub fn option_name(&mut self) -> Result<String, Failure> {
        match self.peek() {
            Some(Token::Word(word)) => {
                let name = word.to_ascii_uppercase();
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.expected("an option")),
        }
    }

    /// `a`, `a.b`, `a."B".c`: lower case where it is not quoted.
    pub fn name(&mut self) -> Result<Vec<String>, Failure> {
        let mut parts = Vec::new();
        loop {
            match self.peek() {
                Some(Token::Word(word)) => parts.push(word.to_lowercase()),
                Some(Token::Quoted(name)) => parts.push(name.clone()),
                _ => return Err(self.expected("a name")),
            }
            self.at += 1;
            if !self.accept_symbol('.') {
                return Ok(parts);
            }
        }
    }

    pub fn text(&mut self) -> Result<String, Failure> {
        match self.peek() {
            Some(Token::Text(text)) => {
                let text = text.clone();
                self.at += 1;
                Ok(text)
            }
            _ => Err(self.expected("a text in single quotes")),
        }
    }

    /// `('a', 'b')`, or one text.
    pub fn texts(&mut self) -> Result<Vec<String>, Failure> {
        if !self.accept_symbol('(') {
            return Ok(vec![self.text()?]);
        }
        let mut texts = Vec::new();
        while !self.accept_symbol(')') {
            if !texts.is_empty() {
                self.expect_symbol(',')?;
            }
            texts.push(self.text()?);
        }
        Ok(texts)
    }

    /// What is between the next parentheses, as it is written.
    pub fn in_parentheses(&mut self) -> Result<&'a str, Failure> {
        self.expect_symbol('(')?;
        let start = self.tokens[self.at - 1].end;
        let mut depth = 1;
        while let Some(spanned) = self.tokens.get(self.at) {
            match spanned.token {
                Token::Symbol('(') => depth += 1,
                Token::Symbol(')') => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Ok(&self.sql[start..spanned.start]);
            }
        }
        Err(self.expected("')'"))
    }

    /// Byte at which the next token begins.
    pub fn offset(&self) -> usize {
        self.tokens.get(self.at).map_or(self.sql.len(), |spanned| spanned.start)
    }

    /// Byte at which the last token that was taken ends.
    pub fn end_of_last(&self) -> usize {
        self.at.checked_sub(1).and_then(|last| self.tokens.get(last)).map_or(0, |spanned| spanned.end)
    }

    pub fn is_at_end(&self) -> bool {
        self.tokens[self.at.min(self.tokens.len())..].iter().all(|spanned| spanned.token == Token::Symbol(';'))
    }

    pub fn end(&self) -> Result<(), Failure> {
        if self.is_at_end() { Ok(()) } else { Err(self.expected("the end of the statement")) }
    }

    pub fn expected(&self, what: &str) -> Failure {
        let found = match self.tokens.get(self.at) {
            Some(spanned) => format!("found {}", &self.sql[spanned.start..spanned.end]),
            None => "the statement ends".to_owned(),
        };
        let (line, column) = position(self.sql, self.offset());
        Failure::new(ErrorCode::Syntax, format!("expected {what}, {found}")).at_position(line, column)
    }
}

//! A statement, read word by word: those whose grammar is this protocol's own.

use frazil_common::{ErrorCode, Failure};

use super::text::{self, Kind, kept, value_of};

/// Reads a statement word by word.
pub struct Reader<'a> {
    pieces: Vec<(Kind, &'a str)>,
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(sql: &'a str) -> Self {
        let pieces = text::pieces(sql).into_iter();
        let pieces = pieces.filter(|piece| !matches!(piece.kind, Kind::Blank | Kind::Semicolon));
        Self { pieces: pieces.map(|piece| (piece.kind, &sql[piece.start..piece.end])).collect(), at: 0 }
    }

    pub fn take(&mut self) -> Option<(Kind, &'a str)> {
        let taken = self.pieces.get(self.at).copied();
        self.at += 1;
        taken
    }

    pub fn words(&mut self, words: &[&str]) -> bool {
        let there = words.iter().enumerate().all(|(index, word)| {
            let piece = self.pieces.get(self.at + index);
            piece.is_some_and(|(kind, piece)| *kind == Kind::Word && piece.eq_ignore_ascii_case(word))
        });
        if there {
            self.at += words.len();
        }
        there
    }

    pub fn word(&mut self, word: &str) -> bool {
        self.words(&[word])
    }

    fn wrong(&self, wanted: &str) -> Failure {
        let found = self.pieces.get(self.at).map_or("the end", |(_, piece)| piece);
        Failure::new(ErrorCode::Syntax, format!("expected {wanted}, found {found}"))
    }

    pub fn expect(&mut self, word: &str) -> Result<(), Failure> {
        if self.word(word) { Ok(()) } else { Err(self.wrong(word)) }
    }

    pub fn symbol(&mut self, symbol: &str) -> Result<(), Failure> {
        match self.pieces.get(self.at) {
            Some((Kind::Other, piece)) if *piece == symbol => {
                self.at += 1;
                Ok(())
            }
            _ => Err(self.wrong(symbol)),
        }
    }

    pub fn literal(&mut self) -> Result<String, Failure> {
        match self.pieces.get(self.at) {
            Some((Kind::Literal, piece)) => {
                self.at += 1;
                Ok(value_of(piece))
            }
            _ => Err(self.wrong("a text")),
        }
    }

    pub fn at_name(&self) -> bool {
        const CLAUSES: [&str; 4] = ["LIKE", "STARTS", "LIMIT", "IN"];
        match self.pieces.get(self.at) {
            Some((Kind::Quoted, _)) => true,
            Some((Kind::Word, word)) => !CLAUSES.iter().any(|clause| word.eq_ignore_ascii_case(clause)),
            _ => false,
        }
    }

    /// Parts of a name, as they are kept.
    pub fn name(&mut self) -> Result<Vec<String>, Failure> {
        let mut parts = Vec::new();
        loop {
            match self.pieces.get(self.at) {
                Some((Kind::Word | Kind::Quoted, piece)) => parts.push(kept(piece)),
                _ => return Err(self.wrong("a name")),
            }
            self.at += 1;
            if self.symbol(".").is_err() {
                return Ok(parts);
            }
        }
    }

    pub fn end(&self) -> Result<(), Failure> {
        match self.pieces.get(self.at) {
            None => Ok(()),
            Some(_) => Err(self.wrong("the end")),
        }
    }
}

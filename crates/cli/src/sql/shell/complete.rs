//! What may stand where Tab is pressed: keywords, tables, columns, commands and what they take.

use std::collections::BTreeSet;

use frazil_engine::lexemes::{Kind, Lexeme, lexemes};

use super::words::{KEYWORDS, is_keyword};
use crate::sql::Format;
use crate::sql::command::{COMMANDS, Takes};
use crate::sql::names::{Names, Relation};
use crate::sql::split::next_statement;

/// More are no help.
const OFFERED_MAX: usize = 500;

/// The byte from which the text is replaced, and with what it may be.
pub struct Completion {
    pub start: usize,
    pub offered: Vec<String>,
}

/// What is known beside the text.
pub struct Known<'a> {
    pub names: &'a Names,
    pub profiles: &'a [String],
}

/// `text` is what stands before the cursor, `behind` what stands after it. `None` is left to whoever knows files.
pub fn complete(text: &str, behind: &str, known: &Known<'_>) -> Option<Completion> {
    if text.trim_start().starts_with('\\') {
        return complete_command(text, known);
    }
    let from = begin_of_last_statement(text);
    let text = &text[from..];
    let found = lexemes(text);
    let before: Vec<&Lexeme> = found.iter().collect();
    let place = Place::of(text, &before)?;
    let mut tables = mentioned(text, &before, known.names);
    let following = lexemes(behind);
    tables.extend(mentioned(behind, &following.iter().collect::<Vec<_>>(), known.names));
    let Completion { start, offered } = place.completion(known.names, &tables);
    Some(Completion { start: from + start, offered })
}

/// That which is being typed.
fn begin_of_last_statement(text: &str) -> usize {
    let mut from = 0;
    while let Some((_, end)) = next_statement(text, from).filter(|(_, end)| text[..*end].ends_with(';')) {
        from = end;
    }
    from
}

fn complete_command(text: &str, known: &Known<'_>) -> Option<Completion> {
    let begin = text.len() - text.trim_start().len();
    let line = &text[begin..];
    let Some((name, argument)) = line.split_once(char::is_whitespace) else {
        let names = COMMANDS.iter().map(|(name, _)| *name).filter(|name| name.starts_with(line));
        return Some(Completion { start: begin, offered: names.map(str::to_owned).collect() });
    };
    let argument = argument.trim_start();
    let start = text.len() - argument.len();
    let takes = COMMANDS.iter().find(|(command, _)| *command == name).map_or(Takes::Nothing, |(_, takes)| *takes);
    let offered: Vec<String> = match takes {
        Takes::File => return None,
        Takes::Nothing | Takes::Number => Vec::new(),
        Takes::Format => Format::names().map(str::to_owned).collect(),
        Takes::Switch => ["on", "off"].map(str::to_owned).to_vec(),
        Takes::Profile => known.profiles.to_vec(),
        Takes::Database => known.names.databases.iter().map(|name| spelled(name)).collect(),
        Takes::Table => {
            let found = lexemes(argument);
            let place = Place::of(argument, &found.iter().collect::<Vec<_>>())?;
            let place = Place { wanted: Wanted::Table, ..place };
            let mut completion = place.completion(known.names, &[]);
            completion.start += start;
            return Some(completion);
        }
    };
    let begun = argument.to_lowercase();
    let offered = offered.into_iter().filter(|word| word.to_lowercase().starts_with(&begun)).collect();
    Some(Completion { start, offered })
}

/// A table that the statement names, and by what other name.
struct Mentioned<'a> {
    table: &'a Relation,
    alias: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wanted {
    Table,
    Database,
    Schema,
    Stage,
    /// A value, a column, a keyword.
    Any,
}

/// Where the cursor is.
struct Place {
    /// Of what is replaced.
    start: usize,
    /// As it is typed so far, without quotes; `quoted` where it began with one.
    begun: String,
    quoted: bool,
    /// What stands before a dot in front of it, as it is in the catalog.
    qualifiers: Vec<String>,
    wanted: Wanted,
}

impl Place {
    /// `None` where nothing can be completed: in a text or a comment.
    fn of(text: &str, before: &[&Lexeme]) -> Option<Self> {
        let end = text.len();
        let (mut rest, mut begin) = (before, end);
        let mut place =
            Self { start: end, begun: String::new(), quoted: false, qualifiers: Vec::new(), wanted: Wanted::Any };
        if let Some((last, others)) = rest.split_last().filter(|(last, _)| last.bytes.end == end) {
            match last.kind {
                // The dialect has `@` begin a name.
                Kind::Word if text[last.bytes.clone()].starts_with('@') => {
                    place.start = last.bytes.start + 1;
                    place.begun = text[place.start..].to_owned();
                    place.wanted = Wanted::Stage;
                    return Some(place);
                }
                Kind::Word | Kind::Quoted => {
                    begin = last.bytes.start;
                    place.start = begin;
                    place.quoted = last.kind == Kind::Quoted;
                    place.begun = text[last.bytes.clone()].trim_start_matches(['"', '`']).replace("\"\"", "\"");
                    rest = others;
                }
                Kind::Text | Kind::Number => return None,
                // Behind the end of its line a comment is over.
                Kind::Comment if !text.ends_with('\n') => return None,
                Kind::Comment | Kind::Sign => {}
            }
        }
        while let [others @ .., name, dot] = rest
            && &text[dot.bytes.clone()] == "."
            && matches!(name.kind, Kind::Word | Kind::Quoted)
            && (name.bytes.end, dot.bytes.end) == (dot.bytes.start, begin)
        {
            place.qualifiers.insert(0, as_in_catalog(&text[name.bytes.clone()], name.kind));
            begin = name.bytes.start;
            rest = others;
        }
        place.wanted = wanted(text, rest);
        Some(place)
    }

    fn completion(&self, names: &Names, tables: &[Mentioned<'_>]) -> Completion {
        let mut offered = BTreeSet::new();
        match self.qualifiers.as_slice() {
            [] => self.without_qualifier(names, tables, &mut offered),
            [.., last] => {
                let by_name = |mentioned: &&Mentioned<'_>| {
                    mentioned.alias.as_deref() == Some(last) || mentioned.table.name == *last
                };
                let columns = tables.iter().filter(by_name).flat_map(|mentioned| &mentioned.table.columns);
                offered.extend(columns.map(|name| spelled(name)));
                let of_schema = names.tables.iter().filter(|table| table.schema == *last);
                offered.extend(of_schema.map(|table| spelled(&table.name)));
                if self.qualifiers.len() == 1 && names.databases.contains(last) {
                    offered.extend(names.schemas.iter().map(|name| spelled(name)));
                }
            }
        }
        let begun = self.begun.to_lowercase();
        let fits = |word: &String| {
            let bare = word.trim_start_matches('"');
            bare.to_lowercase().starts_with(&begun) && (!self.quoted || word.starts_with('"'))
        };
        let quoted = |word: String| {
            if self.quoted && !word.starts_with('"') { format!("\"{word}\"") } else { word }
        };
        let offered = offered.into_iter().map(quoted).filter(fits).take(OFFERED_MAX).collect();
        Completion { start: self.start, offered }
    }

    fn without_qualifier(&self, names: &Names, tables: &[Mentioned<'_>], offered: &mut BTreeSet<String>) {
        let add = |offered: &mut BTreeSet<String>, names: &mut dyn Iterator<Item = &String>| {
            offered.extend(names.map(|name| spelled(name)));
        };
        match self.wanted {
            Wanted::Table => {
                add(offered, &mut names.tables.iter().map(|table| &table.name));
                add(offered, &mut names.schemas.iter());
                add(offered, &mut names.databases.iter());
            }
            Wanted::Database => add(offered, &mut names.databases.iter()),
            Wanted::Schema => add(offered, &mut names.schemas.iter()),
            Wanted::Stage => add(offered, &mut names.stages.iter()),
            Wanted::Any => {
                add(offered, &mut tables.iter().flat_map(|mentioned| &mentioned.table.columns));
                add(offered, &mut tables.iter().map(|mentioned| &mentioned.table.name));
                offered.extend(tables.iter().filter_map(|mentioned| mentioned.alias.clone()));
                // All there are would be hundreds.
                if !self.begun.is_empty() && !self.quoted {
                    let upper = self.begun.chars().any(char::is_uppercase);
                    let cased = |word: &&str| if upper { (*word).to_owned() } else { word.to_lowercase() };
                    offered.extend(KEYWORDS.iter().map(cased));
                    add(offered, &mut names.functions.iter());
                } else if tables.is_empty() && !self.quoted {
                    offered.extend(BEGINNINGS.iter().map(|word| (*word).to_owned()));
                }
            }
        }
    }
}

/// Where nothing is typed yet.
const BEGINNINGS: [&str; 20] = [
    "ALTER", "BEGIN", "COMMIT", "COPY", "CREATE", "DELETE", "DESCRIBE", "DROP", "EXPLAIN", "GRANT", "INSERT", "MERGE",
    "OPTIMIZE", "ROLLBACK", "SELECT", "SET", "SHOW", "UPDATE", "USE", "WITH",
];

/// By the word before; behind a comma by the last keyword.
fn wanted(text: &str, before: &[&Lexeme]) -> Wanted {
    let shown = |lexeme: &&Lexeme| text[lexeme.bytes.clone()].to_ascii_uppercase();
    let Some(last) = before.last().map(shown) else { return Wanted::Any };
    let keyword = match last.as_str() {
        "@" => return Wanted::Stage,
        "," => {
            let keywords = before.iter().filter(|lexeme| lexeme.kind == Kind::Word).map(shown);
            match keywords.rev().find(|word| is_keyword(word)) {
                Some(word) if word == "FROM" => word,
                _ => return Wanted::Any,
            }
        }
        "DATABASE" | "DATABASES" => return Wanted::Database,
        "SCHEMA" => return Wanted::Schema,
        _ => last,
    };
    match keyword.as_str() {
        "FROM" | "JOIN" | "INTO" | "UPDATE" | "TABLE" | "VIEW" | "DESCRIBE" | "OPTIMIZE" | "CLONE" | "TRUNCATE"
        | "USE" => Wanted::Table,
        _ => Wanted::Any,
    }
}

/// The tables that a text names behind `FROM`, `JOIN`, `INTO`, `UPDATE` or a comma, as far as they are known.
fn mentioned<'a>(text: &str, found: &[&Lexeme], names: &'a Names) -> Vec<Mentioned<'a>> {
    let mut tables = Vec::new();
    let word = |at: usize| found.get(at).filter(|lexeme| matches!(lexeme.kind, Kind::Word | Kind::Quoted));
    let sign = |at: usize, sign: &str| found.get(at).is_some_and(|lexeme| &text[lexeme.bytes.clone()] == sign);
    let mut in_from = false;
    for at in 0..found.len() {
        let shown = text[found[at].bytes.clone()].to_ascii_uppercase();
        match shown.as_str() {
            "FROM" | "JOIN" | "INTO" | "UPDATE" => in_from = true,
            "," if in_from => {}
            _ => {
                in_from &= !(found[at].kind == Kind::Word && is_keyword(&shown) && !matches!(shown.as_str(), "AS"));
                continue;
            }
        }
        let (mut next, mut parts) = (at + 1, Vec::new());
        while let Some(name) = word(next) {
            parts.push(as_in_catalog(&text[name.bytes.clone()], name.kind));
            next += 1;
            if !sign(next, ".") {
                break;
            }
            next += 1;
        }
        let Some((name, qualifiers)) = parts.split_last() else { continue };
        let schema = qualifiers.last();
        if word(next).is_some_and(|lexeme| text[lexeme.bytes.clone()].eq_ignore_ascii_case("AS")) {
            next += 1;
        }
        let alias = word(next).map(|lexeme| (&text[lexeme.bytes.clone()], lexeme.kind));
        let alias = alias.filter(|(shown, kind)| *kind == Kind::Quoted || !is_keyword(shown));
        let alias = alias.map(|(shown, kind)| as_in_catalog(shown, kind));
        for table in &names.tables {
            if table.name == *name && schema.is_none_or(|schema| table.schema == *schema) {
                tables.push(Mentioned { table, alias: alias.clone() });
            }
        }
    }
    tables
}

/// Words fold to lower case.
fn as_in_catalog(written: &str, kind: Kind) -> String {
    match kind {
        Kind::Quoted => {
            let inner = written.trim_start_matches(['"', '`']);
            inner.strip_suffix(['"', '`']).unwrap_or(inner).replace("\"\"", "\"")
        }
        _ => written.to_lowercase(),
    }
}

/// As SQL has to write a name.
fn spelled(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    match plain && !is_reserved(name) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// Words that a statement cannot have for a name without quotes.
fn is_reserved(name: &str) -> bool {
    const RESERVED: [&str; 24] = [
        "all", "and", "as", "by", "case", "cross", "distinct", "from", "full", "group", "having", "in", "inner",
        "join", "left", "limit", "not", "on", "or", "order", "right", "select", "union", "where",
    ];
    RESERVED.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests;

//! `PUT` and `GET`, which a client does: they move files between its machine and a stage.

use frazil_common::{ErrorCode, Failure};

use super::format::{OptionValue, invalid, not_supported};
use super::lexer::first_words;
use super::parser::Parser;
use super::statement::parse_place;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClientStatement {
    /// `PUT file:///path/*.csv @stage/path`.
    Put { files: String, place: String, compress: bool, overwrite: bool },
    /// `GET @stage/path file:///directory/`.
    Get { place: String, directory: String, pattern: Option<String> },
}

/// A statement that is the client's to do, or `None`.
pub fn client_statement(sql: &str) -> Result<Option<ClientStatement>, Failure> {
    let words = first_words(sql, 1);
    let is_put = match words.first().map(String::as_str) {
        Some("PUT") => true,
        Some("GET") => false,
        _ => return Ok(None),
    };
    let mut raw = Raw { rest: sql };
    raw.piece();
    if is_put {
        let files = local_path(&raw.piece())?;
        let place = raw.piece();
        parse_place(&place)?;
        let (mut compress, mut overwrite) = (true, false);
        raw.options(|name, value| match name {
            "AUTO_COMPRESS" => value.boolean(name).map(|value| compress = value),
            "OVERWRITE" => value.boolean(name).map(|value| overwrite = value),
            // Files are sent one after the other; what was asked for is how fast.
            "PARALLEL" => value.number(name).map(|_| ()),
            "SOURCE_COMPRESSION" if value.word(name)? == "AUTO_DETECT" => Ok(()),
            other => Err(not_supported(&format!("option {other} of PUT"))),
        })?;
        return Ok(Some(ClientStatement::Put { files, place, compress, overwrite }));
    }
    let place = raw.piece();
    parse_place(&place)?;
    let directory = local_path(&raw.piece())?;
    let mut pattern = None;
    raw.options(|name, value| match (name, value) {
        ("PATTERN", OptionValue::Text(text)) => {
            pattern = Some(text.clone());
            Ok(())
        }
        ("PARALLEL", value) => value.number(name).map(|_| ()),
        (other, _) => Err(not_supported(&format!("option {other} of GET"))),
    })?;
    Ok(Some(ClientStatement::Get { place, directory, pattern }))
}

/// The stage of a place, without the path: `@db.s.name`.
pub fn stage_of(place: &str) -> &str {
    let mut in_quotes = false;
    let end = place.find(|c: char| {
        in_quotes ^= c == '"';
        c == '/' && !in_quotes
    });
    &place[..end.unwrap_or(place.len())]
}

fn local_path(text: &str) -> Result<String, Failure> {
    match text.strip_prefix("file://") {
        Some(path) if !path.is_empty() => Ok(path.to_owned()),
        _ => Err(Failure::new(ErrorCode::Syntax, format!("expected file:// and a path, found {text:?}"))),
    }
}

/// Pieces between blanks: a path may look like a comment, `file:///tmp/*.csv`.
struct Raw<'a> {
    rest: &'a str,
}

impl<'a> Raw<'a> {
    fn piece(&mut self) -> String {
        self.rest = self.rest.trim_start();
        if let Some(quoted) = self.rest.strip_prefix('\'') {
            let (text, rest) = quoted.split_once('\'').unwrap_or((quoted, ""));
            self.rest = rest;
            return text.to_owned();
        }
        let mut in_quotes = false;
        let end = self.rest.find(|c: char| {
            in_quotes ^= c == '"';
            !in_quotes && (c.is_whitespace() || c == ';')
        });
        let (piece, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        piece.to_owned()
    }

    fn options(&self, mut take: impl FnMut(&str, &OptionValue) -> Result<(), Failure>) -> Result<(), Failure> {
        let mut parser = Parser::new(self.rest)?;
        while !parser.is_at_end() {
            let name = parser.option_name()?;
            parser.expect_symbol('=')?;
            take(&name, &OptionValue::parse(&mut parser)?)?;
        }
        Ok(())
    }
}

/// The names of the files of a directory that match `*` and `?`, from a path whose last part may have them. Sorted.
pub fn expand(files: &str) -> Result<Vec<std::path::PathBuf>, Failure> {
    let path = std::path::Path::new(files);
    let missing = |why: String| Failure::new(ErrorCode::FileUnavailable, format!("file {files:?} {why}"));
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !name.contains(['*', '?']) {
        return match path.is_file() {
            true => Ok(vec![path.to_owned()]),
            false => Err(missing("not found".to_owned())),
        };
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(std::path::Path::new("."));
    if directory.to_string_lossy().contains(['*', '?']) {
        return Err(not_supported("a pattern in other than the last part of a path"));
    }
    let pattern = regex::escape(&name).replace("\\*", ".*").replace("\\?", ".");
    let pattern = regex::Regex::new(&format!("^{pattern}$")).map_err(|error| invalid(error.to_string()))?;
    let entries = std::fs::read_dir(directory).map_err(|error| missing(format!("cannot be looked for: {error}")))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| missing(format!("cannot be looked for: {error}")))?;
        if entry.path().is_file() && pattern.is_match(&entry.file_name().to_string_lossy()) {
            found.push(entry.path());
        }
    }
    found.sort();
    if found.is_empty() { Err(missing("matches nothing".to_owned())) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn put_and_get_are_read() {
        let put =
            client_statement("PUT file:///tmp/*.csv @s.\"My st\"/dir OVERWRITE = true AUTO_COMPRESS=FALSE;").unwrap();
        let expected = ClientStatement::Put {
            files: "/tmp/*.csv".to_owned(),
            place: "@s.\"My st\"/dir".to_owned(),
            compress: false,
            overwrite: true,
        };
        assert_eq!(put, Some(expected));
        let get = client_statement("get @s/x 'file:///tmp/a b/' pattern = '.*csv'").unwrap();
        let expected = ClientStatement::Get {
            place: "@s/x".to_owned(),
            directory: "/tmp/a b/".to_owned(),
            pattern: Some(".*csv".to_owned()),
        };
        assert_eq!(get, Some(expected));
        assert_eq!(client_statement("select 1").unwrap(), None);
        assert!(client_statement("put /tmp/x @s").is_err());
        assert!(client_statement("put file:///tmp/x s").is_err());
        assert_eq!(stage_of("@a.\"x/y\"/z"), "@a.\"x/y\"");
    }
}

//! The statements about stages, read from their text.

use frazil_common::{ErrorCode, Failure};

use super::format::{FileFormat, FileKind, OptionValue, invalid, not_supported};
use super::lexer::{Token, first_words};
use super::parser::Parser;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StageStatement {
    Create(CreateStage),
    Drop {
        name: Vec<String>,
        if_exists: bool,
    },
    /// Of one schema, or of the session's.
    Show {
        schema: Option<Vec<String>>,
        like: Option<String>,
    },
    Describe {
        name: Vec<String>,
    },
    List {
        place: Place,
        pattern: Option<String>,
    },
    Remove {
        place: Place,
        pattern: Option<String>,
    },
    Load(Box<CopyIntoTable>),
    Unload(Box<CopyIntoPlace>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateStage {
    pub name: Vec<String>,
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub url: Option<String>,
    pub format: Option<FileFormat>,
    pub comment: Option<String>,
}

/// Where files are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// `@name/path`.
    Stage { name: Vec<String>, path: String },
    /// `'s3://bucket/path'`.
    Url(String),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnError {
    Abort,
    Continue,
    SkipFile,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MatchByName {
    None,
    CaseSensitive,
    CaseInsensitive,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValidationMode {
    Rows(u64),
    Errors,
    /// Also of files that were loaded before.
    AllErrors,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopyIntoTable {
    pub table: Vec<String>,
    pub columns: Vec<String>,
    pub from: Place,
    pub files: Option<Vec<String>>,
    pub pattern: Option<String>,
    pub format: Option<FileFormat>,
    pub on_error: OnError,
    pub force: bool,
    pub purge: bool,
    pub match_by_name: Option<MatchByName>,
    pub validation: Option<ValidationMode>,
    pub size_limit: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopyIntoPlace {
    pub to: Place,
    /// The text of a query.
    pub query: String,
    pub format: Option<FileFormat>,
    pub header: bool,
    pub overwrite: bool,
    pub single: bool,
    pub file_bytes_max: Option<u64>,
}

/// A statement about stages, or `None`: it is another's.
pub fn parse(sql: &str) -> Result<Option<StageStatement>, Failure> {
    let words = first_words(sql, 4);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut parser = match words.as_slice() {
        ["CREATE", "STAGE", ..] | ["CREATE", "OR", "REPLACE", "STAGE"] | ["DROP", "STAGE", ..] => Parser::new(sql)?,
        ["CREATE", "TEMPORARY" | "TEMP", "STAGE", ..] => return Err(not_supported("a temporary stage")),
        ["ALTER", "STAGE", ..] => return Err(not_supported("ALTER STAGE")),
        ["SHOW", "STAGES", ..] | ["DESC" | "DESCRIBE", "STAGE", ..] => Parser::new(sql)?,
        // Without a place they may be anything.
        ["LIST" | "LS" | "REMOVE" | "RM", ..] => Parser::new(sql)?,
        ["COPY", "INTO", ..] => Parser::new(sql)?,
        ["PUT" | "GET", ..] => {
            let message = format!("{} moves files of the client, which must do it: frazil sql does", words[0]);
            return Err(Failure::new(ErrorCode::NotSupported, message));
        }
        _ => return Ok(None),
    };
    let statement = statement(&mut parser)?;
    parser.end()?;
    Ok(Some(statement))
}

fn statement(parser: &mut Parser<'_>) -> Result<StageStatement, Failure> {
    if parser.accept("CREATE") {
        let or_replace = parser.accept_all(&["OR", "REPLACE"]);
        parser.expect("STAGE")?;
        return create(parser, or_replace).map(StageStatement::Create);
    }
    if parser.accept_all(&["DROP", "STAGE"]) {
        let if_exists = parser.accept_all(&["IF", "EXISTS"]);
        return Ok(StageStatement::Drop { name: parser.name()?, if_exists });
    }
    if parser.accept_all(&["SHOW", "STAGES"]) {
        let like = parser.accept("LIKE").then(|| parser.text()).transpose()?;
        let schema = match parser.accept("IN") {
            true => {
                parser.accept("SCHEMA");
                Some(parser.name()?)
            }
            false => None,
        };
        return Ok(StageStatement::Show { schema, like });
    }
    if parser.accept_all(&["DESC", "STAGE"]) || parser.accept_all(&["DESCRIBE", "STAGE"]) {
        return Ok(StageStatement::Describe { name: parser.name()? });
    }
    if parser.accept("LIST") || parser.accept("LS") {
        let place = place(parser)?;
        return Ok(StageStatement::List { place, pattern: pattern(parser)? });
    }
    if parser.accept("REMOVE") || parser.accept("RM") {
        let place = place(parser)?;
        return Ok(StageStatement::Remove { place, pattern: pattern(parser)? });
    }
    parser.expect("COPY")?;
    parser.expect("INTO")?;
    match parser.peek() {
        Some(Token::Place(_) | Token::Text(_)) => copy_into_place(parser),
        _ => copy_into_table(parser),
    }
}

fn create(parser: &mut Parser<'_>, or_replace: bool) -> Result<CreateStage, Failure> {
    let if_not_exists = parser.accept_all(&["IF", "NOT", "EXISTS"]);
    if or_replace && if_not_exists {
        return Err(invalid("OR REPLACE and IF NOT EXISTS exclude each other"));
    }
    let name = parser.name()?;
    let mut stage = CreateStage { name, or_replace, if_not_exists, url: None, format: None, comment: None };
    while !parser.is_at_end() {
        let option = parser.option_name()?;
        parser.expect_symbol('=')?;
        match option.as_str() {
            "URL" => stage.url = Some(parser.text()?),
            "FILE_FORMAT" => stage.format = Some(FileFormat::parse(parser, FileKind::Csv)?),
            "COMMENT" => stage.comment = Some(parser.text()?),
            other => return Err(not_supported(&format!("option {other} of CREATE STAGE"))),
        }
    }
    Ok(stage)
}

fn pattern(parser: &mut Parser<'_>) -> Result<Option<String>, Failure> {
    if !parser.accept("PATTERN") {
        return Ok(None);
    }
    parser.expect_symbol('=')?;
    parser.text().map(Some)
}

/// `@name/path`, `'@name/path'` or `'url'`.
pub fn place(parser: &mut Parser<'_>) -> Result<Place, Failure> {
    match parser.next() {
        Some(Token::Place(text)) => parse_place(&text),
        Some(Token::Text(text)) if text.starts_with('@') => parse_place(&text),
        Some(Token::Text(text)) => Ok(Place::Url(text)),
        _ => Err(parser.expected("@stage or a URL in quotes")),
    }
}

/// `@name/path`.
pub fn parse_place(text: &str) -> Result<Place, Failure> {
    let wrong = || Failure::new(ErrorCode::Syntax, format!("{text:?} is not a place in a stage: @name/path"));
    let rest = text.strip_prefix('@').ok_or_else(wrong)?;
    if rest.starts_with('~') {
        return Err(not_supported("@~, a user's own stage,"));
    }
    if rest.starts_with('%') || rest.contains(".%") {
        return Err(not_supported("@%table, a table's own stage,"));
    }
    let mut in_quotes = false;
    let end = rest.find(|c: char| {
        in_quotes ^= c == '"';
        c == '/' && !in_quotes
    });
    let (name, path) = rest.split_at(end.unwrap_or(rest.len()));
    let mut parser = Parser::new(name)?;
    let name = parser.name().map_err(|_| wrong())?;
    parser.end().map_err(|_| wrong())?;
    Ok(Place::Stage { name, path: path.trim_start_matches('/').to_owned() })
}

fn copy_into_table(parser: &mut Parser<'_>) -> Result<StageStatement, Failure> {
    let table = parser.name()?;
    let mut columns = Vec::new();
    if parser.accept_symbol('(') {
        while !parser.accept_symbol(')') {
            if !columns.is_empty() {
                parser.expect_symbol(',')?;
            }
            let mut name = parser.name()?;
            columns.extend(name.pop());
        }
    }
    parser.expect("FROM")?;
    if parser.accept_symbol('(') {
        return Err(not_supported("COPY INTO a table FROM a query over staged files"));
    }
    let mut copy = CopyIntoTable {
        table,
        columns,
        from: place(parser)?,
        files: None,
        pattern: None,
        format: None,
        on_error: OnError::Abort,
        force: false,
        purge: false,
        match_by_name: None,
        validation: None,
        size_limit: None,
    };
    while !parser.is_at_end() {
        let option = parser.option_name()?;
        parser.expect_symbol('=')?;
        match option.as_str() {
            "FILES" => copy.files = Some(parser.texts()?),
            "PATTERN" => copy.pattern = Some(parser.text()?),
            "FILE_FORMAT" => copy.format = Some(FileFormat::parse(parser, FileKind::Csv)?),
            name => copy.set(name, &OptionValue::parse(parser)?)?,
        }
    }
    Ok(StageStatement::Load(Box::new(copy)))
}

impl CopyIntoTable {
    fn set(&mut self, name: &str, value: &OptionValue) -> Result<(), Failure> {
        match name {
            "ON_ERROR" => {
                self.on_error = match value.word(name)?.as_str() {
                    "ABORT_STATEMENT" => OnError::Abort,
                    "CONTINUE" => OnError::Continue,
                    "SKIP_FILE" => OnError::SkipFile,
                    other if other.starts_with("SKIP_FILE_") => {
                        return Err(not_supported(&format!("ON_ERROR = {other}")));
                    }
                    other => return Err(invalid(format!("ON_ERROR = {other} is not known"))),
                };
            }
            "FORCE" => self.force = value.boolean(name)?,
            "PURGE" => self.purge = value.boolean(name)?,
            "SIZE_LIMIT" => self.size_limit = Some(value.number(name)?),
            "MATCH_BY_COLUMN_NAME" => {
                self.match_by_name = Some(match value.word(name)?.as_str() {
                    "CASE_INSENSITIVE" => MatchByName::CaseInsensitive,
                    "CASE_SENSITIVE" => MatchByName::CaseSensitive,
                    "NONE" => MatchByName::None,
                    other => return Err(invalid(format!("MATCH_BY_COLUMN_NAME = {other} is not known"))),
                });
            }
            "VALIDATION_MODE" => {
                let mode = value.word(name)?;
                let rows = mode.strip_prefix("RETURN_").and_then(|rest| rest.strip_suffix("_ROWS"));
                self.validation = Some(match (mode.as_str(), rows.and_then(|rows| rows.parse().ok())) {
                    ("RETURN_ERRORS", _) => ValidationMode::Errors,
                    ("RETURN_ALL_ERRORS", _) => ValidationMode::AllErrors,
                    (_, Some(rows)) => ValidationMode::Rows(rows),
                    (other, None) => return Err(invalid(format!("VALIDATION_MODE = {other} is not known"))),
                });
            }
            other => return Err(not_supported(&format!("option {other} of COPY INTO a table"))),
        }
        Ok(())
    }
}

fn copy_into_place(parser: &mut Parser<'_>) -> Result<StageStatement, Failure> {
    let to = place(parser)?;
    parser.expect("FROM")?;
    let query = match parser.peek() {
        Some(Token::Symbol('(')) => parser.in_parentheses()?.to_owned(),
        _ => {
            let start = parser.offset();
            parser.name()?;
            format!("SELECT * FROM {}", &parser.sql[start..parser.end_of_last()])
        }
    };
    let mut copy =
        CopyIntoPlace { to, query, format: None, header: false, overwrite: false, single: false, file_bytes_max: None };
    while !parser.is_at_end() {
        let option = parser.option_name()?;
        if option == "PARTITION" {
            return Err(not_supported("PARTITION BY of COPY INTO a stage"));
        }
        parser.expect_symbol('=')?;
        if option == "FILE_FORMAT" {
            copy.format = Some(FileFormat::parse(parser, FileKind::Csv)?);
            continue;
        }
        let value = OptionValue::parse(parser)?;
        match option.as_str() {
            "HEADER" => copy.header = value.boolean(&option)?,
            "OVERWRITE" => copy.overwrite = value.boolean(&option)?,
            "SINGLE" => copy.single = value.boolean(&option)?,
            "MAX_FILE_SIZE" => copy.file_bytes_max = Some(value.number(&option)?),
            other => return Err(not_supported(&format!("option {other} of COPY INTO a stage"))),
        }
    }
    Ok(StageStatement::Unload(Box::new(copy)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_of_others_are_left_alone() {
        for sql in ["select 1", "create table t (a int)", "drop table stage", "show tables", "copying", ""] {
            assert_eq!(parse(sql).unwrap(), None, "{sql}");
        }
    }

    #[test]
    fn copy_is_read_with_its_options() {
        let sql = r"COPY INTO db.s.T (a, B) FROM @st/dir/ PATTERN = '.*[.]csv' FILE_FORMAT = (TYPE = CSV, SKIP_HEADER = 1
            FIELD_OPTIONALLY_ENCLOSED_BY = '\x22' NULL_IF = ('', 'NULL')) ON_ERROR = SKIP_FILE FORCE = TRUE;";
        let Some(StageStatement::Load(copy)) = parse(sql).unwrap() else { panic!("not a load") };
        assert_eq!(copy.table, ["db", "s", "t"]);
        assert_eq!(copy.columns, ["a", "b"]);
        assert_eq!(copy.from, Place::Stage { name: vec!["st".to_owned()], path: "dir/".to_owned() });
        assert_eq!((copy.on_error, copy.force), (OnError::SkipFile, true));
        let format = copy.format.unwrap();
        assert_eq!((format.skip_header, format.enclosed_by), (1, Some(b'"')));
        assert_eq!(format.null_if, ["", "NULL"]);
    }

    #[test]
    fn a_query_is_taken_as_it_is_written() {
        let sql = "copy into @s/x from (select ')' as a, (1) from t) single = true";
        let Some(StageStatement::Unload(copy)) = parse(sql).unwrap() else { panic!("not an unload") };
        assert_eq!(copy.query, "select ')' as a, (1) from t");
        assert!(copy.single);
        let Some(StageStatement::Unload(copy)) = parse("copy into 's3://b/p' from a.\"B c\"").unwrap() else {
            panic!()
        };
        assert_eq!(copy.query, "SELECT * FROM a.\"B c\"");
    }

    #[test]
    fn what_is_not_built_is_refused_by_name() {
        for (sql, named) in [
            ("copy into t from @s file_format = (type = avro)", "AVRO"),
            ("copy into t from @s file_format = (type = csv field_delimiter = '||')", "FIELD_DELIMITER"),
            ("copy into t from @s truncatecolumns = true", "TRUNCATECOLUMNS"),
            ("copy into t from (select $1 from @s)", "query"),
            ("copy into t from @~", "@~"),
            ("create stage s credentials = 'x'", "CREDENTIALS"),
            ("copy into t from @s on_error = skip_file_3", "SKIP_FILE_3"),
            ("put file:///x @s", "PUT"),
        ] {
            let failure = parse(sql).unwrap_err();
            assert_eq!(failure.code, ErrorCode::NotSupported, "{sql}: {failure}");
            assert!(failure.message.contains(named), "{sql}: {failure}");
        }
    }
}

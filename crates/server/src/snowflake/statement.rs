//! What becomes of a statement's text: SQL for the planner, or something that only this protocol has.

use frazil_common::{ErrorCode, Failure, NameCase, StatementId};
use serde_json::{Value, json};

use super::parameters::{Effect, Parameters};
use super::show;
use super::text::{self, Kind as PieceKind, Translated, kept, literal, translate, value_of, words};

/// Snowflake's numbers for kinds of statements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind(pub i64);

impl Kind {
    pub const SELECT: Self = Self(0x1000);
    const EXPLAIN: Self = Self(0x2000);
    pub const INSERT: Self = Self(0x3100);
    const UPDATE: Self = Self(0x3200);
    const DELETE: Self = Self(0x3300);
    const MERGE: Self = Self(0x3400);
    const COPY: Self = Self(0x3600);
    const SET: Self = Self(0x4100);
    const USE: Self = Self(0x4300);
    const SHOW: Self = Self(0x4400);
    const DESCRIBE: Self = Self(0x4500);
    const LIST: Self = Self(0x4701);
    pub const TRANSACTION: Self = Self(0x5000);
    const DDL: Self = Self(0x6000);
    const REMOVE: Self = Self(0x7103);
    pub const SEVERAL: Self = Self(0xA000);

    /// By the first words of a text.
    pub fn of(sql: &str) -> Self {
        let words = words(sql, 2);
        match words.first().map_or("", String::as_str) {
            "SELECT" | "WITH" | "VALUES" | "TABLE" | "FROM" | "" => Self::SELECT,
            "EXPLAIN" => Self::EXPLAIN,
            "INSERT" => Self::INSERT,
            "UPDATE" => Self::UPDATE,
            "DELETE" | "TRUNCATE" => Self::DELETE,
            "MERGE" => Self::MERGE,
            "COPY" => Self::COPY,
            "SET" | "RESET" => Self::SET,
            "ALTER" if words.get(1).is_some_and(|word| word == "SESSION") => Self::SET,
            "USE" => Self::USE,
            "SHOW" => Self::SHOW,
            "DESC" | "DESCRIBE" => Self::DESCRIBE,
            "LIST" | "LS" => Self::LIST,
            "REMOVE" | "RM" => Self::REMOVE,
            "BEGIN" | "START" | "COMMIT" | "END" | "ROLLBACK" => Self::TRANSACTION,
            _ => Self::DDL,
        }
    }

    /// Whether the columns' names are the user's.
    pub fn is_query(self) -> bool {
        self == Self::SELECT
    }

    /// What counts rows, and tells so in its answer.
    pub fn counts(self) -> bool {
        matches!(self, Self::INSERT | Self::UPDATE | Self::DELETE | Self::MERGE)
    }
}

/// A change of a session that is made when its statement has succeeded.
#[derive(Clone, PartialEq, Debug)]
pub enum Change {
    Set(String, Value),
    Unset(String),
    Warehouse(String),
}

/// What is to be run for a statement.
pub enum Plan<'a> {
    Run {
        /// One after the other; the last one's answer is the statement's.
        statements: Vec<Translated<'a>>,
        kind: Kind,
        changes: Vec<Change>,
    },
    /// The rows of a statement that was run before.
    Result(StatementId),
}

/// Reads one statement. `parameters` are those of its session, `role` is its client's.
pub fn plan<'a>(sql: &'a str, parameters: &Parameters, role: &str) -> Result<Plan<'a>, Failure> {
    let first = words(sql, 4);
    let first: Vec<&str> = first.iter().map(String::as_str).collect();
    let kind = Kind::of(sql);
    let run = |statements| Ok(Plan::Run { statements, kind, changes: Vec::new() });
    match first.as_slice() {
        ["ALTER", "SESSION", "SET", ..] => alter_session(sql, kind),
        ["ALTER", "SESSION", "UNSET", ..] => unset(sql, kind),
        ["USE", "WAREHOUSE", ..] => {
            let name = last_name(sql, 2)?;
            let name = NameCase::Upper.shown(&kept(&name)).into_owned();
            Ok(Plan::Run { statements: vec![done()], kind, changes: vec![Change::Warehouse(name)] })
        }
        // Clients name the role that they have, to be sure of it.
        ["USE", "ROLE", ..] if last_name(sql, 2).is_ok_and(|name| kept(&name) == role) => run(vec![done()]),
        ["PUT" | "GET", ..] => {
            let message = "PUT and GET are not supported by way of drivers: send files with `frazil sql`, or to /api/v2/stages/file";
            Err(Failure::new(ErrorCode::NotSupported, message))
        }
        ["SHOW", ..] | ["DESC" | "DESCRIBE", ..] => match show::plan(sql, parameters)? {
            Some(sql) => run(vec![ours(sql)]),
            None => run(vec![translate(sql)]),
        },
        ["SELECT", ..] => match result_scan(sql) {
            Some(id) => Ok(Plan::Result(id)),
            None => run(vec![translate(sql)]),
        },
        _ => run(vec![translate(sql)]),
    }
}

/// A statement of our own, in which no place means anything to the client.
fn ours<'a>(sql: String) -> Translated<'a> {
    Translated::ours(sql)
}

fn done<'a>() -> Translated<'a> {
    ours(format!("SELECT {} AS \"STATUS\"", literal("Statement executed successfully.")))
}

fn last_name(sql: &str, words: usize) -> Result<String, Failure> {
    let names: Vec<_> = meaningful(sql).skip(words).collect();
    match names.as_slice() {
        [(PieceKind::Word | PieceKind::Quoted, name)] => Ok((*name).to_owned()),
        _ => Err(Failure::new(ErrorCode::Syntax, format!("{:?} takes one name", sql.trim()))),
    }
}

/// The pieces of a statement that say something.
fn meaningful(sql: &str) -> impl Iterator<Item = (PieceKind, &str)> {
    let pieces = text::pieces(sql).into_iter();
    let meaningful = pieces.filter(|piece| !matches!(piece.kind, PieceKind::Blank | PieceKind::Semicolon));
    meaningful.map(|piece| (piece.kind, &sql[piece.start..piece.end]))
}

/// `ALTER SESSION SET a = 1, b = 'x'`.
fn alter_session<'a>(sql: &str, kind: Kind) -> Result<Plan<'a>, Failure> {
    let wrong = || Failure::new(ErrorCode::Syntax, "ALTER SESSION SET takes names and values: a = 1, b = 'x'");
    let pieces: Vec<_> = meaningful(sql).skip(3).filter(|(_, piece)| *piece != ",").collect();
    let (mut statements, mut changes) = (Vec::new(), Vec::new());
    let mut rest = pieces.as_slice();
    while !rest.is_empty() {
        let [(PieceKind::Word, name), (_, "="), more @ ..] = rest else { return Err(wrong()) };
        let (value, more) = match more {
            [(PieceKind::Other, sign @ ("-" | "+")), (PieceKind::Word, number), more @ ..] => {
                (format!("{sign}{number}"), more)
            }
            [(PieceKind::Word | PieceKind::Literal | PieceKind::Quoted, value), more @ ..] => (value_of(value), more),
            _ => return Err(wrong()),
        };
        rest = more;
        let (name, value, effect) = Parameters::check(name, &json!(value))?;
        if let Effect::Setting { key, value } = effect {
            statements.push(ours(format!("SET {key} = {}", literal(&value))));
        }
        changes.push(Change::Set(name, value));
    }
    if changes.is_empty() {
        return Err(wrong());
    }
    if statements.is_empty() {
        statements.push(done());
    }
    Ok(Plan::Run { statements, kind, changes })
}

/// `ALTER SESSION UNSET a, b`.
fn unset<'a>(sql: &str, kind: Kind) -> Result<Plan<'a>, Failure> {
    let mut statements = Vec::new();
    let mut changes = Vec::new();
    for (piece, name) in meaningful(sql).skip(3).filter(|(_, piece)| *piece != ",") {
        if piece != PieceKind::Word {
            return Err(Failure::new(ErrorCode::Syntax, "ALTER SESSION UNSET takes names"));
        }
        if let Effect::Setting { key, value } = Parameters::default().unset(name) {
            statements.push(ours(format!("SET {key} = {}", literal(&value))));
        }
        changes.push(Change::Unset(name.to_owned()));
    }
    if statements.is_empty() {
        statements.push(done());
    }
    Ok(Plan::Run { statements, kind, changes })
}

/// `SELECT * FROM TABLE(RESULT_SCAN('…'))`, which is how clients ask for the rows of a statement of theirs, and nothing more.
fn result_scan(sql: &str) -> Option<StatementId> {
    let pieces: Vec<String> = meaningful(sql).map(|(_, piece)| piece.to_uppercase()).collect();
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    match pieces.as_slice() {
        ["SELECT", "*", "FROM", "TABLE", "(", "RESULT_SCAN", "(", id, ")", ")"] => {
            value_of(id).to_lowercase().parse().ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(sql: &str) -> Result<(Vec<String>, Vec<Change>), ErrorCode> {
        match plan(sql, &Parameters::default(), "admin").map_err(|failure| failure.code)? {
            Plan::Run { statements, changes, .. } => {
                Ok((statements.into_iter().map(|statement| statement.sql).collect(), changes))
            }
            Plan::Result(id) => Ok((vec![id.to_string()], vec![])),
        }
    }

    #[test]
    fn session_statements_are_read() {
        let done = "SELECT 'Statement executed successfully.' AS \"STATUS\"".to_owned();
        let set = |name: &str, value: Value| Change::Set(name.to_owned(), value);
        assert_eq!(
            planned("alter session /* x */ set query_tag = 'it\\'s', MULTI_STATEMENT_COUNT=0;"),
            Ok((vec![done.clone()], vec![set("QUERY_TAG", json!("it's")), set("MULTI_STATEMENT_COUNT", json!(0))]))
        );
        assert_eq!(
            planned("ALTER SESSION SET autocommit = FALSE"),
            Ok((vec!["SET autocommit = 'false'".to_owned()], vec![set("AUTOCOMMIT", json!(false))]))
        );
        assert_eq!(planned("ALTER SESSION UNSET timezone").unwrap().0, ["SET timezone = 'UTC'"]);
        assert_eq!(planned("USE WAREHOUSE small"), Ok((vec![done], vec![Change::Warehouse("SMALL".to_owned())])));
        assert_eq!(planned("USE ROLE \"ADMIN\"").unwrap().0, planned("ALTER SESSION SET QUERY_TAG = 'x'").unwrap().0);
        assert_eq!(planned("USE ROLE other").unwrap().0, ["USE ROLE other"]);
        assert_eq!(planned("ALTER SESSION SET x"), Err(ErrorCode::Syntax));
        assert_eq!(planned("ALTER SESSION SET WEEK_START = 1"), Err(ErrorCode::NotSupported));
        assert_eq!(planned("PUT file:///tmp/x @s"), Err(ErrorCode::NotSupported));
        assert_eq!(planned("USE SCHEMA \"S\"").unwrap().0, ["USE SCHEMA \"s\""]);
    }

    #[test]
    fn rows_of_before_are_asked_for() {
        let id = "0190a6d5-0000-7000-8000-000000000000";
        assert_eq!(planned(&format!("select * from table(result_scan('{id}'))")).unwrap().0, [id]);
        assert_eq!(planned(&format!("select 1 from table(result_scan('{id}'))")).unwrap().0.len(), 1);
    }
}

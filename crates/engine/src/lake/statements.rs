//! Statements that the SQL parser does not know, or not whole: `UNDROP`, `CREATE … CLONE`, `ALTER VIEW … RENAME`, `SHOW SNAPSHOTS`,
//! `DESCRIBE VIEW`, `VACUUM`.

use std::time::Duration;

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{ObjectName, TableVersion};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;
use frazil_common::Failure;

use crate::dialect::FrazilDialect;
use crate::errors::to_failure;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Database,
    Schema,
    Table,
    View,
}

#[derive(Clone, PartialEq, Debug)]
pub enum OwnStatement {
    Undrop {
        kind: Kind,
        name: ObjectName,
    },
    Clone(Box<CloneStatement>),
    Rename {
        kind: Kind,
        name: ObjectName,
        to: ObjectName,
    },
    /// `SET DATA_RETENTION_TIME_IN_DAYS = n`, or `UNSET`.
    Retention {
        kind: Kind,
        name: ObjectName,
        days: Option<u32>,
    },
    /// Of the session's database, if no name is given.
    ShowSnapshots {
        database: Option<ObjectName>,
    },
    Describe {
        name: ObjectName,
    },
    Vacuum(VacuumStatement),
}

/// `CREATE [OR REPLACE] kind [IF NOT EXISTS] name CLONE source [AT (…) | BEFORE (…)]`
#[derive(Clone, PartialEq, Debug)]
pub struct CloneStatement {
    pub kind: Kind,
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub name: ObjectName,
    pub source: ObjectName,
    pub version: Option<TableVersion>,
}

/// `VACUUM [[DATABASE] name] [RETAIN n SECONDS | MINUTES | HOURS | DAYS] [DRY RUN]`
#[derive(Clone, PartialEq, Debug)]
pub struct VacuumStatement {
    /// All databases, if no name is given.
    pub database: Option<ObjectName>,
    pub retain: Option<Duration>,
    pub dry_run: bool,
}

/// `None`: it is not one of these.
pub fn parse_own(sql: &str) -> Result<Option<OwnStatement>, Failure> {
    let dialect = FrazilDialect::default();
    // What cannot even be split into words is told of by the parser for the rest.
    let Ok(parser) = Parser::new(&dialect).try_with_sql(sql) else { return Ok(None) };
    let mut words = Words(parser);
    words.statement().map_err(|error| to_failure(&DataFusionError::SQL(Box::new(error), None)))
}

struct Words<'a>(Parser<'a>);

type Parsed<T> = Result<T, ParserError>;

impl Words<'_> {
    /// Takes the word, if it is the next.
    fn take(&mut self, word: &str) -> bool {
        let found = self.next_is(word);
        if found {
            self.0.advance_token();
        }
        found
    }

    fn next_is(&self, word: &str) -> bool {
        matches!(&self.0.peek_token_ref().token, Token::Word(next) if next.quote_style.is_none() && next.value.eq_ignore_ascii_case(word))
    }

    fn expect(&mut self, word: &str) -> Parsed<()> {
        match self.take(word) {
            true => Ok(()),
            false => self.0.expected_ref(word, self.0.peek_token_ref()),
        }
    }

    fn name(&mut self) -> Parsed<ObjectName> {
        self.0.parse_object_name(false)
    }

    /// `None`: something else follows.
    fn retention(&mut self) -> Parsed<Option<Option<u32>>> {
        const OPTION: &str = "data_retention_time_in_days";
        let is_option = |token: &Token| matches!(token, Token::Word(word) if word.value.eq_ignore_ascii_case(OPTION));
        if !is_option(&self.0.peek_nth_token_ref(1).token) {
            return Ok(None);
        }
        if self.take("unset") {
            self.0.advance_token();
            return Ok(Some(None));
        }
        self.expect("set")?;
        self.0.advance_token();
        self.0.expect_token(&Token::Eq)?;
        let days = self.0.parse_literal_uint()?;
        Ok(Some(Some(u32::try_from(days).unwrap_or(u32::MAX))))
    }

    fn statement(&mut self) -> Parsed<Option<OwnStatement>> {
        let statement = if self.take("undrop") {
            let kind = self.kind()?;
            OwnStatement::Undrop { kind, name: self.name()? }
        } else if self.take("vacuum") {
            OwnStatement::Vacuum(self.vacuum()?)
        } else if self.take("show") {
            if !self.take("snapshots") {
                return Ok(None);
            }
            let within = self.take("in") || self.take("from");
            let _ = within && self.take("database");
            OwnStatement::ShowSnapshots { database: within.then(|| self.name()).transpose()? }
        } else if self.take("describe") || self.take("desc") {
            // What else can be described is a query.
            if !self.take("view") && !self.take("table") {
                return Ok(None);
            }
            OwnStatement::Describe { name: self.name()? }
        } else if self.take("alter") {
            let kinds =
                [("view", Kind::View), ("schema", Kind::Schema), ("database", Kind::Database), ("table", Kind::Table)];
            let Some((_, kind)) = kinds.into_iter().find(|(word, _)| self.take(word)) else { return Ok(None) };
            // Of tables the parser reads the rest, and what is wrong with it.
            let Ok(name) = self.name() else { return Ok(None) };
            match self.retention()? {
                Some(days) => OwnStatement::Retention { kind, name, days },
                None if kind == Kind::Table || !(self.take("rename") && self.take("to")) => return Ok(None),
                None => OwnStatement::Rename { kind, name, to: self.name()? },
            }
        } else if self.take("create") {
            match self.clone_statement()? {
                Some(clone) => OwnStatement::Clone(Box::new(clone)),
                None => return Ok(None),
            }
        } else {
            return Ok(None);
        };
        while self.0.consume_token(&Token::SemiColon) {}
        match self.0.peek_token_ref().token {
            Token::EOF => Ok(Some(statement)),
            _ => self.0.expected_ref("the end of the statement", self.0.peek_token_ref()),
        }
    }

    fn kind(&mut self) -> Parsed<Kind> {
        let kinds = [("database", Kind::Database), ("schema", Kind::Schema), ("table", Kind::Table)];
        match kinds.into_iter().find(|(word, _)| self.take(word)) {
            Some((_, kind)) => Ok(kind),
            None => self.0.expected_ref("DATABASE, SCHEMA or TABLE", self.0.peek_token_ref()),
        }
    }

    /// After `CREATE`. Everything up to `CLONE` may also begin another statement.
    fn clone_statement(&mut self) -> Parsed<Option<CloneStatement>> {
        let or_replace = self.take("or");
        if or_replace && !self.take("replace") {
            return Ok(None);
        }
        let Ok(kind) = self.kind() else { return Ok(None) };
        let if_not_exists = self.take("if");
        if if_not_exists && !(self.take("not") && self.take("exists")) {
            return Ok(None);
        }
        let Ok(name) = self.name() else { return Ok(None) };
        if !self.take("clone") {
            return Ok(None);
        }
        let source = self.name()?;
        let version = self.0.maybe_parse_table_version()?;
        Ok(Some(CloneStatement { kind, or_replace, if_not_exists, name, source, version }))
    }

    fn vacuum(&mut self) -> Parsed<VacuumStatement> {
        let mut vacuum = VacuumStatement { database: None, retain: None, dry_run: false };
        if self.take("database") || !(self.next_is("retain") || self.next_is("dry") || self.at_end()) {
            vacuum.database = Some(self.name()?);
        }
        if self.take("retain") {
            vacuum.retain = Some(self.duration()?);
        }
        if self.take("dry") {
            self.expect("run")?;
            vacuum.dry_run = true;
        }
        Ok(vacuum)
    }

    fn at_end(&self) -> bool {
        matches!(self.0.peek_token_ref().token, Token::EOF | Token::SemiColon)
    }

    /// `7 DAYS`, or `'7 days'`.
    fn duration(&mut self) -> Parsed<Duration> {
        let start = self.0.peek_token_ref().clone();
        let (count, unit) = match self.0.next_token().token {
            Token::Number(count, _) => (count, self.0.parse_identifier()?.value),
            Token::SingleQuotedString(text) => match text.trim().split_once(char::is_whitespace) {
                Some((count, unit)) => (count.to_owned(), unit.trim().to_owned()),
                None => return self.0.expected_ref("a time, such as 7 DAYS", &start),
            },
            _ => return self.0.expected_ref("a time, such as 7 DAYS", &start),
        };
        let seconds: u64 = match unit.to_ascii_lowercase().trim_end_matches('s') {
            "second" => 1,
            "minute" => 60,
            "hour" => 3600,
            "day" => 86_400,
            _ => return self.0.expected_ref("a time, such as 7 DAYS", &start),
        };
        match count.parse::<u64>().ok().and_then(|count| count.checked_mul(seconds)) {
            Some(seconds) => Ok(Duration::from_secs(seconds)),
            None => self.0.expected_ref("a time, such as 7 DAYS", &start),
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::Expr;

    use super::*;

    #[test]
    fn own_statements_are_told_from_others() {
        let own = |sql: &str| parse_own(sql).map_err(|failure| failure.message);
        let Ok(Some(OwnStatement::Clone(clone))) =
            own("create or replace table a.\"B\" clone c.d at (timestamp => now() - interval '1 hour');")
        else {
            panic!("no clone")
        };
        assert_eq!((clone.kind, clone.or_replace, clone.name.to_string().as_str()), (Kind::Table, true, "a.\"B\""));
        assert!(matches!(clone.version, Some(TableVersion::Function(Expr::Function(_)))));
        for other in [
            "create table clone (a int)",
            "create table t as select 1",
            "create or replace view v as select 1",
            "create schema s",
            "show tables",
            "select 'undrop'",
            "alter table t rename to u",
            "create table 'x",
        ] {
            assert_eq!(own(other), Ok(None), "{other}");
        }
        for bad in [
            "undrop view v",
            "undrop table",
            "undrop table t u",
            "create table a clone",
            "create table a clone b at (x",
            "vacuum d retain 3",
            "vacuum d retain 3 weeks",
            "vacuum d retain -3 days",
            "vacuum retain 99999999999999999 days",
            "vacuum dry",
            "show snapshots of d",
        ] {
            assert!(own(bad).is_err(), "{bad}");
        }
        let vacuum = |sql: &str| match own(sql) {
            Ok(Some(OwnStatement::Vacuum(vacuum))) => vacuum,
            other => panic!("{sql}: {other:?}"),
        };
        assert_eq!(vacuum("VACUUM"), VacuumStatement { database: None, retain: None, dry_run: false });
        let all = vacuum("vacuum database d retain 36 hours dry run;");
        assert_eq!((all.retain, all.dry_run), (Some(Duration::from_secs(36 * 3600)), true));
        assert_eq!(vacuum("vacuum d retain '0 seconds'").retain, Some(Duration::ZERO));
    }
}

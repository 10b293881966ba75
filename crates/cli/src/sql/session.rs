//! What one statement leaves behind for the next. The coordinator's session knows as well; the client remembers for the case
//! that it is lost with the coordinator, and sends everything along with each statement.

use crate::client::StatementContext;

/// A statement that changes what the next ones begin with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Sent, so that the coordinator checks it, and remembered if it agrees.
    Set { key: String, value: String },
    /// Likewise: the option has its default again.
    Reset { key: String },
    /// Likewise.
    Use { database: Option<String>, schema: Option<String> },
}

impl Change {
    /// `None` for every other statement, and for a form that only the coordinator can judge.
    pub fn of(sql: &str) -> Option<Self> {
        let mut words = Words { rest: sql };
        match words.keyword()?.as_str() {
            "SET" => {
                let key = words.name()?;
                let value = words.setting_value()?;
                Some(Self::Set { key, value })
            }
            "RESET" => {
                let key = words.name()?;
                words.end().then_some(Self::Reset { key })
            }
            "USE" => {
                let mut ahead = Words { rest: words.rest };
                let kind = ahead.keyword().filter(|kind| matches!(kind.as_str(), "SCHEMA" | "DATABASE"));
                if kind.is_some() {
                    words = ahead;
                }
                let mut names = words.names()?;
                if !words.end() || names.len() > 2 {
                    return None;
                }
                let last = names.pop()?;
                match (kind.as_deref(), names.pop()) {
                    (Some("SCHEMA"), database) => Some(Self::Use { database, schema: Some(last) }),
                    (Some("DATABASE"), None) | (None, None) => Some(Self::Use { database: Some(last), schema: None }),
                    (None, Some(database)) => Some(Self::Use { database: Some(database), schema: Some(last) }),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    pub fn apply(self, context: &mut StatementContext) {
        match self {
            Self::Set { key, value } => {
                context.parameters.insert(key, value);
            }
            Self::Reset { key } => {
                context.parameters.remove(&key);
            }
            Self::Use { database: None, schema } => context.schema = schema,
            Self::Use { database, schema } => {
                context.database = database;
                context.schema = schema;
            }
        }
    }
}

/// In upper case.
pub fn first_word(sql: &str) -> Option<String> {
    Words { rest: sql }.keyword()
}

struct Words<'a> {
    rest: &'a str,
}

impl Words<'_> {
    fn skip_blanks(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.starts_with("--") {
                self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
            } else if self.rest.starts_with("/*") {
                self.rest = self.rest.split_once("*/").map_or("", |(_, rest)| rest);
            } else {
                return;
            }
        }
    }

    fn keyword(&mut self) -> Option<String> {
        self.skip_blanks();
        let end = self.rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then(|| word.to_ascii_uppercase())
    }

    /// `a`, `"A b"`, `a.b`: the parts, lowercase where they are not quoted, as SQL reads names.
    fn names(&mut self) -> Option<Vec<String>> {
        let mut names = Vec::new();
        loop {
            self.skip_blanks();
            if let Some(quoted) = self.rest.strip_prefix('"') {
                let (name, rest) = quoted.split_once('"')?;
                names.push(name.to_owned());
                self.rest = rest;
            } else {
                let end = self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(self.rest.len());
                let (name, rest) = self.rest.split_at(end);
                if name.is_empty() {
                    return None;
                }
                names.push(name.to_lowercase());
                self.rest = rest;
            }
            match self.rest.strip_prefix('.') {
                Some(rest) => self.rest = rest,
                None => return Some(names),
            }
        }
    }

    fn name(&mut self) -> Option<String> {
        Some(self.names()?.join("."))
    }

    /// `= value` or `TO value`, to the end.
    fn setting_value(&mut self) -> Option<String> {
        self.skip_blanks();
        match self.rest.strip_prefix('=') {
            Some(rest) => self.rest = rest,
            None if self.keyword()? == "TO" => {}
            None => return None,
        }
        self.skip_blanks();
        let value = self.rest.trim();
        let quoted = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\''));
        let value = quoted.map_or_else(|| value.to_owned(), |inner| inner.replace("''", "'"));
        (!value.is_empty() || quoted.is_some()).then_some(value)
    }

    fn end(&mut self) -> bool {
        self.skip_blanks();
        self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: &str, value: &str) -> Option<Change> {
        Some(Change::Set { key: key.to_owned(), value: value.to_owned() })
    }

    fn used(database: Option<&str>, schema: Option<&str>) -> Option<Change> {
        Some(Change::Use { database: database.map(str::to_owned), schema: schema.map(str::to_owned) })
    }

    #[test]
    fn changes_are_recognised() {
        assert_eq!(Change::of("SET a.b = 3"), set("a.b", "3"));
        assert_eq!(Change::of("-- why\nset A.b_c to 'it''s'"), set("a.b_c", "it's"));
        assert_eq!(Change::of("SET a.b = ''"), set("a.b", ""));
        assert_eq!(Change::of("RESET a.b"), Some(Change::Reset { key: "a.b".to_owned() }));
        assert_eq!(Change::of("USE sample.tpch_sf1"), used(Some("sample"), Some("tpch_sf1")));
        assert_eq!(Change::of("USE sample"), used(Some("sample"), None));
        assert_eq!(Change::of("USE SCHEMA \"My s\""), used(None, Some("My s")));
        assert_eq!(Change::of("USE SCHEMA a.b"), used(Some("a"), Some("b")));
        assert_eq!(Change::of("USE DATABASE a"), used(Some("a"), None));
        for other in ["SELECT 1", "SETTLE a = 1", "USE a.b.c", "USE", "SET a", "UPDATE t SET a = 1", ""] {
            assert_eq!(Change::of(other), None, "{other:?}");
        }
    }

    #[test]
    fn changes_add_up() {
        let mut context = StatementContext::default();
        for sql in ["SET a = 1", "SET b = 2", "SET a = 3", "RESET b", "USE d.s", "USE SCHEMA t"] {
            Change::of(sql).unwrap().apply(&mut context);
        }
        assert_eq!(context.parameters.into_iter().collect::<Vec<_>>(), [("a".to_owned(), "3".to_owned())]);
        assert_eq!((context.database.as_deref(), context.schema.as_deref()), (Some("d"), Some("t")));
    }
}

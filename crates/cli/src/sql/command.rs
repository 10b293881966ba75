//! What begins with a backslash: commands of the shell and of scripts.

use std::path::PathBuf;
use std::time::Duration;

use super::Format;

/// Shown by `\?`; in the order of the enum below.
pub const HELP: &str = "\
Statements end with ; and may span lines. Ctrl-C clears what is typed, or
cancels what runs. Tab completes.
  \\d, \\d NAME        tables and views; the columns of one
  \\dt, \\dv, \\dn      tables, views, schemas
  \\ds, \\du, \\l       stages, users, databases
  \\c DATABASE        another database, or DATABASE.SCHEMA
  \\profile [NAME]    the servers of the configuration; speaks with another one
  \\i FILE            runs a file
  \\e [FILE]          the last statement, or a file, in $EDITOR
  \\o [FILE]          results into a file; back to the screen
  \\watch [SECONDS]   runs the last statement again and again, until Ctrl-C
  \\x [on|off|auto]   a line for each value; auto: where a row would not fit
  \\format [NAME]     table, vertical, csv, tsv, json, ndjson, markdown, arrow,
                     parquet
  \\timing [on|off]   how many rows in what time
  \\pager [on|off]    $PAGER for what is longer than the screen
  \\?, \\h             this
  \\q, Ctrl-D         leaves
  USE database.schema, SET option = value, BEGIN, COMMIT, ROLLBACK
                     hold for the statements that follow";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Switch {
    On,
    Off,
    /// Where the screen is too narrow.
    Auto,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    Relations,
    /// The columns of a table or view, by its name as SQL writes it.
    Columns(String),
    Tables,
    Views,
    Schemas,
    Stages,
    Users,
    Databases,
    /// A database, and perhaps a schema behind a dot, as SQL writes them.
    Use(String),
    Profile(Option<String>),
    Include(PathBuf),
    Edit(Option<PathBuf>),
    Output(Option<PathBuf>),
    Watch(Duration),
    /// `None` is the other of on and off.
    Expanded(Option<Switch>),
    /// `None` shows the one there is.
    Format(Option<Format>),
    Timing(Option<Switch>),
    Pager(Option<Switch>),
    Help,
    Quit,
}

/// Names and what they take, for completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Takes {
    Nothing,
    Table,
    Database,
    Profile,
    File,
    Format,
    Switch,
    Number,
}

pub const COMMANDS: [(&str, Takes); 23] = [
    ("\\?", Takes::Nothing),
    ("\\c", Takes::Database),
    ("\\connect", Takes::Profile),
    ("\\d", Takes::Table),
    ("\\dn", Takes::Nothing),
    ("\\ds", Takes::Nothing),
    ("\\dt", Takes::Nothing),
    ("\\du", Takes::Nothing),
    ("\\dv", Takes::Nothing),
    ("\\e", Takes::File),
    ("\\format", Takes::Format),
    ("\\h", Takes::Nothing),
    ("\\help", Takes::Nothing),
    ("\\i", Takes::File),
    ("\\l", Takes::Nothing),
    ("\\o", Takes::File),
    ("\\pager", Takes::Switch),
    ("\\profile", Takes::Profile),
    ("\\q", Takes::Nothing),
    ("\\quit", Takes::Nothing),
    ("\\timing", Takes::Switch),
    ("\\watch", Takes::Number),
    ("\\x", Takes::Switch),
];

const WATCH_USUAL: Duration = Duration::from_secs(2);
const WATCH_LONGEST_S: f64 = 86_400.0;

impl Command {
    /// `line` begins with a backslash. An error names what is not understood.
    pub fn parse(line: &str) -> Result<Self, String> {
        let line = line.trim().trim_end_matches(';').trim_end();
        let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let argument = Some(argument.trim()).filter(|argument| !argument.is_empty());
        let command = match name {
            "\\d" => return Ok(argument.map_or(Self::Relations, |name| Self::Columns(name.to_owned()))),
            "\\dt" => Self::Tables,
            "\\dv" => Self::Views,
            "\\dn" => Self::Schemas,
            "\\ds" => Self::Stages,
            "\\du" => Self::Users,
            "\\l" => Self::Databases,
            "\\c" => return Ok(Self::Use(needed(name, "a database", argument)?.to_owned())),
            "\\profile" | "\\connect" => return Ok(Self::Profile(argument.map(str::to_owned))),
            "\\i" => return Ok(Self::Include(needed(name, "a file", argument)?.into())),
            "\\e" => return Ok(Self::Edit(argument.map(PathBuf::from))),
            "\\o" => return Ok(Self::Output(argument.map(PathBuf::from))),
            "\\watch" => return Ok(Self::Watch(argument.map_or(Ok(WATCH_USUAL), seconds)?)),
            "\\x" => return Ok(Self::Expanded(argument.map(|word| switch(name, word, true)).transpose()?)),
            "\\format" => return Ok(Self::Format(argument.map(str::parse).transpose()?)),
            "\\timing" => return Ok(Self::Timing(argument.map(|word| switch(name, word, false)).transpose()?)),
            "\\pager" => return Ok(Self::Pager(argument.map(|word| switch(name, word, false)).transpose()?)),
            "\\?" | "\\h" | "\\help" => return Ok(Self::Help),
            "\\q" | "\\quit" => Self::Quit,
            other => return Err(format!("unknown command {other}: \\? lists them")),
        };
        match argument {
            None => Ok(command),
            Some(argument) => Err(format!("{name} takes nothing, and not {argument:?}")),
        }
    }
}

fn needed<'a>(name: &str, what: &str, argument: Option<&'a str>) -> Result<&'a str, String> {
    argument.ok_or_else(|| format!("{name} needs {what}"))
}

fn switch(name: &str, word: &str, auto: bool) -> Result<Switch, String> {
    match word.to_ascii_lowercase().as_str() {
        "on" => Ok(Switch::On),
        "off" => Ok(Switch::Off),
        "auto" if auto => Ok(Switch::Auto),
        _ => Err(format!("{name} takes {}, and not {word:?}", if auto { "on, off or auto" } else { "on or off" })),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=WATCH_LONGEST_S).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("\\watch takes seconds from 0.1 to {WATCH_LONGEST_S}, and not {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read() {
        assert_eq!(Command::parse("\\d"), Ok(Command::Relations));
        assert_eq!(Command::parse("\\d  s.\"T t\" ;"), Ok(Command::Columns("s.\"T t\"".to_owned())));
        assert_eq!(Command::parse("\\x"), Ok(Command::Expanded(None)));
        assert_eq!(Command::parse("\\x AUTO"), Ok(Command::Expanded(Some(Switch::Auto))));
        assert_eq!(Command::parse("\\watch .5"), Ok(Command::Watch(Duration::from_millis(500))));
        assert_eq!(Command::parse("\\watch"), Ok(Command::Watch(Duration::from_secs(2))));
        assert_eq!(Command::parse("\\o a b.csv"), Ok(Command::Output(Some("a b.csv".into()))));
        assert_eq!(Command::parse("\\format ndjson"), Ok(Command::Format(Some(Format::Ndjson))));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, named) in [
            ("\\dx", "\\dx"),
            ("\\", "\\"),
            ("\\timing auto", "auto"),
            ("\\format xml", "xml"),
            ("\\watch 0", "0"),
            ("\\watch nan", "nan"),
            ("\\i", "\\i needs a file"),
            ("\\c", "\\c needs a database"),
            ("\\l a", "\"a\""),
        ] {
            let refused = Command::parse(line).unwrap_err();
            assert!(refused.contains(named), "{line}: {refused}");
        }
    }

    #[test]
    fn every_command_is_known_by_its_name_and_in_the_help() {
        for (name, takes) in COMMANDS {
            let argument = match takes {
                Takes::Format => "csv",
                Takes::Switch => "on",
                Takes::Number => "3",
                Takes::Nothing => "",
                Takes::Table | Takes::Database | Takes::Profile | Takes::File => "x",
            };
            assert!(Command::parse(&format!("{name} {argument}")).is_ok(), "{name}");
            let elsewhere = ["\\connect", "\\help", "\\quit"];
            assert!(elsewhere.contains(&name) || HELP.contains(name), "{name} is not in the help");
        }
        assert!(HELP.lines().all(|line| line.chars().count() < 80));
    }
}

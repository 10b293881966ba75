//! How a session shows what comes.

use std::io::{IsTerminal, stderr, stdout};

use serde::{Deserialize, Serialize};

use super::Format;
use super::command::Switch;
use crate::config::ClientOptions;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    Always,
    Never,
}

impl Color {
    pub fn is_wanted(self) -> bool {
        let no_color = || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => stdout().is_terminal() && stderr().is_terminal() && !no_color() && !dumb(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct View {
    pub format: Format,
    pub expanded: Switch,
    /// How many rows, and in what time, where someone reads along.
    pub timing: bool,
    pub pager: bool,
    /// Someone types statements, and looks at their results.
    pub in_shell: bool,
}

impl View {
    pub fn of(options: &ClientOptions) -> Self {
        Self {
            format: options.format,
            expanded: Switch::Auto,
            timing: options.timing,
            pager: options.pager,
            in_shell: false,
        }
    }

    /// Nothing is printed before all has come.
    pub fn shows_at_end(&self) -> bool {
        self.format == Format::Table && self.expanded != Switch::On
    }
}

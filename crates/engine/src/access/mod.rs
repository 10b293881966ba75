//! Who may do what: checked here for every statement, whatever door it came through, after its names are resolved and before anything
//! runs.
//!
//! In reading order: `statement` (users, roles and grants as SQL), `rights` (of whoever sends a statement), `check` (what a planned
//! statement needs), `objects` (names to what is granted on), `plan` and `show` (the statements).
//! What one may not see, names do not lead to: see [`crate::lake`]'s `names`.

mod check;
mod objects;
mod plan;
mod rights;
mod show;
mod statement;

use std::fmt;

pub use check::{check, check_reads, check_setting, demand_admin, refuse_declaration};
pub use objects::Objects;
pub use plan::{AccessAction, ChangeOfRecords, plan};
pub use rights::{demand, rights_of};
pub use statement::{AccessStatement, UserSettings, parse};

/// A password on its way to be hashed. Shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    pub fn new(password: String) -> Self {
        Self(password)
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

//! Who a statement is run for.

use std::fmt;
use std::sync::Arc;

/// A user in one of its roles. What it may do follows from the role; what is its own, from the user.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Principal {
    user: Arc<str>,
    role: Arc<str>,
}

/// The role that may do everything.
pub const ADMIN_ROLE: &str = "admin";

impl Principal {
    pub fn new(user: &str, role: &str) -> Self {
        Self { user: user.into(), role: role.into() }
    }

    /// Whoever uses an instance that has no users.
    pub fn embedded() -> Self {
        Self::new("frazil", ADMIN_ROLE)
    }

    pub fn user(&self) -> &str {
        &self.user
    }

    pub fn role(&self) -> &str {
        &self.role
    }

    pub fn is_admin(&self) -> bool {
        &*self.role == ADMIN_ROLE
    }

    /// Whether the statements and sessions of `other` are its to see and to stop.
    pub fn may_act_for(&self, other: &Principal) -> bool {
        self.user == other.user || self.is_admin()
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.user, self.role)
    }
}

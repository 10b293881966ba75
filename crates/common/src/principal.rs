//! Who a statement is run for.

use std::fmt;
use std::sync::Arc;

/// A user in one of its roles. What it may do follows from the role; what is its own, from the user.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Principal {
    user: Arc<str>,
    role: Arc<str>,
    /// It has logged in with something that is good for this role alone.
    is_restricted: bool,
}

/// The role that may do everything.
pub const ADMIN_ROLE: &str = "admin";

/// The role that everyone has.
pub const PUBLIC_ROLE: &str = "public";

/// Who uses an instance that has no users; no user can be called so.
pub const EMBEDDED_USER: &str = "frazil";

impl Principal {
    pub fn new(user: &str, role: &str) -> Self {
        Self { user: user.into(), role: role.into(), is_restricted: false }
    }

    /// In this role and no other, however it asks.
    pub fn restricted(self) -> Self {
        Self { is_restricted: true, ..self }
    }

    /// Whoever uses an instance that has no users.
    pub fn embedded() -> Self {
        Self::new(EMBEDDED_USER, ADMIN_ROLE)
    }

    pub fn user(&self) -> &str {
        &self.user
    }

    pub fn role(&self) -> &str {
        &self.role
    }

    pub fn is_restricted(&self) -> bool {
        self.is_restricted
    }

    /// The same user in another role.
    pub fn with_role(&self, role: &str) -> Self {
        Self { role: role.into(), ..self.clone() }
    }

    pub fn is_admin(&self) -> bool {
        &*self.role == ADMIN_ROLE
    }

    /// Whether the statements and sessions of `other` are its to see and to stop.
    pub fn may_act_for(&self, other: &Principal) -> bool {
        let is_own = self.user == other.user && (!self.is_restricted || self.role == other.role);
        is_own || self.is_admin()
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.user, self.role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_others_is_not_its_own() {
        let ann = Principal::new("ann", "reader");
        assert!(ann.may_act_for(&Principal::new("ann", "writer")));
        assert!(!ann.may_act_for(&Principal::new("bob", "reader")));
        assert!(!ann.clone().restricted().may_act_for(&Principal::new("ann", "writer")));
        assert!(Principal::new("bob", ADMIN_ROLE).may_act_for(&ann));
    }
}

//! What is known of users and roles at one moment, and what follows from it.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use frazil_common::principal::{ADMIN_ROLE, PUBLIC_ROLE};
use parking_lot::Mutex;

use super::privilege::{ObjectId, ObjectKind, Privilege, Privileges};
use super::store::NOBODY;

/// A user as it is kept. Its `Debug` shows nothing that it logs in with.
#[derive(Clone, PartialEq, Eq)]
pub struct UserRecord {
    pub name: String,
    /// A PHC string: `$argon2id$…`.
    pub password: Option<String>,
    /// DER of the `SubjectPublicKeyInfo`, in base64.
    pub rsa_public_key: Option<String>,
    pub default_role: Option<String>,
    pub disabled: bool,
    pub comment: Option<String>,
    pub created_at: SystemTime,
}

impl fmt::Debug for UserRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserRecord").field("name", &self.name).field("disabled", &self.disabled).finish_non_exhaustive()
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoleRecord {
    pub name: String,
    pub comment: Option<String>,
    pub created_at: SystemTime,
}

/// A programmatic access token; of itself only its digest is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenRecord {
    pub name: String,
    pub user: String,
    /// SHA-256 of the token, in hexadecimal digits.
    pub digest: String,
    /// The only role that it can be used in, if there is one.
    pub role: Option<String>,
    pub created_at: SystemTime,
    pub expires_at: SystemTime,
}

impl fmt::Debug for TokenRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenRecord({} of {})", self.name, self.user)
    }
}

/// Who has a role.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Member {
    User(String),
    Role(String),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    pub role: String,
    pub kind: ObjectKind,
    pub object: ObjectId,
    pub privilege: Privilege,
    pub granted_at: SystemTime,
}

/// Everything at one moment.
#[derive(Default)]
pub struct AccessRecords {
    pub users: Vec<UserRecord>,
    pub roles: Vec<RoleRecord>,
    /// Which role each has.
    pub memberships: BTreeSet<(String, Member)>,
    pub grants: Vec<Grant>,
    pub tokens: Vec<TokenRecord>,
    /// Where a token is in `tokens`.
    pub(super) by_digest: HashMap<String, usize>,
    /// What was asked for, by role. As many as there are roles.
    pub(super) rights: Mutex<HashMap<String, Arc<Rights>>>,
}

impl fmt::Debug for AccessRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccessRecords({} users, {} roles)", self.users.len(), self.roles.len())
    }
}

impl Grant {
    /// Unless that role was dropped.
    pub fn grantee(&self) -> Option<&str> {
        (self.role != NOBODY).then_some(self.role.as_str())
    }
}

impl AccessRecords {
    /// Without users there is nobody to be told apart.
    pub fn has_users(&self) -> bool {
        !self.users.is_empty()
    }

    /// Names are compared without case, as clients send them in one of their own.
    pub fn user(&self, name: &str) -> Option<&UserRecord> {
        self.users.iter().find(|user| user.name.eq_ignore_ascii_case(name))
    }

    /// The role's own spelling; those that are built in are always there.
    pub fn role(&self, name: &str) -> Option<&str> {
        let built_in = [ADMIN_ROLE, PUBLIC_ROLE].into_iter();
        built_in.chain(self.roles.iter().map(|role| role.name.as_str())).find(|role| role.eq_ignore_ascii_case(name))
    }

    pub fn token(&self, digest: &str) -> Option<&TokenRecord> {
        self.by_digest.get(digest).and_then(|index| self.tokens.get(*index))
    }

    /// The roles that a user can act in: those granted to it, and what these have in turn.
    pub fn roles_of_user(&self, user: &str) -> BTreeSet<&str> {
        let granted = self.memberships.iter().filter_map(|(role, member)| match member {
            Member::User(name) if name == user => Some(role.as_str()),
            _ => None,
        });
        self.with_inherited(granted.collect())
    }

    /// The role it acts in if it says nothing else: its default role, as long as that is granted to it.
    pub fn first_role<'a>(&'a self, user: &'a UserRecord) -> &'a str {
        let default = user.default_role.as_deref().filter(|role| self.roles_of_user(&user.name).contains(role));
        default.unwrap_or(PUBLIC_ROLE)
    }

    /// A role, those granted to it and so on, and `public`.
    pub fn roles_of_role<'a>(&'a self, role: &'a str) -> BTreeSet<&'a str> {
        self.with_inherited(vec![role])
    }

    fn with_inherited<'a>(&'a self, mut open: Vec<&'a str>) -> BTreeSet<&'a str> {
        let mut found = BTreeSet::new();
        open.push(PUBLIC_ROLE);
        while let Some(role) = open.pop() {
            if found.insert(role) {
                let inherited = self.memberships.iter().filter_map(|(inherited, member)| match member {
                    Member::Role(heir) if heir == role => Some(inherited.as_str()),
                    _ => None,
                });
                open.extend(inherited);
            }
        }
        found
    }

    pub fn rights(&self, role: &str) -> Arc<Rights> {
        if let Some(known) = self.rights.lock().get(role) {
            return known.clone();
        }
        let roles: BTreeSet<String> = self.roles_of_role(role).into_iter().map(str::to_owned).collect();
        let mut privileges: HashMap<ObjectId, Privileges> = HashMap::new();
        for grant in self.grants.iter().filter(|grant| roles.contains(&grant.role)) {
            privileges.entry(grant.object.clone()).or_default().add(grant.privilege);
        }
        let is_admin = roles.contains(ADMIN_ROLE);
        let rights = Arc::new(Rights { role: role.to_owned(), roles, is_admin, privileges });
        // Only for roles that are there, so that nobody fills it.
        if self.role(role) == Some(role) {
            self.rights.lock().insert(role.to_owned(), rights.clone());
        }
        rights
    }

    /// The role that owns an object: what an administrator has made is the administrators', what a role has made that was dropped
    /// since is that of a role which has no rights.
    pub fn owner(&self, object: &ObjectId) -> &str {
        let owner = self.grants.iter().find(|grant| grant.privilege == Privilege::Ownership && grant.object == *object);
        owner.map_or(ADMIN_ROLE, |grant| &grant.role)
    }

    /// Whether somebody can still log in and do everything.
    pub(super) fn has_administrator(&self) -> bool {
        self.users.iter().any(|user| {
            let can_log_in = !user.disabled && (user.password.is_some() || user.rsa_public_key.is_some());
            can_log_in && self.roles_of_user(&user.name).contains(ADMIN_ROLE)
        })
    }
}

/// What a role may do, with all that it inherits.
#[derive(Debug)]
pub struct Rights {
    role: String,
    roles: BTreeSet<String>,
    is_admin: bool,
    privileges: HashMap<ObjectId, Privileges>,
}

impl Rights {
    /// Everything.
    pub fn of_administrator() -> Arc<Self> {
        Arc::new(Self {
            role: ADMIN_ROLE.to_owned(),
            roles: BTreeSet::from([ADMIN_ROLE.to_owned(), PUBLIC_ROLE.to_owned()]),
            is_admin: true,
            privileges: HashMap::new(),
        })
    }

    /// Nothing.
    pub fn none() -> Arc<Self> {
        Arc::new(Self { role: String::new(), roles: BTreeSet::new(), is_admin: false, privileges: HashMap::new() })
    }

    pub fn role(&self) -> &str {
        &self.role
    }

    pub fn is_admin(&self) -> bool {
        self.is_admin
    }

    pub fn has_role(&self, role: &str) -> bool {
        self.is_admin || self.roles.contains(role)
    }

    pub fn may(&self, privilege: Privilege, object: &ObjectId) -> bool {
        self.is_admin || self.privileges.get(object).is_some_and(|granted| granted.has(privilege))
    }

    /// Whether it may do anything at all to an object, and so know of it.
    pub fn may_see(&self, object: &ObjectId) -> bool {
        self.is_admin || self.privileges.get(object).is_some_and(|granted| !granted.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(memberships: &[(&str, Member)]) -> AccessRecords {
        let memberships = memberships.iter().map(|(role, member)| ((*role).to_owned(), member.clone())).collect();
        AccessRecords { memberships, ..AccessRecords::default() }
    }

    #[test]
    fn roles_inherit_and_circles_end() {
        let role = |name: &str| Member::Role(name.to_owned());
        let records = records(&[
            ("a", Member::User("u".to_owned())),
            ("b", role("a")),
            ("c", role("b")),
            ("a", role("c")),
            ("p", role("public")),
            ("other", Member::User("v".to_owned())),
        ]);
        let roles = records.roles_of_user("u");
        assert_eq!(roles.into_iter().collect::<Vec<_>>(), ["a", "b", "c", "p", "public"]);
        // What everyone has, through `public`, is a role like others.
        assert!(records.roles_of_role("public").contains("p"));
        assert!(records.roles_of_user("nobody").contains("public"));
    }

    #[test]
    fn rights_are_of_this_object_and_role() {
        let object = ObjectId::within(uuid::Uuid::nil(), "t");
        let mut records = records(&[("reader", Member::Role("writer".to_owned()))]);
        let grant = |role: &str, privilege| Grant {
            role: role.to_owned(),
            kind: ObjectKind::Table,
            object: object.clone(),
            privilege,
            granted_at: SystemTime::UNIX_EPOCH,
        };
        records.grants = vec![grant("reader", Privilege::Select), grant("writer", Privilege::Insert)];
        let (reader, writer) = (records.rights("reader"), records.rights("writer"));
        assert!(reader.may(Privilege::Select, &object) && !reader.may(Privilege::Insert, &object));
        assert!(writer.may(Privilege::Select, &object) && writer.may(Privilege::Insert, &object));
        assert!(!writer.may(Privilege::Delete, &object));
        assert!(!reader.may_see(&ObjectId::within(uuid::Uuid::nil(), "other")));
        assert!(!records.rights("public").may_see(&object));
        records.grants.push(grant("writer", Privilege::Ownership));
        records.rights.lock().clear();
        assert!(records.rights("writer").may(Privilege::Delete, &object));
        assert_eq!(records.owner(&object), "writer");
    }
}

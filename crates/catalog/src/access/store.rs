//! Reads and writes users, roles and grants. A change is whole or not at all, and leaves somebody who can administer.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::privilege::{ObjectId, ObjectKind, Privilege};
use super::records::{AccessRecords, Grant, Member, RoleRecord, TokenRecord, UserRecord};
use crate::change_counter::State;
use crate::database::Database;
use crate::databases::Databases;
use crate::error::{CatalogError, Result};
use crate::requests::{Request, note_request};
use crate::sql::{Tx, Value};
use crate::time;
use frazil_common::principal::{ADMIN_ROLE, EMBEDDED_USER, PUBLIC_ROLE};

pub(crate) const TABLES: &str = "CREATE TABLE IF NOT EXISTS frazil_user(user_name VARCHAR PRIMARY KEY, password VARCHAR, \
     rsa_public_key VARCHAR, default_role VARCHAR, disabled BIGINT NOT NULL, comment VARCHAR, created_at VARCHAR NOT NULL); \
     CREATE TABLE IF NOT EXISTS frazil_role(role_name VARCHAR PRIMARY KEY, comment VARCHAR, created_at VARCHAR NOT NULL); \
     CREATE TABLE IF NOT EXISTS frazil_role_member(role_name VARCHAR NOT NULL, member_kind VARCHAR NOT NULL, \
     member VARCHAR NOT NULL, PRIMARY KEY(role_name, member_kind, member)); \
     CREATE TABLE IF NOT EXISTS frazil_privilege(role_name VARCHAR NOT NULL, object_kind VARCHAR NOT NULL, \
     object_id VARCHAR NOT NULL, privilege VARCHAR NOT NULL, granted_at VARCHAR NOT NULL, \
     PRIMARY KEY(object_id, role_name, privilege)); \
     CREATE TABLE IF NOT EXISTS frazil_token(user_name VARCHAR NOT NULL, token_name VARCHAR NOT NULL, \
     digest VARCHAR NOT NULL UNIQUE, role_name VARCHAR, created_at VARCHAR NOT NULL, expires_at VARCHAR NOT NULL, \
     PRIMARY KEY(user_name, token_name)); \
     CREATE TABLE IF NOT EXISTS frazil_access_version(version BIGINT NOT NULL)";

/// All of them are in memory, and each is looked at when something is asked about it.
const USERS_MAX: usize = 10_000;
const ROLES_MAX: usize = 10_000;
const GRANTS_MAX: usize = 500_000;
const TOKENS_MAX: usize = 20_000;
const TOKENS_OF_USER_MAX: usize = 15;
const NAME_BYTES_MAX: usize = 255;
/// Owns what a role owned that was dropped. No role can be called so.
pub(super) const NOBODY: &str = "\u{1}";

/// What was read last.
#[derive(Default)]
pub(crate) struct AccessCache(parking_lot::Mutex<Option<Known>>);

#[derive(Clone)]
struct Known {
    /// Of the SQLite file, in which it was found to be so.
    state: Option<State>,
    version: i64,
    records: Arc<AccessRecords>,
}

impl fmt::Debug for AccessCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessCache")
    }
}

/// What is set of a user; `None` stays as it is.
#[derive(Clone, Default)]
pub struct UserOptions {
    /// A PHC string, never the password itself. The inner `None` takes it away; likewise below.
    pub password: Option<Option<String>>,
    pub rsa_public_key: Option<Option<String>>,
    pub default_role: Option<Option<String>>,
    pub disabled: Option<bool>,
    pub comment: Option<Option<String>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GrantedObject {
    pub kind: ObjectKind,
    pub id: ObjectId,
}

/// A change of users, roles or grants.
#[derive(Clone)]
pub enum AccessChange {
    /// The first user gets the role `admin`, since from then on nobody comes in without.
    CreateUser {
        name: String,
        if_not_exists: bool,
        options: UserOptions,
    },
    AlterUser {
        name: String,
        if_exists: bool,
        options: UserOptions,
    },
    DropUser {
        name: String,
        if_exists: bool,
    },
    CreateRole {
        name: String,
        if_not_exists: bool,
        comment: Option<String>,
    },
    DropRole {
        name: String,
        if_exists: bool,
    },
    GrantRole {
        role: String,
        to: Member,
    },
    RevokeRole {
        role: String,
        from: Member,
    },
    /// Each of the privileges on each of the objects that can have it.
    Grant {
        privileges: Vec<Privilege>,
        objects: Vec<GrantedObject>,
        role: String,
    },
    Revoke {
        privileges: Vec<Privilege>,
        objects: Vec<GrantedObject>,
        role: String,
    },
    /// `role` has what was created just now.
    Own {
        objects: Vec<GrantedObject>,
        role: String,
    },
    /// Objects that are no more.
    Forget {
        objects: Vec<ObjectId>,
    },
    AddToken(TokenRecord),
    RemoveToken {
        user: String,
        name: String,
    },
}

impl Databases {
    /// As it is now.
    pub async fn access(&self) -> Result<Arc<AccessRecords>> {
        let state = self.state();
        let known = self.access_cache().0.lock().clone();
        if let (Some(state), Some(known)) = (state, &known)
            && known.state == Some(state)
        {
            return Ok(known.records.clone());
        }
        let mut tx = self.registry().read().await?;
        let version = version(&mut tx).await?;
        let records = match known {
            Some(known) if known.version == version => known.records,
            _ => Arc::new(read(&mut tx).await?),
        };
        *self.access_cache().0.lock() = Some(Known { state, version, records: records.clone() });
        Ok(records)
    }

    /// Returns what the user is told.
    pub async fn change_access(&self, change: AccessChange, request: Option<Request<'_>>) -> Result<String> {
        let mut tx = self.registry().write("frazil_access_version").await?;
        let before = read(&mut tx).await?;
        let done = Changing { tx: &mut tx, records: &before }.apply(change).await?;
        let after = read(&mut tx).await?;
        if after.has_users() && !after.has_administrator() {
            let message = "nobody would be left who can log in with the role admin: give it to another user first";
            return Err(CatalogError::Invalid(message.to_owned()));
        }
        if before.has_users() && !after.has_users() {
            return Err(CatalogError::Invalid("the last user cannot be dropped".to_owned()));
        }
        let last = version(&mut tx).await?;
        let doing = "noting a change of users";
        tx.execute(doing, "DELETE FROM frazil_access_version", &[]).await?;
        tx.insert(doing, "frazil_access_version", "version", &[vec![Value::int(last + 1)]]).await?;
        note_request(&mut tx, request, &done).await?;
        tx.commit().await?;
        Ok(done)
    }

    /// Forgets grants on objects of a database that it does not have any more, nor can have again. Those of the last day stay: an
    /// object's owner is noted before the object is committed.
    pub async fn forget_grants(&self, database: &Database) -> Result<()> {
        let records = self.access().await?;
        let prefix = format!("{}/", database.id());
        if !records.grants.iter().any(|grant| grant.object.as_str().starts_with(&prefix)) {
            return Ok(());
        }
        let there = database.object_ids().await?;
        let since = SystemTime::now() - std::time::Duration::from_secs(24 * 3600);
        let gone = records.grants.iter().filter(|grant| {
            let within = grant.object.as_str().strip_prefix(&prefix);
            let is_gone = within.is_some_and(|id| !there.contains(id.split('/').next().unwrap_or(id)));
            is_gone && grant.granted_at < since
        });
        let gone: BTreeSet<ObjectId> = gone.map(|grant| grant.object.clone()).collect();
        if gone.is_empty() {
            return Ok(());
        }
        let objects = gone.into_iter().collect();
        self.change_access(AccessChange::Forget { objects }, None).await.map(|_| ())
    }
}

struct Changing<'a> {
    tx: &'a mut Tx,
    records: &'a AccessRecords,
}

impl Changing<'_> {
    async fn apply(&mut self, change: AccessChange) -> Result<String> {
        match change {
            AccessChange::CreateUser { name, if_not_exists, options } => {
                self.create_user(&name, if_not_exists, options).await
            }
            AccessChange::AlterUser { name, if_exists, options } => {
                let Some(user) = self.records.user(&name) else {
                    return match if_exists {
                        true => Ok(format!("user {name} does not exist")),
                        false => Err(CatalogError::UndefinedUser(name)),
                    };
                };
                let changed = self.with_options(user.clone(), options)?;
                self.delete("frazil_user", "user_name", &user.name).await?;
                self.insert_user(&changed).await?;
                Ok(format!("user {} altered", user.name))
            }
            AccessChange::DropUser { name, if_exists } => {
                let Some(user) = self.records.user(&name) else {
                    return match if_exists {
                        true => Ok(format!("user {name} does not exist")),
                        false => Err(CatalogError::UndefinedUser(name)),
                    };
                };
                self.delete("frazil_user", "user_name", &user.name).await?;
                self.delete("frazil_token", "user_name", &user.name).await?;
                self.delete_member("user", &user.name).await?;
                Ok(format!("user {} dropped", user.name))
            }
            AccessChange::CreateRole { name, if_not_exists, comment } => {
                if let Some(role) = self.records.role(&name) {
                    return match if_not_exists {
                        true => Ok(format!("role {role} exists already")),
                        false => Err(CatalogError::DuplicateRole(role.to_owned())),
                    };
                }
                check_name("role", &name)?;
                check_room("roles", self.records.roles.len(), ROLES_MAX)?;
                let row = vec![Value::text(&name), Value::Text(comment), now()];
                self.tx.insert("creating a role", "frazil_role", "role_name, comment, created_at", &[row]).await?;
                Ok(format!("role {name} created"))
            }
            AccessChange::DropRole { name, if_exists } => {
                let Some(role) = self.records.role(&name) else {
                    return match if_exists {
                        true => Ok(format!("role {name} does not exist")),
                        false => Err(CatalogError::UndefinedRole(name)),
                    };
                };
                if role == ADMIN_ROLE || role == PUBLIC_ROLE {
                    return Err(CatalogError::Invalid(format!("role \"{role}\" cannot be dropped")));
                }
                // What it owned is nobody's but the administrators', and its views have nobody's rights.
                let sql = "UPDATE frazil_privilege SET role_name = $1 WHERE role_name = $2 AND privilege = $3";
                let args = [Value::text(NOBODY), Value::text(role), Value::text(Privilege::Ownership.name())];
                self.tx.execute("dropping a role", sql, &args).await?;
                self.delete("frazil_role", "role_name", role).await?;
                self.delete("frazil_role_member", "role_name", role).await?;
                self.delete("frazil_privilege", "role_name", role).await?;
                self.delete("frazil_token", "role_name", role).await?;
                self.delete_member("role", role).await?;
                Ok(format!("role {role} dropped"))
            }
            AccessChange::GrantRole { role, to } => {
                let role = self.role(&role)?;
                let to = self.member(to)?;
                if role == PUBLIC_ROLE {
                    return Err(CatalogError::Invalid("everyone has the role public".to_owned()));
                }
                if let Member::Role(heir) = &to
                    && self.records.roles_of_role(&role).contains(heir.as_str())
                {
                    let message = format!("role \"{role}\" has role \"{heir}\", and cannot be granted to it");
                    return Err(CatalogError::Invalid(message));
                }
                let (kind, name) = parts(&to);
                if !self.records.memberships.contains(&(role.clone(), to.clone())) {
                    let row = vec![Value::text(&role), Value::text(kind), Value::text(name)];
                    let columns = "role_name, member_kind, member";
                    self.tx.insert("granting a role", "frazil_role_member", columns, &[row]).await?;
                }
                Ok(format!("role {role} granted to {kind} {name}"))
            }
            AccessChange::RevokeRole { role, from } => {
                let role = self.role(&role)?;
                let from = self.member(from)?;
                let (kind, name) = parts(&from);
                let sql = "DELETE FROM frazil_role_member WHERE role_name = $1 AND member_kind = $2 AND member = $3";
                let args = [Value::text(&role), Value::text(kind), Value::text(name)];
                self.tx.execute("revoking a role", sql, &args).await?;
                Ok(format!("role {role} revoked from {kind} {name}"))
            }
            AccessChange::Grant { privileges, objects, role } => {
                let role = self.role(&role)?;
                self.grant(&privileges, &objects, &role).await?;
                Ok(format!("granted to role {role} on {}", counted(objects.len())))
            }
            AccessChange::Own { objects, role } => {
                let role = self.role(&role)?;
                self.grant(&[Privilege::Ownership], &objects, &role).await?;
                Ok(format!("role {role} owns {}", counted(objects.len())))
            }
            AccessChange::Revoke { privileges, objects, role } => {
                let role = self.role(&role)?;
                let sql = "DELETE FROM frazil_privilege WHERE object_id = $1 AND role_name = $2 AND privilege = $3";
                for object in &objects {
                    for privilege in &privileges {
                        let args = [Value::text(object.id.as_str()), Value::text(&role), Value::text(privilege.name())];
                        self.tx.execute("revoking a privilege", sql, &args).await?;
                    }
                }
                Ok(format!("revoked from role {role} on {}", counted(objects.len())))
            }
            AccessChange::Forget { objects } => {
                for object in &objects {
                    self.delete("frazil_privilege", "object_id", object.as_str()).await?;
                }
                Ok(format!("forgot {}", counted(objects.len())))
            }
            AccessChange::AddToken(token) => self.add_token(token).await,
            AccessChange::RemoveToken { user, name } => {
                let user = self.user(&user)?.name.clone();
                let sql = "DELETE FROM frazil_token WHERE user_name = $1 AND token_name = $2";
                let args = [Value::text(&user), Value::text(&name)];
                match self.tx.execute("removing a token", sql, &args).await? {
                    0 => Err(CatalogError::UndefinedToken { user, name }),
                    _ => Ok(format!("token {name} of user {user} removed")),
                }
            }
        }
    }

    async fn create_user(&mut self, name: &str, if_not_exists: bool, options: UserOptions) -> Result<String> {
        if let Some(user) = self.records.user(name) {
            return match if_not_exists {
                true => Ok(format!("user {} exists already", user.name)),
                false => Err(CatalogError::DuplicateUser(user.name.clone())),
            };
        }
        check_name("user", name)?;
        if name.eq_ignore_ascii_case(EMBEDDED_USER) {
            let message = format!("\"{EMBEDDED_USER}\" cannot name a user: it is who uses an instance without users");
            return Err(CatalogError::Invalid(message));
        }
        check_room("users", self.records.users.len(), USERS_MAX)?;
        let user = UserRecord {
            name: name.to_owned(),
            password: None,
            rsa_public_key: None,
            default_role: None,
            disabled: false,
            comment: None,
            created_at: SystemTime::now(),
        };
        let is_first = !self.records.has_users();
        let mut user = self.with_options(user, options)?;
        if is_first {
            if user.password.is_none() && user.rsa_public_key.is_none() {
                let message = "the first user administers, and needs a PASSWORD or an RSA_PUBLIC_KEY to log in with";
                return Err(CatalogError::Invalid(message.to_owned()));
            }
            user.default_role.get_or_insert_with(|| ADMIN_ROLE.to_owned());
        }
        self.insert_user(&user).await?;
        if !is_first {
            return Ok(format!("user {name} created"));
        }
        let row = vec![Value::text(ADMIN_ROLE), Value::text("user"), Value::text(name)];
        let columns = "role_name, member_kind, member";
        self.tx.insert("granting a role", "frazil_role_member", columns, &[row]).await?;
        Ok(format!("user {name} created: the first, with the role {ADMIN_ROLE}; from now on everyone has to log in"))
    }

    fn with_options(&self, mut user: UserRecord, options: UserOptions) -> Result<UserRecord> {
        if let Some(Some(role)) = &options.default_role {
            let role = self.role(role)?;
            user.default_role = Some(role);
        } else if options.default_role.is_some() {
            user.default_role = None;
        }
        user.password = options.password.unwrap_or(user.password);
        user.rsa_public_key = options.rsa_public_key.unwrap_or(user.rsa_public_key);
        user.disabled = options.disabled.unwrap_or(user.disabled);
        user.comment = options.comment.unwrap_or(user.comment);
        Ok(user)
    }

    async fn insert_user(&mut self, user: &UserRecord) -> Result<()> {
        let row = vec![
            Value::text(&user.name),
            Value::Text(user.password.clone()),
            Value::Text(user.rsa_public_key.clone()),
            Value::Text(user.default_role.clone()),
            Value::int(i64::from(user.disabled)),
            Value::Text(user.comment.clone()),
            Value::text(time::format_moment(user.created_at)),
        ];
        let columns = "user_name, password, rsa_public_key, default_role, disabled, comment, created_at";
        self.tx.insert("keeping a user", "frazil_user", columns, &[row]).await
    }

    async fn grant(&mut self, privileges: &[Privilege], objects: &[GrantedObject], role: &str) -> Result<()> {
        let doing = "granting a privilege";
        let known: BTreeSet<(&str, &ObjectId, Privilege)> =
            self.records.grants.iter().map(|grant| (grant.role.as_str(), &grant.object, grant.privilege)).collect();
        let mut rows = Vec::new();
        for object in objects {
            for privilege in privileges {
                let can_have = *privilege == Privilege::Ownership || object.kind.privileges().contains(privilege);
                if !can_have || known.contains(&(role, &object.id, *privilege)) {
                    continue;
                }
                if *privilege == Privilege::Ownership {
                    let sql = "DELETE FROM frazil_privilege WHERE object_id = $1 AND privilege = $2";
                    let args = [Value::text(object.id.as_str()), Value::text(privilege.name())];
                    self.tx.execute(doing, sql, &args).await?;
                    if role == ADMIN_ROLE {
                        // As what nobody owns.
                        continue;
                    }
                }
                rows.push(vec![
                    Value::text(role),
                    Value::text(object.kind.name()),
                    Value::text(object.id.as_str()),
                    Value::text(privilege.name()),
                    now(),
                ]);
            }
        }
        check_room("grants", self.records.grants.len() + rows.len(), GRANTS_MAX)?;
        let columns = "role_name, object_kind, object_id, privilege, granted_at";
        self.tx.insert(doing, "frazil_privilege", columns, &rows).await
    }

    async fn add_token(&mut self, token: TokenRecord) -> Result<String> {
        let user = self.user(&token.user)?.name.clone();
        check_name("token", &token.name)?;
        let of_user: Vec<_> = self.records.tokens.iter().filter(|other| other.user == user).collect();
        if of_user.iter().any(|other| other.name == token.name) {
            return Err(CatalogError::DuplicateToken { user, name: token.name });
        }
        check_room("tokens of this user", of_user.len(), TOKENS_OF_USER_MAX)?;
        check_room("tokens", self.records.tokens.len(), TOKENS_MAX)?;
        let role = token.role.map(|role| self.role(&role)).transpose()?;
        if let Some(role) = &role
            && !self.records.roles_of_user(&user).contains(role.as_str())
        {
            return Err(CatalogError::Invalid(format!("user \"{user}\" does not have role \"{role}\"")));
        }
        let row = vec![
            Value::text(&user),
            Value::text(&token.name),
            Value::text(&token.digest),
            Value::Text(role),
            Value::text(time::format_moment(token.created_at)),
            Value::text(time::format_moment(token.expires_at)),
        ];
        let columns = "user_name, token_name, digest, role_name, created_at, expires_at";
        self.tx.insert("keeping a token", "frazil_token", columns, &[row]).await?;
        Ok(format!("token {} of user {user} added", token.name))
    }

    fn user(&self, name: &str) -> Result<&UserRecord> {
        self.records.user(name).ok_or_else(|| CatalogError::UndefinedUser(name.to_owned()))
    }

    fn role(&self, name: &str) -> Result<String> {
        let role = self.records.role(name).map(str::to_owned);
        role.ok_or_else(|| CatalogError::UndefinedRole(name.to_owned()))
    }

    /// By its own spelling.
    fn member(&self, member: Member) -> Result<Member> {
        match member {
            Member::User(name) => self.user(&name).map(|user| Member::User(user.name.clone())),
            Member::Role(name) => self.role(&name).map(Member::Role),
        }
    }

    async fn delete(&mut self, table: &str, column: &str, value: &str) -> Result<()> {
        let sql = format!("DELETE FROM {table} WHERE {column} = $1");
        self.tx.execute("changing users", &sql, &[Value::text(value)]).await.map(|_| ())
    }

    async fn delete_member(&mut self, kind: &str, name: &str) -> Result<()> {
        let sql = "DELETE FROM frazil_role_member WHERE member_kind = $1 AND member = $2";
        self.tx.execute("changing users", sql, &[Value::text(kind), Value::text(name)]).await.map(|_| ())
    }
}

fn parts(member: &Member) -> (&'static str, &str) {
    match member {
        Member::User(name) => ("user", name),
        Member::Role(name) => ("role", name),
    }
}

fn counted(objects: usize) -> String {
    match objects {
        1 => "1 object".to_owned(),
        several => format!("{several} objects"),
    }
}

fn now() -> Value {
    Value::text(time::format_moment(SystemTime::now()))
}

fn check_name(kind: &str, name: &str) -> Result<()> {
    match name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        true => Err(CatalogError::Invalid(format!(
            "a {kind}'s name must have 1 to {NAME_BYTES_MAX} bytes and no control characters"
        ))),
        false => Ok(()),
    }
}

fn check_room(what: &str, there: usize, most: usize) -> Result<()> {
    match there < most {
        true => Ok(()),
        false => Err(CatalogError::Invalid(format!("there are {there} {what} already"))),
    }
}

async fn version(tx: &mut Tx) -> Result<i64> {
    let sql = "SELECT version FROM frazil_access_version";
    let found = tx.first("reading users", sql, &[], |row| row.int(0)).await?;
    Ok(found.unwrap_or(0))
}

async fn read(tx: &mut Tx) -> Result<AccessRecords> {
    // Never with what it says.
    let corrupt = || CatalogError::Corrupt("a user, role or grant cannot be read".to_owned());
    let moment = |text: &str| time::parse_moment(text).ok_or_else(corrupt);
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let sql = "SELECT user_name, password, rsa_public_key, default_role, disabled, comment, created_at FROM frazil_user \
               ORDER BY user_name";
    let users = tx.all("reading users", sql, &[], |row| {
        Ok(UserRecord {
            name: row.text(0)?.to_owned(),
            password: owned(row.text_or_null(1)?),
            rsa_public_key: owned(row.text_or_null(2)?),
            default_role: owned(row.text_or_null(3)?),
            disabled: row.int(4)? != 0,
            comment: owned(row.text_or_null(5)?),
            created_at: moment(row.text(6)?)?,
        })
    });
    let users = users.await?;
    let sql = "SELECT role_name, comment, created_at FROM frazil_role ORDER BY role_name";
    let roles = tx.all("reading roles", sql, &[], |row| {
        Ok(RoleRecord {
            name: row.text(0)?.to_owned(),
            comment: owned(row.text_or_null(1)?),
            created_at: moment(row.text(2)?)?,
        })
    });
    let roles = roles.await?;
    let sql = "SELECT role_name, member_kind, member FROM frazil_role_member";
    let memberships = tx.all("reading roles", sql, &[], |row| {
        let name = row.text(2)?.to_owned();
        let member = match row.text(1)? {
            "user" => Member::User(name),
            "role" => Member::Role(name),
            _ => return Err(corrupt()),
        };
        Ok((row.text(0)?.to_owned(), member))
    });
    let memberships = memberships.await?.into_iter().collect();
    let sql = "SELECT role_name, object_kind, object_id, privilege, granted_at FROM frazil_privilege \
               ORDER BY object_id, role_name, privilege";
    let grants = tx.all("reading grants", sql, &[], |row| {
        Ok(Grant {
            role: row.text(0)?.to_owned(),
            kind: ObjectKind::from_name(row.text(1)?).ok_or_else(corrupt)?,
            object: ObjectId::from_text(row.text(2)?),
            privilege: Privilege::from_name(row.text(3)?).ok_or_else(corrupt)?,
            granted_at: moment(row.text(4)?)?,
        })
    });
    let grants = grants.await?;
    let sql = "SELECT user_name, token_name, digest, role_name, created_at, expires_at FROM frazil_token \
               ORDER BY user_name, token_name";
    let tokens = tx.all("reading tokens", sql, &[], |row| {
        Ok(TokenRecord {
            user: row.text(0)?.to_owned(),
            name: row.text(1)?.to_owned(),
            digest: row.text(2)?.to_owned(),
            role: owned(row.text_or_null(3)?),
            created_at: moment(row.text(4)?)?,
            expires_at: moment(row.text(5)?)?,
        })
    });
    let tokens = tokens.await?;
    let by_digest: HashMap<String, usize> =
        tokens.iter().enumerate().map(|(index, token)| (token.digest.clone(), index)).collect();
    Ok(AccessRecords { users, roles, memberships, grants, tokens, by_digest, ..AccessRecords::default() })
}

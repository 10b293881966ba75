//! `SHOW USERS | ROLES | GRANTS | USER PROGRAMMATIC ACCESS TOKENS`. Nothing that anyone logs in with is among it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use frazil_catalog::{AccessRecords, Grant, ObjectId, Rights};
use frazil_common::principal::{ADMIN_ROLE, PUBLIC_ROLE};
use frazil_common::{ErrorCode, Failure, Principal};

use super::objects::Objects;
use super::plan::{is_own_role, member_name};
use super::statement::{GrantTarget, ShownGrants};
use crate::access::demand_admin;
use crate::stages::is_like;

/// All, or oneself.
pub fn users(
    access: &AccessRecords,
    rights: &Rights,
    principal: &Principal,
    like: Option<&str>,
) -> Result<RecordBatch, Failure> {
    let shown = access.users.iter().filter(|user| {
        let may = rights.is_admin() || user.name == principal.user();
        may && like.is_none_or(|like| is_like(&user.name, like))
    });
    let shown: Vec<_> = shown.collect();
    rows([
        ("name", texts(shown.iter().map(|user| Some(user.name.as_str())))),
        ("created_on", moments(shown.iter().map(|user| Some(user.created_at)))),
        ("disabled", flags(shown.iter().map(|user| user.disabled))),
        ("default_role", texts(shown.iter().map(|user| user.default_role.as_deref()))),
        ("has_password", flags(shown.iter().map(|user| user.password.is_some()))),
        ("has_rsa_public_key", flags(shown.iter().map(|user| user.rsa_public_key.is_some()))),
        ("comment", texts(shown.iter().map(|user| user.comment.as_deref()))),
    ])
}

/// All, or one's own.
pub fn roles(
    access: &AccessRecords,
    rights: &Rights,
    principal: &Principal,
    like: Option<&str>,
) -> Result<RecordBatch, Failure> {
    let built_in = [(ADMIN_ROLE, None, Some("may do everything")), (PUBLIC_ROLE, None, Some("everyone has it"))];
    let made = access.roles.iter().map(|role| (role.name.as_str(), Some(role.created_at), role.comment.as_deref()));
    let shown = built_in.into_iter().chain(made).filter(|(name, ..)| {
        is_own_role(rights, access, principal, name) && like.is_none_or(|like| is_like(name, like))
    });
    let shown: Vec<_> = shown.collect();
    rows([
        ("name", texts(shown.iter().map(|(name, ..)| Some(*name)))),
        ("created_on", moments(shown.iter().map(|(_, created, _)| *created))),
        ("is_current", flags(shown.iter().map(|(name, ..)| *name == principal.role()))),
        ("comment", texts(shown.iter().map(|(.., comment)| *comment))),
    ])
}

pub fn tokens(access: &AccessRecords, user: &str) -> Result<RecordBatch, Failure> {
    let shown: Vec<_> = access.tokens.iter().filter(|token| token.user.eq_ignore_ascii_case(user)).collect();
    let now = SystemTime::now();
    let status = |expires: SystemTime| if expires > now { "ACTIVE" } else { "EXPIRED" };
    rows([
        ("name", texts(shown.iter().map(|token| Some(token.name.as_str())))),
        ("user_name", texts(shown.iter().map(|token| Some(token.user.as_str())))),
        ("role_restriction", texts(shown.iter().map(|token| token.role.as_deref()))),
        ("created_on", moments(shown.iter().map(|token| Some(token.created_at)))),
        ("expires_at", moments(shown.iter().map(|token| Some(token.expires_at)))),
        ("status", texts(shown.iter().map(|token| Some(status(token.expires_at))))),
    ])
}

pub async fn grants(
    shown: ShownGrants,
    access: &AccessRecords,
    principal: &Principal,
    objects: &Objects<'_>,
) -> Result<RecordBatch, Failure> {
    let rights = objects.lakes.rights();
    let undefined =
        |what: &str, name: &str| Err(Failure::new(ErrorCode::UndefinedObject, format!("{what} \"{name}\" not found")));
    match shown {
        ShownGrants::Own => memberships_of_user(access, principal.user()),
        ShownGrants::ToUser(name) => {
            if !principal.user().eq_ignore_ascii_case(&name) {
                demand_admin(rights, "SHOW GRANTS of another user")?;
            }
            match access.user(&name) {
                Some(user) => memberships_of_user(access, &user.name),
                None => undefined("user", &name),
            }
        }
        ShownGrants::OfRole(name) => {
            let role = access.role(&name).filter(|role| is_own_role(rights, access, principal, role));
            let Some(role) = role else { return undefined("role", &name) };
            let members: Vec<_> = access.memberships.iter().filter(|(of, _)| of == role).collect();
            memberships(members.iter().map(|(role, member)| (role.as_str(), member_name(member))))
        }
        ShownGrants::ToRole(name) => {
            let role = access.role(&name).filter(|role| is_own_role(rights, access, principal, role));
            let Some(role) = role else { return undefined("role", &name) };
            let of_role: Vec<&Grant> = access.grants.iter().filter(|grant| grant.role == role).collect();
            on_objects(of_role, &names(objects).await?)
        }
        ShownGrants::On(kind, name) => {
            let one = objects.one(kind, &name).await?;
            let on_it: Vec<&Grant> = access.grants.iter().filter(|grant| grant.object == one.object.id).collect();
            on_objects(on_it, &HashMap::from([(one.object.id.clone(), one.name)]))
        }
    }
}

/// What all objects that can be seen are called.
async fn names(objects: &Objects<'_>) -> Result<HashMap<ObjectId, String>, Failure> {
    use frazil_catalog::ObjectKind::{Database, Schema, Stage, Table, View};
    let mut found = HashMap::new();
    for database in objects.lakes.names() {
        let name = vec![database.to_owned()];
        let one = objects.one(Database, &name).await?;
        found.insert(one.object.id, one.name);
        for kind in [Schema, Table, View, Stage] {
            let all = GrantTarget::All { kind, within: Database, name: name.clone() };
            found.extend(objects.find(&all).await?.into_iter().map(|one| (one.object.id, one.name)));
        }
    }
    Ok(found)
}

/// Those whose objects are called something: others are gone, or cannot be seen.
fn on_objects(grants: Vec<&Grant>, names: &HashMap<ObjectId, String>) -> Result<RecordBatch, Failure> {
    let named = |grant| names.get(&<&Grant>::clone(&grant).object).map(|name| (grant, name.as_str()));
    let mut shown: Vec<(&Grant, &str)> = grants.into_iter().filter_map(named).collect();
    shown.sort_by(|(a, name), (b, other)| (name, &a.role, a.privilege).cmp(&(other, &b.role, b.privilege)));
    rows([
        ("created_on", moments(shown.iter().map(|(grant, _)| Some(grant.granted_at)))),
        ("privilege", texts(shown.iter().map(|(grant, _)| Some(grant.privilege.name())))),
        ("granted_on", texts(shown.iter().map(|(grant, _)| Some(grant.kind.name())))),
        ("name", texts(shown.iter().map(|(_, name)| Some(*name)))),
        ("granted_to", texts(shown.iter().map(|_| Some("ROLE")))),
        ("grantee_name", texts(shown.iter().map(|(grant, _)| grant.grantee()))),
    ])
}

fn memberships_of_user(access: &AccessRecords, user: &str) -> Result<RecordBatch, Failure> {
    let member = frazil_catalog::Member::User(user.to_owned());
    let roles: Vec<_> = access.memberships.iter().filter(|(_, one)| *one == member).collect();
    memberships(roles.iter().map(|(role, member)| (role.as_str(), member_name(member))))
}

fn memberships<'a>(
    all: impl Iterator<Item = (&'a str, (&'static str, &'a str))> + Clone,
) -> Result<RecordBatch, Failure> {
    rows([
        ("role", texts(all.clone().map(|(role, _)| Some(role)))),
        ("granted_to", texts(all.clone().map(|(_, (kind, _))| Some(kind)))),
        ("grantee_name", texts(all.map(|(_, (_, name))| Some(name)))),
    ])
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn flags(values: impl Iterator<Item = bool>) -> ArrayRef {
    Arc::new(BooleanArray::from(values.collect::<Vec<_>>()))
}

fn moments(values: impl Iterator<Item = Option<SystemTime>>) -> ArrayRef {
    let micros = |time: SystemTime| {
        let since = time.duration_since(UNIX_EPOCH).map(|since| since.as_micros()).unwrap_or_default();
        i64::try_from(since).unwrap_or(i64::MAX)
    };
    let times: TimestampMicrosecondArray = values.map(|time| time.map(micros)).collect();
    Arc::new(times.with_timezone("+00:00"))
}

fn rows<const N: usize>(columns: [(&str, ArrayRef); N]) -> Result<RecordBatch, Failure> {
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
        .map_err(|error| Failure::internal(format!("users: {error}")))
}

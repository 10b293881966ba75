//! Statements about users, roles and grants: who may send them, and what is to be done.

use frazil_catalog::{AccessChange, AccessRecords, GrantedObject, Member, Privilege, Rights};
use frazil_common::{ErrorCode, Failure, Principal};

use super::check::demand_admin;
use super::objects::{NamedObject, Objects};
use super::rights::{demand, denied};
use super::show;
use super::statement::{AccessStatement, GrantTarget, GrantedPrivileges, UserSettings};
use crate::planner::Planned;
use crate::session_statements::SessionChange;

/// What remains to be done for a statement about users. Passwords are hashed and tokens minted where it is done.
#[derive(Clone, Debug)]
pub enum AccessAction {
    CreateUser { name: String, if_not_exists: bool, settings: UserSettings },
    AlterUser { name: String, if_exists: bool, settings: UserSettings },
    AddToken { user: String, token: String, role: Option<String>, days: u64 },
    Change(Box<ChangeOfRecords>),
}

/// A change that needs nothing more.
#[derive(Clone)]
pub struct ChangeOfRecords(pub AccessChange);

impl std::fmt::Debug for ChangeOfRecords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChangeOfRecords")
    }
}

/// Plans a statement for a principal, whose rights the lakes of `objects` have.
pub async fn plan(
    statement: AccessStatement,
    access: &AccessRecords,
    principal: &Principal,
    objects: &Objects<'_>,
) -> Result<Planned, Failure> {
    let rights = objects.lakes.rights();
    let change = |change| Ok(Planned::Access(AccessAction::Change(Box::new(ChangeOfRecords(change)))));
    match statement {
        AccessStatement::CreateUser { name, if_not_exists, settings } => {
            demand_admin(rights, "CREATE USER")?;
            Ok(Planned::Access(AccessAction::CreateUser { name, if_not_exists, settings }))
        }
        AccessStatement::AlterUser { name, if_exists, settings } => {
            if !rights.is_admin() {
                may_alter_itself(rights, access, principal, &name, &settings)?;
            }
            Ok(Planned::Access(AccessAction::AlterUser { name, if_exists, settings }))
        }
        AccessStatement::DropUser { name, if_exists } => {
            demand_admin(rights, "DROP USER")?;
            change(AccessChange::DropUser { name, if_exists })
        }
        AccessStatement::CreateRole { name, if_not_exists, comment } => {
            demand_admin(rights, "CREATE ROLE")?;
            change(AccessChange::CreateRole { name, if_not_exists, comment })
        }
        AccessStatement::DropRole { name, if_exists } => {
            demand_admin(rights, "DROP ROLE")?;
            change(AccessChange::DropRole { name, if_exists })
        }
        AccessStatement::GrantRole { role, to } => {
            demand_admin(rights, "granting a role")?;
            change(AccessChange::GrantRole { role, to })
        }
        AccessStatement::RevokeRole { role, from } => {
            demand_admin(rights, "revoking a role")?;
            change(AccessChange::RevokeRole { role, from })
        }
        AccessStatement::Grant { privileges, on, role } => {
            let (privileges, objects) = owned(&privileges, &on, objects).await?;
            change(AccessChange::Grant { privileges, objects, role })
        }
        AccessStatement::Revoke { privileges, on, role } => {
            let (privileges, objects) = owned(&privileges, &on, objects).await?;
            change(AccessChange::Revoke { privileges, objects, role })
        }
        AccessStatement::AddToken { user, token, role, days } => {
            may_have_tokens_of(rights, principal, &user)?;
            Ok(Planned::Access(AccessAction::AddToken { user, token, role, days }))
        }
        AccessStatement::RemoveToken { user, token } => {
            may_have_tokens_of(rights, principal, &user)?;
            change(AccessChange::RemoveToken { user, name: token })
        }
        AccessStatement::UseRole { role } => use_role(access, principal, &role),
        AccessStatement::ShowUsers { like } => {
            show::users(access, rights, principal, like.as_deref()).map(Planned::Rows)
        }
        AccessStatement::ShowRoles { like } => {
            show::roles(access, rights, principal, like.as_deref()).map(Planned::Rows)
        }
        AccessStatement::ShowTokens { user } => {
            let user = user.unwrap_or_else(|| principal.user().to_owned());
            may_have_tokens_of(rights, principal, &user)?;
            show::tokens(access, &user).map(Planned::Rows)
        }
        AccessStatement::ShowGrants(shown) => show::grants(shown, access, principal, objects).await.map(Planned::Rows),
    }
}

/// A user may change its own password, and which of its roles it begins with.
fn may_alter_itself(
    rights: &Rights,
    access: &AccessRecords,
    principal: &Principal,
    name: &str,
    settings: &UserSettings,
) -> Result<(), Failure> {
    let UserSettings { password, rsa_public_key, default_role, disabled, comment } = settings;
    let is_itself = principal.user().eq_ignore_ascii_case(name) && !principal.is_restricted();
    let only_own = rsa_public_key.is_none() && disabled.is_none() && comment.is_none();
    let keeps_password = !matches!(password, Some(None));
    let roles = access.roles_of_user(principal.user());
    let has_role = match default_role {
        Some(Some(role)) => access.role(role).is_some_and(|role| roles.contains(role)),
        _ => true,
    };
    match is_itself && only_own && keeps_password && has_role {
        true => Ok(()),
        false => demand_admin(rights, "ALTER USER, but for one's own PASSWORD and DEFAULT_ROLE,"),
    }
}

fn may_have_tokens_of(rights: &Rights, principal: &Principal, user: &str) -> Result<(), Failure> {
    let is_itself = principal.user().eq_ignore_ascii_case(user) && !principal.is_restricted();
    match is_itself {
        true => Ok(()),
        false => demand_admin(rights, "tokens of another user, or by means of a token that is for one role,"),
    }
}

fn use_role(access: &AccessRecords, principal: &Principal, role: &str) -> Result<Planned, Failure> {
    let found = access.role(role).map(str::to_owned);
    let found = found.ok_or_else(|| Failure::new(ErrorCode::UndefinedObject, format!("role \"{role}\" not found")))?;
    let may = match access.has_users() {
        true => access.roles_of_user(principal.user()).contains(found.as_str()),
        false => found == principal.role(),
    };
    if !may || (principal.is_restricted() && found != principal.role()) {
        let message = format!("user \"{}\" cannot take role \"{found}\"", principal.user());
        return Err(Failure::new(ErrorCode::AccessDenied, message));
    }
    Ok(Planned::Session(SessionChange::UseRole { role: found }))
}

/// What is granted on, all of which must be owned.
async fn owned(
    privileges: &GrantedPrivileges,
    on: &GrantTarget,
    objects: &Objects<'_>,
) -> Result<(Vec<Privilege>, Vec<GrantedObject>), Failure> {
    let kind = match on {
        GrantTarget::One { kind, .. } | GrantTarget::All { kind, .. } => *kind,
    };
    let rights = objects.lakes.rights();
    let found = objects.find(on).await?;
    for NamedObject { object, name } in &found {
        demand(rights, Privilege::Ownership, object.kind, &object.id, name)
            .map_err(|_| denied(rights, &format!("OWNERSHIP on {} \"{name}\"", kind.name().to_lowercase())))?;
    }
    Ok((privileges.of(kind), found.into_iter().map(|one| one.object).collect()))
}

/// Whose roles are asked for.
pub(super) fn is_own_role(rights: &Rights, access: &AccessRecords, principal: &Principal, role: &str) -> bool {
    rights.is_admin() || access.roles_of_user(principal.user()).contains(role)
}

pub(super) fn member_name(member: &Member) -> (&'static str, &str) {
    match member {
        Member::User(name) => ("USER", name),
        Member::Role(name) => ("ROLE", name),
    }
}

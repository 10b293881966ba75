//! The rights of whoever sends a statement.

use std::sync::Arc;

use frazil_catalog::{AccessRecords, ObjectId, ObjectKind, Privilege, Rights};
use frazil_common::{ErrorCode, Failure, Principal};

/// What a principal may do now, whatever it could do when it logged in: it may have been dropped since, or have lost the role.
pub fn rights_of(access: &AccessRecords, principal: &Principal) -> Result<Arc<Rights>, Failure> {
    if !access.has_users() {
        return match principal.is_admin() {
            true => Ok(Rights::of_administrator()),
            false => Err(Failure::new(ErrorCode::AccessDenied, format!("there is no role \"{}\"", principal.role()))),
        };
    }
    let user = access.user(principal.user()).filter(|user| !user.disabled && user.name == principal.user());
    let Some(user) = user else {
        return Err(Failure::new(ErrorCode::NotAuthenticated, "log in: the session's user is not known, or no longer"));
    };
    if !access.roles_of_user(&user.name).contains(principal.role()) {
        let message = format!("user \"{}\" does not have role \"{}\"", user.name, principal.role());
        return Err(Failure::new(ErrorCode::AccessDenied, message));
    }
    Ok(access.rights(principal.role()))
}

/// Fails unless the privilege is granted. `name` as messages call the object.
pub fn demand(
    rights: &Rights,
    privilege: Privilege,
    kind: ObjectKind,
    object: &ObjectId,
    name: &str,
) -> Result<(), Failure> {
    match rights.may(privilege, object) {
        true => Ok(()),
        false => Err(denied(rights, &format!("{privilege} on {} \"{name}\"", kind.name().to_lowercase()))),
    }
}

pub(super) fn denied(rights: &Rights, what: &str) -> Failure {
    Failure::new(ErrorCode::AccessDenied, format!("role \"{}\" does not have {what}", rights.role()))
}

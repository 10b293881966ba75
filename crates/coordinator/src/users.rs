//! What is done for a statement about users, roles and grants, and what a created object's owner is.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use frazil_catalog::{AccessChange, GrantedObject, TokenRecord, Touch, Transaction, UserOptions};
use frazil_common::principal::{ADMIN_ROLE, EMBEDDED_USER};
use frazil_common::{ErrorCode, Failure};
use frazil_engine::access::{AccessAction, UserSettings};

use crate::deliver::status_row;
use crate::lifecycle::Statement;
use crate::log_in::{self, TOKEN_PREFIX, fill, public_key};
use crate::service::Inner;
use crate::transactions::commit_info;

const DAY: Duration = Duration::from_secs(24 * 3600);

pub async fn perform(inner: &Inner, statement: &Statement, action: AccessAction) -> Result<RecordBatch, Failure> {
    let info = commit_info(statement);
    let change = |change| async {
        let _committing = statement.committing();
        inner.databases.change_access(change, info.request()).await.map_err(Failure::from)
    };
    match action {
        AccessAction::CreateUser { name, if_not_exists, settings } => {
            let options = options(inner, settings).await?;
            let had_users = inner.databases.access().await.map_err(Failure::from)?.has_users();
            let done = change(AccessChange::CreateUser { name, if_not_exists, options }).await?;
            if !had_users {
                // From now on nobody comes in without.
                inner.log_out(EMBEDDED_USER, statement);
            }
            status_row(done)
        }
        AccessAction::AlterUser { name, if_exists, settings } => {
            let is_shut_out = settings.disabled == Some(true);
            let has_new_password = settings.password.is_some() || settings.rsa_public_key.is_some();
            let options = options(inner, settings).await?;
            let done = change(AccessChange::AlterUser { name: name.clone(), if_exists, options }).await?;
            if is_shut_out || has_new_password {
                log_out(inner, &name, statement).await?;
            }
            status_row(done)
        }
        AccessAction::AddToken { user, token, role, days } => {
            let mut bits = [0; 32];
            fill(&mut bits)?;
            let secret = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bits));
            let now = SystemTime::now();
            let days = DAY * u32::try_from(days).unwrap_or(u32::MAX);
            let record = TokenRecord {
                name: token.clone(),
                user,
                digest: log_in::digest(&secret),
                role,
                created_at: now,
                expires_at: now + days,
            };
            change(AccessChange::AddToken(record)).await?;
            let column = |text: String| Arc::new(StringArray::from(vec![text])) as ArrayRef;
            RecordBatch::try_from_iter([("token_name", column(token)), ("token_secret", column(secret))])
                .map_err(|error| Failure::internal(format!("a token: {error}")))
        }
        AccessAction::Change(records) => {
            let dropped = match &records.0 {
                AccessChange::DropUser { name, .. } => Some(name.clone()),
                _ => None,
            };
            let done = change(records.0).await?;
            if let Some(name) = dropped {
                inner.log_out(&name, statement);
            }
            status_row(done)
        }
    }
}

async fn options(inner: &Inner, settings: UserSettings) -> Result<UserOptions, Failure> {
    let UserSettings { password, rsa_public_key, default_role, disabled, comment } = settings;
    let password = match password {
        None => None,
        Some(None) => Some(None),
        Some(Some(password)) => Some(Some(inner.log_in.passwords().hash(password.expose().to_owned()).await?)),
    };
    let rsa_public_key = match rsa_public_key {
        None => None,
        Some(None) => Some(None),
        Some(Some(text)) => Some(Some(public_key(&text)?)),
    };
    Ok(UserOptions { password, rsa_public_key, default_role, disabled, comment })
}

/// Ends what a user has open, by its own spelling.
async fn log_out(inner: &Inner, name: &str, by: &Statement) -> Result<(), Failure> {
    let access = inner.databases.access().await.map_err(Failure::from)?;
    if let Some(user) = access.user(name) {
        inner.log_out(&user.name, by);
    }
    Ok(())
}

impl Inner {
    /// Ends a user's sessions, tokens of sessions, and statements but the one that says so.
    fn log_out(&self, user: &str, by: &Statement) {
        self.tokens.revoke_user(user);
        self.sessions.close_user(user);
        let open = self.statements.lock().all();
        for statement in open.iter().filter(|one| one.id != by.id) {
            if statement.request.principal.user().eq_ignore_ascii_case(user) {
                statement.stop(Failure::new(ErrorCode::Cancelled, "the user was logged out"));
            }
        }
    }
}

/// Notes before a commit whose what it creates is. Where the commit then fails, nothing is called by those ids.
pub async fn own_created(inner: &Inner, statement: &Statement, transaction: &Transaction) -> Result<(), Failure> {
    if statement.principal().role() == ADMIN_ROLE {
        return Ok(());
    }
    let touched = transaction.touched_since(None);
    let created = touched.into_iter().filter(|one| one.what == Touch::Created);
    own(inner, statement, created.map(|one| GrantedObject { kind: one.kind, id: one.object }).collect()).await
}

pub async fn own(inner: &Inner, statement: &Statement, objects: Vec<GrantedObject>) -> Result<(), Failure> {
    let role = statement.principal().role().to_owned();
    // What nobody owns is the administrators'.
    if role == ADMIN_ROLE || objects.is_empty() {
        return Ok(());
    }
    inner.databases.change_access(AccessChange::Own { objects, role }, None).await.map_err(Failure::from)?;
    Ok(())
}

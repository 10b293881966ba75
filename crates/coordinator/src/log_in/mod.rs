//! Checks who a client is. Each way to log in ends in a principal, or in the same refusal whatever was wrong.

mod attempts;
mod key_pair;
mod passwords;

use std::net::IpAddr;
use std::time::SystemTime;

use frazil_catalog::{AccessRecords, UserRecord};
use frazil_common::{ErrorCode, Failure, Principal};
use sha2::{Digest, Sha256};

use crate::credentials::Credentials;
use attempts::Attempts;
use passwords::Passwords;

pub use key_pair::public_key;
pub use passwords::{fill, hash_now};

/// A token is told from a password by how it begins, by people and by what looks for secrets in files.
pub const TOKEN_PREFIX: &str = "frazil_pat_";

pub struct LogIn {
    passwords: Passwords,
    attempts: Attempts,
}

impl LogIn {
    pub fn new() -> Result<Self, Failure> {
        Ok(Self { passwords: Passwords::new()?, attempts: Attempts::default() })
    }

    pub fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    /// Whoever it is acts in its first role. `peer`: where the credentials come from, if it is known.
    pub async fn check(
        &self,
        access: &AccessRecords,
        credentials: Credentials,
        peer: Option<IpAddr>,
    ) -> Result<Principal, Failure> {
        if !access.has_users() {
            return Ok(Principal::embedded());
        }
        match credentials {
            Credentials::None => Err(Failure::new(
                ErrorCode::NotAuthenticated,
                "log in: the instance has users, and the request says nothing of one",
            )),
            Credentials::Password { user, password } => self.by_password(access, &user, password, peer).await,
            Credentials::Token(token) => {
                let attempt = self.attempts.begin(None, peer)?;
                let principal = by_token(access, &token)?;
                attempt.succeeded();
                Ok(principal)
            }
            Credentials::KeyPair(token) => {
                let claimed = key_pair::Claims::read(&token);
                let attempt = self.attempts.begin(claimed.as_ref().map(|claims| claims.user()), peer)?;
                let user = claimed.and_then(|claims| {
                    let user = access.user(claims.user()).filter(|user| !user.disabled)?;
                    claims.are_of(user, SystemTime::now()).then_some(user)
                });
                let principal = first(access, user.ok_or_else(|| refused("the key-pair token is not valid"))?);
                attempt.succeeded();
                Ok(principal)
            }
        }
    }

    async fn by_password(
        &self,
        access: &AccessRecords,
        name: &str,
        password: String,
        peer: Option<IpAddr>,
    ) -> Result<Principal, Failure> {
        let user = access.user(name);
        let hash = user.and_then(|user| user.password.clone());
        // Clients that log in with each request need not wait for it each time.
        let known = hash.as_ref().is_some_and(|hash| self.passwords.was_right(name, &password, hash));
        if !known {
            let attempt = self.attempts.begin(Some(name), peer)?;
            // Also for a user that is not there: how long it takes tells nothing.
            if !self.passwords.is_right(name, password, hash).await? {
                return Err(refused("the user name or the password is wrong"));
            }
            attempt.succeeded();
        }
        match user.filter(|user| !user.disabled) {
            Some(user) => Ok(first(access, user)),
            None => Err(refused("the user name or the password is wrong")),
        }
    }
}

fn by_token(access: &AccessRecords, token: &str) -> Result<Principal, Failure> {
    let found = access.token(&digest(token));
    let user = found.and_then(|found| access.user(&found.user)).filter(|user| !user.disabled);
    let (Some(found), Some(user)) = (found, user) else { return Err(refused("the token is not valid")) };
    if found.expires_at <= SystemTime::now() {
        return Err(Failure::new(ErrorCode::ExpiredToken, format!("token \"{}\" has expired", found.name)));
    }
    match &found.role {
        None => Ok(first(access, user)),
        Some(role) if access.roles_of_user(&user.name).contains(role.as_str()) => {
            Ok(Principal::new(&user.name, role).restricted())
        }
        Some(_) => Err(refused("the token's role is not its user's any more")),
    }
}

fn first(access: &AccessRecords, user: &UserRecord) -> Principal {
    Principal::new(&user.name, access.first_role(user))
}

/// What of a token is kept.
pub fn digest(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn refused(why: &str) -> Failure {
    Failure::new(ErrorCode::NotAuthenticated, why)
}

//! Tokens that stand for a client that has logged in: a door hands one out, and takes it instead of credentials from then on.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use frazil_common::{ErrorCode, Failure, Principal, SessionId};
use parking_lot::Mutex;
use rand::TryRngCore;
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// What a token may be used for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Purpose {
    /// In each request of a session.
    Session,
    /// To get another token for the session when that has expired.
    Renewal,
    /// To fetch parts of its client's results: in addresses that are fetched without other credentials.
    Results,
}

/// Of one coordinator, in its memory: they end with it. Kept as digests, so that what is in memory is of no use.
pub struct Tokens {
    max: usize,
    by_digest: Mutex<HashMap<[u8; 32], Entry>>,
}

struct Entry {
    principal: Principal,
    session: SessionId,
    purpose: Purpose,
    expires: Instant,
}

impl Tokens {
    /// At most `max` are valid at a time.
    pub fn new(max: usize) -> Self {
        Self { max, by_digest: Mutex::default() }
    }

    /// Mints a token: 256 random bits, as text for a header.
    pub fn issue(
        &self,
        principal: &Principal,
        session: SessionId,
        purpose: Purpose,
        valid: Duration,
    ) -> Result<String, Failure> {
        let now = Instant::now();
        let mut tokens = self.by_digest.lock();
        if tokens.len() >= self.max {
            tokens.retain(|_, entry| entry.expires > now);
        }
        if tokens.len() >= self.max {
            let message = format!("{} tokens are valid already", tokens.len());
            return Err(Failure::new(ErrorCode::TooManyStatements, message));
        }
        let mut bits = [0; 32];
        OsRng.try_fill_bytes(&mut bits).map_err(|error| Failure::internal(format!("no random bits: {error}")))?;
        let token = URL_SAFE_NO_PAD.encode(bits);
        tokens.insert(digest(&token), Entry { principal: principal.clone(), session, purpose, expires: now + valid });
        Ok(token)
    }

    /// Whose token it is. `NotAuthenticated` for one that we did not issue for this purpose, `ExpiredToken` for one that was.
    pub fn find(&self, token: &str, purpose: Purpose) -> Result<(Principal, SessionId), Failure> {
        let tokens = self.by_digest.lock();
        let entry = tokens.get(&digest(token)).filter(|entry| entry.purpose == purpose);
        let Some(entry) = entry else {
            return Err(Failure::new(ErrorCode::NotAuthenticated, "the token is not valid: log in"));
        };
        if entry.expires <= Instant::now() {
            return Err(Failure::new(ErrorCode::ExpiredToken, "the token has expired"));
        }
        Ok((entry.principal.clone(), entry.session))
    }

    /// All tokens of a session that has ended.
    pub fn revoke(&self, session: SessionId) {
        self.by_digest.lock().retain(|_, entry| entry.session != session);
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_token_is_for_its_purpose_and_its_time() {
        let tokens = Tokens::new(2);
        let (principal, session) = (Principal::embedded(), SessionId::mint());
        let issue = |purpose| tokens.issue(&principal, session, purpose, Duration::from_secs(60));
        let (token, _renewal) = (issue(Purpose::Session).unwrap(), issue(Purpose::Renewal).unwrap());
        assert_eq!(issue(Purpose::Session).unwrap_err().code, ErrorCode::TooManyStatements);
        assert_eq!(tokens.find(&token, Purpose::Session).unwrap(), (principal.clone(), session));
        let code = |token: &str, purpose| tokens.find(token, purpose).unwrap_err().code;
        assert_eq!(code(&token, Purpose::Renewal), ErrorCode::NotAuthenticated);
        assert_eq!(code("forged", Purpose::Session), ErrorCode::NotAuthenticated);
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(code(&token, Purpose::Session), ErrorCode::ExpiredToken);
        // Room is made by those that have expired.
        let token = issue(Purpose::Session).unwrap();
        tokens.revoke(session);
        assert_eq!(code(&token, Purpose::Session), ErrorCode::NotAuthenticated);
    }
}

//! Passwords: hashed with argon2id on threads of their own, a few at a time, since each takes 19 MB and a good part of 0.1 s.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use frazil_common::{ErrorCode, Failure};
use parking_lot::Mutex;
use rand::TryRngCore;
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Hashed at the same time.
const HASHING_MAX: usize = 2;
/// Wait for it; more are refused.
const WAITING_MAX: usize = 64;
const WAIT_LIMIT: Duration = Duration::from_secs(20);
/// A password that was right need not be hashed again for so long.
const KNOWN_FOR: Duration = Duration::from_secs(300);
const KNOWN_MAX: usize = 1000;
/// Of nobody's password, with the parameters of all others: what is compared with where there is no user.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// Longer ones are refused before they are hashed.
const PASSWORD_BYTES_MAX: usize = 8192;
pub const PASSWORD_CHARS_MIN: usize = 8;

pub struct Passwords {
    hashing: Arc<Semaphore>,
    waiting: Semaphore,
    /// Digests of what was right, which are of no use outside of this process, and until when.
    known: Mutex<HashMap<[u8; 32], Instant>>,
    key: [u8; 32],
}

impl Passwords {
    pub fn new() -> Result<Self, Failure> {
        let mut key = [0; 32];
        fill(&mut key)?;
        Ok(Self {
            hashing: Arc::new(Semaphore::new(HASHING_MAX)),
            waiting: Semaphore::new(WAITING_MAX),
            known: Mutex::default(),
            key,
        })
    }

    /// A PHC string for a new password.
    pub async fn hash(&self, password: String) -> Result<String, Failure> {
        if password.chars().count() < PASSWORD_CHARS_MIN || password.len() > PASSWORD_BYTES_MAX {
            let message = format!("PASSWORD has fewer than {PASSWORD_CHARS_MIN} characters, or too many");
            return Err(Failure::new(ErrorCode::InvalidArgument, message));
        }
        self.off_thread(move || hash_here(&password)).await?
    }

    /// Whether this password was right a while ago, and still is.
    pub fn was_right(&self, user: &str, password: &str, hash: &str) -> bool {
        let digest = self.digest(user, password, hash);
        self.known.lock().get(&digest).is_some_and(|until| *until > Instant::now())
    }

    /// Compares with the hash of a user, or of nobody. Takes the same time for both.
    pub async fn is_right(&self, user: &str, password: String, hash: Option<String>) -> Result<bool, Failure> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Ok(false);
        }
        let digest = hash.as_ref().map(|hash| self.digest(user, &password, hash));
        let compared = hash.unwrap_or_else(|| NOBODY.to_owned());
        let right = self.off_thread(move || {
            let parsed = PasswordHash::new(&compared);
            parsed.is_ok_and(|parsed| Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok())
        });
        let right = right.await?;
        let (true, Some(digest)) = (right, digest) else { return Ok(false) };
        let now = Instant::now();
        let mut known = self.known.lock();
        if known.len() >= KNOWN_MAX {
            known.retain(|_, until| *until > now);
        }
        if known.len() < KNOWN_MAX {
            known.insert(digest, now + KNOWN_FOR);
        }
        Ok(true)
    }

    fn digest(&self, user: &str, password: &str, hash: &str) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(self.key);
        for part in [user, password, hash] {
            // With its length, so that no two lists of parts give the same bytes.
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part.as_bytes());
        }
        digest.finalize().into()
    }

    async fn off_thread<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
        let busy = || Failure::new(ErrorCode::TooManyStatements, "too many clients log in at once: try again");
        let _waiting = self.waiting.try_acquire().map_err(|_| busy())?;
        let permit = tokio::time::timeout(WAIT_LIMIT, self.hashing.clone().acquire_owned());
        let permit = permit.await.map_err(|_| busy())?.map_err(|_| busy())?;
        // It is held until the work is done, whether or not somebody still waits for it.
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(permit);
            done
        });
        done.await.map_err(|error| Failure::internal(format!("hashing a password: {error}")))
    }
}

fn hash_here(password: &str) -> Result<String, Failure> {
    let failed = |error: argon2::password_hash::Error| Failure::internal(format!("hashing a password: {error}"));
    let mut bytes = [0; 16];
    fill(&mut bytes)?;
    let salt = SaltString::encode_b64(&bytes).map_err(failed)?;
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt).map_err(failed)?;
    Ok(hash.to_string())
}

pub fn fill(bytes: &mut [u8]) -> Result<(), Failure> {
    OsRng.try_fill_bytes(bytes).map_err(|error| Failure::internal(format!("no random bits: {error}")))
}

/// A PHC string, for a command that has no service.
pub fn hash_now(password: &str) -> Result<String, Failure> {
    match password.chars().count() >= PASSWORD_CHARS_MIN && password.len() <= PASSWORD_BYTES_MAX {
        true => hash_here(password),
        false => {
            let message = format!("the password has fewer than {PASSWORD_CHARS_MIN} characters, or too many");
            Err(Failure::new(ErrorCode::InvalidArgument, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_right_for_its_hash_only() {
        let passwords = Passwords::new().unwrap();
        let hash = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert!(hash.starts_with("$argon2id$") && !hash.contains("horse"));
        let is_right =
            |password: &str, hash: Option<&String>| passwords.is_right("ann", password.to_owned(), hash.cloned());
        assert!(!is_right("wrong horse", Some(&hash)).await.unwrap());
        assert!(!passwords.was_right("ann", "correct horse", &hash));
        assert!(is_right("correct horse", Some(&hash)).await.unwrap());
        assert!(passwords.was_right("ann", "correct horse", &hash));
        assert!(!passwords.was_right("bob", "correct horse", &hash));
        assert!(!is_right("correct horse", None).await.unwrap());
        assert!(PasswordHash::new(NOBODY).is_ok(), "it must cost what others cost");
        let other = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert_ne!(hash, other, "salted");
        assert!(!passwords.was_right("ann", "correct horse", &other));
        assert!(passwords.hash("short".to_owned()).await.is_err());
    }
}

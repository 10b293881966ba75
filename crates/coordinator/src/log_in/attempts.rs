//! How often somebody may try. An attempt counts from its beginning, so that many at once are as many; one that succeeds does not count.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use frazil_common::{ErrorCode, Failure};
use parking_lot::Mutex;
use tokio::time::Instant;

/// Failures are forgotten so long after the first of them.
const WINDOW: Duration = Duration::from_secs(60);
/// Of one user from one peer.
const OF_USER_FROM_PEER_MAX: u32 = 10;
/// From one peer, whoever it claims to be.
const FROM_PEER_MAX: u32 = 100;
/// Of one user from anywhere: higher, so that it takes many peers to keep a user out.
const OF_USER_MAX: u32 = 300;
/// Who is remembered; beyond it those with the fewest failures are forgotten.
const REMEMBERED_MAX: usize = 10_000;
const NAME_BYTES_MAX: usize = 255;

#[derive(Default)]
pub struct Attempts {
    failures: Mutex<HashMap<Key, Failures>>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Key {
    Peer(IpAddr),
    User(String),
    UserFromPeer(String, Option<IpAddr>),
}

struct Failures {
    since: Instant,
    count: u32,
}

/// A failure, unless it succeeds.
pub struct Attempt<'a> {
    attempts: &'a Attempts,
    keys: Vec<Key>,
}

impl Key {
    fn max(&self) -> u32 {
        match self {
            Self::Peer(_) => FROM_PEER_MAX,
            Self::User(_) => OF_USER_MAX,
            Self::UserFromPeer(..) => OF_USER_FROM_PEER_MAX,
        }
    }
}

impl Attempts {
    /// Fails when there were too many. The user need not exist.
    pub fn begin(&self, user: Option<&str>, peer: Option<IpAddr>) -> Result<Attempt<'_>, Failure> {
        let mut keys: Vec<Key> = peer.map(Key::Peer).into_iter().collect();
        if let Some(user) = user.filter(|user| user.len() <= NAME_BYTES_MAX) {
            let user = user.to_ascii_lowercase();
            keys.extend([Key::User(user.clone()), Key::UserFromPeer(user, peer)]);
        }
        let now = Instant::now();
        let mut failures = self.failures.lock();
        let waits = keys.iter().filter_map(|key| {
            let known = failures.get(key).filter(|known| known.since + WINDOW > now)?;
            (known.count >= key.max()).then(|| (known.since + WINDOW).duration_since(now))
        });
        if let Some(wait) = waits.max() {
            let message = format!("too many log-ins have failed: try again in {} s", wait.as_secs() + 1);
            return Err(Failure::new(ErrorCode::TooManyStatements, message));
        }
        if failures.len() + keys.len() > REMEMBERED_MAX {
            failures.retain(|_, known| known.since + WINDOW > now);
        }
        if failures.len() + keys.len() > REMEMBERED_MAX {
            failures.retain(|_, known| known.count > 1);
        }
        if failures.len() + keys.len() > REMEMBERED_MAX {
            failures.clear();
        }
        for key in &keys {
            let known = failures.entry(key.clone()).or_insert(Failures { since: now, count: 0 });
            if known.since + WINDOW <= now {
                *known = Failures { since: now, count: 0 };
            }
            known.count += 1;
        }
        drop(failures);
        Ok(Attempt { attempts: self, keys })
    }
}

impl Attempt<'_> {
    pub fn succeeded(self) {
        let mut failures = self.attempts.failures.lock();
        for key in &self.keys {
            if let Some(known) = failures.get_mut(key) {
                known.count = known.count.saturating_sub(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failures_are_limited_and_forgotten() {
        let attempts = Attempts::default();
        let peer = |last: u8| Some(IpAddr::from([10, 0, 0, last]));
        for _ in 0..OF_USER_FROM_PEER_MAX {
            attempts.begin(Some("Ann"), peer(1)).unwrap();
        }
        assert_eq!(attempts.begin(Some("ann"), peer(1)).err().unwrap().code, ErrorCode::TooManyStatements);
        // Others are not kept out, nor is she from elsewhere.
        attempts.begin(Some("bob"), peer(1)).unwrap().succeeded();
        attempts.begin(Some("ann"), peer(2)).unwrap().succeeded();
        tokio::time::advance(WINDOW).await;
        for _ in 0..3 * OF_USER_FROM_PEER_MAX {
            attempts.begin(Some("ann"), peer(1)).unwrap().succeeded();
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let attempts = Attempts::default();
        for number in 0..3 * REMEMBERED_MAX as u32 {
            let peer = IpAddr::from(number.to_be_bytes());
            let _ = attempts.begin(Some(&format!("user {number}")), Some(peer));
        }
        assert!(attempts.failures.lock().len() <= REMEMBERED_MAX);
    }
}

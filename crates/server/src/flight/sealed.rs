//! Tickets and handles: what a client brings back to us, and cannot make or change by itself.
//!
//! ```text
//!  32 bytes HMAC-SHA256 │ Sealed: whose it is, until when, and what it stands for
//! ```
//!
//! They hold all that they stand for, so nothing waits on this side for a client that may never come back. The key is the process's:
//! what another process has sealed, or this one before it was started anew, is refused.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::array::RecordBatch;
use bytes::Bytes;
use frazil_common::{ErrorCode, Failure, Principal};
use prost::Message;
use ring::{hmac, rand};

const TAG_BYTES: usize = 32;

/// How long a ticket can be used that was not yet.
pub const TICKET_VALID: Duration = Duration::from_secs(3600);
/// Of prepared statements: as long as a client may keep a connection.
pub const HANDLE_VALID: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, PartialEq, Message)]
struct Sealed {
    #[prost(uint64, tag = "1")]
    expires_ms: u64,
    #[prost(string, tag = "2")]
    user: String,
    #[prost(string, tag = "3")]
    role: String,
    #[prost(oneof = "Content", tags = "4, 5, 6, 7, 8")]
    content: Option<Content>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Content {
    /// Runs a statement.
    #[prost(message, tag = "4")]
    Statement(StatementTicket),
    /// A partition of a kept result.
    #[prost(message, tag = "5")]
    Kept(KeptTicket),
    /// A Flight SQL command that asks what there is.
    #[prost(bytes = "bytes", tag = "6")]
    Command(Bytes),
    /// A prepared statement.
    #[prost(message, tag = "7")]
    Prepared(PreparedHandle),
    /// A statement that runs and is asked after.
    #[prost(message, tag = "8")]
    Poll(PollHandle),
}

#[derive(Clone, PartialEq, Message)]
pub struct StatementTicket {
    #[prost(string, tag = "1")]
    pub sql: String,
    /// Of the statement's transaction, as the client got it.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub transaction: Option<Bytes>,
    /// Values for its placeholders, as an IPC stream.
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub bindings: Option<Bytes>,
    /// Whether it only reads. What changes something is done once, however often its ticket is shown.
    #[prost(bool, tag = "4")]
    pub reads: bool,
    /// A UUID, by which the ticket's run is found.
    #[prost(bytes = "vec", tag = "5")]
    pub id: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct KeptTicket {
    #[prost(string, tag = "1")]
    pub statement: String,
    #[prost(uint64, tag = "2")]
    pub partition: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct PreparedHandle {
    #[prost(string, tag = "1")]
    pub sql: String,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub transaction: Option<Bytes>,
    /// Placeholders.
    #[prost(uint32, tag = "3")]
    pub parameters: u32,
    /// Values that were sent for them, as an IPC stream: a row for each run.
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub bindings: Option<Bytes>,
    /// Whether several rows of values are one statement: an `INSERT` of one row.
    #[prost(bool, tag = "5")]
    pub takes_rows: bool,
    #[prost(bool, tag = "6")]
    pub reads: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct PollHandle {
    #[prost(string, tag = "1")]
    pub statement: String,
}

pub struct Sealer {
    key: hmac::Key,
}

impl Sealer {
    pub fn new() -> Self {
        let random = rand::SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random).expect("the system gives random bits");
        Self { key }
    }

    /// For `principal` alone, as long as it is `valid`. Returns when it expires, too.
    pub fn seal(&self, principal: &Principal, content: Content, valid: Duration) -> (Bytes, SystemTime) {
        let expires = SystemTime::now() + valid;
        let sealed = Sealed {
            expires_ms: milliseconds(expires),
            user: principal.user().to_owned(),
            role: principal.role().to_owned(),
            content: Some(content),
        };
        let message = sealed.encode_to_vec();
        let tag = hmac::sign(&self.key, &message);
        let mut bytes = Vec::with_capacity(TAG_BYTES + message.len());
        bytes.extend_from_slice(tag.as_ref());
        bytes.extend_from_slice(&message);
        (bytes.into(), expires)
    }

    /// What was sealed. Refused are other bytes than ours, those of another user, and those whose time is over.
    pub fn open(&self, bytes: &Bytes, principal: &Principal) -> Result<Content, Failure> {
        let forged = || Failure::new(ErrorCode::AccessDenied, "the ticket or handle is not one of this server's");
        let (tag, message) = bytes.split_at_checked(TAG_BYTES).ok_or_else(forged)?;
        hmac::verify(&self.key, message, tag).map_err(|_| forged())?;
        let sealed = Sealed::decode(message).map_err(|_| forged())?;
        if (sealed.user.as_str(), sealed.role.as_str()) != (principal.user(), principal.role()) {
            return Err(Failure::new(ErrorCode::AccessDenied, "the ticket or handle is another user's"));
        }
        if sealed.expires_ms <= milliseconds(SystemTime::now()) {
            return Err(Failure::new(
                ErrorCode::UndefinedStatement,
                "the ticket or handle has expired: ask for another",
            ));
        }
        sealed.content.ok_or_else(forged)
    }

    /// The same for longer.
    pub fn renew(&self, bytes: &Bytes, principal: &Principal) -> Result<(Bytes, SystemTime), Failure> {
        let content = self.open(bytes, principal)?;
        let valid = if matches!(content, Content::Prepared(_)) { HANDLE_VALID } else { TICKET_VALID };
        Ok(self.seal(principal, content, valid))
    }
}

fn milliseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Values as bytes of a ticket.
pub fn encode_bindings(values: &RecordBatch) -> Result<Bytes, Failure> {
    let written = arrow_ipc::writer::StreamWriter::try_new(Vec::new(), &values.schema()).and_then(|mut writer| {
        writer.write(values)?;
        writer.into_inner()
    });
    written.map(Bytes::from).map_err(|error| Failure::internal(format!("bound values: {error}")))
}

/// What [`encode_bindings`] has written.
pub fn decode_bindings(bytes: &[u8]) -> Result<RecordBatch, Failure> {
    let unreadable = |error| Failure::internal(format!("bound values: {error}"));
    let mut reader = arrow_ipc::reader::StreamReader::try_new(bytes, None).map_err(unreadable)?;
    let first = reader.next().ok_or_else(|| Failure::internal("bound values are missing"))?;
    first.map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(partition: u64) -> Content {
        Content::Kept(KeptTicket { statement: "s".to_owned(), partition })
    }

    fn code(opened: Result<Content, Failure>) -> ErrorCode {
        opened.expect_err("it is refused").code
    }

    #[test]
    fn what_is_sealed_is_opened_by_its_owner_alone() {
        let sealer = Sealer::new();
        let owner = Principal::new("ada", "reader");
        let (bytes, _) = sealer.seal(&owner, kept(7), TICKET_VALID);
        assert_eq!(sealer.open(&bytes, &owner).unwrap(), kept(7));
        for other in [Principal::new("bob", "reader"), Principal::new("ada", "admin"), Principal::embedded()] {
            assert_eq!(code(sealer.open(&bytes, &other)), ErrorCode::AccessDenied);
        }
        assert_eq!(code(Sealer::new().open(&bytes, &owner)), ErrorCode::AccessDenied);
    }

    #[test]
    fn a_changed_bit_anywhere_is_seen() {
        let sealer = Sealer::new();
        let owner = Principal::embedded();
        let (bytes, _) = sealer.seal(&owner, kept(7), TICKET_VALID);
        for at in 0..bytes.len() {
            let mut forged = bytes.to_vec();
            forged[at] ^= 1;
            assert_eq!(code(sealer.open(&forged.into(), &owner)), ErrorCode::AccessDenied, "byte {at}");
        }
        for length in [0, 1, TAG_BYTES, bytes.len() - 1] {
            assert_eq!(code(sealer.open(&bytes.slice(..length), &owner)), ErrorCode::AccessDenied, "{length} bytes");
        }
    }

    #[test]
    fn time_ends_a_ticket_and_renewal_gives_more() {
        let sealer = Sealer::new();
        let owner = Principal::embedded();
        let (over, _) = sealer.seal(&owner, kept(7), Duration::ZERO);
        assert_eq!(code(sealer.open(&over, &owner)), ErrorCode::UndefinedStatement);
        assert!(sealer.renew(&over, &owner).is_err(), "what has expired is not renewed");
        let (short, expires) = sealer.seal(&owner, kept(7), Duration::from_secs(60));
        let (renewed, later) = sealer.renew(&short, &owner).unwrap();
        assert!(later > expires);
        assert_eq!(sealer.open(&renewed, &owner).unwrap(), kept(7));
    }
}

//! Key-pair tokens: JSON web tokens that a user's private key has signed, with Snowflake's claims
//! (<https://docs.snowflake.com/en/developer-guide/sql-api/authenticating>):
//!
//! ```text
//! header   {"alg": "RS256", "typ": "JWT"}
//! claims   {"iss": "ACCOUNT.USER.SHA256:fingerprint", "sub": "ACCOUNT.USER", "iat": …, "exp": …}
//! ```
//! The fingerprint is that of the public key's DER, the account is anything without a dot.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use frazil_catalog::UserRecord;
use frazil_common::{ErrorCode, Failure};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};

/// Clocks may differ by so much.
const LEEWAY_S: u64 = 30;
/// A token is good for so long after it was issued, whatever it says itself.
const LIFETIME_S_MAX: u64 = 3600;
const TOKEN_BYTES_MAX: usize = 8192;
/// Bytes of an RSA modulus: 2048 to 8192 bits.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    /// What a reader would have to understand.
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Said {
    iss: String,
    sub: String,
    #[serde(deserialize_with = "seconds")]
    iat: u64,
    #[serde(deserialize_with = "seconds")]
    exp: u64,
}

/// RFC 7519 says seconds; npm's snowflake-sdk sends milliseconds. As seconds they would be of the year 5138 or later.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    const MILLISECONDS_FROM: u64 = 100_000_000_000;
    let said = u64::deserialize(deserializer)?;
    Ok(if said < MILLISECONDS_FROM { said } else { said / 1000 })
}

/// What a token says, and what it takes to believe it.
pub struct Claims<'a> {
    said: Said,
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> Claims<'a> {
    /// `None`: it is not such a token. Nothing of it is to be believed yet.
    pub fn read(token: &'a str) -> Option<Self> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        // Not `none`, nor one whose key would be the public one.
        let is_ours = header.alg == "RS256"
            && header.crit.is_none()
            && header.typ.is_none_or(|typ| typ.eq_ignore_ascii_case("JWT"));
        let said: Said = serde_json::from_slice(&decode(claims)?).ok()?;
        said.sub.split_once('.')?;
        is_ours.then_some(Self { said, signed, signature: decode(signature)? })
    }

    /// Whom it claims to be of.
    pub fn user(&self) -> &str {
        self.said.sub.split_once('.').map_or("", |(_, user)| user)
    }

    /// Whether the user's key has signed it, and it is good now.
    pub fn are_of(&self, user: &UserRecord, now: SystemTime) -> bool {
        let Some(key) = user.rsa_public_key.as_ref().and_then(|key| STANDARD.decode(key).ok()) else { return false };
        let Some(rsa) = rsa_key(&key) else { return false };
        let Said { iss, sub, iat, exp } = &self.said;
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let good_until = (*exp).min(iat.saturating_add(LIFETIME_S_MAX)).saturating_add(LEEWAY_S);
        let is_timely = iat.saturating_sub(LEEWAY_S) <= now && now < good_until;
        let is_of_key = *iss == format!("{sub}.{}", fingerprint(&key));
        let verifier = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, rsa);
        is_timely && is_of_key && verifier.verify(self.signed.as_bytes(), &self.signature).is_ok()
    }
}

/// `SHA256:` and the digest of the key's DER.
fn fingerprint(key: &[u8]) -> String {
    format!("SHA256:{}", STANDARD.encode(Sha256::digest(key)))
}

/// A public key as it is kept, in base64, from what a user gives: PEM, or what is between its lines.
pub fn public_key(text: &str) -> Result<String, Failure> {
    let body: String = text.lines().filter(|line| !line.trim_start().starts_with("-----")).collect();
    let body: String = body.chars().filter(|c| !c.is_whitespace()).collect();
    let key = STANDARD.decode(&body).ok().filter(|key| rsa_key(key).is_some());
    key.map(|key| STANDARD.encode(key)).ok_or_else(|| {
        let message =
            "RSA_PUBLIC_KEY is not a public RSA key of 2048 to 8192 bits: give what openssl rsa -pubout writes";
        Failure::new(ErrorCode::InvalidArgument, message)
    })
}

/// The `RSAPublicKey` in a `SubjectPublicKeyInfo` (RFC 5280, 4.1; RFC 8017, A.1.1).
fn rsa_key(spki: &[u8]) -> Option<&[u8]> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    const BIT_STRING: u8 = 0x03;
    /// `rsaEncryption`, and its parameter NULL.
    const RSA: [u8; 13] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let (info, rest) = element(spki, SEQUENCE)?;
    let (algorithm, key) = element(info, SEQUENCE)?;
    let (bits, after) = element(key, BIT_STRING)?;
    let key = bits.strip_prefix(&[0])?;
    let (numbers, beyond) = element(key, SEQUENCE)?;
    let (modulus, _) = element(numbers, INTEGER)?;
    let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
    let is_whole = rest.is_empty() && after.is_empty() && beyond.is_empty();
    (is_whole && algorithm == RSA && MODULUS_BYTES.contains(&modulus.len())).then_some(key)
}

/// The contents of a DER element of this kind at the beginning, and what comes after it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        short @ 0..=0x7f => (usize::from(short), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => (usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?)), &rest[2..]),
        _ => return None,
    };
    (found == tag && rest.len() >= length).then(|| rest.split_at(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_or_token_is_refused() {
        for text in ["", "MIIB", "AAAA", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----"] {
            assert!(public_key(text).is_err(), "{text}");
        }
        let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let claims = part(r#"{"iss":"A.U.SHA256:x","sub":"A.U","iat":1,"exp":2}"#);
        let token = |header: &str| format!("{}.{claims}.{}", part(header), part("signature"));
        assert!(Claims::read(&token(r#"{"alg":"RS256","typ":"JWT"}"#)).is_some_and(|claims| claims.user() == "U"));
        for header in
            [r#"{"alg":"none"}"#, r#"{"alg":"HS256"}"#, r#"{"alg":"rs256"}"#, r#"{"alg":"RS256","crit":["x"]}"#, "{}"]
        {
            assert!(Claims::read(&token(header)).is_none(), "{header}");
        }
        for token in ["", "..", "a.b", "a.b.c.d", &"a".repeat(20_000)] {
            assert!(Claims::read(token).is_none(), "{token}");
        }
    }
}

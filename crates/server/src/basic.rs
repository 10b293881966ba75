//! `Authorization: Basic …`: a user and its password.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// The driver of ADBC pads nothing; RFC 7617 says that others do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Of what follows the scheme's name.
pub fn user_and_password(encoded: &str) -> Option<(String, String)> {
    let decoded = String::from_utf8(BASE64.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padded_or_not() {
        for encoded in ["YW5uOmE6Yg==", "YW5uOmE6Yg"] {
            assert_eq!(user_and_password(encoded), Some(("ann".to_owned(), "a:b".to_owned())));
        }
        for wrong in ["", "YW5u", "YW5uOmE6Y", "!", "/w=="] {
            assert_eq!(user_and_password(wrong), None, "{wrong}");
        }
    }
}

//! Who a client says it is, and what it shows for it.

use std::fmt;

/// What a client sent to log in. Its `Debug` shows no secret.
#[derive(Clone)]
pub enum Credentials {
    /// Nothing at all.
    None,
    Password {
        user: String,
        password: String,
    },
    /// A programmatic access token.
    Token(String),
    /// A JSON web token that is signed with the private key of a user.
    KeyPair(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Password { .. } => "Password",
            Self::Token(_) => "Token",
            Self::KeyPair(_) => "KeyPair",
        })
    }
}

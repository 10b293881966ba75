//! What a client shows to log in, and whose certificates it believes: from the options, or from whoever sits at the terminal.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

use crate::config::ServerOptions;
use crate::failure::CommandError;
use crate::terminal::{self, Source};

/// Nothing at all by default, which is enough for an instance without users.
#[derive(Clone, Default)]
pub struct Access {
    pub authorization: Option<HeaderValue>,
    /// PEM of an authority beside those that the system knows.
    pub ca: Option<Vec<u8>>,
}

impl Access {
    /// A token, or a user and its password, which is asked for where it is not given and there is somebody to ask.
    pub fn of(options: &ServerOptions) -> Result<Self, CommandError> {
        let ca = match &options.ca {
            Some(path) => {
                let read = std::fs::read(Path::new(path));
                Some(read.map_err(CommandError::doing(format_args!("reading the certificate {path:?}")))?)
            }
            None => None,
        };
        let text = match (options.token()?, &options.user) {
            (Some(_), Some(_)) => {
                let message = "client.token and client.user are both set: a token says whose it is";
                return Err(CommandError::Usage(message.to_owned()));
            }
            (Some(token), None) => Some(format!("Bearer {token}")),
            (None, Some(user)) => {
                if user.contains(':') {
                    return Err(CommandError::Usage("client.user has a colon in it: use a token".to_owned()));
                }
                let password = match options.password()? {
                    Some(password) => password,
                    None => terminal::ask_password(&format!("password of {user}: "), Source::Terminal)?,
                };
                Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
            }
            (None, None) => None,
        };
        let authorization = text.map(|text| {
            let mut value = HeaderValue::try_from(text)
                .map_err(|_| CommandError::Usage("client.token is not what a token looks like".to_owned()))?;
            value.set_sensitive(true);
            Ok::<_, CommandError>(value)
        });
        Ok(Self { authorization: authorization.transpose()?, ca })
    }
}

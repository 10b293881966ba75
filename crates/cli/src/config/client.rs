//! What `frazil sql` does when flags do not say, and the servers that have names.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::Config;
use crate::failure::CommandError;
use crate::sql::{Color, Format};

/// Unknown keys are refused by their names in the defaults: what is flattened cannot refuse them itself.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientOptions {
    /// The one of `[profiles]` whose server is spoken with, in place of what is said here of a server.
    pub profile: Option<String>,
    #[serde(flatten)]
    pub server: ServerOptions,
    /// How rows are printed.
    pub format: Format,
    pub color: Color,
    /// In the shell, results that are longer than the screen go through `$PAGER`.
    pub pager: bool,
    /// On a terminal, how many rows in what time.
    pub timing: bool,
}

/// A server, and who one is there: what a profile says, and what of `[client]` is forgotten where it does not, since no server gets
/// the credentials of another.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerOptions {
    /// REST address of the coordinator to send statements to; when there is none, a coordinator runs inside the client.
    pub url: Option<String>,
    /// Who logs in, with `password`. Without one, nobody does.
    pub user: Option<String>,
    /// Of `user`; asked for at the terminal where it is not given. Better a variable than a file.
    pub password: Option<String>,
    /// A file whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// A programmatic access token, or a key-pair token, in place of a user and its password.
    pub token: Option<String>,
    /// A file whose first line is the token.
    pub token_file: Option<PathBuf>,
    /// PEM file of an authority that coordinators' certificates may be of, beside those that the system knows.
    pub ca: Option<String>,
    /// Where unqualified names are looked up at first.
    pub database: Option<String>,
    pub schema: Option<String>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            profile: None,
            server: ServerOptions::default(),
            format: Format::default(),
            color: Color::default(),
            pager: true,
            timing: true,
        }
    }
}

/// Nothing that shows options shows what one logs in with.
impl std::fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientOptions")
            .field("profile", &self.profile)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerOptions").field("url", &self.url).finish_non_exhaustive()
    }
}

pub(super) const PROFILE: (&str, &str) = ("client", "profile");

/// Puts a profile of the file over its `[client]`: that of the name, or of the file's own `client.profile`.
pub(super) fn choose(merged: &mut Table, name: Option<&Value>) -> Result<(), CommandError> {
    let name = name.or_else(|| merged.get("client")?.get("profile")).and_then(Value::as_str).map(str::to_owned);
    let Some(name) = name else { return Ok(()) };
    let profile = merged.get("profiles").and_then(|profiles| profiles.get(&name)?.as_table()).cloned();
    let profile = profile.ok_or_else(|| unknown(&name, merged.get("profiles").and_then(Value::as_table)))?;
    if !profile.contains_key("url") {
        return Err(without_url(&name));
    }
    let client = merged.entry("client").or_insert_with(|| Value::Table(Table::new()));
    if let Some(client) = client.as_table_mut() {
        // In JSON, as against TOML, an option without a value still shows its key.
        let of_a_server = serde_json::to_value(ServerOptions::default()).expect("options hold nothing that JSON lacks");
        client.retain(|key, _| of_a_server.get(key).is_none());
        client.extend(profile);
    }
    Ok(())
}

/// A later layer that says who one is does not add to what earlier ones have said. `layer` has the keys that it sets.
pub(super) fn replace_credentials<'a>(merged: &mut Table, layer: impl Iterator<Item = (&'a str, &'a str)>) {
    let Some(client) = merged.get_mut(PROFILE.0).and_then(Value::as_table_mut) else { return };
    for (_, key) in layer.filter(|(section, _)| *section == PROFILE.0) {
        let replaced: &[&str] = match key {
            "user" => &["token", "token_file"],
            "password" | "password_file" => &["password", "password_file"],
            "token" | "token_file" => &["token", "token_file", "user", "password", "password_file"],
            _ => &[],
        };
        client.retain(|key, _| !replaced.contains(&key));
    }
}

fn unknown(name: &str, profiles: Option<&Table>) -> CommandError {
    let there: Vec<&str> = profiles.into_iter().flat_map(|table| table.keys().map(String::as_str)).collect();
    let hint = if there.is_empty() { "there are none".to_owned() } else { format!("there are {}", there.join(", ")) };
    CommandError::Usage(format!("profile {name:?} is not in the configuration file: {hint}"))
}

fn without_url(name: &str) -> CommandError {
    CommandError::Usage(format!("profile {name:?} has no url"))
}

impl Config {
    /// The client's options with the server of another profile, and nothing of the present one.
    pub fn client_of(&self, name: &str) -> Result<ClientOptions, CommandError> {
        let Some(profile) = self.profiles.get(name) else {
            let table = Table::try_from(&self.profiles).ok();
            return Err(unknown(name, table.as_ref()));
        };
        if profile.url.is_none() {
            return Err(without_url(name));
        }
        Ok(ClientOptions { profile: Some(name.to_owned()), server: profile.clone(), ..self.client.clone() })
    }
}

impl ServerOptions {
    /// As it is given, or as its file has it.
    pub fn token(&self) -> Result<Option<String>, CommandError> {
        given("token", self.token.as_deref(), self.token_file.as_ref())
    }

    /// Likewise.
    pub fn password(&self) -> Result<Option<String>, CommandError> {
        given("password", self.password.as_deref(), self.password_file.as_ref())
    }
}

/// The message has what the file is for, and nothing of what is in it.
fn given(what: &str, value: Option<&str>, file: Option<&PathBuf>) -> Result<Option<String>, CommandError> {
    match (value, file) {
        (Some(_), Some(_)) => Err(CommandError::Usage(format!("client.{what} and client.{what}_file are both set"))),
        (Some(value), None) => Ok(Some(value.to_owned())),
        (None, None) => Ok(None),
        (None, Some(path)) => {
            let wrong = |cause: String| CommandError::Usage(format!("client.{what}_file {path:?}: {cause}"));
            let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
            match text.lines().next().map(str::trim).filter(|line| !line.is_empty()) {
                Some(line) => Ok(Some(line.to_owned())),
                None => Err(wrong("its first line is empty".to_owned())),
            }
        }
    }
}

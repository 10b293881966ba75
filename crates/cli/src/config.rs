//! The one place where defaults, the file, the environment and flags meet.
//!
//! ```text
//! defaults ─▶ frazil.toml ─▶ FRAZIL_<SECTION>_<KEY> ─▶ flags ─▶ one table ─▶ Config
//!                       └─▶ its profile goes over [client]: before the variables, or behind them where a flag chose it
//! ```
//!
//! Each option is defined once, as a field of the section's struct, with its meaning, unit and default there. What keys
//! exist and how a variable's text is read both follow from those structs, so nothing here lists options.

mod client;
mod environment;
mod known;
mod secret;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use frazil_coordinator::CoordinatorOptions;
use frazil_engine::storage::StorageOptions;
use frazil_executor::ExecutorOptions;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::failure::CommandError;

pub use client::{ClientOptions, ServerOptions};
pub use secret::{cluster_credentials, create_cluster_credentials};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub cluster: ClusterOptions,
    pub coordinator: CoordinatorOptions,
    pub executor: ExecutorOptions,
    pub storage: StorageOptions,
    pub log: LogOptions,
    pub client: ClientOptions,
    /// Servers by name: `[profiles.NAME]`.
    pub profiles: BTreeMap<String, ServerOptions>,
}

/// What all processes of a cluster agree on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterOptions {
    /// Directory where a process keeps what it needs: kept results, spilled rows, sample data, the secret.
    pub data: PathBuf,
    /// What processes of the cluster show each other; at least 16 visible ASCII characters. Give this or `secret_file`,
    /// or neither: then it is `<data>/cluster.secret`, which the coordinator creates.
    pub secret: Option<String>,
    /// A file that holds the secret.
    pub secret_file: Option<PathBuf>,
    /// PEM files: the authority of the cluster's certificates, this process's certificate with those above it, and its key. With
    /// them the processes speak TLS with each other, and each shows its certificate. All three or none.
    pub tls_ca: Option<PathBuf>,
    pub tls_certificate: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    /// What certificates are made out to, in place of the addresses that are connected to.
    pub tls_name: Option<String>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            data: PathBuf::from("frazil-data"),
            secret: None,
            secret_file: None,
            tls_ca: None,
            tls_certificate: None,
            tls_key: None,
            tls_name: None,
        }
    }
}

/// What a process tells on stderr.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogOptions {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a list of `target=level`.
    pub level: String,
    /// `text` for people, `json` (one object a line) for log collectors.
    pub format: LogFormat,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { level: "warn".to_owned(), format: LogFormat::Text }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// Flags that stand for options: section, key and value, last.
#[derive(Clone, Debug, Default)]
pub struct Flags(Vec<(&'static str, &'static str, Value)>);

impl Flags {
    pub fn set(&mut self, section: &'static str, key: &'static str, value: Option<impl Into<Value>>) -> &mut Self {
        if let Some(value) = value {
            self.0.push((section, key, value.into()));
        }
        self
    }

    pub fn set_path(&mut self, section: &'static str, key: &'static str, value: Option<&Path>) -> &mut Self {
        self.set(section, key, value.map(|path| path.to_string_lossy().into_owned()))
    }
}

/// Where the layers come from. Passed in, so that merging can be tested without a process's environment.
pub struct Sources {
    /// `--config`; it must exist.
    pub file: Option<PathBuf>,
    /// Where a `frazil.toml` may be; the first one found is read.
    pub usual_files: Vec<PathBuf>,
    pub environment: Vec<(String, String)>,
    pub flags: Flags,
}

impl Sources {
    pub fn of_process(file: Option<PathBuf>, flags: Flags) -> Self {
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config"));
        let user = std::env::var_os("XDG_CONFIG_HOME").filter(|v| !v.is_empty()).map(PathBuf::from).or_else(home);
        let mut usual_files = vec![PathBuf::from("frazil.toml")];
        usual_files.extend(user.map(|directory| directory.join("frazil/frazil.toml")));
        // A variable whose value is not Unicode cannot be one of ours.
        let environment = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Self { file, usual_files, environment: environment.collect(), flags }
    }

    /// The file that [`load`] reads, if any.
    pub fn chosen_file(&self) -> Option<&Path> {
        self.file.as_deref().or_else(|| self.usual_files.iter().find(|path| path.is_file()).map(PathBuf::as_path))
    }
}

/// Merges all layers. Every failure is a [`CommandError::Usage`] that names the file and key, variable or flag.
pub fn load(sources: &Sources) -> Result<Config, CommandError> {
    let known = known::Keys::of_config();
    let mut merged = Table::new();
    if let Some(path) = sources.chosen_file() {
        overlay(&mut merged, read_file(path, &known)?);
    }
    let settings = environment::settings(&sources.environment, &known)?;
    let by_flag = sources.flags.0.iter().rev().find(|(section, key, _)| (*section, *key) == client::PROFILE);
    let by_variable =
        settings.iter().find(|setting| (setting.section.as_str(), setting.key.as_str()) == client::PROFILE);
    if by_flag.is_none() {
        client::choose(&mut merged, by_variable.map(|setting| &setting.value))?;
    }
    client::replace_credentials(&mut merged, settings.iter().map(|s| (s.section.as_str(), s.key.as_str())));
    for setting in settings {
        put(&mut merged, &setting.section, &setting.key, setting.value);
        check(&merged, &format!("environment variable {}", setting.variable))?;
    }
    if let Some((_, _, name)) = by_flag {
        client::choose(&mut merged, Some(name))?;
    }
    client::replace_credentials(&mut merged, sources.flags.0.iter().map(|(section, key, _)| (*section, *key)));
    for (section, key, value) in &sources.flags.0 {
        put(&mut merged, section, key, value.clone());
        check(&merged, &format!("option {section}.{key}"))?;
    }
    check(&merged, "configuration")
}

fn read_file(path: &Path, known: &known::Keys) -> Result<Table, CommandError> {
    let wrong = |cause: String| CommandError::Usage(format!("configuration file {path:?}: {}", cause.trim_end()));
    let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    let table: Table = text.parse().map_err(|e: toml::de::Error| wrong(e.to_string()))?;
    known.check(&table).map_err(wrong)?;
    // Read once more as what it must become: only this way do type errors come with their line.
    toml::from_str::<Config>(&text).map_err(|e| wrong(e.to_string()))?;
    Ok(table)
}

fn check(merged: &Table, layer: &str) -> Result<Config, CommandError> {
    let read = merged.clone().try_into::<Config>();
    read.map_err(|e| CommandError::Usage(format!("{layer}: {}", e.to_string().trim_end())))
}

fn put(table: &mut Table, section: &str, key: &str, value: Value) {
    let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    section.as_table_mut().expect("sections of a checked file are tables").insert(key.to_owned(), value);
}

fn overlay(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => overlay(old, new),
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}

/// The merged configuration as a file could say it, with secrets hidden.
pub fn shown(config: &Config) -> String {
    let mut table = Table::try_from(config).expect("options hold nothing that TOML lacks");
    hide_secrets(&mut table);
    table.to_string()
}

fn hide_secrets(table: &mut Table) {
    for (key, value) in table.iter_mut() {
        match value {
            Value::Table(inner) => hide_secrets(inner),
            // A number is a limit, of what is hidden or not.
            Value::String(value) if holds_a_secret(key) => "(hidden)".clone_into(value),
            _ => {}
        }
    }
}

fn holds_a_secret(key: &str) -> bool {
    !key.ends_with("_file") && ["secret", "password", "token", "access_key"].iter().any(|word| key.contains(word))
}

#[cfg(test)]
mod tests;

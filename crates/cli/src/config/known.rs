//! Which keys there are, derived from the defaults: a key that is not in them is refused by name.

use serde_json::Value as Json;
use toml::{Table, Value};

use super::Config;

/// The configuration's defaults as JSON, where (unlike in TOML) an option without a value still shows its key.
pub struct Keys(Json);

impl Keys {
    pub fn of_config() -> Self {
        Self(serde_json::to_value(Config::default()).expect("options hold nothing that JSON lacks"))
    }

    pub fn sections(&self) -> impl Iterator<Item = &str> {
        self.0.as_object().into_iter().flatten().map(|(name, _)| name.as_str())
    }

    pub fn default_of(&self, section: &str, key: &str) -> Option<&Json> {
        self.0.get(section)?.get(key)
    }

    /// The key of the section that is most like `wrong`, for a hint.
    pub fn nearest(&self, section: &str, wrong: &str) -> Option<&str> {
        let keys = self.0.get(section)?.as_object()?.keys().map(String::as_str);
        nearest(keys, wrong)
    }

    pub fn nearest_section(&self, wrong: &str) -> Option<&str> {
        nearest(self.sections(), wrong)
    }

    /// Says the first unknown section or key of a file. What is inside a key is for its own type to refuse.
    pub fn check(&self, table: &Table) -> Result<(), String> {
        for (section, content) in table {
            if self.0.get(section).is_none() {
                let what = if content.is_table() { "section" } else { "key" };
                return Err(format!("unknown {what} \"{section}\"{}", hint(self.nearest_section(section))));
            }
            let Value::Table(content) = content else {
                return Err(format!("\"{section}\" is a section: write [{section}] and its keys below"));
            };
            if section == "profiles" {
                // Its keys are names of the user's own.
                if let Some((name, _)) = content.iter().find(|(_, profile)| !profile.is_table()) {
                    return Err(format!(
                        "\"profiles.{name}\" is a section: write [profiles.{name}] and its keys below"
                    ));
                }
                continue;
            }
            for key in content.keys() {
                if self.default_of(section, key).is_none() {
                    let near = self.nearest(section, key);
                    return Err(format!("unknown key \"{section}.{key}\"{}", hint(near)));
                }
            }
        }
        Ok(())
    }
}

pub fn hint(near: Option<&str>) -> String {
    near.map(|near| format!(" (did you mean \"{near}\"?)")).unwrap_or_default()
}

fn nearest<'a>(names: impl Iterator<Item = &'a str>, wrong: &str) -> Option<&'a str> {
    let near = names.map(|name| (distance(name, wrong), name)).min()?;
    (near.0 <= 1 + wrong.len() / 4).then_some(near.1)
}

/// Levenshtein's, over bytes: keys are ASCII, and a hint need not be exact.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

//! A statement written in an editor of the user's.

use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

use crate::sql::read::read_text;

/// What the editor has left of `text`, or of a file.
pub fn edit(text: &str, file: Option<&Path>) -> Result<String, String> {
    let failed = |error: io::Error| format!("an editor for a statement: {error}");
    let mut own = tempfile::Builder::new().prefix("frazil-").suffix(".sql").tempfile().map_err(failed)?;
    writeln!(own, "{text}").map_err(failed)?;
    let path = file.unwrap_or(own.path());
    let named = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let editor = named("VISUAL").or_else(|| named("EDITOR")).unwrap_or_else(|| "vi".to_owned());
    let status =
        Command::new("sh").args(["-c", &format!("{editor} \"$1\""), "sh"]).arg(path).status().map_err(failed)?;
    if !status.success() {
        return Err(format!("the editor {editor:?} ended with {status}"));
    }
    let text = read_text(path).map_err(|error| error.to_string())?;
    Ok(text.trim_end().to_owned())
}

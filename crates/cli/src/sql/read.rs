//! Texts of statements, from files and from the standard input.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::failure::CommandError;

/// It is kept whole, since places in it are told.
const TEXT_BYTES_MAX: u64 = 256 << 20;

pub fn read_text(path: &Path) -> Result<String, CommandError> {
    let wrong = |error: io::Error| CommandError::Usage(format!("reading {path:?}: {error}"));
    whole(File::open(path).map_err(wrong)?).map_err(wrong)
}

pub fn read_input() -> Result<String, CommandError> {
    whole(io::stdin().lock()).map_err(|error| CommandError::Usage(format!("reading statements from stdin: {error}")))
}

fn whole(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    if from.take(TEXT_BYTES_MAX + 1).read_to_string(&mut text)? as u64 > TEXT_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {} MB", TEXT_BYTES_MAX >> 20)));
    }
    Ok(text)
}

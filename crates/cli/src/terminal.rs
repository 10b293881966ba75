//! What is asked of whoever sits at the terminal, without showing it.

use std::io::{BufRead, IsTerminal, Write};

use crate::failure::CommandError;

/// Where a password may come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The input is wanted for something else.
    Terminal,
    /// Without a terminal, the next line of the standard input.
    Input,
}

/// A line, not shown while it is typed.
pub fn ask_password(prompt: &str, source: Source) -> Result<String, CommandError> {
    let needed = || CommandError::Usage("a password is needed: type it, or set FRAZIL_CLIENT_PASSWORD".to_owned());
    let input = std::io::stdin();
    if source == Source::Terminal && !input.is_terminal() {
        return Err(needed());
    }
    let failed = || CommandError::doing("reading a password");
    let hidden = match input.is_terminal() {
        true => {
            eprint!("{prompt}");
            std::io::stderr().flush().map_err(failed())?;
            Some(Hidden::begin().map_err(failed())?)
        }
        false => None,
    };
    let mut line = String::new();
    let read = input.lock().read_line(&mut line);
    if hidden.is_some() {
        drop(hidden);
        eprintln!();
    }
    read.map_err(failed())?;
    let password = line.trim_end_matches(['\n', '\r']);
    match password.is_empty() {
        true => Err(needed()),
        false => Ok(password.to_owned()),
    }
}

/// As long as it lives, the terminal shows nothing that is typed.
struct Hidden(libc::termios);

impl Hidden {
    fn begin() -> std::io::Result<Self> {
        // SAFETY: termios is plain data for which all zeros are a value; the calls read and write it, and nothing else.
        let mut settings: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        if unsafe { libc::tcgetattr(libc::STDIN_FILENO, &mut settings) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        let before = settings;
        settings.c_lflag &= !libc::ECHO;
        // SAFETY: as above.
        match unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSAFLUSH, &settings) } {
            0 => Ok(Self(before)),
            _ => Err(std::io::Error::last_os_error()),
        }
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // SAFETY: as in `begin`. If it fails there is nothing that could be done.
        let _ = unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSAFLUSH, &self.0) };
    }
}

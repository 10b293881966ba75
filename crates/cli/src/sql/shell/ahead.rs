//! What is typed while a statement runs: kept for the prompts that follow.
//!
//! The editor would take it all with the first line, and forget what is behind it. So it is read before the editor begins, and
//! handed on line by line.

use std::io::IsTerminal;
use std::mem::MaybeUninit;

use super::helper::is_whole;

/// More is left with the terminal.
const BYTES_MAX: usize = 64 << 10;

#[derive(PartialEq, Eq, Debug)]
pub enum Ahead {
    /// Enter was pressed behind it.
    Whole(String),
    /// To be typed on.
    Begun(String),
    /// Ctrl-D in an empty line.
    End,
}

/// Text in the order of its keys; Enter is `\n`.
#[derive(Default)]
pub struct TypedAhead(Vec<u8>);

impl TypedAhead {
    /// Adds what the terminal has.
    pub fn read_terminal(&mut self) {
        if !std::io::stdin().is_terminal() {
            return;
        }
        let Some(_keys) = EachKey::set() else { return };
        let mut piece = [0u8; 1024];
        while self.0.len() < BYTES_MAX {
            // SAFETY: not more than the length of the piece is written into it. Without an end of line to wait for, and with
            // no time to wait, the call returns what there is.
            let read = unsafe { libc::read(libc::STDIN_FILENO, piece.as_mut_ptr().cast(), piece.len()) };
            match usize::try_from(read) {
                Ok(read @ 1..) => self.0.extend_from_slice(&piece[..read]),
                Ok(0) | Err(_) => return,
            }
        }
    }

    /// A statement was given up: what was meant to follow it does not.
    pub fn forget(&mut self) {
        self.0.clear();
    }

    /// What the next prompt begins with: statements to their ends, or all that there is behind `initial`.
    pub fn next(&mut self, initial: &str) -> Ahead {
        let mut text = initial.to_owned();
        while let Some(end) = self.0.iter().position(|&byte| byte == b'\n' || byte == b'\r') {
            let line: Vec<u8> = self.0.drain(..=end).collect();
            let line = &line[..end];
            if text.is_empty() && is_end_of_input(line) {
                return Ahead::End;
            }
            text.push_str(&printable(line));
            if is_whole(&text) {
                return Ahead::Whole(text);
            }
            text.push('\n');
        }
        let rest = std::mem::take(&mut self.0);
        if text.is_empty() && is_end_of_input(&rest) {
            return Ahead::End;
        }
        text.push_str(&printable(&rest));
        Ahead::Begun(text)
    }
}

/// Ctrl-D, and what the terminal keeps in its place while it reads lines.
fn is_end_of_input(line: &[u8]) -> bool {
    matches!(line.first(), Some(0 | 4))
}

/// Without keys that are no text: nothing was there to be moved in or completed.
fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let (mut kept, mut keys) = (String::with_capacity(text.len()), text.chars().peekable());
    while let Some(key) = keys.next() {
        match key {
            '\u{1b}' => {
                // `ESC [ 1 ; 5 C`, `ESC O P`: up to a letter or `~`.
                if keys.next_if(|key| matches!(key, '[' | 'O')).is_some() {
                    while keys.next_if(|key| !matches!(key, '@'..='~')).is_some() {}
                    keys.next();
                }
            }
            '\t' => kept.push(' '),
            key if key.is_control() => {}
            key => kept.push(key),
        }
    }
    kept
}

/// The terminal gives each key when it is asked, until this is dropped.
struct EachKey(libc::termios);

impl EachKey {
    fn set() -> Option<Self> {
        let before = state()?;
        let mut now = before;
        now.c_lflag &= !(libc::ICANON | libc::ECHO);
        now.c_cc[libc::VMIN] = 0;
        now.c_cc[libc::VTIME] = 0;
        set_state(&now).then_some(Self(before))
    }
}

impl Drop for EachKey {
    fn drop(&mut self) {
        set_state(&self.0);
    }
}

/// What is typed is not shown until this is dropped: it would stand in the middle of a result or of the bar. Ctrl-C is still
/// a signal.
pub struct Unseen(Option<libc::termios>);

impl Unseen {
    pub fn set() -> Self {
        let Some(before) = state().filter(|_| std::io::stdin().is_terminal()) else { return Self(None) };
        let mut now = before;
        now.c_lflag &= !libc::ECHO;
        Self(set_state(&now).then_some(before))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            set_state(before);
        }
    }
}

fn state() -> Option<libc::termios> {
    let mut state = MaybeUninit::uninit();
    // SAFETY: the structure is used only if the call has filled it in.
    unsafe { (libc::tcgetattr(libc::STDIN_FILENO, state.as_mut_ptr()) == 0).then(|| state.assume_init()) }
}

fn set_state(state: &libc::termios) -> bool {
    // SAFETY: the structure came from `tcgetattr`.
    unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, state) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_handed_on_one_by_one() {
        let mut ahead = TypedAhead(b"select 1;\nselect\n 2;\r\\d x\nsel".to_vec());
        for text in ["select 1;", "select\n 2;", "\\d x"] {
            assert_eq!(ahead.next(""), Ahead::Whole(text.to_owned()));
        }
        assert_eq!(ahead.next(""), Ahead::Begun("sel".to_owned()));
        assert_eq!(ahead.next(""), Ahead::Begun(String::new()));
        let mut ahead = TypedAhead(b" 1;\n".to_vec());
        assert_eq!(ahead.next("select"), Ahead::Whole("select 1;".to_owned()));
        let mut ahead = TypedAhead(b"select 1;\n\0".to_vec());
        assert_eq!(ahead.next(""), Ahead::Whole("select 1;".to_owned()));
        assert_eq!(ahead.next(""), Ahead::End);
        let mut ahead = TypedAhead(b"select 1;\n".to_vec());
        ahead.forget();
        assert_eq!(ahead.next(""), Ahead::Begun(String::new()));
    }

    #[test]
    fn keys_that_are_no_text_are_left_out() {
        let mut ahead = TypedAhead("a\u{1b}[A\u{1b}[1;5Cb\u{1b}OPc\td\u{7}é\u{1b}".as_bytes().to_vec());
        assert_eq!(ahead.next(""), Ahead::Begun("abc dé".to_owned()));
    }
}

//! What a value or a message may not do to a terminal: move its cursor, change its title, ring its bell, turn its lines around.

use std::io::{self, Write};

/// Characters that act on a terminal, or on how what stands beside them is shown. Line ends and tabs are judged elsewhere.
fn acts(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// For one value: all but line ends is made visible.
pub fn visible(text: &str) -> String {
    replaced(text, |character| acts(character) && character != '\n')
}

/// Likewise with line ends, for what has to stay in one line.
pub fn visible_line(text: &str) -> String {
    replaced(text, acts)
}

/// For a message of several lines.
pub fn visible_lines(text: &str) -> String {
    replaced(text, |character| acts(character) && !matches!(character, '\n' | '\t'))
}

fn replaced(text: &str, wanted: impl Fn(char) -> bool) -> String {
    if !text.contains(&wanted) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match wanted(character) {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    shown
}

/// Between a format that writes values as they are and a terminal.
pub struct VisibleWriter<W: Write> {
    inner: W,
    /// The beginning of a character whose other bytes have not come.
    begun: Vec<u8>,
}

impl<W: Write> VisibleWriter<W> {
    pub fn new(inner: W) -> Self {
        Self { inner, begun: Vec::new() }
    }

    pub fn into_inner(mut self) -> io::Result<W> {
        if !self.begun.is_empty() {
            let shown = String::from_utf8_lossy(&self.begun).into_owned();
            self.inner.write_all(shown.as_bytes())?;
        }
        Ok(self.inner)
    }
}

impl<W: Write> Write for VisibleWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.begun) {
            Ok(text) => text.len(),
            // The end of it may only be missing.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => self.begun.len(),
        };
        let shown = visible_lines(&String::from_utf8_lossy(&self.begun[..whole]));
        self.begun.drain(..whole);
        self.inner.write_all(shown.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_shown_and_does_not_act() {
        assert_eq!(visible("\u{1b}[2Jx\ty\n\u{9b}1m"), "\\u{1b}[2Jx\\ty\n\\u{9b}1m");
        assert_eq!(visible("a\u{202e}b\u{7f}"), "a\\u{202e}b\\u{7f}");
        assert_eq!(visible_line("a\r\nb"), "a\\r\\nb");
        assert_eq!(visible_lines("a\tb\n\u{7}"), "a\tb\n\\u{7}");
        assert_eq!(visible("é 🦀 👩\u{200d}🔬"), "é 🦀 👩\u{200d}🔬");
    }

    #[test]
    fn characters_that_come_in_pieces_are_put_together() {
        let text = "é🦀\u{9b}x\u{1b}".as_bytes();
        for size in 1..5 {
            let mut writer = VisibleWriter::new(Vec::new());
            for piece in text.chunks(size) {
                writer.write_all(piece).unwrap();
            }
            assert_eq!(String::from_utf8(writer.into_inner().unwrap()).unwrap(), "é🦀\\u{9b}x\\u{1b}");
        }
        let mut writer = VisibleWriter::new(Vec::new());
        writer.write_all(b"a\xff\x1bb\xc3").unwrap();
        assert_eq!(String::from_utf8(writer.into_inner().unwrap()).unwrap(), "a\u{fffd}\\u{1b}b\u{fffd}");
    }
}

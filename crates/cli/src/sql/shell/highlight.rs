//! A text of SQL in colour, as it is typed. Its width stays the same.

use std::borrow::Cow;

use frazil_engine::lexemes::{Kind, lexemes};

use super::words::is_keyword;

/// Of a longer text only what is typed matters: it is shown plain.
const TEXT_BYTES_MAX: usize = 64 << 10;

const KEYWORD: &str = "\x1b[1;34m";
const TEXT: &str = "\x1b[32m";
const NUMBER: &str = "\x1b[36m";
const COMMENT: &str = "\x1b[2m";
const COMMAND: &str = "\x1b[1;35m";
const PLAIN: &str = "\x1b[0m";

pub fn highlighted(text: &str) -> Cow<'_, str> {
    if text.len() > TEXT_BYTES_MAX {
        return Cow::Borrowed(text);
    }
    if text.trim_start().starts_with('\\') {
        let start = text.len() - text.trim_start().len();
        let end = text[start..].find(char::is_whitespace).map_or(text.len(), |length| start + length);
        return Cow::Owned(format!("{}{COMMAND}{}{PLAIN}{}", &text[..start], &text[start..end], &text[end..]));
    }
    let mut shown = String::with_capacity(text.len() + 64);
    let mut at = 0;
    for lexeme in lexemes(text) {
        let found = &text[lexeme.bytes.clone()];
        let color = match lexeme.kind {
            Kind::Word if is_keyword(found) => KEYWORD,
            Kind::Text => TEXT,
            Kind::Number => NUMBER,
            Kind::Comment => COMMENT,
            Kind::Word | Kind::Quoted | Kind::Sign => continue,
        };
        shown.push_str(&text[at..lexeme.bytes.start]);
        shown.push_str(color);
        shown.push_str(found);
        shown.push_str(PLAIN);
        at = lexeme.bytes.end;
    }
    if at == 0 {
        return Cow::Borrowed(text);
    }
    shown.push_str(&text[at..]);
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Colours by a letter each.
    fn shown(text: &str) -> String {
        let marks =
            [(KEYWORD, "<k>"), (TEXT, "<t>"), (NUMBER, "<n>"), (COMMENT, "<c>"), (COMMAND, "<m>"), (PLAIN, "</>")];
        marks.iter().fold(highlighted(text).into_owned(), |text, (code, mark)| text.replace(code, mark))
    }

    #[test]
    fn kinds_have_colours() {
        assert_eq!(
            shown("select name, 'x', 1 from \"t\" -- y"),
            "<k>select</> name, <t>'x'</>, <n>1</> <k>from</> \"t\" <c>-- y</>"
        );
        assert_eq!(shown("select 'open"), "<k>select</> <t>'open</>");
        assert_eq!(shown("\\d select"), "<m>\\d</> select");
        assert_eq!(shown("x"), "x");
    }

    #[test]
    fn without_its_colours_the_text_is_the_same() {
        for text in ["select 'é' || /* 🦀\n*/ x -- z", "a\tb\n", "'", "\"", "  \\x  on", "select $$a$$, E'\\n'", ""]
        {
            let plain = [KEYWORD, TEXT, NUMBER, COMMENT, COMMAND, PLAIN]
                .iter()
                .fold(highlighted(text).into_owned(), |text, code| text.replace(code, ""));
            assert_eq!(plain, text);
        }
    }
}

//! Where a JSON value ends, and whether it is one: checked byte by byte, so that an error is found where it is and not at the
//! end of the file.

/// Open objects and arrays.
const NESTING_MAX: usize = 200;

/// A key of the outermost object, without its quotes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    pub start: usize,
    pub end: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scan {
    Value {
        end: usize,
    },
    Wrong {
        at: usize,
        message: &'static str,
    },
    /// More bytes are needed to tell.
    Incomplete,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
}

/// Looks at the value that `bytes` begin with; fills `keys` if it is an object.
pub fn scan_value(bytes: &[u8], ended: bool, keys: &mut Vec<Key>) -> Scan {
    keys.clear();
    // True: an object.
    let mut open: Vec<bool> = Vec::new();
    let mut expect = Expect::Value;
    let mut at = 0;
    let missing = |at| if ended { Scan::Wrong { at, message: "it is not complete" } } else { Scan::Incomplete };
    loop {
        while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            at += 1;
        }
        let Some(&byte) = bytes.get(at) else { return missing(at) };
        let wrong = |message| Scan::Wrong { at, message };
        let mut value_ended = false;
        match (expect, byte) {
            (Expect::KeyOrEnd, b'}') | (Expect::ValueOrEnd, b']') => {
                open.pop();
                at += 1;
                value_ended = true;
            }
            (Expect::CommaOrEnd, b'}' | b']') => {
                if open.pop() != Some(byte == b'}') {
                    return wrong("a bracket closes what it did not open");
                }
                at += 1;
                value_ended = true;
            }
            (Expect::CommaOrEnd, b',') => {
                at += 1;
                expect = if open.last() == Some(&true) { Expect::Key } else { Expect::Value };
            }
            (Expect::CommaOrEnd, _) => return wrong("a comma or a closing bracket is expected"),
            (Expect::Key | Expect::KeyOrEnd, b'"') => {
                let start = at + 1;
                at = match string_end(bytes, start) {
                    Ok(Some(end)) => end,
                    Ok(None) => return missing(bytes.len()),
                    Err((at, message)) => return Scan::Wrong { at, message },
                };
                if open.len() == 1 {
                    keys.push(Key { start, end: at - 1 });
                }
                expect = Expect::Colon;
            }
            (Expect::Key | Expect::KeyOrEnd, _) => return wrong("a key in double quotes is expected"),
            (Expect::Colon, b':') => {
                at += 1;
                expect = Expect::Value;
            }
            (Expect::Colon, _) => return wrong("a colon is expected"),
            (Expect::Value | Expect::ValueOrEnd, b'{' | b'[') => {
                if open.len() == NESTING_MAX {
                    return wrong("it nests too deeply");
                }
                open.push(byte == b'{');
                at += 1;
                expect = if byte == b'{' { Expect::KeyOrEnd } else { Expect::ValueOrEnd };
            }
            (Expect::Value | Expect::ValueOrEnd, b'"') => {
                at = match string_end(bytes, at + 1) {
                    Ok(Some(end)) => end,
                    Ok(None) => return missing(bytes.len()),
                    Err((at, message)) => return Scan::Wrong { at, message },
                };
                value_ended = true;
            }
            (Expect::Value | Expect::ValueOrEnd, b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                let end = bytes[at..].iter().position(|byte| !is_plain(*byte)).map(|length| at + length);
                let end = match end {
                    Some(end) => end,
                    None if ended => bytes.len(),
                    None => return Scan::Incomplete,
                };
                if !is_literal(&bytes[at..end]) {
                    return wrong("it is no JSON value");
                }
                at = end;
                value_ended = true;
            }
            (Expect::Value | Expect::ValueOrEnd, _) => return wrong("a value is expected"),
        }
        if value_ended {
            if open.is_empty() {
                return Scan::Value { end: at };
            }
            expect = Expect::CommaOrEnd;
        }
    }
}

/// Behind the closing quote; `None` if the bytes end before.
fn string_end(bytes: &[u8], start: usize) -> Result<Option<usize>, (usize, &'static str)> {
    let mut at = start;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return Ok(Some(at + 1)),
            b'\\' => at += 2,
            0..0x20 => return Err((at, "a text has a line break or control character in it")),
            _ => at += 1,
        }
    }
    Ok(None)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

fn is_literal(text: &[u8]) -> bool {
    match text {
        b"true" | b"false" | b"null" => true,
        [b'-' | b'0'..=b'9', ..] => serde_json::from_slice::<serde_json::Number>(text).is_ok(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Scan {
        let mut keys = Vec::new();
        for length in 0..text.len() {
            let early = scan_value(&text.as_bytes()[..length], false, &mut keys);
            assert!(!matches!(early, Scan::Value { end } if end > length), "{text}");
        }
        scan_value(text.as_bytes(), true, &mut keys)
    }

    #[test]
    fn values_end_where_they_end() {
        for text in ["{}", "[]", "1", "-1.5e3", "null", "\"a\\\"b\"", "{\"a\": [1, {\"b\": \"}\"}], \"c\":\n null}"] {
            assert_eq!(scan(text), Scan::Value { end: text.len() }, "{text}");
            assert_eq!(scan(&format!("{text} {{}}")), Scan::Value { end: text.len() }, "{text}");
        }
    }

    #[test]
    fn errors_are_where_they_are() {
        let deep = "[".repeat(201);
        for (text, expected) in [
            ("{\"a\":1\n{\"a\":2}", 7),
            ("{\"a\":1,}", 7),
            ("{a:1}", 1),
            ("{\"a\" 1}", 5),
            ("[1 2]", 3),
            ("{\"a\":1]", 6),
            ("{\"a\":\"x\n\"}", 7),
            ("{\"a\":tru}", 5),
            ("{\"a\":01}", 5),
            ("{\"a\":", 5),
            (deep.as_str(), 200),
        ] {
            match scan(text) {
                Scan::Wrong { at, .. } => assert_eq!(at, expected, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn keys_of_the_outermost_object_are_told() {
        let mut keys = Vec::new();
        let text = "{\"a\": {\"x\": 1}, \"b c\": 2}";
        scan_value(text.as_bytes(), true, &mut keys);
        let names: Vec<_> = keys.iter().map(|key| &text[key.start..key.end]).collect();
        assert_eq!(names, ["a", "b c"]);
    }
}

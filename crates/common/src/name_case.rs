//! Names as a client writes and reads them.

use std::borrow::Cow;

/// How names that need no quotes are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum NameCase {
    /// As they are kept: what SQL writes without quotes is lowercase.
    #[default]
    AsKept,
    /// As Snowflake shows them: what SQL writes without quotes is uppercase.
    Upper,
}

impl NameCase {
    /// A kept name as it is shown.
    pub fn shown(self, name: &str) -> Cow<'_, str> {
        match self {
            Self::AsKept => Cow::Borrowed(name),
            Self::Upper => swapped(name),
        }
    }

    /// A shown name as it is kept.
    pub fn kept(self, name: &str) -> Cow<'_, str> {
        // Twice is not at all.
        self.shown(name)
    }
}

/// A plain name in one case gets the other; every other name stays. So no two names get the same one, and `swapped` undoes itself: a
/// table `"ORDERS"` of other clients is shown as `orders`, and has to be quoted here as there.
fn swapped(name: &str) -> Cow<'_, str> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$')
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_');
    let (lower, upper) =
        (name.bytes().any(|byte| byte.is_ascii_lowercase()), name.bytes().any(|byte| byte.is_ascii_uppercase()));
    match (plain, lower, upper) {
        (true, true, false) => Cow::Owned(name.to_ascii_uppercase()),
        (true, false, true) => Cow::Owned(name.to_ascii_lowercase()),
        _ => Cow::Borrowed(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_back_from_being_shown() {
        let upper = NameCase::Upper;
        for (kept, shown) in [
            ("orders", "ORDERS"),
            ("ORDERS", "orders"),
            ("Orders", "Orders"),
            ("a1_$", "A1_$"),
            ("_", "_"),
            ("1a", "1a"),
            ("two words", "two words"),
            ("größe", "größe"),
            ("count(*)", "count(*)"),
            ("", ""),
        ] {
            assert_eq!(upper.shown(kept), shown);
            assert_eq!(upper.kept(shown), kept);
            assert_eq!(NameCase::AsKept.shown(kept), kept);
        }
    }
}

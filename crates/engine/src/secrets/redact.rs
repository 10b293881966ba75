//! What may be shown of a statement's text.

use std::borrow::Cow;

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::words::{is_word, tokens};

/// The text without what follows `CREATE SECRET name`, `CREATE USER name` or `ALTER USER name`, wherever that is: for lists, logs and
/// messages.
pub fn redact(sql: &str) -> Cow<'_, str> {
    match [secret_from(sql), user_from(sql)].into_iter().flatten().min() {
        Some(end) if !sql[end..].trim_matches([' ', '\n', ';']).is_empty() => {
            Cow::Owned(format!("{} (…)", &sql[..end]))
        }
        _ => Cow::Borrowed(sql),
    }
}

/// Whether it says `CREATE SECRET` somewhere.
pub(super) fn hides_secret(sql: &str) -> bool {
    secret_from(sql).is_some()
}

/// Whether it says `CREATE USER` or `ALTER USER` somewhere.
pub(crate) fn hides_user(sql: &str) -> bool {
    user_from(sql).is_some()
}

fn secret_from(sql: &str) -> Option<usize> {
    mentions(sql, "secret").then(|| hidden_from(sql, "secret", &["create"])).flatten()
}

fn user_from(sql: &str) -> Option<usize> {
    mentions(sql, "user").then(|| hidden_from(sql, "user", &["create", "alter"])).flatten()
}

/// Most statements do not, and need not be looked at word by word. `word` is in lower case.
pub(super) fn mentions(sql: &str, word: &str) -> bool {
    sql.as_bytes().windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

/// Where the part to be hidden begins: after the name of the object, or where none can be told.
fn hidden_from(sql: &str, object: &str, verbs: &[&str]) -> Option<usize> {
    let Ok(tokens) = tokens(sql) else {
        // A text without an end: what it hides is not known, so the whole is, from the word on.
        let lower = sql.to_ascii_lowercase();
        let verb = verbs.iter().filter_map(|verb| lower.find(verb)).min()?;
        return lower[verb..].find(object).map(|at| verb + at + object.len());
    };
    let between = ["or", "replace", "temporary", "temp", "persistent"];
    let is_object = |at: usize| {
        let before = tokens[..at].iter().rev().find(|token| between.iter().all(|word| !is_word(token, word)));
        before.is_some_and(|token| verbs.iter().any(|verb| is_word(token, verb)))
    };
    let at = (0..tokens.len()).find(|at| is_word(&tokens[*at], object) && is_object(*at))?;
    // The name may be shown; after anything else nothing is.
    let mut end = &tokens[at];
    let skipped =
        tokens[at + 1..].iter().take_while(|token| ["if", "not", "exists"].iter().any(|word| is_word(token, word)));
    if let Some(name) = tokens.get(at + 1 + skipped.count())
        && matches!(&name.token, Token::Word(_))
        && !is_word(name, "password")
        && !is_word(name, "set")
    {
        end = name;
    }
    Some(offset(sql, end))
}

/// Where a token ends.
fn offset(sql: &str, token: &TokenWithSpan) -> usize {
    let (line, column) = (token.span.end.line, token.span.end.column);
    let (mut at_line, mut at_column) = (1, 1);
    for (offset, character) in sql.char_indices() {
        if (at_line, at_column) == (line, column) {
            return offset;
        }
        if character == '\n' {
            (at_line, at_column) = (at_line + 1, 1);
        } else {
            at_column += 1;
        }
    }
    sql.len()
}

//! `CREATE [OR REPLACE] SECRET [IF NOT EXISTS] name (TYPE S3, KEY_ID '…', …)`, `DROP SECRET`, `SHOW SECRETS`: read by ourselves, since
//! the parser knows them in DuckDB's dialect only and would quote them in its messages.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::tokenizer::Token;
use frazil_catalog::{IfExists, SecretRecord};
use frazil_common::{ErrorCode, Failure};
use uuid::Uuid;

use super::redact::{hides_secret, mentions};
use super::{Kind, Secrets};
use crate::words::{TEXT_BYTES_MAX, Words, invalid, syntax, tokens};

#[derive(Debug)]
pub enum SecretStatement {
    Create { secret: SecretRecord, if_exists: IfExists },
    Drop { name: String, if_exists: bool },
    Show,
}

/// A statement about secrets, if it is one. Messages name options, and never quote what is said of them.
pub fn parse(sql: &str) -> Result<Option<SecretStatement>, Failure> {
    if !mentions(sql, "secret") {
        return Ok(None);
    }
    let Ok(tokens) = tokens(sql) else {
        return match hides_secret(sql) {
            false => Ok(None),
            true => Err(syntax("a text in CREATE SECRET does not end")),
        };
    };
    let mut rest = Words { tokens: &tokens };
    let statement = if rest.take(&["show", "secrets"]) {
        SecretStatement::Show
    } else if rest.take(&["drop", "secret"]) {
        let if_exists = rest.take(&["if", "exists"]);
        SecretStatement::Drop { name: rest.name("a secret")?, if_exists }
    } else if rest.take(&["create"]) {
        let replace = rest.take(&["or", "replace"]);
        let temporary = rest.take(&["temporary"]) || rest.take(&["temp"]);
        let _ = rest.take(&["persistent"]);
        if !rest.take(&["secret"]) {
            return refuse_hidden(sql);
        }
        if temporary {
            return Err(Failure::new(ErrorCode::NotSupported, "a temporary secret is not supported"));
        }
        let keep = rest.take(&["if", "not", "exists"]);
        let if_exists = match (replace, keep) {
            (true, true) => return Err(syntax("CREATE SECRET takes OR REPLACE or IF NOT EXISTS, not both")),
            (true, false) => IfExists::Replace,
            (false, true) => IfExists::Keep,
            (false, false) => IfExists::Fail,
        };
        let name = rest.name("a secret")?;
        SecretStatement::Create { secret: secret(name, options(&mut rest)?)?, if_exists }
    } else {
        return refuse_hidden(sql);
    };
    let _ = rest.token(&Token::SemiColon);
    match rest.tokens.is_empty() {
        true => Ok(Some(statement)),
        false => Err(syntax("something follows a statement about secrets, which stands alone")),
    }
}

/// `EXPLAIN CREATE SECRET …`, a second statement, and the like: whoever refuses them would quote them.
fn refuse_hidden(sql: &str) -> Result<Option<SecretStatement>, Failure> {
    match hides_secret(sql) {
        false => Ok(None),
        true => Err(syntax("CREATE SECRET stands alone")),
    }
}

fn secret(name: String, mut options: BTreeMap<String, String>) -> Result<SecretRecord, Failure> {
    let kind = options.remove("type").ok_or_else(|| invalid("a secret has a TYPE".to_owned()))?;
    let kind = Kind::from_name(&kind)?;
    let scope = options.remove("scope").or_else(|| kind.default_scope().map(str::to_owned));
    let scope = scope.ok_or_else(|| invalid(format!("a secret of type {} needs SCOPE", kind.name())))?;
    if !kind.schemes().iter().any(|scheme| scope.starts_with(scheme)) {
        return Err(invalid(format!(
            "SCOPE of a secret of type {} begins with {}",
            kind.name(),
            kind.schemes().join(" or ")
        )));
    }
    if let Some(unknown) = options.keys().find(|key| kind.options().iter().all(|(known, _)| known != key)) {
        return Err(invalid(format!(
            "option {} of a secret of type {} is not known",
            unknown.to_uppercase(),
            kind.name()
        )));
    }
    if let Some((missing, _)) = kind.options().iter().find(|(key, needed)| *needed && !options.contains_key(*key)) {
        return Err(invalid(format!("a secret of type {} needs {}", kind.name(), missing.to_uppercase())));
    }
    for (key, allowed) in [("use_ssl", ["true", "false"]), ("url_style", ["path", "vhost"])] {
        if let Some(value) = options.get_mut(key) {
            value.make_ascii_lowercase();
            if !allowed.contains(&value.as_str()) {
                return Err(invalid(format!("{} of a secret is {} or {}", key.to_uppercase(), allowed[0], allowed[1])));
            }
        }
    }
    Ok(SecretRecord { id: Uuid::now_v7(), name, kind: kind.name().to_owned(), scope, options })
}

/// The query that shows secrets, without their values.
pub fn show(secrets: &Secrets) -> String {
    let text = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let row = |(name, kind, scope): (&str, &str, &str)| format!("({}, {}, {})", text(name), text(kind), text(scope));
    let rows: Vec<String> = secrets.iter().map(|secret| row((&secret.name, &secret.kind, &secret.scope))).collect();
    let (rows, shown) = match rows.is_empty() {
        true => (row(("", "", "")), "WHERE name <> ''"),
        false => (rows.join(", "), ""),
    };
    format!("SELECT * FROM (VALUES {rows}) secrets (name, type, scope) {shown} ORDER BY name")
}

/// `(KEY value, …)`: keys in lower case.
fn options(rest: &mut Words<'_>) -> Result<BTreeMap<String, String>, Failure> {
    let mut options = BTreeMap::new();
    if !rest.token(&Token::LParen) {
        return Err(syntax("CREATE SECRET takes its options in parentheses"));
    }
    loop {
        let key = rest.name("an option of a secret")?.to_lowercase();
        // PostgreSQL and Snowflake write `key = value`.
        let _ = rest.token(&Token::Eq);
        let value = match rest.tokens.split_first() {
            Some((token, after)) => {
                rest.tokens = after;
                match &token.token {
                    Token::SingleQuotedString(text) => text.clone(),
                    Token::Word(word) => word.value.clone(),
                    Token::Number(number, _) => number.clone(),
                    _ => return Err(syntax(format!("{} of a secret is a text", key.to_uppercase()))),
                }
            }
            None => return Err(syntax(format!("{} of a secret has no value", key.to_uppercase()))),
        };
        if value.len() > TEXT_BYTES_MAX || value.chars().any(char::is_control) {
            return Err(invalid(format!("{} of a secret is too long, or no text of one line", key.to_uppercase())));
        }
        if options.insert(key.clone(), value).is_some() {
            return Err(invalid(format!("{} of a secret is given twice", key.to_uppercase())));
        }
        if rest.token(&Token::RParen) {
            return Ok(options);
        }
        if !rest.token(&Token::Comma) {
            return Err(syntax("options of a secret are separated by commas, and end with a parenthesis"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::redact;
    use super::*;

    #[test]
    fn statements_are_read() {
        let sql =
            "CREATE OR REPLACE SECRET \"My\" (TYPE s3, KEY_ID 'k', SECRET 'it''s', scope 's3://b/x', use_ssl FALSE);";
        let Some(SecretStatement::Create { secret, if_exists }) = parse(sql).unwrap() else { panic!("not read") };
        assert_eq!((secret.name.as_str(), secret.scope.as_str(), if_exists), ("My", "s3://b/x", IfExists::Replace));
        assert_eq!(secret.options["secret"], "it's");
        assert_eq!(secret.options["use_ssl"], "false");
        assert!(matches!(parse("show secrets").unwrap(), Some(SecretStatement::Show)));
        let dropped = parse("drop /* the */ secret if exists S;").unwrap();
        assert!(matches!(dropped, Some(SecretStatement::Drop { name, if_exists: true }) if name == "s"));
        for other in
            ["select 'create secret x'", "create table secret (a int)", "show tables", "drop table secret", "create"]
        {
            assert!(parse(other).unwrap().is_none(), "{other}");
        }
    }

    #[test]
    fn nothing_of_a_value_is_said() {
        for sql in [
            "create secret s (type s3, key_id 'hush', secret 'hush', colour 'hush')",
            "create secret s (type s3, secret 'hush')",
            "create secret s (type 'hush')",
            "create secret s (type s3, key_id 'k', secret 'hush",
            "create secret s (type s3, key_id 'k' secret 'hush')",
            "create secret s (type s3, key_id 'k', secret 'hush') and 'hush'",
            "create secret s type s3, secret 'hush'",
            "explain create secret s (type s3, key_id 'k', secret 'hush')",
            "select 1; create secret s (type s3, key_id 'k', secret 'hush')",
            "create secret if not exists s (type s3, key_id 'k', secret 'hush', scope 'gs://hush')",
            "create temporary secret s (type s3, key_id 'k', secret 'hush')",
            "create secret (type s3, key_id 'k', secret 'hush')",
            "with a as (select 1) create/**/secret s (secret 'hush')",
        ] {
            let failure = parse(sql).expect_err(sql);
            // A type that does not exist may be named.
            assert!(!failure.message.contains("hush") || sql.contains("type 'hush'"), "{sql}: {failure}");
            assert!(!redact(sql).contains("hush"), "{sql}: {}", redact(sql));
        }
        let sql = "create or replace persistent\nsecret \"a b\" (type s3, secret 'hush')";
        assert_eq!(redact(sql), "create or replace persistent\nsecret \"a b\" (…)");
        assert_eq!(redact("select * from secret"), "select * from secret");
    }
}

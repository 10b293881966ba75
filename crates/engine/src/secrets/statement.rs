//! `CREATE [OR REPLACE] SECRET [IF NOT EXISTS] name (TYPE S3, KEY_ID '…', …)`, `DROP SECRET`, `SHOW SECRETS`: read by ourselves, since
//! the parser knows them in DuckDB's dialect only and would quote them in its messages.

use std::borrow::Cow;
use std::collections::BTreeMap;

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};
use frazil_catalog::{IfExists, SecretRecord};
use frazil_common::{ErrorCode, Failure};

use super::Secrets;
use super::check::{invalid, secret};

/// A name, a value: longer ones are a mistake.
const TEXT_BYTES_MAX: usize = 8192;

#[derive(Debug)]
pub enum SecretStatement {
    Create { secret: SecretRecord, if_exists: IfExists },
    Drop { name: String, if_exists: bool },
    Show,
}

/// A statement about secrets, if it is one. Messages name options, and never quote what is said of them.
pub fn parse(sql: &str) -> Result<Option<SecretStatement>, Failure> {
    if !mentions_secret(sql) {
        return Ok(None);
    }
    let Ok(tokens) = tokens(sql) else {
        return match redact(sql) {
            Cow::Borrowed(_) => Ok(None),
            Cow::Owned(_) => Err(syntax("a text in CREATE SECRET does not end")),
        };
    };
    let mut rest = Rest { tokens: &tokens };
    let statement = if rest.words(&["show", "secrets"]) {
        SecretStatement::Show
    } else if rest.words(&["drop", "secret"]) {
        let if_exists = rest.words(&["if", "exists"]);
        SecretStatement::Drop { name: rest.name()?, if_exists }
    } else if rest.words(&["create"]) {
        let replace = rest.words(&["or", "replace"]);
        let temporary = rest.words(&["temporary"]) || rest.words(&["temp"]);
        let _ = rest.words(&["persistent"]);
        if !rest.words(&["secret"]) {
            return refuse_hidden(sql);
        }
        if temporary {
            return Err(Failure::new(ErrorCode::NotSupported, "a temporary secret is not supported"));
        }
        let keep = rest.words(&["if", "not", "exists"]);
        let if_exists = match (replace, keep) {
            (true, true) => return Err(syntax("CREATE SECRET takes OR REPLACE or IF NOT EXISTS, not both")),
            (true, false) => IfExists::Replace,
            (false, true) => IfExists::Keep,
            (false, false) => IfExists::Fail,
        };
        let name = rest.name()?;
        SecretStatement::Create { secret: secret(name, rest.options()?)?, if_exists }
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
    match redact(sql) {
        Cow::Borrowed(_) => Ok(None),
        Cow::Owned(_) => Err(syntax("CREATE SECRET stands alone")),
    }
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

/// The text without what follows `CREATE SECRET name`, wherever that is: for lists, logs and messages.
pub fn redact(sql: &str) -> Cow<'_, str> {
    match mentions_secret(sql).then(|| secret_at(sql)).flatten() {
        Some(end) => Cow::Owned(format!("{} (…)", &sql[..end])),
        None => Cow::Borrowed(sql),
    }
}

/// Most statements do not, and need not be looked at word by word.
fn mentions_secret(sql: &str) -> bool {
    sql.as_bytes().windows(b"secret".len()).any(|window| window.eq_ignore_ascii_case(b"secret"))
}

/// Where the part to be hidden begins.
fn secret_at(sql: &str) -> Option<usize> {
    let Ok(tokens) = tokens(sql) else {
        // A text without an end: what it hides is not known, so the whole is, from the word on.
        let lower = sql.to_ascii_lowercase();
        let create = lower.find("create")?;
        return lower[create..].find("secret").map(|at| create + at + "secret".len());
    };
    let is = |token: &TokenWithSpan, word: &str| matches!(&token.token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word));
    let between = ["or", "replace", "temporary", "temp", "persistent"];
    let created = |at: usize| {
        let before = tokens[..at].iter().rev().find(|token| between.iter().all(|word| !is(token, word)));
        before.is_some_and(|token| is(token, "create"))
    };
    let at = (0..tokens.len()).find(|at| is(&tokens[*at], "secret") && created(*at))?;
    // The name may be shown; after anything else nothing is.
    let mut end = &tokens[at];
    let skipped =
        tokens[at + 1..].iter().take_while(|token| ["if", "not", "exists"].iter().any(|word| is(token, word)));
    if let Some(name) = tokens.get(at + 1 + skipped.count())
        && matches!(name.token, Token::Word(_))
    {
        end = name;
    }
    Some(offset(sql, end.span.end.line, end.span.end.column))
}

/// Of the character at a line and column, both from 1.
fn offset(sql: &str, line: u64, column: u64) -> usize {
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

fn tokens(sql: &str) -> Result<Vec<TokenWithSpan>, ()> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location().map_err(|_| ())?;
    Ok(tokens.into_iter().filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF)).collect())
}

struct Rest<'a> {
    tokens: &'a [TokenWithSpan],
}

impl Rest<'_> {
    /// Takes the words if they come next.
    fn words(&mut self, words: &[&str]) -> bool {
        let come = words.len() <= self.tokens.len()
            && words.iter().zip(self.tokens).all(|(word, token)| {
                matches!(&token.token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
            });
        if come {
            self.tokens = &self.tokens[words.len()..];
        }
        come
    }

    fn token(&mut self, wanted: &Token) -> bool {
        let comes = self.tokens.first().is_some_and(|token| token.token == *wanted);
        if comes {
            self.tokens = &self.tokens[1..];
        }
        comes
    }

    fn name(&mut self) -> Result<String, Failure> {
        let Some((TokenWithSpan { token: Token::Word(word), .. }, rest)) = self.tokens.split_first() else {
            return Err(syntax("a secret has a name"));
        };
        self.tokens = rest;
        let name = if word.quote_style.is_some() { word.value.clone() } else { word.value.to_lowercase() };
        match name.is_empty() || name.len() > TEXT_BYTES_MAX {
            true => Err(syntax("a secret has a name of some letters")),
            false => Ok(name),
        }
    }

    /// `(KEY value, …)`: keys in lower case.
    fn options(&mut self) -> Result<BTreeMap<String, String>, Failure> {
        let mut options = BTreeMap::new();
        if !self.token(&Token::LParen) {
            return Err(syntax("CREATE SECRET takes its options in parentheses"));
        }
        loop {
            let key = self.name()?.to_lowercase();
            // PostgreSQL and Snowflake write `key = value`.
            let _ = self.token(&Token::Eq);
            let value = match self.tokens.split_first() {
                Some((token, rest)) => {
                    self.tokens = rest;
                    match &token.token {
                        Token::SingleQuotedString(text) => text.clone(),
                        Token::Word(word) => word.value.clone(),
                        Token::Number(number, _) => number.clone(),
                        _ => return Err(syntax(&format!("{} of a secret is a text", key.to_uppercase()))),
                    }
                }
                None => return Err(syntax(&format!("{} of a secret has no value", key.to_uppercase()))),
            };
            // Google hands out keys as files of several lines.
            let broken = |c: char| c.is_control() && !(key == "service_account_key" && matches!(c, '\n' | '\r' | '\t'));
            if value.len() > TEXT_BYTES_MAX || value.chars().any(broken) {
                return Err(invalid(format!("{} of a secret is too long, or no text of one line", key.to_uppercase())));
            }
            if options.insert(key.clone(), value).is_some() {
                return Err(invalid(format!("{} of a secret is given twice", key.to_uppercase())));
            }
            if self.token(&Token::RParen) {
                return Ok(options);
            }
            if !self.token(&Token::Comma) {
                return Err(syntax("options of a secret are separated by commas, and end with a parenthesis"));
            }
        }
    }
}

fn syntax(message: &str) -> Failure {
    Failure::new(ErrorCode::Syntax, message)
}

#[cfg(test)]
mod tests {
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
    fn secrets_of_each_provider() {
        let read = |options: &str| match parse(&format!("create secret s ({options})")) {
            Ok(Some(SecretStatement::Create { secret, .. })) => Ok(secret),
            Ok(_) => panic!("{options}: not read"),
            Err(failure) => Err(failure.message),
        };
        let scope = |options: &str| read(options).unwrap().scope;
        assert_eq!(scope("type gcs, bearer_token 't'"), "gs://");
        assert_eq!(scope("type gcs, bearer_token 't', scope 'gcs://b/x'"), "gs://b/x");
        assert_eq!(scope("type azure, account_name 'acc', sas_token 't', scope 'abfss://c'"), "az://c");
        let said = "AccountName=acc;AccountKey=a2V5;EndpointSuffix=core.windows.net;DefaultEndpointsProtocol=https";
        let secret = read(&format!("type azure, connection_string '{said}'")).unwrap();
        assert_eq!(secret.options["account_name"], "acc");
        assert_eq!(secret.options["account_key"], "a2V5");
        assert!(!secret.options.contains_key("connection_string"));
        let key = r#"{"private_key": "p", "private_key_id": "i", "client_email": "e"}"#;
        assert!(read(&format!("type gcs, service_account_key '{key}'")).is_ok());
        let elsewhere = key.replace('{', r#"{"gcs_base_url": "http://169.254.169.254", "#);
        for (options, word) in [
            (format!("type gcs, service_account_key '{elsewhere}'"), "gcs_base_url"),
            ("type gcs, key_id 'k', secret 's'".to_owned(), "HMAC"),
            ("type azure, account_name 'acc'".to_owned(), "ACCOUNT_KEY"),
            ("type azure, account_name 'acc', account_key 'k', sas_token 's'".to_owned(), "one of"),
            ("type azure, account_name 'acc', tenant_id 't', client_id 'c'".to_owned(), "CLIENT_SECRET"),
            ("type azure, account_name 'a/b', account_key 'k'".to_owned(), "ACCOUNT_NAME"),
            (
                "type azure, account_name 'acc', tenant_id '../x', client_id 'c', client_secret 's'".to_owned(),
                "TENANT_ID",
            ),
            (
                "type azure, connection_string 'AccountName=acc;AccountKey=k;EndpointSuffix=evil.org'".to_owned(),
                "EndpointSuffix",
            ),
            ("type gcs, bearer_token 't', scope 's3://b'".to_owned(), "gs://"),
        ] {
            let refusal = read(&options).unwrap_err();
            assert!(refusal.contains(word), "{options}: {refusal}");
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
            "create secret s (type gcs, service_account_key 'hush')",
            "create secret s (type gcs, service_account_key '{\"private_key\": \"hush\", \"disable_oauth\": \"hush\"}')",
            "create secret s (type gcs, key_id 'hush', secret 'hush')",
            "create secret s (type azure, account_name 'hush.evil.org/', account_key 'hush')",
            "create secret s (type azure, account_key 'hush')",
            "create secret s (type azure, connection_string 'AccountName=hush')",
            "create secret s (type azure, connection_string 'hush')",
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

//! Statements about users, roles and grants, in Snowflake's words. Read by ourselves, since the parser would quote passwords in its
//! messages.

use datafusion::sql::sqlparser::tokenizer::Token;
use frazil_catalog::{Member, ObjectKind, Privilege};
use frazil_common::{ErrorCode, Failure};

use super::Password;
use crate::secrets::hides_user;
use crate::words::{Words, is_word, syntax, tokens};

/// A token is valid for so many days when the statement does not say.
const TOKEN_DAYS: u64 = 15;
const TOKEN_DAYS_MAX: u64 = 365;

/// What is set of a user; the inner `None` takes it away.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct UserSettings {
    pub password: Option<Option<Password>>,
    pub rsa_public_key: Option<Option<String>>,
    pub default_role: Option<Option<String>>,
    pub disabled: Option<bool>,
    pub comment: Option<Option<String>>,
}

/// Names as they are looked up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AccessStatement {
    CreateUser {
        name: String,
        if_not_exists: bool,
        settings: UserSettings,
    },
    AlterUser {
        name: String,
        if_exists: bool,
        settings: UserSettings,
    },
    DropUser {
        name: String,
        if_exists: bool,
    },
    ShowUsers {
        like: Option<String>,
    },
    CreateRole {
        name: String,
        if_not_exists: bool,
        comment: Option<String>,
    },
    DropRole {
        name: String,
        if_exists: bool,
    },
    ShowRoles {
        like: Option<String>,
    },
    GrantRole {
        role: String,
        to: Member,
    },
    RevokeRole {
        role: String,
        from: Member,
    },
    Grant {
        privileges: GrantedPrivileges,
        on: GrantTarget,
        role: String,
    },
    Revoke {
        privileges: GrantedPrivileges,
        on: GrantTarget,
        role: String,
    },
    ShowGrants(ShownGrants),
    AddToken {
        user: String,
        token: String,
        role: Option<String>,
        days: u64,
    },
    RemoveToken {
        user: String,
        token: String,
    },
    /// Of one user, or of oneself.
    ShowTokens {
        user: Option<String>,
    },
    UseRole {
        role: String,
    },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GrantedPrivileges {
    All,
    Listed(Vec<Privilege>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GrantTarget {
    One {
        kind: ObjectKind,
        name: Vec<String>,
    },
    /// All objects of a kind that are there now, in a schema or database.
    All {
        kind: ObjectKind,
        within: ObjectKind,
        name: Vec<String>,
    },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ShownGrants {
    /// Of the session's user.
    Own,
    ToRole(String),
    ToUser(String),
    OfRole(String),
    On(ObjectKind, Vec<String>),
}

/// A statement about users, roles or grants, if it is one.
pub fn parse(sql: &str) -> Result<Option<AccessStatement>, Failure> {
    let Ok(tokens) = tokens(sql) else {
        return match hides_user(sql) {
            false => Ok(None),
            true => Err(syntax("a text or name in a statement about users does not end")),
        };
    };
    let mut words = Words { tokens: &tokens };
    let parsed = statement(&mut words)?;
    let Some(parsed) = parsed else {
        // `EXPLAIN CREATE USER …`, a second statement, and the like: whoever refuses them would quote them.
        return match hides_user(sql) {
            false => Ok(None),
            true => Err(syntax("CREATE USER and ALTER USER stand alone")),
        };
    };
    words.end("a statement about users or roles")?;
    Ok(Some(parsed))
}

fn statement(words: &mut Words<'_>) -> Result<Option<AccessStatement>, Failure> {
    if words.take(&["create"]) {
        let replace = words.take(&["or", "replace"]);
        let kind = if words.take(&["user"]) {
            "USER"
        } else if words.take(&["role"]) {
            "ROLE"
        } else {
            return Ok(None);
        };
        if replace {
            return Err(not_supported(&format!("CREATE OR REPLACE {kind}")));
        }
        let if_not_exists = words.take(&["if", "not", "exists"]);
        if kind == "USER" {
            let name = words.name("a user")?;
            return Ok(Some(AccessStatement::CreateUser { name, if_not_exists, settings: settings(words, false)? }));
        }
        let name = words.name("a role")?;
        let mut comment = None;
        if words.take(&["comment"]) {
            equals(words)?;
            comment = Some(words.text("COMMENT")?);
        }
        return Ok(Some(AccessStatement::CreateRole { name, if_not_exists, comment }));
    }
    if words.take(&["alter", "user"]) {
        return alter_user(words).map(Some);
    }
    if words.take(&["drop", "user"]) {
        let if_exists = words.take(&["if", "exists"]);
        return Ok(Some(AccessStatement::DropUser { name: words.name("a user")?, if_exists }));
    }
    if words.take(&["drop", "role"]) {
        let if_exists = words.take(&["if", "exists"]);
        return Ok(Some(AccessStatement::DropRole { name: words.name("a role")?, if_exists }));
    }
    if words.take(&["grant"]) {
        return grant(words).map(Some);
    }
    if words.take(&["revoke"]) {
        return revoke(words).map(Some);
    }
    if words.take(&["use", "role"]) {
        return Ok(Some(AccessStatement::UseRole { role: words.name("a role")? }));
    }
    if words.take(&["use", "secondary"]) {
        return Err(not_supported("USE SECONDARY ROLES: a session has one role, and what that inherits;"));
    }
    if words.take(&["alter", "role"]) {
        return Err(not_supported("ALTER ROLE"));
    }
    show(words)
}

fn show(words: &mut Words<'_>) -> Result<Option<AccessStatement>, Failure> {
    let like = |words: &mut Words<'_>| words.take(&["like"]).then(|| words.text("LIKE")).transpose();
    let shown = if words.take(&["show", "users"]) {
        AccessStatement::ShowUsers { like: like(words)? }
    } else if words.take(&["show", "roles"]) {
        AccessStatement::ShowRoles { like: like(words)? }
    } else if words.take(&["show", "user", "programmatic", "access", "tokens"]) {
        let of = words.take(&["for", "user"]);
        AccessStatement::ShowTokens { user: of.then(|| words.name("a user")).transpose()? }
    } else if words.take(&["show", "grants"]) {
        AccessStatement::ShowGrants(if words.take(&["to", "role"]) {
            ShownGrants::ToRole(words.name("a role")?)
        } else if words.take(&["to", "user"]) {
            ShownGrants::ToUser(words.name("a user")?)
        } else if words.take(&["of", "role"]) {
            ShownGrants::OfRole(words.name("a role")?)
        } else if words.take(&["on"]) {
            let kind = kind(words)?;
            ShownGrants::On(kind, words.names("an object")?)
        } else {
            ShownGrants::Own
        })
    } else {
        return Ok(None);
    };
    Ok(Some(shown))
}

fn alter_user(words: &mut Words<'_>) -> Result<AccessStatement, Failure> {
    let if_exists = words.take(&["if", "exists"]);
    let name = words.name("a user")?;
    if words.take(&["set"]) {
        return Ok(AccessStatement::AlterUser { name, if_exists, settings: settings(words, true)? });
    }
    if words.take(&["unset"]) {
        let mut settings = UserSettings::default();
        loop {
            match words.any_word().as_deref() {
                Some("PASSWORD") => settings.password = Some(None),
                Some("RSA_PUBLIC_KEY") => settings.rsa_public_key = Some(None),
                Some("DEFAULT_ROLE") => settings.default_role = Some(None),
                Some("COMMENT") => settings.comment = Some(None),
                Some("DISABLED") => settings.disabled = Some(false),
                Some(other) => return Err(not_supported(&format!("UNSET {other} of a user"))),
                None => return Err(syntax("UNSET takes the name of an option")),
            }
            if !words.token(&Token::Comma) {
                return Ok(AccessStatement::AlterUser { name, if_exists, settings });
            }
        }
    }
    let token = |words: &mut Words<'_>| words.take(&["programmatic", "access", "token"]) || words.take(&["pat"]);
    if words.take(&["add"]) {
        if !token(words) {
            return Err(syntax(format!("expected PROGRAMMATIC ACCESS TOKEN{}", words.found())));
        }
        let token = words.name("a token")?;
        let (mut role, mut days) = (None, TOKEN_DAYS);
        while !words.is_at_end() {
            match words.any_word().as_deref() {
                Some("ROLE_RESTRICTION") => {
                    equals(words)?;
                    role = Some(role_name(words)?);
                }
                Some("DAYS_TO_EXPIRY") => {
                    equals(words)?;
                    days = words.number("DAYS_TO_EXPIRY")?;
                    if !(1..=TOKEN_DAYS_MAX).contains(&days) {
                        let message = format!("DAYS_TO_EXPIRY is between 1 and {TOKEN_DAYS_MAX}");
                        return Err(Failure::new(ErrorCode::InvalidArgument, message));
                    }
                }
                Some(other) => return Err(not_supported(&format!("option {other} of a token"))),
                None => return Err(syntax("an option of a token has a name")),
            }
        }
        return Ok(AccessStatement::AddToken { user: name, token, role, days });
    }
    if words.take(&["remove"]) {
        if !token(words) {
            return Err(syntax(format!("expected PROGRAMMATIC ACCESS TOKEN{}", words.found())));
        }
        return Ok(AccessStatement::RemoveToken { user: name, token: words.name("a token")? });
    }
    match words.any_word().as_deref() {
        Some("RENAME") => Err(not_supported("ALTER USER … RENAME")),
        _ => Err(syntax("ALTER USER takes SET, UNSET, ADD or REMOVE")),
    }
}

/// `KEY = value …`, with or without commas.
fn settings(words: &mut Words<'_>, one_needed: bool) -> Result<UserSettings, Failure> {
    let mut settings = UserSettings::default();
    let mut any = false;
    while !words.is_at_end() {
        let Some(option) = words.any_word() else { return Err(syntax("an option of a user has a name")) };
        match option.as_str() {
            "PASSWORD" => {
                equals(words)?;
                let password = words.text("PASSWORD")?;
                if password.is_empty() {
                    return Err(Failure::new(ErrorCode::InvalidArgument, "PASSWORD is empty"));
                }
                settings.password = Some(Some(Password::new(password)));
            }
            "RSA_PUBLIC_KEY" => {
                equals(words)?;
                settings.rsa_public_key = Some(Some(words.text("RSA_PUBLIC_KEY")?));
            }
            "DEFAULT_ROLE" => {
                equals(words)?;
                settings.default_role = Some(Some(role_name(words)?));
            }
            "DISABLED" => {
                equals(words)?;
                settings.disabled = Some(match words.any_word().as_deref() {
                    Some("TRUE") => true,
                    Some("FALSE") => false,
                    _ => return Err(syntax("DISABLED is TRUE or FALSE")),
                });
            }
            "COMMENT" => {
                equals(words)?;
                settings.comment = Some(Some(words.text("COMMENT")?));
            }
            other => return Err(not_supported(&format!("option {other} of a user"))),
        }
        let _ = words.token(&Token::Comma);
        any = true;
    }
    match any || !one_needed {
        true => Ok(settings),
        false => Err(syntax("SET takes options of a user")),
    }
}

fn equals(words: &mut Words<'_>) -> Result<(), Failure> {
    match words.token(&Token::Eq) {
        true => Ok(()),
        false => Err(syntax("an option is followed by = and its value")),
    }
}

/// A name, or a text.
fn role_name(words: &mut Words<'_>) -> Result<String, Failure> {
    words.text("a role").or_else(|_| words.name("a role"))
}

fn grant(words: &mut Words<'_>) -> Result<AccessStatement, Failure> {
    if words.take(&["role"]) {
        let role = words.name("a role")?;
        words.expect("TO")?;
        return Ok(AccessStatement::GrantRole { role, to: member(words)? });
    }
    let (privileges, on) = privileges_on(words)?;
    words.expect("TO")?;
    let _ = words.tokens.first().is_some_and(|token| is_word(token, "role")) && words.take(&["role"]);
    let role = words.name("a role")?;
    if words.take(&["with", "grant", "option"]) {
        return Err(not_supported(
            "WITH GRANT OPTION: an object's owner grants on it, and GRANT OWNERSHIP makes another;",
        ));
    }
    if words.take(&["copy", "current", "grants"]) || words.take(&["revoke", "current", "grants"]) {
        return Err(not_supported("COPY or REVOKE CURRENT GRANTS: grants stay when the owner changes, and this"));
    }
    Ok(AccessStatement::Grant { privileges, on, role })
}

fn revoke(words: &mut Words<'_>) -> Result<AccessStatement, Failure> {
    if words.take(&["role"]) {
        let role = words.name("a role")?;
        words.expect("FROM")?;
        return Ok(AccessStatement::RevokeRole { role, from: member(words)? });
    }
    if words.take(&["grant", "option"]) {
        return Err(not_supported("REVOKE GRANT OPTION"));
    }
    let (privileges, on) = privileges_on(words)?;
    if privileges == GrantedPrivileges::Listed(vec![Privilege::Ownership]) {
        return Err(not_supported("REVOKE OWNERSHIP: grant it to another role, which"));
    }
    words.expect("FROM")?;
    let _ = words.take(&["role"]);
    let role = words.name("a role")?;
    if words.take(&["cascade"]) || words.take(&["restrict"]) {
        return Err(not_supported("CASCADE or RESTRICT of REVOKE"));
    }
    Ok(AccessStatement::Revoke { privileges, on, role })
}

fn member(words: &mut Words<'_>) -> Result<Member, Failure> {
    if words.take(&["user"]) {
        return words.name("a user").map(Member::User);
    }
    if words.take(&["role"]) {
        return words.name("a role").map(Member::Role);
    }
    Err(syntax(format!("expected USER or ROLE{}", words.found())))
}

fn privileges_on(words: &mut Words<'_>) -> Result<(GrantedPrivileges, GrantTarget), Failure> {
    let privileges = if words.take(&["all"]) {
        let _ = words.take(&["privileges"]);
        GrantedPrivileges::All
    } else {
        let mut listed = Vec::new();
        loop {
            let mut name = words.any_word().unwrap_or_default();
            if name == "CREATE" {
                name = format!("CREATE {}", words.any_word().unwrap_or_default());
            }
            let Some(privilege) = Privilege::from_name(&name) else {
                return Err(syntax(format!("{name:?} is not a privilege")));
            };
            listed.push(privilege);
            if !words.token(&Token::Comma) {
                break;
            }
        }
        GrantedPrivileges::Listed(listed)
    };
    words.expect("ON")?;
    let on = if words.take(&["all"]) {
        let plural = words.any_word().unwrap_or_default();
        let kind = plural.strip_suffix('S').and_then(ObjectKind::from_name);
        let kind = kind.ok_or_else(|| syntax(format!("{plural:?} are not objects that privileges are granted on")))?;
        words.expect("IN")?;
        let within = self::kind(words)?;
        let fits = match within {
            ObjectKind::Schema => !matches!(kind, ObjectKind::Database | ObjectKind::Schema),
            ObjectKind::Database => kind != ObjectKind::Database,
            ObjectKind::Table | ObjectKind::View | ObjectKind::Stage => false,
        };
        if !fits {
            return Err(syntax(format!("there are no {plural} in a {}", within.name())));
        }
        GrantTarget::All { kind, within, name: words.names("a schema or database")? }
    } else if words.take(&["future"]) {
        return Err(not_supported("a grant on FUTURE objects"));
    } else {
        let kind = kind(words)?;
        GrantTarget::One { kind, name: words.names("an object")? }
    };
    let kind = match &on {
        GrantTarget::One { kind, .. } | GrantTarget::All { kind, .. } => *kind,
    };
    if let GrantedPrivileges::Listed(listed) = &privileges
        && let Some(wrong) = listed.iter().find(|one| **one != Privilege::Ownership && !kind.privileges().contains(one))
    {
        return Err(syntax(format!("{wrong} is not a privilege on a {}", kind.name())));
    }
    Ok((privileges, on))
}

fn kind(words: &mut Words<'_>) -> Result<ObjectKind, Failure> {
    let name = words.any_word().unwrap_or_default();
    match name.as_str() {
        "ACCOUNT" | "WAREHOUSE" | "FUNCTION" | "PROCEDURE" | "SEQUENCE" | "INTEGRATION" | "USER" => {
            Err(not_supported(&format!("a grant on {name}")))
        }
        _ => ObjectKind::from_name(&name)
            .ok_or_else(|| syntax(format!("expected DATABASE, SCHEMA, TABLE, VIEW or STAGE, found {name:?}"))),
    }
}

impl GrantedPrivileges {
    /// Those that a kind of object can have.
    pub fn of(&self, kind: ObjectKind) -> Vec<Privilege> {
        match self {
            Self::All => kind.privileges().to_vec(),
            Self::Listed(listed) => listed.clone(),
        }
    }
}

fn not_supported(what: &str) -> Failure {
    Failure::new(ErrorCode::NotSupported, format!("{what} is not supported"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::redact;

    fn read(sql: &str) -> AccessStatement {
        parse(sql).unwrap_or_else(|failure| panic!("{sql}: {failure}")).unwrap_or_else(|| panic!("{sql}: not read"))
    }

    #[test]
    fn statements_are_read() {
        let created = read("create user if not exists \"Ann\" password = 'it''s', default_role = r disabled = true;");
        let AccessStatement::CreateUser { name, if_not_exists: true, settings } = created else { panic!() };
        assert_eq!((name.as_str(), settings.disabled), ("Ann", Some(true)));
        assert_eq!(settings.password.unwrap().unwrap().expose(), "it's");
        assert_eq!(settings.default_role, Some(Some("r".to_owned())));
        let on = GrantTarget::One { kind: ObjectKind::Table, name: vec!["s".to_owned(), "T".to_owned()] };
        let privileges = GrantedPrivileges::Listed(vec![Privilege::Select, Privilege::Insert]);
        let grant = AccessStatement::Grant { privileges, on, role: "r".to_owned() };
        assert_eq!(read("grant select, insert on table s.\"T\" to role r"), grant);
        assert_eq!(read("GRANT SELECT, INSERT ON TABLE S.\"T\" TO R"), grant);
        let all = read("revoke all privileges on all tables in schema d.s from role r");
        assert!(matches!(all, AccessStatement::Revoke { on: GrantTarget::All { kind: ObjectKind::Table, .. }, .. }));
        assert!(matches!(read("grant create table, usage on schema s to r"), AccessStatement::Grant { .. }));
        let token = read("alter user u add programmatic access token ci days_to_expiry = 30 role_restriction = 'r'");
        assert!(matches!(token, AccessStatement::AddToken { days: 30, .. }));
        assert_eq!(read("show grants"), AccessStatement::ShowGrants(ShownGrants::Own));
        assert_eq!(read("use role r;"), AccessStatement::UseRole { role: "r".to_owned() });
        for other in ["select 1", "create table user (a int)", "show tables", "use database d", "select 'create user'"]
        {
            assert_eq!(parse(other).unwrap(), None, "{other}");
        }
    }

    #[test]
    fn nothing_of_a_password_is_said() {
        for sql in [
            "create user u password = 'hush",
            "create user u password = hush",
            "create user u password 'hush'",
            "create user u identified by 'hush'",
            "create user u password = 'hush' 'hush'",
            "create user u password = 'hush' colour = 'hush'",
            "create or replace user u password = 'hush'",
            "create user password = 'hush'",
            "alter user u set password = $$hush$$",
            "explain create user u password = 'hush'",
            "select 1; create user u password = 'hush'",
            "create user u password = 'hush'; select 1",
            "with a as (select 1) alter/**/user u set password = 'hush'",
        ] {
            let failure = parse(sql).expect_err(sql);
            // A word that is no value may be told.
            assert!(!failure.message.contains("'hush") && !failure.message.ends_with("hush"), "{sql}: {failure}");
            assert!(!redact(sql).contains("hush"), "{sql}: {}", redact(sql));
        }
        assert_eq!(redact("create user ann password = 'hush'"), "create user ann (…)");
        assert_eq!(redact("alter user \"a b\" set password = 'x'"), "alter user \"a b\" (…)");
        assert_eq!(redact("drop user ann"), "drop user ann");
    }

    #[test]
    fn what_is_not_built_is_refused() {
        for sql in [
            "grant select on future tables in schema s to role r",
            "grant select on table t to role r with grant option",
            "use secondary roles all",
            "create user u email = 'x'",
            "grant imported privileges on database d to role r",
            "grant insert on view v to role r",
            "revoke ownership on table t from role r",
            "grant role r to u",
        ] {
            assert!(parse(sql).is_err(), "{sql}");
        }
    }
}

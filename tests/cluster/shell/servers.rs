//! Exit codes, profiles, and what one logs in with, which nothing shows.

use std::path::Path;

use crate::support::cluster::{Cluster, Options};
use crate::support::commands::{Ran, frazil, frazil_with_input};
use crate::support::login::LoggedIn;

const PASSWORD: &str = "pass-word-of-the-boss";

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_tell_what_went_wrong() {
    let directory = tempfile::tempdir().expect("a directory");
    let run = async |arguments: &[&str], input: &str| {
        frazil_with_input(
            directory.path(),
            &[&["sql", "--data", "data", "--format", "csv"], arguments].concat(),
            &[],
            input,
        )
        .await
    };
    let script = "select 1 as a;\nselect nothing;\n\\nonsense\nselect 2 as b;\n";
    let stopped = run(&[], script).await;
    assert_eq!((stopped.code(), String::from_utf8_lossy(&stopped.stdout).as_ref()), (Some(1), "a\n1\n"));
    assert!(stopped.stderr.contains("line 2") && !stopped.stderr.contains("nonsense"), "{}", stopped.stderr);
    let went_on = run(&["--keep-going"], script).await;
    assert_eq!((went_on.code(), String::from_utf8_lossy(&went_on.stdout).as_ref()), (Some(1), "a\n1\nb\n2\n"));
    assert!(went_on.stderr.contains("unknown command \\nonsense"), "{}", went_on.stderr);
    assert_eq!(run(&["-c", "select 1; \\q"], "").await.code(), Some(0));
    assert_eq!(run(&["-c", "\\i no-such-file.sql"], "").await.code(), Some(1));
    for wrong in
        [&["--profile", "nowhere", "-c", "select 1"][..], &["--color", "blue"], &["--url", "nonsense", "-c", "x"]]
    {
        let ran = run(wrong, "").await;
        assert_eq!(ran.code(), Some(2), "{wrong:?}: {}", ran.stderr);
    }
    let nobody = run(&["--url", "http://127.0.0.1:1", "-c", "select 1"], "").await;
    assert_eq!(nobody.code(), Some(3), "{}", nobody.stderr);
    assert!(nobody.stderr.contains("127.0.0.1:1"), "{}", nobody.stderr);

    // Commands in scripts, and files in files.
    std::fs::write(directory.path().join("one.sql"), "\\i two.sql\nselect 1 as one;\n").expect("written");
    std::fs::write(directory.path().join("two.sql"), "-- first\n\\format tsv\nselect null as two;\n").expect("written");
    assert_eq!(run(&["-f", "one.sql"], "").await.text(), "two\n\\N\none\n1\n");
    std::fs::write(directory.path().join("loop.sql"), "\\i loop.sql\n").expect("written");
    let looped = run(&["-f", "loop.sql"], "").await;
    assert_eq!(looped.code(), Some(1));
    assert!(looped.stderr.contains("16 deep"), "{}", looped.stderr);
}

/// Two instances, one with users: a profile for each.
#[tokio::test(flavor = "multi_thread")]
async fn profiles_have_servers_and_tokens_are_never_shown() {
    let (guarded, open) = tokio::join!(Cluster::start(Options::executors(1)), Cluster::start(Options::executors(1)));
    LoggedIn::nobody(guarded.url()).must(&format!("create user boss password = '{PASSWORD}'")).await;
    let boss = LoggedIn::password(guarded.url(), "boss", PASSWORD);
    let token =
        boss.must("alter user boss add programmatic access token shell").await[0][1].clone().expect("shown once");
    boss.must("create database shop").await;

    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    std::fs::write(path.join("token"), format!("{token}\n")).expect("written");
    std::fs::write(path.join("wrong"), "not-a-token\n").expect("written");
    let file = format!(
        "[client]\nformat = \"csv\"\nprofile = \"open\"\n\
         [profiles.open]\nurl = \"{open}\"\n\
         [profiles.guarded]\nurl = \"{guarded}\"\ntoken = \"{token}\"\ndatabase = \"shop\"\n\
         [profiles.file]\nurl = \"{guarded}\"\ntoken_file = \"token\"\n\
         [profiles.user]\nurl = \"{guarded}\"\nuser = \"boss\"\n\
         [profiles.wrong]\nurl = \"{guarded}\"\ntoken_file = \"wrong\"\n\
         [profiles.bare]\nuser = \"boss\"\n",
        open = open.url(),
        guarded = guarded.url(),
    );
    std::fs::write(path.join("shell.toml"), file).expect("written");
    let who = "select current_user() as u";
    let seen = std::cell::RefCell::new(String::new());
    let note = |ran: Ran| {
        seen.borrow_mut().push_str(&String::from_utf8_lossy(&ran.stdout));
        seen.borrow_mut().push_str(&ran.stderr);
        ran
    };
    let run = async |arguments: &[&str], environment: &[(&str, &str)]| {
        let arguments = [&["sql", "--config", "shell.toml"], arguments].concat();
        note(frazil(path, &arguments, &variables(environment)).await)
    };
    assert_eq!(run(&["-c", who], &[]).await.text(), "u\nfrazil\n");
    assert_eq!(run(&["--profile", "guarded", "-c", who], &[]).await.text(), "u\nboss\n");
    assert_eq!(run(&["--profile", "guarded", "-c", "select current_database() as d"], &[]).await.text(), "d\nshop\n");
    assert_eq!(run(&["--profile", "file", "-c", who], &[]).await.text(), "u\nboss\n");
    assert_eq!(
        run(&["--profile", "user", "-c", who], &[("FRAZIL_CLIENT_PASSWORD", PASSWORD)]).await.code(),
        Some(2),
        "a profile that a flag names gets nothing that was meant for another server"
    );
    assert_eq!(
        run(&["-c", who], &[("FRAZIL_CLIENT_PROFILE", "user"), ("FRAZIL_CLIENT_PASSWORD", PASSWORD)]).await.text(),
        "u\nboss\n"
    );
    assert_eq!(run(&["--url", guarded.url(), "--token-file", "token", "-c", who], &[]).await.text(), "u\nboss\n");
    assert_eq!(run(&["--url", guarded.url(), "-c", who], &[("FRAZIL_CLIENT_TOKEN", &token)]).await.text(), "u\nboss\n");
    for (arguments, code, named) in [
        (&["--profile", "wrong", "-c", who][..], 3, "28000"),
        (&["--url", guarded.url(), "-c", who], 3, "28000"),
        (&["--profile", "bare", "-c", who], 2, "\"bare\" has no url"),
        (&["--profile", "none", "-c", who], 2, "open"),
        (&["--profile", "user", "--password", "-c", who], 2, "password"),
    ] {
        let ran = run(arguments, &[]).await;
        assert_eq!(ran.code(), Some(code), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(named), "{arguments:?}: {}", ran.stderr);
    }

    // From one to another, and what was set at the first is not sent to the second.
    let script = format!(
        "{who};\n\\profile guarded\n{who};\nselect current_database() as d;\n\\connect open\n{who};\n\\profile\n"
    );
    let ran = run(&["-c", &script], &[]).await;
    assert!(ran.stderr.contains("* open") && ran.stderr.contains("guarded"), "{}", ran.stderr);
    assert_eq!(ran.text(), "u\nfrazil\nu\nboss\nd\nshop\nu\nfrazil\n");
    // One that cannot be had leaves the one there is.
    let ran = run(&["--keep-going", "-c", &format!("\\profile wrong\n\\profile nowhere\n{who};")], &[]).await;
    assert_eq!((ran.code(), String::from_utf8_lossy(&ran.stdout).as_ref()), (Some(1), "u\nfrazil\n"), "{}", ran.stderr);

    let shown =
        note(frazil(path, &["config", "--config", "shell.toml"], &variables(&[("FRAZIL_CLIENT_TOKEN", &token)])).await);
    assert!(shown.text().contains("(hidden)"));
    note(frazil(path, &["sql", "--url", "nonsense", "--token", &token, "-c", who], &[]).await);
    note(
        frazil(
            path,
            &["sql", "--url", guarded.url(), "--token", &token, "--log-level", "trace", "-c", "select nothing"],
            &[],
        )
        .await,
    );
    let history = state_files(path);
    for secret in [token.as_str(), PASSWORD, "not-a-token"] {
        assert!(!seen.borrow().contains(secret), "{secret} was shown");
        assert!(!history.contains(secret), "{secret} was written");
    }
}

/// All that commands have written beside what the test wrote.
fn state_files(directory: &Path) -> String {
    let state = directory.join("frazil");
    let files = std::fs::read_dir(state).into_iter().flatten().flatten();
    files.map(|file| std::fs::read_to_string(file.path()).unwrap_or_default()).collect()
}

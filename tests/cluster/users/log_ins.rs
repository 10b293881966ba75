//! What one logs in with: passwords, access tokens, key pairs; how often one may try; and that nothing shows any of it.

use arrow_flight::Empty;
use arrow_flight::flight_service_client::FlightServiceClient;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

use super::{ADMIN, PASSWORD, all, one, with_admin};
use crate::support::cluster::Options;
use crate::support::login::{Key, LoggedIn};

/// Of one address, by Flight SQL as by the others: they are counted together.
#[tokio::test(flavor = "multi_thread")]
async fn log_ins_from_one_address_are_limited_at_each_door() {
    let (cluster, boss) = with_admin(Options::executors(0)).await;
    boss.must(&format!("create user ann password = '{PASSWORD}'")).await;
    let endpoint = tonic::transport::Endpoint::from_shared(cluster.url().to_owned()).expect("an address");
    let mut flight = FlightServiceClient::new(endpoint.connect().await.expect("a connection"));
    let mut call = async |authorization: &str| {
        let mut request = tonic::Request::new(Empty {});
        request.metadata_mut().insert("authorization", authorization.parse().expect("text"));
        flight.list_actions(request).await.map(|_| ()).map_err(|status| status.code())
    };
    let boss_s = format!("Basic {}", STANDARD.encode(format!("boss:{ADMIN}")));
    let mut refused = 0;
    // Nobody's tokens: no user is named.
    while let Err(tonic::Code::Unauthenticated) = call(&format!("Bearer frazil_pat_wrong{refused}")).await {
        refused += 1;
        assert!(refused <= 100, "nobody counts them");
    }
    assert_eq!(refused, 100);
    assert_eq!(call("Bearer frazil_pat_right").await, Err(tonic::Code::ResourceExhausted));
    let password = format!("Basic {}", STANDARD.encode(format!("ann:{PASSWORD}")));
    assert_eq!(call(&password).await, Err(tonic::Code::ResourceExhausted), "from this address");
    let ann = LoggedIn::password(cluster.url(), "ann", PASSWORD).refused("select 1").await;
    assert_eq!(ann.status, 429, "{ann:?}");
    // Whoever has logged in before goes on.
    boss.must("select 1").await;
    assert_eq!(call(&boss_s).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_good_for_their_role_and_their_time() {
    let (mut cluster, boss) = with_admin(Options::executors(0)).await;
    all(&boss, &[&format!("create user ann password = '{PASSWORD}'"), "create role reader", "create role writer"])
        .await;
    all(&boss, &["grant role reader to user ann", "grant role writer to user ann"]).await;
    let url = cluster.url().to_owned();
    let ann = LoggedIn::password(&url, "ann", PASSWORD);
    let minted = ann.must("alter user ann add programmatic access token ci role_restriction = 'reader'").await;
    let token = minted[0][1].clone().expect("shown once");
    let free = ann.must("alter user ann add programmatic access token free days_to_expiry = 1").await;
    let free = free[0][1].clone().expect("shown once");
    assert!(ann.refused("alter user ann add programmatic access token ci").await.message.contains("already exists"));
    assert!(!format!("{:?}", ann.must("show user programmatic access tokens").await).contains(&token));
    for kind in [None, Some("PROGRAMMATIC_ACCESS_TOKEN")] {
        let client = LoggedIn::token(&url, &token, kind);
        assert_eq!(one(&client.must("select current_user() || ' ' || current_role()").await), "ann reader");
        for sql in [
            "use role writer",
            "alter user ann add programmatic access token x",
            "alter user ann set password = 'pass-word-x'",
        ] {
            assert_eq!(client.refused(sql).await.sql_state, "42501", "{sql}");
        }
        assert!(client.run_in("writer", "select 1").await.is_err());
    }
    cluster.restart_coordinator();
    LoggedIn::token(&url, &free, None).run_in("writer", "select 1").await.expect("any of its roles");
    for (token, kind) in [
        (token.as_str(), Some("KEYPAIR_JWT")),
        (token.as_str(), Some("OAUTH")),
        (&token[..token.len() - 1], None),
        (&format!("{token}x"), None),
        ("frazil_pat_", None),
        ("null", None),
    ] {
        assert_eq!(LoggedIn::token(&url, token, kind).refused("select 1").await.status, 401, "{kind:?}");
    }
    ann.must("alter user ann remove programmatic access token ci").await;
    assert_eq!(LoggedIn::token(&url, &token, None).refused("select 1").await.status, 401);
    boss.must("alter user ann set disabled = true").await;
    assert_eq!(LoggedIn::token(&url, &free, None).refused("select 1").await.status, 401);
    assert_eq!(ann.refused("select 1").await.status, 401);
    boss.must("alter user ann set disabled = false").await;
    LoggedIn::token(&url, &free, None).must("select 1").await;
    boss.must("drop user ann").await;
    assert_eq!(LoggedIn::token(&url, &free, None).refused("select 1").await.status, 401);
    // A new user of that name has nothing of the old one.
    boss.must(&format!("create user ann password = '{PASSWORD}'")).await;
    assert_eq!(LoggedIn::token(&url, &free, None).refused("select 1").await.status, 401);
    assert!(ann.run_in("reader", "select 1").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn key_pairs_are_checked() {
    let (cluster, boss) = with_admin(Options::executors(0)).await;
    let url = cluster.url();
    let (key, other) = (Key::of_tests("first"), Key::of_tests("second"));
    boss.must(&format!("create user ann rsa_public_key = '{}'", key.public_pem)).await;
    boss.must(&format!("create user bob rsa_public_key = '{}'", other.public_pem)).await;
    assert!(boss.refused("create user x rsa_public_key = 'AAAA'").await.message.contains("RSA_PUBLIC_KEY"));
    let header = json!({ "alg": "RS256", "typ": "JWT" });
    let good = key.sign(&header, &key.claims("ANN", 0, 3600));
    for kind in [None, Some("KEYPAIR_JWT")] {
        let ann = LoggedIn::token(url, &good, kind);
        assert_eq!(one(&ann.must("select current_user()").await), "ann");
    }
    // As npm's snowflake-sdk says them.
    let in_milliseconds = |valid_s: i64| {
        let mut claims = key.claims("ANN", 120, valid_s);
        for name in ["iat", "exp"] {
            claims[name] = json!(claims[name].as_i64().expect("seconds") * 1000);
        }
        key.sign(&header, &claims)
    };
    LoggedIn::token(url, &in_milliseconds(240), None).must("select 1").await;
    assert_eq!(LoggedIn::token(url, &in_milliseconds(60), None).refused("select 1").await.status, 401);
    let part = |token: &str, index: usize| token.split('.').nth(index).unwrap_or_default().to_owned();
    let none = URL_SAFE_NO_PAD.encode(json!({ "alg": "none", "typ": "JWT" }).to_string());
    let changed = |name: &str, value: serde_json::Value| {
        let mut claims = key.claims("ANN", 0, 3600);
        claims[name] = value;
        key.sign(&header, &claims)
    };
    let forged = [
        ("another's key", other.sign(&header, &key.claims("ANN", 0, 3600))),
        ("another's key, and its fingerprint", other.sign(&header, &other.claims("ANN", 0, 3600))),
        ("another user", key.sign(&header, &key.claims("BOB", 0, 3600))),
        ("nobody", key.sign(&header, &key.claims("NOBODY", 0, 3600))),
        ("a user without a key", key.sign(&header, &key.claims("BOSS", 0, 3600))),
        ("expired", key.sign(&header, &key.claims("ANN", 3600, 3000))),
        ("issued too long ago", key.sign(&header, &key.claims("ANN", 2 * 3600, 10 * 3600))),
        ("issued in the future", key.sign(&header, &key.claims("ANN", -600, 3600))),
        ("no algorithm", format!("{none}.{}.", part(&good, 1))),
        ("no algorithm, and a signature", format!("{none}.{}.{}", part(&good, 1), part(&good, 2))),
        ("HS256", key.sign(&json!({ "alg": "HS256", "typ": "JWT" }), &key.claims("ANN", 0, 3600))),
        (
            "other claims",
            format!("{}.{}.{}", part(&good, 0), part(&changed("exp", json!(9_999_999_999_u64)), 1), part(&good, 2)),
        ),
        ("no signature", format!("{}.{}.", part(&good, 0), part(&good, 1))),
        ("another issuer", changed("iss", json!("FRAZIL.ANN"))),
        ("no times", changed("exp", json!(null))),
        ("a time that is text", changed("exp", json!("9999999999"))),
        ("a user's name that is a list", changed("sub", json!(["FRAZIL.ANN"]))),
    ];
    for (what, token) in forged {
        let refused = LoggedIn::token(url, &token, Some("KEYPAIR_JWT")).refused("select 1").await;
        assert_eq!(refused.status, 401, "{what}");
        assert!(!refused.message.contains(&token), "{what}: {refused:?}");
    }
    boss.must(&format!("alter user ann set rsa_public_key = '{}'", other.public_pem)).await;
    assert_eq!(LoggedIn::token(url, &good, None).refused("select 1").await.status, 401, "the key was replaced");
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_log_ins_are_limited_and_do_not_keep_others_out() {
    let (cluster, boss) = with_admin(Options::executors(0)).await;
    boss.must(&format!("create user ann password = '{PASSWORD}'")).await;
    let mut statuses = Vec::new();
    for attempt in 0..12 {
        statuses.push(
            LoggedIn::password(cluster.url(), "ann", &format!("guess-{attempt}")).refused("select 1").await.status,
        );
    }
    assert_eq!(statuses[0], 401);
    assert_eq!(statuses[11], 429, "{statuses:?}");
    // The same for a user that is not there.
    let mut statuses = Vec::new();
    for attempt in 0..12 {
        statuses.push(
            LoggedIn::password(cluster.url(), "none", &format!("guess-{attempt}")).refused("select 1").await.status,
        );
    }
    assert_eq!((statuses[0], statuses[11]), (401, 429), "{statuses:?}");
    boss.must("select 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_anyone_logs_in_with_is_shown_nowhere() {
    let mut options = Options::executors(1);
    options.environment = vec![("FRAZIL_LOG_LEVEL".to_owned(), "trace".to_owned())];
    let (cluster, boss) = with_admin(options).await;
    all(
        &boss,
        &[&format!("create user ann password = '{PASSWORD}'"), "alter user ann set password = 'another-word-of-it'"],
    )
    .await;
    let token = boss.must("alter user ann add programmatic access token t").await[0][1].clone().expect("a token");
    for sql in [
        "create user x password = 'hush-hush-hush' colour = 1",
        "explain create user x password = 'hush-hush-hush'",
        "create user x password = 'hush-hush-hush'; select 1",
        "create user x password = 'hush-hush-hush",
        "create user x identified by 'hush-hush-hush'",
        "create user ann password = 'hush-hush-hush'",
    ] {
        let refused = boss.refused(sql).await;
        assert!(!refused.message.contains("hush"), "{sql}: {refused:?}");
    }
    LoggedIn::token(cluster.url(), &token, None).must("select 1").await;
    LoggedIn::password(cluster.url(), "ann", "hush-hush-hush").refused("select 1").await;
    let words = [ADMIN, PASSWORD, "another-word-of-it", "hush-hush", token.as_str()];
    let mut said = vec![boss.get("/api/v2/statements?limit=1000").await.expect("a list").to_string()];
    said.push(format!("{:?}", boss.must("show users").await));
    said.push(format!("{:?}", boss.must("show snapshots").await));
    for entry in std::fs::read_dir(cluster.directory()).expect("its directory").flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "log") {
            let log = std::fs::read(entry.path()).expect("a log");
            assert!(entry.file_name() != "coordinator.log" || !log.is_empty(), "the log says nothing at all");
            said.push(String::from_utf8_lossy(&log).into_owned());
        }
    }
    let catalog = cluster.directory().join("coordinator/catalog");
    for entry in std::fs::read_dir(catalog).expect("the catalog").flatten() {
        said.push(String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap_or_default()).into_owned());
    }
    for word in words {
        assert!(said.iter().all(|text| !text.contains(word)), "{word} is shown");
    }
}

use std::path::PathBuf;

use frazil_common::ByteSize;

use super::secret::{cluster_secret, create_cluster_secret};
use super::*;

fn sources(file: &str, environment: &[(&str, &str)]) -> (Sources, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("frazil.toml");
    std::fs::write(&path, file).unwrap();
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    (Sources { file: Some(path), usual_files: Vec::new(), environment, flags: Flags::default() }, directory)
}

fn refusal(file: &str, environment: &[(&str, &str)]) -> String {
    let (sources, _directory) = sources(file, environment);
    match load(&sources) {
        Err(CommandError::Usage(message)) => message,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn each_layer_covers_the_one_before() {
    let file = "[coordinator]\nhttp_listen = \"a:1\"\nrpc_listen = \"a:2\"\ndata_listen = \"a:3\"\n[executor]\nmemory = \"1GB\"";
    let environment = [
        ("FRAZIL_COORDINATOR_RPC_LISTEN", "b:2"),
        ("FRAZIL_COORDINATOR_DATA_LISTEN", "b:3"),
        ("FRAZIL_EXECUTOR_SLOTS", "3"),
        ("FRAZIL_EXECUTOR_SPILL", "7MB"),
        ("FRAZIL_CLUSTER_SECRET", "0123456789abcdef"),
        ("FRAZIL_BIN", "x"),
        ("FRAZIL_SEED", "7"),
        ("HOME", "/"),
    ];
    let (mut sources, _directory) = sources(file, &environment);
    sources.flags.set("coordinator", "data_listen", Some("c:3")).set("executor", "slots", None::<i64>);
    let config = load(&sources).unwrap();
    assert_eq!(config.coordinator.http_listen, "a:1");
    assert_eq!(config.coordinator.rpc_listen, "b:2");
    assert_eq!(config.coordinator.data_listen, "c:3");
    assert_eq!(config.coordinator.queue_limit_s, CoordinatorOptions::default().queue_limit_s);
    assert_eq!(config.executor.memory, ByteSize::gib(1));
    assert_eq!(config.executor.spill, ByteSize::mib(7));
    assert_eq!(config.executor.slots, 3);
    assert_eq!(config.cluster.secret.as_deref(), Some("0123456789abcdef"));
    assert_eq!(config.cluster.data, PathBuf::from("frazil-data"));
}

#[test]
fn unknown_keys_are_refused_by_name() {
    let in_file = refusal("[coordinator]\nhttp_lisen = \"a:1\"", &[]);
    assert!(in_file.contains("unknown key \"coordinator.http_lisen\""), "{in_file}");
    assert!(in_file.contains("did you mean \"http_listen\""), "{in_file}");
    assert!(in_file.contains("frazil.toml"), "{in_file}");
    let section = refusal("[coordinater]\n", &[]);
    assert!(section.contains("unknown section \"coordinater\""), "{section}");
    let bare = refusal("slots = 3", &[]);
    assert!(bare.contains("unknown key \"slots\""), "{bare}");
    let variable = refusal("", &[("FRAZIL_EXECUTOR_SLOT", "3")]);
    assert!(variable.contains("unknown environment variable FRAZIL_EXECUTOR_SLOT"), "{variable}");
    assert!(variable.contains("FRAZIL_EXECUTOR_SLOTS"), "{variable}");
    let misspelt = refusal("", &[("FRAZIL_EXECUTER_SLOTS", "3")]);
    assert!(misspelt.contains("FRAZIL_EXECUTER_SLOTS"), "{misspelt}");
}

#[test]
fn values_of_the_wrong_type_are_refused_with_their_place() {
    let in_file = refusal("[executor]\nslots = \"many\"", &[]);
    assert!(in_file.contains("line 2"), "{in_file}");
    let variable = refusal("", &[("FRAZIL_EXECUTOR_SLOTS", "many")]);
    assert!(variable.contains("FRAZIL_EXECUTOR_SLOTS") && variable.contains("a whole number"), "{variable}");
    let size = refusal("", &[("FRAZIL_EXECUTOR_MEMORY", "much")]);
    assert!(size.contains("FRAZIL_EXECUTOR_MEMORY") && size.contains("not a size"), "{size}");
    let (mut sources, _directory) = sources("", &[]);
    sources.flags.set("executor", "slots", Some("many"));
    assert!(matches!(load(&sources), Err(CommandError::Usage(m)) if m.contains("executor.slots")));
}

#[test]
fn a_named_file_must_exist_and_a_usual_one_need_not() {
    let mut sources = Sources {
        file: Some(PathBuf::from("/nowhere/f.toml")),
        usual_files: vec![],
        environment: vec![],
        flags: Flags::default(),
    };
    assert!(matches!(load(&sources), Err(CommandError::Usage(m)) if m.contains("/nowhere/f.toml")));
    sources.usual_files = sources.file.take().into_iter().collect();
    assert!(load(&sources).is_ok());
}

#[test]
fn secrets_are_not_shown() {
    let mut config = Config::default();
    config.cluster.secret = Some("0123456789abcdef".to_owned());
    config.cluster.secret_file = Some(PathBuf::from("there"));
    let shown = shown(&config);
    assert!(!shown.contains("0123456789abcdef"), "{shown}");
    assert!(shown.contains("there"), "{shown}");
    assert!(shown.contains("[coordinator]"), "{shown}");
}

#[test]
fn what_is_shown_can_be_read_again() {
    let text = shown(&Config::default());
    let (sources, _directory) = sources(&text, &[]);
    load(&sources).unwrap();
}

#[test]
fn the_coordinator_creates_a_secret_that_executors_read() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let mut options = ClusterOptions { data: directory.path().join("data"), ..ClusterOptions::default() };
    assert!(cluster_secret(&options).is_err());
    let created = create_cluster_secret(&options).unwrap();
    assert_eq!(create_cluster_secret(&options).unwrap(), created);
    assert_eq!(cluster_secret(&options).unwrap(), created);
    let mode = std::fs::metadata(options.data.join("cluster.secret")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    options.secret = Some("0123456789abcdef".to_owned());
    assert_ne!(cluster_secret(&options).unwrap(), created);
    options.secret_file = Some(PathBuf::from("f"));
    assert!(matches!(cluster_secret(&options), Err(CommandError::Usage(_))));
}

const SERVERS: &str = "[client]\nurl = \"http://a:1\"\ntoken = \"of-a\"\nformat = \"csv\"\ndatabase = \"da\"\n\
     [profiles.b]\nurl = \"http://b:1\"\nuser = \"ann\"\n[profiles.\"c d\"]\nurl = \"http://c:1\"\ntoken_file = \"t\"\n";

fn client(file: &str, environment: &[(&str, &str)], flags: &[(&'static str, &str)]) -> ClientOptions {
    let (mut sources, _directory) = sources(file, environment);
    for (key, value) in flags {
        sources.flags.set("client", key, Some((*value).to_owned()));
    }
    load(&sources).unwrap().client
}

#[test]
fn a_profile_takes_the_place_of_the_server() {
    let plain = client(SERVERS, &[], &[]);
    assert_eq!((plain.server.url.as_deref(), plain.server.token.as_deref()), (Some("http://a:1"), Some("of-a")));
    for chosen in [client(SERVERS, &[], &[("profile", "b")]), client(SERVERS, &[("FRAZIL_CLIENT_PROFILE", "b")], &[])] {
        assert_eq!((chosen.server.url.as_deref(), chosen.server.user.as_deref()), (Some("http://b:1"), Some("ann")));
        assert_eq!((chosen.server.token, chosen.server.database), (None, None), "nothing of another server");
        assert_eq!(chosen.format, crate::sql::Format::Csv);
    }
    let file = format!("{}\n", SERVERS.replacen("[client]", "[client]\nprofile = \"c d\"", 1));
    let own = client(&file, &[], &[]);
    assert_eq!(
        (own.server.url.as_deref(), own.server.token, own.server.token_file),
        (Some("http://c:1"), None, Some(PathBuf::from("t")))
    );
    assert_eq!(client(&file, &[], &[("profile", "b")]).server.url.as_deref(), Some("http://b:1"));
}

#[test]
fn variables_are_for_the_server_that_variables_name() {
    let token = ("FRAZIL_CLIENT_TOKEN", "of-the-environment");
    assert_eq!(client(SERVERS, &[token], &[]).server.token.as_deref(), Some(token.1));
    let by_flag = client(SERVERS, &[token], &[("profile", "b")]);
    assert_eq!((by_flag.server.token, by_flag.server.user.as_deref()), (None, Some("ann")));
    let by_variable = client(SERVERS, &[token, ("FRAZIL_CLIENT_PROFILE", "b")], &[]);
    assert_eq!((by_variable.server.token.as_deref(), by_variable.server.user), (Some(token.1), None));
}

#[test]
fn later_layers_replace_who_one_is() {
    let user = client(SERVERS, &[], &[("user", "bob")]);
    assert_eq!((user.server.user.as_deref(), user.server.token), (Some("bob"), None));
    let file = client(SERVERS, &[], &[("token_file", "x")]);
    assert_eq!((file.server.token, file.server.token_file), (None, Some(PathBuf::from("x"))));
    let both = client(SERVERS, &[("FRAZIL_CLIENT_USER", "u"), ("FRAZIL_CLIENT_TOKEN", "t")], &[]);
    assert!(
        both.server.user.is_some() && both.server.token.is_some(),
        "of one layer neither goes; they are refused together"
    );
}

#[test]
fn wrong_profiles_are_refused_by_name() {
    assert!(
        refusal(SERVERS, &[("FRAZIL_CLIENT_PROFILE", "x")])
            .contains("\"x\" is not in the configuration file: there are b, c d")
    );
    assert!(refusal("[client]\nprofile = \"x\"", &[]).contains("there are none"));
    assert!(refusal("[client]\nprofile = \"x\"\n[profiles.x]\nuser = \"a\"", &[]).contains("has no url"));
    assert!(refusal("[profiles.x]\nurll = \"a\"", &[]).contains("urll"));
    assert!(refusal("[profiles]\nx = 1", &[]).contains("profiles"));
}

#[test]
fn what_one_logs_in_with_is_not_shown() {
    let config =
        load(&sources(&format!("{SERVERS}\n[profiles.e]\ntoken = \"of-e\"\npassword = \"of-e-too\""), &[]).0).unwrap();
    for shown in [shown(&config), format!("{config:?}")] {
        assert!(!shown.contains("of-a") && !shown.contains("of-e"), "{shown}");
    }
    assert!(shown(&config).contains("token_file = \"t\""));
}

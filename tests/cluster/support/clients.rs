//! Clients of other vendors, unmodified, and the scripts that drive them.
//!
//! `FRAZIL_TEST_CLIENTS` names a directory that `tests/clients/install` has filled. Without it the first test that asks for a client
//! fills one below `target/`, unless `FRAZIL_TEST_CLIENTS_INSTALL` is `0`. No test needs the network: where a client is not to be
//! had, its tests say `SKIPPED`, and why.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::OnceCell;

use super::paths;

/// A whole script, on a machine that is busy with others.
const SCRIPT_LIMIT: Duration = Duration::from_secs(900);

/// All clients, once for each `target` directory.
const INSTALL_LIMIT: Duration = Duration::from_secs(600);

/// How the installers fail soon where there is no network, and ask nobody.
const IMPATIENT: [(&str, &str); 5] = [
    ("PIP_RETRIES", "1"),
    ("PIP_DEFAULT_TIMEOUT", "20"),
    ("PIP_NO_INPUT", "1"),
    ("npm_config_fetch_retries", "1"),
    ("npm_config_fetch_timeout", "20000"),
];

/// A client's folder, or `None` once it is said why its tests do nothing.
pub async fn installed(name: &str) -> Option<PathBuf> {
    let found = match directory().await {
        Ok(directory) if directory.join(name).join("installed").exists() => Ok(directory.join(name)),
        Ok(directory) => Err(format!("{} has no client {name:?}: see tests/clients/install", directory.display())),
        Err(why) => Err(format!("client {name:?}: {why}")),
    };
    found.inspect_err(|why| eprintln!("SKIPPED: {why}")).ok()
}

/// Where the clients are, or why they are nowhere.
async fn directory() -> Result<&'static Path, &'static str> {
    static DIRECTORY: OnceCell<Result<PathBuf, String>> = OnceCell::const_new();
    let found = DIRECTORY.get_or_init(async || {
        if let Some(named) = std::env::var_os("FRAZIL_TEST_CLIENTS") {
            return Ok(PathBuf::from(named));
        }
        if std::env::var("FRAZIL_TEST_CLIENTS_INSTALL").is_ok_and(|install| install == "0") {
            return Err("FRAZIL_TEST_CLIENTS is not set, and FRAZIL_TEST_CLIENTS_INSTALL is 0".to_owned());
        }
        install(paths::scratch().join("clients")).await
    });
    match found.await {
        Ok(directory) => Ok(directory),
        Err(why) => Err(why),
    }
}

async fn install(directory: PathBuf) -> Result<PathBuf, String> {
    let script = paths::project_root().join("tests/clients/install");
    let mut command = Command::new("bash");
    command.arg(script).arg(&directory).envs(IMPATIENT).stdin(Stdio::null()).kill_on_drop(true);
    // Told what it does: it takes minutes the first time.
    eprintln!("installing clients into {} (once; FRAZIL_TEST_CLIENTS_INSTALL=0 leaves them out)", directory.display());
    match tokio::time::timeout(INSTALL_LIMIT, command.output()).await {
        // What could be installed is there, and what could not is told.
        Ok(Ok(output)) => {
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            match output.status.success() {
                true => Ok(directory),
                false => Err(format!("tests/clients/install: {}", output.status)),
            }
        }
        Ok(Err(error)) => Err(format!("tests/clients/install cannot be run: {error}")),
        Err(_) => Err(format!("tests/clients/install took more than {INSTALL_LIMIT:?}")),
    }
}

/// What it prints. It must end well, and in time.
pub async fn run(mut command: Command) -> String {
    command.kill_on_drop(true).stdin(Stdio::null());
    let output = tokio::time::timeout(SCRIPT_LIMIT, command.output()).await.expect("the script ends in time");
    let output = output.expect("the client starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

/// Of `tests/clients`.
pub fn script(name: &str) -> PathBuf {
    paths::project_root().join("tests/clients").join(name)
}

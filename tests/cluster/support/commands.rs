//! The `frazil` binary as a user calls it: arguments in; exit code, output and messages out.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::cluster::binary;

/// For a command to end by itself.
const COMMAND_LIMIT: Duration = Duration::from_secs(90);

pub struct Ran {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ran {
    /// The output of a command that has to succeed.
    pub fn output(self) -> Vec<u8> {
        assert!(self.status.success(), "{}: {}", self.status, self.stderr);
        self.stdout
    }

    /// The same as text.
    pub fn text(self) -> String {
        String::from_utf8(self.output()).expect("the output is text")
    }

    pub fn code(&self) -> Option<i32> {
        assert_eq!(self.status.signal(), None, "it was ended by a signal: {}", self.stderr);
        self.status.code()
    }
}

/// Runs it in `directory`, where its data are too, with the tests' environment but for what would configure it.
pub async fn frazil(directory: &Path, arguments: &[&str], environment: &[(String, String)]) -> Ran {
    frazil_with_input(directory, arguments, environment, "").await
}

/// The same with a text on its stdin.
pub async fn frazil_with_input(
    directory: &Path,
    arguments: &[&str],
    environment: &[(String, String)],
    input: &str,
) -> Ran {
    let mut command = Command::new(binary());
    command.args(arguments).kill_on_drop(true);
    configure(directory, environment, |name, value| {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    });
    command.current_dir(directory);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?} cannot be started: {e}"));
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let run = async {
        // One that does not read it may be gone already.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        child.wait_with_output().await
    };
    // Dropped when it takes too long, and killed by that.
    let ran = timeout(COMMAND_LIMIT, run).await;
    let ran = ran.unwrap_or_else(|_| panic!("frazil {arguments:?} took longer than {COMMAND_LIMIT:?}"));
    let ran = ran.expect("its output can be read");
    Ran { status: ran.status, stdout: ran.stdout, stderr: String::from_utf8_lossy(&ran.stderr).into_owned() }
}

/// Names variables to set, and to remove (`None`): no file of the machine's user configures what is tested.
pub fn configure(directory: &Path, environment: &[(String, String)], mut set: impl FnMut(&str, Option<&OsStr>)) {
    for name in ["XDG_CONFIG_HOME", "XDG_STATE_HOME", "HOME", "FRAZIL_CLUSTER_DATA"] {
        set(name, Some(directory.as_os_str()));
    }
    // Its own test servers are on loopback.
    set("NO_PROXY", Some(OsStr::new("127.0.0.1")));
    set("no_proxy", Some(OsStr::new("127.0.0.1")));
    set("FRAZIL_CONFIG", None);
    for (name, value) in environment {
        set(name, Some(OsStr::new(value)));
    }
}

/// Whether a process is there and has not ended; one that nobody has waited for yet has.
pub fn is_running(pid: u32) -> bool {
    state(pid).is_some_and(|(_, state)| state != 'Z')
}

/// Processes that this one has started and that have not ended.
pub fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("the list of processes can be read").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| state(*pid).is_some_and(|(found, state)| found == parent && state != 'Z')).collect()
}

/// The parent of a process and what it does: `R`, `S`, … `Z` for one that has ended.
fn state(pid: u32) -> Option<(u32, char)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in parentheses, may hold spaces.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((fields.next()?.parse().ok()?, state))
}

/// Processor time that a process has used, in ticks of 10 ms.
pub fn ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // Fields 14 and 15, in user mode and in the kernel; the third is the first here.
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

pub async fn wait_until_gone(pids: &[u32], limit: Duration) {
    let deadline = Instant::now() + limit;
    loop {
        let left: Vec<u32> = pids.iter().copied().filter(|pid| is_running(*pid)).collect();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "processes {left:?} of {pids:?} are still there after {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

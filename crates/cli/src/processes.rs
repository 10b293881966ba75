//! Child processes of this same binary: started, watched and stopped by their process id, each wait with a deadline.

mod cluster;
pub mod memory;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use std::sync::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::failure::CommandError;
use crate::signals::EXIT_WITH_PARENT;

pub use cluster::{Cluster, ClusterShape};

const READY_LIMIT: Duration = Duration::from_secs(30);
/// From SIGTERM to SIGKILL. An executor without tasks drains at once.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// SIGKILL cannot be refused, but a process in an uninterruptible read takes a moment to see it.
const KILL_LIMIT: Duration = Duration::from_secs(5);
const STDERR_LINES_KEPT: usize = 40;

/// What happens to a child's stderr besides that its last lines are kept for error messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stderr {
    /// Nothing: the terminal belongs to someone else.
    Kept,
    /// Printed on our own, with the child's name.
    Forwarded,
}

/// Killed when dropped; [`ChildProcess::stop`] is the civil way.
pub struct ChildProcess {
    name: String,
    pid: u32,
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    stderr_tail: Arc<Mutex<VecDeque<String>>>,
    stderr_reader: JoinHandle<()>,
}

impl ChildProcess {
    /// Runs this binary with `arguments`. The child is in a process group of its own, so that a Ctrl-C typed here reaches
    /// us alone, and ends when we end, however that happens.
    pub fn start(name: &str, arguments: &[String], stderr: Stderr) -> Result<Self, CommandError> {
        let starting = || CommandError::doing(format!("starting {name}"));
        let mut child = Command::new(this_binary()?)
            .args(arguments)
            .env(EXIT_WITH_PARENT, std::process::id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(starting())?;
        let pid = child.id().expect("it has not been waited for");
        let stderr_tail = Arc::new(Mutex::new(VecDeque::with_capacity(STDERR_LINES_KEPT)));
        let pipe = child.stderr.take().expect("asked for above");
        let stderr_reader = tokio::spawn(keep_tail(name.to_owned(), pipe, stderr_tail.clone(), stderr));
        let stdout = child.stdout.take().map(BufReader::new);
        Ok(Self { name: name.to_owned(), pid, child, stdout, stderr_tail, stderr_reader })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// For a child that is spoken to.
    pub fn take_pipes(&mut self) -> Option<(ChildStdin, BufReader<ChildStdout>)> {
        Some((self.child.stdin.take()?, self.stdout.take()?))
    }

    /// Waits for `frazil ROLE ready key=value …` and returns its values.
    pub async fn ready(&mut self) -> Result<HashMap<String, String>, CommandError> {
        let stdout = self.stdout.as_mut().expect("a child is waited for once, and not spoken to");
        let mut line = String::new();
        match timeout(READY_LIMIT, stdout.read_line(&mut line)).await {
            Ok(Ok(bytes)) if bytes > 0 => {}
            Ok(_) => return Err(self.failed("ended before it was ready").await),
            Err(_) => return Err(self.failed(&format!("was not ready within {} s", READY_LIMIT.as_secs())).await),
        }
        // The pipe stays open: a child that writes to a closed one would be killed.
        let (_, values) = line.split_once(" ready").unwrap_or_default();
        let pairs = values.split_whitespace().filter_map(|pair| pair.split_once('='));
        let pairs: HashMap<String, String> = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        if pairs.is_empty() {
            return Err(self.failed(&format!("said {:?} where it should say that it is ready", line.trim_end())).await);
        }
        Ok(pairs)
    }

    /// Says what became of the child, with the last lines of its stderr; it is dead afterwards.
    pub async fn failed(&mut self, what: &str) -> CommandError {
        let ended = match timeout(Duration::from_millis(200), self.child.wait()).await {
            Ok(Ok(status)) => format!(" ({status})"),
            _ => {
                let _ = self.child.start_kill();
                String::new()
            }
        };
        let _ = timeout(Duration::from_secs(1), &mut self.stderr_reader).await;
        let tail = self.stderr_tail.lock().expect("nobody panics while holding it");
        let tail: String = tail.iter().map(|line| format!("\n  | {line}")).collect();
        CommandError::Failed(format!("{} {what}{ended}{tail}", self.name))
    }

    /// Resolves when the child has ended.
    pub async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// SIGTERM, and SIGKILL for who does not listen.
    pub async fn stop(mut self) {
        self.signal(libc::SIGTERM);
        if timeout(STOP_LIMIT, self.child.wait()).await.is_err() {
            tracing::warn!(process = self.name, pid = self.pid, "does not stop, killing it");
            let _ = self.child.start_kill();
            let _ = timeout(KILL_LIMIT, self.child.wait()).await;
        }
        self.stderr_reader.abort();
    }

    fn signal(&self, signal: libc::c_int) {
        // `id` is `None` once the child has been waited for: its number may be someone else's by now.
        if let Some(pid) = self.child.id() {
            // SAFETY: sends a signal to a child that we have not reaped, so the number is still its own.
            unsafe { libc::kill(pid as libc::pid_t, signal) };
        }
    }
}

fn this_binary() -> Result<PathBuf, CommandError> {
    std::env::current_exe().map_err(CommandError::doing("finding this program's own file"))
}

async fn keep_tail(name: String, pipe: impl AsyncRead + Unpin, tail: Arc<Mutex<VecDeque<String>>>, to: Stderr) {
    let mut lines = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if to == Stderr::Forwarded {
            eprintln!("{name}: {line}");
        }
        let mut tail = tail.lock().expect("nobody panics while holding it");
        if tail.len() == STDERR_LINES_KEPT {
            tail.pop_front();
        }
        tail.push_back(line);
    }
}

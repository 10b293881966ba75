//! A cluster of real processes: one coordinator and some executors, on free ports, in a directory of their own.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use tempfile::TempDir;

use super::client::Client;
use super::engine::{Answer, Engine, Refusal, Request};
use super::paths;

/// From the start of a process to its `ready` line.
const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Of a process's log, shown when a test fails.
const LOG_BYTES_SHOWN: u64 = 16 << 10;

/// What the processes of a cluster show each other.
pub const SECRET: &str = "a-secret-for-this-test-only";

/// How to start a cluster.
#[derive(Clone, Debug)]
pub struct Options {
    pub executors: usize,
    pub slots: usize,
    pub memory: &'static str,
    /// Keys of the coordinator's options, with values as in its file.
    pub coordinator: Vec<(&'static str, String)>,
    /// Likewise, of each executor.
    pub executor: Vec<(&'static str, String)>,
    /// Further variables, of all processes.
    pub environment: Vec<(String, String)>,
}

impl Options {
    pub fn executors(executors: usize) -> Self {
        Self {
            executors,
            slots: 2,
            memory: "512MB",
            coordinator: Vec::new(),
            executor: Vec::new(),
            environment: Vec::new(),
        }
    }

    pub fn coordinator_option(mut self, key: &'static str, value: impl ToString) -> Self {
        self.coordinator.push((key, value.to_string()));
        self
    }

    pub fn executor_option(mut self, key: &'static str, value: impl ToString) -> Self {
        self.executor.push((key, value.to_string()));
        self
    }
}

/// Dropping it kills every process and waits for it; a test that panics gets their logs printed.
pub struct Cluster {
    name: String,
    options: Options,
    client: Client,
    /// In the order of their start; an executor keeps its place when it is killed.
    executors: Vec<Process>,
    coordinator: Process,
    coordinator_rpc: String,
    http: String,
    // Last, so that the processes are gone when their directory is.
    directory: TempDir,
}

impl Cluster {
    /// Returns when every executor is registered. Panics, with the logs, when that takes too long.
    pub async fn start(options: Options) -> Self {
        tokio::task::spawn_blocking(move || Self::start_blocking(options))
            .await
            .expect("the start of a cluster panicked")
    }

    fn start_blocking(options: Options) -> Self {
        let directory = tempfile::Builder::new().prefix("cluster-").tempdir_in(scratch()).expect("scratch is writable");
        let mut command = command("coordinator", &directory.path().join("coordinator"));
        for listen in ["--http-listen", "--rpc-listen", "--data-listen"] {
            command.args([listen, "127.0.0.1:0"]);
        }
        set_options(&mut command, "COORDINATOR", &options.coordinator);
        command.envs(options.environment.iter().cloned());
        let (coordinator, ready) = Process::start("coordinator", command, directory.path());
        let http = ready.field("http");
        let mut cluster = Self {
            http: http.clone(),
            name: format!("cluster of {} executors", options.executors),
            client: Client::new(http),
            executors: Vec::new(),
            coordinator,
            coordinator_rpc: ready.field("rpc"),
            directory,
            options,
        };
        for _ in 0..cluster.options.executors {
            cluster.start_executor_blocking();
        }
        cluster
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Of the REST API.
    pub fn url(&self) -> &str {
        &self.http
    }

    /// Of those that run.
    pub fn executor_pids(&self) -> Vec<u32> {
        self.executors.iter().map(|executor| executor.child.id()).collect()
    }

    pub fn coordinator_pid(&self) -> u32 {
        self.coordinator.child.id()
    }

    /// Where executors register.
    pub fn rpc(&self) -> &str {
        &self.coordinator_rpc
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// One more executor, named `executor-N`; returns its index when it is registered.
    pub fn start_executor_blocking(&mut self) -> usize {
        let index = self.executors.len();
        let id = format!("executor-{index}");
        let mut command = command("executor", &self.directory.path().join(&id));
        command.args(["--coordinator", &self.coordinator_rpc, "--id", &id]);
        command.args(["--slots", &self.options.slots.to_string(), "--memory", self.options.memory]);
        set_options(&mut command, "EXECUTOR", &self.options.executor);
        command.envs(self.options.environment.iter().cloned());
        let (process, _) = Process::start(&id, command, self.directory.path());
        self.executors.push(process);
        index
    }

    /// As a crash would: the process gets no chance to say anything. Returns when it is gone.
    pub fn kill_executor(&mut self, index: usize) {
        self.executors[index].kill();
    }

    /// As a hang would: the process stays, with its connections, and does nothing until it is continued.
    pub fn pause_executor(&self, index: usize) {
        self.executors[index].signal(libc::SIGSTOP);
    }

    pub fn continue_executor(&self, index: usize) {
        self.executors[index].signal(libc::SIGCONT);
    }

    /// As an orderly stop asks for: running tasks may finish.
    pub fn terminate_executor(&self, index: usize) {
        self.executors[index].signal(libc::SIGTERM);
    }

    /// As a crash and a start after it would: a new coordinator in the same directory, at the same addresses. Executors find it by
    /// themselves.
    pub fn restart_coordinator(&mut self) {
        self.coordinator.kill();
        let mut command = command("coordinator", &self.directory.path().join("coordinator"));
        let listen = |address: &str| address.trim_start_matches("http://").to_owned();
        command.args(["--http-listen", &listen(&self.http), "--rpc-listen", &listen(&self.coordinator_rpc)]);
        command.args(["--data-listen", "127.0.0.1:0"]);
        set_options(&mut command, "COORDINATOR", &self.options.coordinator);
        command.envs(self.options.environment.iter().cloned());
        let (coordinator, _) = Process::start("coordinator-again", command, self.directory.path());
        self.coordinator = coordinator;
    }

    /// As a crash would. The address stays known: [`Cluster::restart_coordinator`] uses it again.
    pub fn kill_coordinator(&mut self) {
        self.coordinator.kill();
    }

    pub fn coordinator_is_gone(&mut self) -> bool {
        self.coordinator.is_gone()
    }

    pub fn executor_is_gone(&mut self, index: usize) -> bool {
        self.executors[index].is_gone()
    }

    /// How many were started; some may be gone.
    pub fn executors_started(&self) -> usize {
        self.executors.len()
    }

    /// Waits for an executor that ends by itself; `None` when it does not.
    pub async fn executor_ended(&mut self, index: usize, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.executors[index].child.try_wait() {
                return Some(status);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        None
    }
}

impl Engine for Cluster {
    fn name(&self) -> &str {
        &self.name
    }

    fn run<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Answer, Refusal>> {
        self.client.arrow(request).boxed()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Logs first: what the killing causes would bury what the test died of.
        if thread::panicking() {
            for process in std::iter::once(&self.coordinator).chain(&self.executors) {
                process.print_log();
            }
        }
        for process in self.executors.iter_mut().chain([&mut self.coordinator]) {
            process.kill();
        }
    }
}

struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// The line that a process prints when it can be used: `frazil coordinator ready http=… rpc=… data=…`.
struct Ready(String);

impl Ready {
    fn field(&self, name: &str) -> String {
        let found = self.0.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("no {name}= in {:?}", self.0)).to_owned()
    }
}

impl Process {
    fn start(name: &str, mut command: Command, logs: &Path) -> (Self, Ready) {
        let log = logs.join(format!("{name}.log"));
        let stderr = File::create(&log).expect("the cluster's directory is writable");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{name} cannot be started: {command:?}: {e}"));
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut process = Self { name: name.to_owned(), child, log };
        match wait_until_ready(stdout) {
            Some(line) => (process, Ready(line)),
            None => {
                process.print_log();
                process.kill();
                panic!("{name} printed no ready line within {START_LIMIT:?}");
            }
        }
    }

    fn signal(&self, signal: i32) {
        let pid = libc::pid_t::try_from(self.child.id()).expect("process ids are small");
        // SAFETY: kill(2) has no memory effects; the child is not reaped before `kill` below, so the id is still its own.
        let result = unsafe { libc::kill(pid, signal) };
        assert_eq!(result, 0, "{} (process {pid}) cannot be signalled", self.name);
    }

    fn is_gone(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Idempotent. SIGKILL ends a stopped process too.
    fn kill(&mut self) {
        let _ = self.child.kill();
        let started = Instant::now();
        while started.elapsed() < STOP_LIMIT {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(5)),
                _ => return,
            }
        }
        eprintln!("{} (process {}) is still there {STOP_LIMIT:?} after SIGKILL", self.name, self.child.id());
    }

    fn print_log(&self) {
        let tail = || -> std::io::Result<String> {
            let mut file = File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES_SHOWN)))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        eprintln!("──── log of {} ────\n{}", self.name, tail().unwrap_or_else(|e| format!("unreadable: {e}")));
    }
}

/// Reads stdout on a thread of its own, to its end, so that the process never blocks on a full pipe.
pub fn wait_until_ready(stdout: ChildStdout) -> Option<String> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if line.starts_with("frazil ") && line.split_whitespace().nth(2) == Some("ready") {
                let _ = sender.try_send(line);
            }
        }
    });
    receiver.recv_timeout(START_LIMIT).ok()
}

fn command(role: &str, data: &Path) -> Command {
    let mut command = Command::new(binary());
    command.arg(role).arg("--data").arg(data).env("FRAZIL_CLUSTER_SECRET", SECRET);
    command
}

fn set_options(command: &mut Command, role: &str, options: &[(&'static str, String)]) {
    for (key, value) in options {
        command.env(format!("FRAZIL_{role}_{}", key.to_uppercase()), value);
    }
}

fn scratch() -> PathBuf {
    let directory = paths::scratch().join("clusters");
    fs::create_dir_all(&directory).unwrap_or_else(|e| panic!("{} cannot be made: {e}", directory.display()));
    directory
}

/// `FRAZIL_BIN`, or the `frazil` of this build. Cargo does not build another package's binary for a test, so the first
/// caller does, with the profile of the test itself; the others wait for it.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("FRAZIL_BIN") {
            return PathBuf::from(path);
        }
        // target/<profile>/deps/cluster-<hash>
        let test = std::env::current_exe().expect("the test executable has a path");
        let profile = test.parent().and_then(Path::parent).expect("it is in target/<profile>/deps");
        // `cargo test --workspace` has built it, because frazil-cli has an integration test.
        if profile.join("frazil").exists() {
            return profile.join("frazil");
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        // Of the whole workspace: with `-p`, cargo picks other features and compiles the dependencies again.
        build.args(["build", "--workspace", "--bin", "frazil", "--locked", "--offline"]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let status = build.current_dir(paths::project_root()).status().expect("cargo can be started");
        assert!(status.success(), "{build:?} failed: {status}");
        profile.join("frazil")
    })
}

//! `frazil local` whose files are on small disks of its own, so that they can be full.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::client::Client;
use super::cluster::{binary, wait_until_ready};
use super::commands::configure;

/// Two mounts in a namespace of the processes: one for the data, one for the catalog. Stopped when dropped.
pub struct SmallDisk {
    child: Child,
    client: Client,
    directory: tempfile::TempDir,
}

impl SmallDisk {
    /// `None`, and a word about it, where this machine does not let us mount anything.
    pub fn start(data_mb: u32, catalog_mb: u32, environment: &[(&str, &str)]) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["data", "catalog"] {
            std::fs::create_dir(directory.path().join(name)).expect("it is ours");
        }
        // SAFETY: it only reads who we are.
        let namespace = if unsafe { libc::geteuid() } == 0 { "-m" } else { "-Urm" };
        let mount = |name: &str, megabytes: u32| {
            format!("mount -t tmpfs -o size={megabytes}m tmpfs {}", directory.path().join(name).display())
        };
        let mounts = format!("{} && {}", mount("data", data_mb), mount("catalog", catalog_mb));
        let may = Command::new("unshare").args([namespace, "sh", "-c", &mounts]).output();
        if !may.is_ok_and(|output| output.status.success()) {
            eprintln!("SKIPPED: no disk can be mounted here, so none can be full");
            return None;
        }
        let mut command = Command::new("unshare");
        command.args([namespace, "sh", "-c", &format!("{mounts} && exec \"$@\""), "sh"]).arg(binary());
        command.args(["local", "--executors", "2", "--slots", "1", "--http-listen", "127.0.0.1:0"]);
        let catalog = directory.path().join("catalog").display().to_string();
        let mut all = vec![("FRAZIL_COORDINATOR_CATALOG".to_owned(), catalog)];
        all.extend(environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        configure(directory.path(), &all, |name, value| {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        });
        command.env("FRAZIL_CLUSTER_DATA", directory.path().join("data"));
        command.current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("unshare was there just now");
        let ready = wait_until_ready(child.stdout.take().expect("it is piped")).expect("it starts on an empty disk");
        let http = ready.split_whitespace().find_map(|word| word.strip_prefix("http=")).expect("it says its address");
        Some(Self { client: Client::new(http), child, directory })
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// How the processes' own disks are seen from here: `data` or `catalog`.
    pub fn disk(&self, name: &str) -> PathBuf {
        let inside = self.directory.path().join(name);
        Path::new("/proc")
            .join(self.child.id().to_string())
            .join("root")
            .join(inside.strip_prefix("/").expect("absolute"))
    }

    /// Leaves so many bytes and no more.
    pub fn fill(&self, name: &str, left: usize) {
        let mut ballast = File::create(self.disk(name).join("ballast")).expect("there is room for a name");
        let block = vec![1u8; 1 << 16];
        let mut length = 0;
        loop {
            match ballast.write(&block) {
                Ok(0) | Err(_) => break,
                Ok(written) => length += written,
            }
        }
        ballast.set_len(length.saturating_sub(left) as u64).expect("it gets shorter");
    }

    pub fn free(&self, name: &str) {
        std::fs::remove_file(self.disk(name).join("ballast")).expect("it is there");
    }

    /// Files below a directory of the data disk, by their paths.
    pub fn files(&self, directory: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        list(&self.disk("data").join(directory), &mut files);
        files.sort();
        files
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Its processes end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => list(&path, files),
            path => files.push(path),
        }
    }
}

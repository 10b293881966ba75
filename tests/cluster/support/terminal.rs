//! A process on a terminal of its own: what it shows, and keys for it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub const CTRL_C: &[u8] = &[3];
pub const CTRL_D: &[u8] = &[4];

/// Killed when dropped.
pub struct Terminal {
    child: Child,
    keyboard: File,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    pub fn start(mut command: Command) -> Self {
        let (ours, theirs) = open();
        let copy = || Stdio::from(theirs.try_clone().expect("a descriptor can be copied"));
        command.stdin(copy()).stdout(copy()).stderr(copy()).env("TERM", "xterm");
        // SAFETY: between fork and exec only these two calls are made; neither allocates or takes a lock.
        unsafe {
            command.pre_exec(|| {
                // A session of its own, with what is its stdin by now as the terminal: keys may send it signals.
                if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().unwrap_or_else(|e| panic!("{command:?} cannot be started: {e}"));
        // With our copies closed, reading ends when the process and its children have.
        drop(command);
        drop(theirs);
        let keyboard = File::from(ours);
        let mut screen = keyboard.try_clone().expect("a descriptor can be copied");
        let shown = Arc::new(Mutex::new(Vec::new()));
        let copied = shown.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A terminal that everyone has left is an error to its reader.
            while let Ok(bytes @ 1..) = screen.read(&mut buffer) {
                copied.lock().expect("nobody panics with it").extend_from_slice(&buffer[..bytes]);
            }
        });
        Self { child, keyboard, shown }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).expect("the terminal takes keys");
    }

    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().expect("nobody panics with it")).into_owned()
    }

    /// Waits until a text was shown after what `from` bytes were, and returns how many were by then.
    pub async fn wait_for(&self, text: &str, from: usize, limit: Duration) -> usize {
        let deadline = Instant::now() + limit;
        loop {
            let shown = self.shown();
            if let Some(at) = shown.get(from..).and_then(|rest| rest.find(text)) {
                return from + at + text.len();
            }
            assert!(Instant::now() < deadline, "{text:?} was not shown within {limit:?}: {shown}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status;
            }
            assert!(Instant::now() < deadline, "it did not end within {limit:?}: {}", self.shown());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The two ends of a new terminal: ours, and the one for the process.
fn open() -> (OwnedFd, OwnedFd) {
    let (mut ours, mut theirs) = (-1, -1);
    let size = libc::winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: both numbers are written by the call, and are ours alone when it succeeds.
    unsafe {
        let null = std::ptr::null_mut();
        assert_eq!(libc::openpty(&mut ours, &mut theirs, null, std::ptr::null(), &size), 0, "no terminal to be had");
        // Other tests start processes at the same time, which must not keep it open.
        for end in [ours, theirs] {
            libc::fcntl(end, libc::F_SETFD, libc::FD_CLOEXEC);
        }
        (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
    }
}

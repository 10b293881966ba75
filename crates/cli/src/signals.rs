//! What ends a process from outside: SIGTERM, Ctrl-C, and the death of the process that started it.

use std::process::exit;

use futures::FutureExt;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::CommandError;

/// Set by a process for the children that must not outlive it: `1`, or its own process id.
pub const EXIT_WITH_PARENT: &str = "FRAZIL_EXIT_WITH_PARENT";

/// What a signal wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// Ctrl-C: what is being done is to end; a shell goes on.
    Interrupt,
    /// SIGTERM, or the terminal is gone: the process is to end.
    Terminate,
}

/// The signals that ask a process to stop, from the moment it is made on.
pub struct StopSignals {
    terminate: Signal,
    hangup: Signal,
    interrupt: Signal,
}

impl StopSignals {
    pub fn new() -> Result<Self, CommandError> {
        let listen = |kind| signal(kind).map_err(CommandError::doing("listening for signals"));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    pub async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Terminate,
            _ = self.hangup.recv() => Stop::Terminate,
            _ = self.interrupt.recv() => Stop::Interrupt,
        }
    }

    /// Ctrl-C that was pressed until now was meant for somebody else.
    pub fn forget_interrupts(&mut self) {
        while let Some(Some(())) = self.interrupt.recv().now_or_never() {}
    }

    /// Who signals twice does not want to wait.
    pub fn exit_at_next(mut self) {
        tokio::spawn(async move {
            self.next().await;
            eprintln!("frazil: asked again to stop, leaving at once");
            exit(1);
        });
    }
}

/// Asks the system for SIGTERM when the parent dies, if the parent wants that. Called before any thread is started.
pub fn follow_parent() {
    let Ok(wanted) = std::env::var(EXIT_WITH_PARENT) else { return };
    let parent = std::os::unix::process::parent_id();
    #[cfg(target_os = "linux")]
    // SAFETY: this request takes one number and touches no memory of ours.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
    }
    // It may have died before we asked; then we have another parent already.
    let expected = wanted.parse().ok().filter(|&pid: &u32| pid > 1);
    if std::os::unix::process::parent_id() != expected.unwrap_or(parent) {
        exit(1);
    }
}

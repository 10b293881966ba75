//! Threads for query work, apart from those for I/O: a thread that is busy in a hash join answers no heartbeat.

use std::sync::Mutex;

use tokio::runtime::{Builder, Handle, Runtime};

/// DataFusion's operators recurse over expressions; two megabytes are not enough for the deep ones.
const STACK_BYTES: usize = 16 << 20;

/// Tasks polled between two looks at the sockets. A poll takes up to a millisecond here, and tokio's default of 61 would
/// let received rows wait for that long.
const EVENT_INTERVAL: u32 = 5;

/// A runtime of `slots` threads. Tasks spawned on it end when it is dropped.
pub struct CpuRuntime {
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
}

impl CpuRuntime {
    pub fn new(name: &str, slots: usize) -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(slots.max(1))
            .thread_name(name)
            .thread_stack_size(STACK_BYTES)
            .event_interval(EVENT_INTERVAL)
            .enable_all()
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Mutex::new(Some(runtime)) })
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for CpuRuntime {
    fn drop(&mut self) {
        // In the background: a runtime may not be dropped, and so wait for its threads, inside another.
        if let Some(runtime) = self.runtime.lock().ok().and_then(|mut runtime| runtime.take()) {
            runtime.shutdown_background();
        }
    }
}

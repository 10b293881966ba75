//! Threads for query work, apart from those for I/O: a thread that is busy in a hash join answers no heartbeat.

use std::sync::Mutex;

use tokio::runtime::{Builder, Handle, Runtime};

/// DataFusion's operators recurse over expressions; two megabytes are not enough for the deep ones.
const STACK_BYTES: usize = 16 << 20;

/// Tasks polled between two looks at the sockets. A poll takes up to a millisecond here, and tokio's default of 61 would
/// let received rows wait for that long.
const EVENT_INTERVAL: u32 = 5;

/// A runtime of `slots` threads. Tasks spawned on it end when it is dropped.
pub struct CpuRuntime(OwnedRuntime);

impl CpuRuntime {
    pub fn new(name: &str, slots: usize) -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(slots.max(1))
            .thread_name(name)
            .thread_stack_size(STACK_BYTES)
            .event_interval(EVENT_INTERVAL)
            .enable_all()
            .build()?;
        Ok(Self(OwnedRuntime::new(runtime)))
    }

    pub fn handle(&self) -> &Handle {
        &self.0.handle
    }
}

/// Threads with large stacks that are kept for a while after use: a new thread's stack and allocator are cold, which costs
/// a short statement a tenth of its planning.
pub struct DeepThreads(OwnedRuntime);

impl DeepThreads {
    pub fn new(name: &str, stack_bytes: usize, threads_max: usize) -> std::io::Result<Self> {
        // Only its blocking threads are used; nothing drives the runtime itself.
        let runtime = Builder::new_current_thread()
            .thread_name(name)
            .thread_stack_size(stack_bytes)
            .max_blocking_threads(threads_max)
            .build()?;
        Ok(Self(OwnedRuntime::new(runtime)))
    }

    /// Runs `work` on an idle thread, or a new one. Callers see to it that there are never more than `threads_max`.
    pub fn run(&self, work: impl FnOnce() + Send + 'static) {
        drop(self.0.handle.spawn_blocking(work));
    }
}

struct OwnedRuntime {
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
}

impl OwnedRuntime {
    fn new(runtime: Runtime) -> Self {
        Self { handle: runtime.handle().clone(), runtime: Mutex::new(Some(runtime)) }
    }
}

impl Drop for OwnedRuntime {
    fn drop(&mut self) {
        // In the background: a runtime may not be dropped, and so wait for its threads, inside another.
        if let Some(runtime) = self.runtime.lock().ok().and_then(|mut runtime| runtime.take()) {
            runtime.shutdown_background();
        }
    }
}

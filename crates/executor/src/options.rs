//! What an operator can set of an executor.

use frazil_common::ByteSize;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExecutorOptions {
    /// Name to register under; host and port when not given.
    pub id: Option<String>,
    /// Control plane of the coordinator: `http://host:port`.
    pub coordinator: String,
    /// Address of this executor's control plane. `127.0.0.1:0` picks a free port.
    pub rpc_listen: String,
    /// What the coordinator uses to reach `rpc_listen`, if not that address itself.
    pub rpc_advertise: Option<String>,
    /// Address where other executors send exchange data.
    pub data_listen: String,
    /// What they use to reach `data_listen`, if not that address itself.
    pub data_advertise: Option<String>,
    /// Threads that run queries; 0 is one for each processor.
    pub slots: usize,
    /// Memory of all queries together: hash tables, sorts, exchange buffers. 0 is 70 % of the machine's.
    pub memory: ByteSize,
    /// Disk that sorts and aggregates may use beyond it.
    pub spill: ByteSize,
    /// Seconds that running tasks get to finish after SIGTERM.
    pub drain_limit_s: u64,
}

impl Default for ExecutorOptions {
    fn default() -> Self {
        Self {
            id: None,
            coordinator: "http://127.0.0.1:8643".to_owned(),
            rpc_listen: "127.0.0.1:0".to_owned(),
            rpc_advertise: None,
            data_listen: "127.0.0.1:0".to_owned(),
            data_advertise: None,
            slots: 0,
            memory: ByteSize(0),
            spill: ByteSize::gib(100),
            drain_limit_s: 30,
        }
    }
}

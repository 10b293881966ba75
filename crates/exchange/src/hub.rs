//! The exchange inputs that are open in one coordinator or executor, by query and exchange.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use frazil_common::{ErrorCode, Failure, QueryId};
use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::input::ExchangeInput;
use crate::wire::LinkTls;

/// How long a producer's stream waits for its consumer task to be started by the coordinator.
const REGISTRATION_LIMIT: Duration = Duration::from_secs(15);

static IN_PROCESS: LazyLock<Mutex<HashMap<String, Weak<Hub>>>> = LazyLock::new(Mutex::default);

/// Known to the tasks of one query and to nobody else: an exchange stream must show it.
#[derive(Clone, Copy)]
pub struct Token([u8; 16]);

impl Token {
    pub fn random() -> Self {
        Self(*Uuid::new_v4().as_bytes())
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl PartialEq for Token {
    /// In time that does not depend on where they differ.
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).fold(0u8, |acc, (a, b)| acc | (a ^ b)) == 0
    }
}

/// One coordinator's or executor's open inputs. Bounded by the tasks that the executor admits.
pub struct Hub {
    address: String,
    tls: Option<LinkTls>,
    queries: Mutex<HashMap<QueryId, QueryInputs>>,
    changed: Notify,
}

struct QueryInputs {
    token: Token,
    inputs: HashMap<u32, Arc<ExchangeInput>>,
}

impl Hub {
    /// `address` is where others reach this hub. With `inproc://…` they do so without a socket.
    pub fn new(address: &str) -> Arc<Self> {
        Self::secured(address, None)
    }

    /// Likewise; its streams, those that it sends and those that it takes, are TLS.
    pub fn secured(address: &str, tls: Option<LinkTls>) -> Arc<Self> {
        let (queries, changed) = (Mutex::default(), Notify::new());
        let hub = Arc::new(Self { address: address.to_owned(), tls, queries, changed });
        if address.starts_with("inproc://") {
            IN_PROCESS.lock().insert(address.to_owned(), Arc::downgrade(&hub));
        }
        hub
    }

    pub fn tls(&self) -> Option<&LinkTls> {
        self.tls.as_ref()
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// The hub at an `inproc://` address of this process.
    pub fn in_process(address: &str) -> Option<Arc<Hub>> {
        IN_PROCESS.lock().get(address).and_then(Weak::upgrade)
    }

    pub fn register(&self, query: QueryId, token: Token, inputs: impl IntoIterator<Item = (u32, Arc<ExchangeInput>)>) {
        let mut queries = self.queries.lock();
        queries.entry(query).or_insert_with(|| QueryInputs { token, inputs: HashMap::new() }).inputs.extend(inputs);
        drop(queries);
        self.changed.notify_waiters();
    }

    /// Forgets a query; its inputs close when their tasks drop them.
    pub fn remove(&self, query: QueryId) {
        let removed = self.queries.lock().remove(&query);
        drop(removed);
    }

    pub fn open_exchanges(&self) -> usize {
        self.queries.lock().values().map(|query| query.inputs.len()).sum()
    }

    /// Waits for the input to be registered: a producer may be started before its consumer is.
    pub async fn find(&self, query: QueryId, token: Token, exchange: u32) -> Result<Arc<ExchangeInput>, Failure> {
        let search = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(found) = self.look_up(query, token, exchange)? {
                    return Ok(found);
                }
                changed.await;
            }
        };
        match tokio::time::timeout(REGISTRATION_LIMIT, search).await {
            Ok(found) => found,
            Err(_) => {
                let message = format!(
                    "exchange {exchange} of query {query} was not opened at {} within {} s",
                    self.address,
                    REGISTRATION_LIMIT.as_secs()
                );
                Err(Failure::new(ErrorCode::ExecutorLost, message))
            }
        }
    }

    fn look_up(&self, query: QueryId, token: Token, exchange: u32) -> Result<Option<Arc<ExchangeInput>>, Failure> {
        let queries = self.queries.lock();
        let Some(found) = queries.get(&query) else { return Ok(None) };
        if found.token != token {
            return Err(Failure::new(ErrorCode::AccessDenied, "the exchange token is wrong"));
        }
        Ok(found.inputs.get(&exchange).cloned())
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if self.address.starts_with("inproc://") {
            IN_PROCESS.lock().remove(&self.address);
        }
    }
}

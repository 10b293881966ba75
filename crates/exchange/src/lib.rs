//! The data plane: how record batches move between the stages of a query.
//!
//! ```text
//!  producer task                                              consumer task
//!  plan ─▶ output::ExchangeOutput ─┬─ same process ─────────▶ input::ExchangeInput ─▶ read::ExchangeReadExec ─▶ plan
//!                                  └─ link ══ TCP frames ══▶ server ─▲
//!                                      ◀══ credits per partition ═══╝
//! ```
//!
//! Owns buffers, credits, frames and the registry of inputs ([`hub`]). Knows nothing of stages, plans or scheduling.
//! Start with [`input`], then [`output`]; [`frame`] has the wire format.

mod coalesce;
pub mod frame;
pub mod hub;
pub mod input;
pub mod link;
pub mod memory;
pub mod output;
pub mod read;
pub mod server;
mod wire;

pub use hub::{Hub, Token};
pub use input::ExchangeInput;
pub use output::{ExchangeKind, ExchangeOutput};
pub use read::ExchangeReadExec;
pub use server::DataServer;
pub use wire::LinkTls;

use std::sync::Arc;

use datafusion::error::DataFusionError;
use frazil_common::Failure;

/// Carries a failure through DataFusion's operators; the engine finds it again by downcasting.
pub fn to_datafusion(failure: Failure) -> DataFusionError {
    DataFusionError::External(Box::new(failure))
}

/// The failure inside a DataFusion error, however often it was wrapped.
pub fn find_failure(error: &DataFusionError) -> Option<Failure> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(failure) = current.downcast_ref::<Failure>() {
            return Some(failure.clone());
        }
        // Arc<DataFusionError> (shared by the partitions of one operator) hides its content from `source()` downcasts.
        if let Some(shared) = current.downcast_ref::<Arc<DataFusionError>>() {
            return find_failure(shared);
        }
        if let Some(DataFusionError::Shared(shared)) = current.downcast_ref::<DataFusionError>() {
            return find_failure(shared);
        }
        cause = current.source();
    }
    None
}

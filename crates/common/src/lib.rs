//! Words shared by every crate: ids, failures with their codes, units.
//!
//! Owns nothing that runs: no DataFusion, no tonic, no axum. Start with [`failure`], which every layer reports through.

pub mod client_settings;
pub mod failpoint;
pub mod failure;
pub mod ids;
pub mod name_case;
pub mod output_format;
pub mod principal;
pub mod split;
pub mod units;

pub use failure::{ErrorCode, Failure, Place};
pub use ids::{BootId, ExchangeId, ExecutorId, QueryId, SessionId, StageId, StatementId};
pub use name_case::NameCase;
pub use principal::Principal;
pub use units::ByteSize;

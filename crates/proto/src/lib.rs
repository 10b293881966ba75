//! The control plane's messages, and the channels they travel on.
//!
//! [`v1`] is generated from the top-level `proto/`. [`convert`] turns ids and failures into messages and back.
//! [`transport`] connects and serves by address: `http://host:port`, or `inproc://name` inside one process.

pub mod convert;
pub mod secret;
pub mod tls;
pub mod transport;

/// Generated from `proto/frazil.proto`.
pub mod v1 {
    #![allow(clippy::all, clippy::pedantic)]
    tonic::include_proto!("frazil.v1");
}

/// Its values are for nobody's eyes.
impl std::fmt::Debug for v1::Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret({}, {})", self.name, self.scope)
    }
}

/// Coordinator and executors must agree on it exactly; plans are not compatible between versions.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

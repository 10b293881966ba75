//! Where tests can stop a commit.

use parking_lot::Mutex;

use crate::error::Result;

/// The steps of a commit, in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    BeforeRows,
    AfterRows,
    BeforeCommit,
    /// Durable, and nobody knows.
    AfterCommit,
}

pub(crate) type Hook = Mutex<Option<Box<dyn Fn(Step) -> Result<()> + Send + Sync>>>;

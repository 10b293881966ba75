//! Where tests can stop a commit: this crate's with an error, others by killing the process (`frazil_common::failpoint`).

/// The steps of a commit, in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    BeforeRows,
    AfterRows,
    BeforeCommit,
    /// Durable, and nobody knows.
    AfterCommit,
}

impl Step {
    pub(crate) fn point(self) -> &'static str {
        match self {
            Self::BeforeRows => "commit.before_rows",
            Self::AfterRows => "commit.after_rows",
            Self::BeforeCommit => "commit.before_commit",
            Self::AfterCommit => "commit.after_commit",
        }
    }
}

#[cfg(test)]
pub(crate) type Hook = parking_lot::Mutex<Option<Box<dyn Fn(Step) -> crate::error::Result<()> + Send + Sync>>>;

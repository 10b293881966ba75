//! Which statements a list is of.

use frazil_common::StatementId;

use super::StatementRecord;
use crate::statement::Phase;

/// What is `None` lets all through.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub id: Option<StatementId>,
    pub phase: Option<Phase>,
    /// The user's exact name.
    pub user: Option<String>,
    pub query_tag: Option<String>,
    /// Part of the text, in lower or upper case.
    pub text: Option<String>,
    /// Submitted then or later; milliseconds since the epoch.
    pub from_ms: Option<u64>,
    /// Submitted before.
    pub to_ms: Option<u64>,
    /// Submitted before this statement: the last one of the page before.
    pub before: Option<StatementId>,
    /// How many at most.
    pub limit: usize,
}

impl Filter {
    pub fn accepts(&self, record: &StatementRecord) -> bool {
        self.id.is_none_or(|id| record.id == id)
            && self.phase.is_none_or(|phase| record.phase == phase)
            && self.user.as_ref().is_none_or(|user| record.user == *user)
            && self.query_tag.as_ref().is_none_or(|tag| record.query_tag.as_ref() == Some(tag))
            && self.from_ms.is_none_or(|from| record.created_ms >= from)
            && self.to_ms.is_none_or(|to| record.created_ms < to)
            && self.before.is_none_or(|before| record.id < before)
            && self.text.as_ref().is_none_or(|text| record.sql.to_lowercase().contains(&text.to_lowercase()))
    }
}

//! What is searched for.

use super::query::Query;
use crate::ids::{ConversationId, UserId};
use crate::wire::frames::Timestamp;
use uuid::Uuid;

/// A position in the list of what is found: that of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchCursor {
    pub created_at: Timestamp,
    pub id: Uuid,
}

/// What is searched for.
#[derive(Clone, Debug)]
pub struct SearchRequest {
    /// Words, as someone typed them; at most [`QUERY_BYTES_MAX`](super::QUERY_BYTES_MAX) bytes.
    pub words: String,
    /// Only messages of this conversation.
    pub conversation: Option<ConversationId>,
    /// Only by this author.
    pub author: Option<UserId>,
    /// Only what is older.
    pub before: Option<Timestamp>,
    /// Only what is younger.
    pub after: Option<Timestamp>,
    /// The last message of the page before.
    pub from: Option<SearchCursor>,
    /// Messages of a page, at least 1.
    pub limit: usize,
}

/// The conditions of a request, as the statements take them.
pub(super) struct Criteria<'a> {
    pub(super) query: &'a Query,
    pub(super) author: Option<UserId>,
    pub(super) before: Option<Timestamp>,
    pub(super) after: Option<Timestamp>,
    pub(super) from: Option<SearchCursor>,
}

impl Criteria<'_> {
    /// No message of the page is younger.
    pub(super) fn until(&self) -> Option<Timestamp> {
        let from = self.from.map(|from| from.created_at);
        [self.before, from].into_iter().flatten().min()
    }
}

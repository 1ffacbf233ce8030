//! What a search has found. The names in the API document are older than those of the types.

use super::request::SearchCursor;
use super::snippet::Fragment;
use crate::ids::ConversationId;
use crate::wire::frames::Message;
use serde::Serialize;
use utoipa::ToSchema;

/// A page of what was found.
#[derive(Clone, Debug)]
pub struct SearchResults {
    /// The messages, youngest first; fewer than asked for where some have just been changed.
    pub items: Vec<FoundMessage>,
    /// Where the next page begins, if there is one.
    pub next: Option<SearchCursor>,
    /// Whether everything was searched that belongs on this page; not so where that would have taken too long.
    pub complete: bool,
}

/// A message that was found.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Found)]
pub struct FoundMessage {
    /// The message as it is now.
    pub message: Message,
    /// Where it stands.
    pub conversation: FoundConversation,
    /// A part of its body, at most 240 characters, with `…` where something was left out, in pieces that are a hit or not.
    pub snippet: Vec<Fragment>,
}

/// A conversation in which something was found.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Place)]
pub struct FoundConversation {
    /// The conversation.
    pub id: ConversationId,
    /// Its title.
    pub title: String,
}

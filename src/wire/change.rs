//! A durable change of a conversation, as it is committed, pushed, replayed and carried between
//! nodes.
//!
//! Every change carries the whole present state of the thing it is about, so readers upsert by id
//! and a replay needs only the latest change of each thing. Pure.

use super::encode::{Frame, encode, encoded_len};
use super::frames::{ConversationChanged, MemberChange, MemberChanged, Message, Updated};
use super::own_reactions::{OwnReactions, has_unlisted};
use super::sizes::FRAME_BYTES;
use crate::ids::{ConversationId, MessageId, Rev, TenantId, UserId};
use std::sync::Arc;
use std::time::Instant;

/// A durable change; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A message was posted, edited, deleted or reacted to.
    Message(Arc<Message>),
    /// A member joined, left or has another role.
    Member(Arc<MemberChanged>),
    /// The conversation's properties changed.
    Properties(Arc<ConversationChanged>),
}

/// What a change is about: later changes of the same thing replace earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Thing {
    Message(MessageId),
    Member(UserId),
    Properties,
}

impl Change {
    #[must_use]
    pub fn rev(&self) -> Rev {
        match self {
            Self::Message(message) => message.rev,
            Self::Member(member) => member.rev,
            Self::Properties(properties) => properties.rev,
        }
    }

    #[must_use]
    pub fn thing(&self) -> Thing {
        match self {
            Self::Message(message) => Thing::Message(message.id),
            Self::Member(member) => Thing::Member(member.user.id),
            Self::Properties(_) => Thing::Properties,
        }
    }

    /// The revision with which the thing came to be.
    #[must_use]
    pub fn first_rev(&self) -> Rev {
        match self {
            Self::Message(message) => message.posted_rev,
            Self::Member(member) => member.joined_rev,
            Self::Properties(_) => Rev::ZERO,
        }
    }

    /// About how many bytes the change holds in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Message(message) => message.weight(),
            Self::Member(_) | Self::Properties(_) => 256,
        }
    }

    /// How many bytes its frame has, or a few more.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        match self {
            Self::Message(message) => message.encoded_bytes(),
            Self::Member(member) => FRAME_BYTES + encoded_len(&member.user.name),
            Self::Properties(properties) => FRAME_BYTES + encoded_len(&properties.title),
        }
    }

    /// The same state under another revision; fills a hole in a live stream (see
    /// `conversations/state.rs`).
    #[must_use]
    pub fn with_rev(&self, rev: Rev) -> Self {
        match self {
            Self::Message(message) => Self::Message(Arc::new(Message {
                rev,
                cause: None,
                ..(**message).clone()
            })),
            Self::Member(member) => Self::Member(Arc::new(MemberChanged {
                rev,
                ..(**member).clone()
            })),
            Self::Properties(properties) => Self::Properties(Arc::new(ConversationChanged {
                rev,
                ..(**properties).clone()
            })),
        }
    }

    /// Encodes the change for a reader who has everything up to `after`: a message posted later
    /// comes as `message`, an older one as `updated`.
    #[must_use]
    pub fn encode_after(&self, after: Rev) -> Frame {
        let known = self.first_rev() <= after;
        match self {
            Self::Message(message) if known => encode(&Updated::from(&**message)),
            Self::Message(message) => encode(&**message),
            Self::Member(member) if member.change == MemberChange::Removed => encode(&**member),
            Self::Member(member) => {
                let change = if known {
                    MemberChange::Changed
                } else {
                    MemberChange::Added
                };
                encode(&MemberChanged {
                    change,
                    ..(**member).clone()
                })
            }
            Self::Properties(properties) => encode(&**properties),
        }
    }

    /// Whether the database has to be asked which reactions are a reader's own.
    #[must_use]
    pub fn has_unlisted(&self) -> bool {
        matches!(self, Self::Message(message) if has_unlisted(message))
    }

    /// The same for one reader, as a replay shows it: with the reader's own reactions, and not as what
    /// somebody just did.
    #[must_use]
    pub fn encode_replayed(&self, after: Rev, own: &OwnReactions) -> Frame {
        match self {
            Self::Message(message) if message.cause.is_some() || !message.reactions.is_empty() => {
                let message = Message {
                    mine: own.of(message),
                    cause: None,
                    ..(**message).clone()
                };
                Self::Message(Arc::new(message)).encode_after(after)
            }
            other => other.encode_after(after),
        }
    }

    /// Encodes the change for readers who have everything before it.
    #[must_use]
    pub fn encode_live(&self) -> Frame {
        self.encode_after(Rev(self.rev().0 - 1))
    }
}

/// What a conversation learns of a commit.
#[derive(Clone, Debug)]
pub struct Committed {
    pub conversation_id: ConversationId,
    /// Whose it is, where this node has committed.
    pub tenant_id: Option<TenantId>,
    /// The changes this node committed, in the order of their revisions.
    pub changes: Vec<Change>,
    /// The highest revision seen while committing, also when nothing changed: a conversation that
    /// knows less must read.
    pub observed: Rev,
    /// When the oldest of the posts among `changes` was accepted; `None` without one, or where that
    /// is not known.
    pub since: Option<Instant>,
    /// When this node committed them; `None` of what it has not committed itself.
    pub committed_at: Option<Instant>,
}

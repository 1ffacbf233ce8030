//! What can be asked, and the numbers that are answered. Names and titles are not part of them: they
//! are added for each caller (`names.rs`).
//!
//! The numbers are what the cache remembers, so a change of their shape needs another
//! [`Shareable::VERSION`].

use super::period::{Granularity, Period};
use crate::cache::{Cacheable, Kind, Shareable};
use crate::ids::{ConversationId, UserId, UserKind};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// By what messages are grouped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GroupBy {
    /// All together.
    #[default]
    None,
    Conversation,
    /// Who posted.
    User,
    /// Person, agent or system.
    Kind,
}

/// What comes first among conversations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConversationOrder {
    /// Most messages.
    #[default]
    Messages,
    /// Most people who posted.
    Participants,
    /// The last message.
    Recent,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    Summary,
    Messages {
        granularity: Granularity,
        group_by: GroupBy,
        limit: usize,
    },
    ActiveUsers {
        granularity: Granularity,
    },
    TopUsers {
        limit: usize,
    },
    TopConversations {
        order: ConversationOrder,
        limit: usize,
    },
    Heatmap,
    Usage {
        user: UserId,
        granularity: Granularity,
    },
}

impl Question {
    /// How long its buckets are, if it has some.
    #[must_use]
    pub const fn granularity(&self) -> Option<Granularity> {
        match self {
            Self::Messages { granularity, .. }
            | Self::ActiveUsers { granularity }
            | Self::Usage { granularity, .. } => Some(*granularity),
            Self::Summary | Self::TopUsers { .. } | Self::TopConversations { .. } | Self::Heatmap => None,
        }
    }

    /// A name of it with its parameters, for the key of the cache.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Summary => "summary".to_owned(),
            Self::Messages {
                granularity,
                group_by,
                limit,
            } => format!("messages:{granularity:?}:{group_by:?}:{limit}"),
            Self::ActiveUsers { granularity } => format!("active:{granularity:?}"),
            Self::TopUsers { limit } => format!("users:{limit}"),
            Self::TopConversations { order, limit } => format!("conversations:{order:?}:{limit}"),
            Self::Heatmap => "heatmap".to_owned(),
            Self::Usage { user, granularity } => format!("usage:{user}:{granularity:?}"),
        }
    }
}

/// The numbers of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Totals {
    /// Messages that were posted.
    pub messages: u64,
    /// People who posted.
    pub active_users: u64,
    /// Conversations with a message.
    pub active_conversations: u64,
    /// Conversations that were made.
    pub conversations_started: u64,
    /// People who were made.
    pub new_users: u64,
    /// The median (the lower of the middle two) of how long people took to reply to another user.
    pub reply_delay_p50_ms: Option<i64>,
}

/// What a series is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SeriesKey {
    All,
    Conversation(ConversationId),
    User(UserId),
    Kind(UserKind),
    /// What no other series has.
    Other,
}

/// A number for each bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    pub key: SeriesKey,
    pub values: Vec<u64>,
    pub total: u64,
}

/// The people of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveCounts {
    pub active: u64,
    pub new: u64,
    pub weekly: u64,
    pub monthly: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserTotals {
    pub user: UserId,
    pub messages: u64,
    pub conversations: u64,
    pub active_days: u64,
    pub last_at: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationTotals {
    pub conversation: ConversationId,
    pub messages: u64,
    pub participants: u64,
    pub last_at: i64,
}

/// The numbers that answer a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Numbers {
    Summary {
        current: Totals,
        previous: Totals,
    },
    Messages(Vec<Series>),
    ActiveUsers(Vec<ActiveCounts>),
    TopUsers(Vec<UserTotals>),
    TopConversations(Vec<ConversationTotals>),
    /// By weekday and hour.
    Heatmap(Vec<Vec<u64>>),
    Usage {
        messages: u64,
        conversations: u64,
        values: Vec<u64>,
    },
}

/// An answer as it was computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Computed {
    pub numbers: Arc<Numbers>,
    /// In milliseconds of Unix time.
    pub generated_at: i64,
    /// Everything from before is in it.
    pub data_through: i64,
}

impl Cacheable for Computed {
    const KIND: Kind = Kind::Analytics;

    fn weight(&self) -> usize {
        let own = match &*self.numbers {
            Numbers::Summary { .. } | Numbers::Heatmap(_) => 2_000,
            Numbers::Messages(series) => series.iter().map(|one| 100 + one.values.len() * 8).sum(),
            Numbers::ActiveUsers(points) => points.len() * size_of::<ActiveCounts>(),
            Numbers::TopUsers(items) => items.len() * size_of::<UserTotals>(),
            Numbers::TopConversations(items) => items.len() * size_of::<ConversationTotals>(),
            Numbers::Usage { values, .. } => values.len() * 8,
        };
        size_of::<Self>() + own
    }
}

impl Shareable for Computed {
    const VERSION: u8 = 1;
}

/// A question about a time.
#[derive(Clone, Debug)]
pub struct Asked {
    pub question: Question,
    pub period: Period,
}

//! The kinds of what is cached.

/// What is cached. It is the first word of a key, and a label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    User,
    Tenant,
    /// The first page of a user's conversations.
    Conversations,
    /// The user of an API key.
    ApiKey,
    /// The numbers of an answer of analytics.
    Analytics,
}

impl Kind {
    pub const ALL: [Self; 5] = [
        Self::User,
        Self::Tenant,
        Self::Conversations,
        Self::ApiKey,
        Self::Analytics,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Tenant => "tenant",
            Self::Conversations => "conversations",
            Self::ApiKey => "api_key",
            Self::Analytics => "analytics",
        }
    }
}

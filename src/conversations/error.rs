//! Why a conversation did not do something, or could not be read.

use crate::error::Code;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rules or the present state forbid it; with a sentence for the caller.
    #[error("refused: {1}")]
    Refused(Code, &'static str),
    /// The caller has started too many conversations lately; with the time to wait.
    #[error("the user's starts of conversations are spent")]
    StartsSpent(Duration),
    /// Too many conversations, or too much for this one.
    #[error("the conversation is overloaded")]
    Overloaded,
    /// The change was not committed.
    #[error(transparent)]
    Commit(#[from] crate::commit::Error),
    #[error(transparent)]
    Database(#[from] crate::database::Error),
    #[error("a page could not be encoded: {0}")]
    Encode(#[from] serde_json::Error),
    /// Any of these, from one who loaded for several callers.
    #[error(transparent)]
    Shared(Arc<Self>),
}

impl From<Arc<Self>> for Error {
    fn from(error: Arc<Self>) -> Self {
        Arc::try_unwrap(error).unwrap_or_else(Self::Shared)
    }
}

impl Error {
    /// Beyond the people that one user adds in a day.
    pub(super) const ADDITIONS: Self = Self::Refused(
        Code::LimitReached,
        "You have added as many people today as one user can; go on tomorrow, or give them an invitation.",
    );

    /// The code that clients see.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Refused(code, _) => *code,
            Self::StartsSpent(_) => Code::RateLimited,
            Self::Overloaded => Code::Overloaded,
            Self::Commit(error) => error.code(),
            Self::Database(error) => error.code(),
            Self::Encode(_) => Code::Internal,
            Self::Shared(error) => error.code(),
        }
    }

    /// The sentence for people.
    #[must_use]
    pub fn message(&self) -> &'static str {
        match self {
            Self::Refused(_, message) => message,
            Self::Commit(error) => error.message(),
            Self::StartsSpent(_) | Self::Overloaded | Self::Database(_) | Self::Encode(_) => self.code().text(),
            Self::Shared(error) => error.message(),
        }
    }
}

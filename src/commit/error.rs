//! Why an operation was not done.

use crate::error::Code;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The lane's queue is full.
    #[error("the commit queue is full")]
    Overloaded,
    /// The database was not reachable until the deadline, or the lane crashed. May have been done.
    #[error("the database is not available")]
    Unavailable,
    /// The request contradicts the rules or the present state.
    #[error("refused: {1}")]
    Refused(Code, &'static str),
    /// A defect: the database refuses this very operation.
    #[error("the database refuses the operation")]
    Poison,
}

impl Error {
    /// The code that clients see.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Overloaded => Code::Overloaded,
            Self::Unavailable => Code::Unavailable,
            Self::Refused(code, _) => *code,
            Self::Poison => Code::Internal,
        }
    }

    /// The sentence for people.
    #[must_use]
    pub const fn message(&self) -> &'static str {
        match self {
            Self::Refused(_, message) => message,
            other => other.code().text(),
        }
    }
}

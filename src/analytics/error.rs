//! Why a question was not answered, and the public code of each reason.

use super::period::WrongParameter;
use crate::database;
use crate::error::Code;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No turn came in time.
    #[error("too many questions at a time")]
    Overloaded,
    /// The counts are not made yet: after the upgrade that brought them, or a fault of the follower.
    #[error("the messages are not counted yet")]
    NotCounted,
    /// The question asks for more than an answer holds.
    #[error("{0:?}")]
    Wrong(WrongParameter),
    #[error(transparent)]
    Database(#[from] database::Error),
    /// Counts in the database that this version cannot read.
    #[error("a block of counts cannot be read: {0}")]
    Unreadable(&'static str),
}

impl From<WrongParameter> for Error {
    fn from(wrong: WrongParameter) -> Self {
        Self::Wrong(wrong)
    }
}

impl Error {
    /// The code that clients get; causes go to the log.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Overloaded => Code::Overloaded,
            Self::NotCounted => Code::Unavailable,
            Self::Wrong(_) => Code::BadRequest,
            Self::Database(error) => error.code(),
            Self::Unreadable(_) => Code::Internal,
        }
    }
}

//! Why a search was not made, and the public code of each reason.

use crate::database;
use crate::error::Code;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The conversation that was named is not the caller's.
    #[error("not a conversation of the caller")]
    NotFound,
    /// No permit was free in time.
    #[error("too many searches at a time")]
    Overloaded,
    #[error(transparent)]
    Database(#[from] database::Error),
}

impl Error {
    /// The code that clients get; causes go to the log.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound => Code::NotFound,
            Self::Overloaded => Code::Overloaded,
            Self::Database(error) => error.code(),
        }
    }
}

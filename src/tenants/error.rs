//! Why something about a tenant or its people was not done, and the public code of each reason.

use crate::auth::{self, UserChangeRefusal};
use crate::database;
use crate::error::Code;
use std::sync::Arc;

/// The texts are public, except of those that are logged instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not there, or in another tenant.
    #[error("There is no such user here.")]
    NotFound,
    #[error("There is no such tenant; `parlance tenants list` shows all.")]
    TenantNotFound,
    /// Not there, not open, or in another tenant.
    #[error("There is no such invite, or it cannot be used any more.")]
    InviteNotFound,
    #[error("You cannot block yourself.")]
    BlocksOneself,
    #[error("There are as many blocked users as one user can have; unblock some.")]
    TooManyBlocks,
    /// The caller's role does not allow it, or the tenant would be left without an owner.
    #[error(transparent)]
    Refused(#[from] UserChangeRefusal),
    /// A field is wrong, or a row could not be read.
    #[error(transparent)]
    Auth(#[from] auth::Error),
    /// The database refused or is away.
    #[error(transparent)]
    Database(#[from] database::Error),
    /// Any of these, met by a load that several callers share.
    #[error(transparent)]
    Shared(Arc<Self>),
}

impl From<Arc<Self>> for Error {
    fn from(error: Arc<Self>) -> Self {
        Arc::try_unwrap(error).unwrap_or_else(Self::Shared)
    }
}

impl Error {
    /// The code that clients get; causes go to the log.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound | Self::InviteNotFound | Self::TenantNotFound => Code::NotFound,
            Self::BlocksOneself => Code::Conflict,
            Self::TooManyBlocks => Code::LimitReached,
            Self::Refused(UserChangeRefusal::LastOwner | UserChangeRefusal::Oneself) => Code::Conflict,
            Self::Refused(UserChangeRefusal::Role | UserChangeRefusal::Plan) => Code::Forbidden,
            Self::Auth(error) => error.code(),
            Self::Database(error) => error.code(),
            Self::Shared(error) => error.code(),
        }
    }
}

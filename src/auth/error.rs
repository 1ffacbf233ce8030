//! Why signing in, authentication or the management of keys failed, and the public code of each
//! reason.

use super::scopes::Scope;
use super::token::TokenError;
use crate::database;
use crate::error::Code;
use std::sync::Arc;
use std::time::Duration;

/// Why signing in or authentication failed. The texts are public, except of those that are logged
/// instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field of the input is wrong.
    #[error("{message}")]
    Invalid {
        /// Its name in the request.
        field: &'static str,
        /// What is wrong, for people.
        message: String,
    },
    /// The address or the password is wrong; never which.
    #[error("The address or the password is wrong.")]
    Credentials,
    /// Too many attempts have failed; nothing was tried. How long to wait.
    #[error("Too many attempts; wait and try again.")]
    Throttled(Duration),
    /// Not a valid access token.
    #[error("The credentials are not valid: {0}.")]
    Token(#[from] TokenError),
    /// A refresh token or ticket that is not, or no longer, good for anything.
    #[error("The credentials are not valid or have been used already.")]
    Spent,
    /// Refresh cookies of two logins, both of them good.
    #[error("The cookies hold two different logins. Delete the cookies of this site, and sign in again.")]
    SeveralLogins,
    /// The login is over.
    #[error("The credentials have been revoked.")]
    Revoked,
    /// The user may not sign in.
    #[error("This account is suspended.")]
    Suspended,
    /// Someone has signed up with this address.
    #[error("There is an account with this address already.")]
    EmailTaken,
    /// No such invite, or it is spent, expired or withdrawn.
    #[error("There is no such invite, or it cannot be used any more.")]
    InviteNotFound,
    /// The invitation is good, but the tenant lets its maker admit nobody from outside with this role.
    #[error("This workspace does not let people from outside in this way; ask one of its members.")]
    NotAdmitted,
    #[error("This invitation has let in as many guests as one can; ask for another.")]
    TooManyGuests,
    /// An API key that is unknown, deleted or has run out; never which.
    #[error("The API key is not valid.")]
    ApiKey,
    /// Something that only people do, tried with an API key.
    #[error("This cannot be done with an API key; sign in.")]
    NeedsSession,
    /// Guests have no password to change.
    #[error("This account has no password.")]
    NoPassword,
    /// Guests have no keys.
    #[error("Guests make no API keys.")]
    GuestKey,
    /// A key cannot do more than its user.
    #[error("Your role does not give the scope `{0}`.")]
    ScopeBeyondRole(Scope),
    /// No such key, or someone else's.
    #[error("There is no such API key.")]
    KeyNotFound,
    #[error("There are as many API keys as one user can have; delete some.")]
    TooManyKeys,
    /// A look-up failed, for all callers who waited for it.
    #[error("{0}")]
    LookUp(Arc<Error>),
    /// A key that nobody here knows yet, shown by someone for whom it is not looked up.
    #[error("The quota is used up; the API key was not looked up.")]
    NotLookedUp,
    /// Too many unredeemed tickets.
    #[error("Too many tickets wait to be redeemed.")]
    TooManyTickets,
    /// Too many password checks wait.
    #[error("too many password checks wait")]
    Overloaded,
    /// A password could not be hashed.
    #[error("password hashing failed: {0}")]
    Hash(String),
    /// There is no usable signing key.
    #[error("no signing key: JWT_SECRET is not set, and {0}")]
    Key(String),
    /// The nodes beside this one sign with another secret.
    #[error(
        "JWT_SECRET is another one than that of the nodes on this database, which would refuse each other's tokens. Give \
         this node the same: JWT_SECRET, or without it the file jwt.key in DATA_DIR. To change the secret of all nodes, \
         see `parlance secrets rotate`"
    )]
    OtherSecret,
    /// A change of the secret by someone who does not show the one of before.
    #[error(
        "JWT_SECRET_PREVIOUS is not the secret that the nodes on this database have; set it to that one, or, if that is \
         lost, use --force: then people sign in anew where their token was signed with it"
    )]
    NotThePreviousSecret,
    /// A row does not have the columns it should.
    #[error("unexpected row: {0}")]
    Row(#[from] tokio_postgres::Error),
    /// A column holds a word that is not in its vocabulary.
    #[error("unknown word in column {0}")]
    Word(&'static str),
    /// The database refused or is away.
    #[error(transparent)]
    Database(#[from] database::Error),
}

impl Error {
    pub(super) fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid {
            field,
            message: message.into(),
        }
    }

    /// Why a new user could not be written.
    pub(super) fn of_new_user(error: database::Error) -> Self {
        match error.constraint() {
            Some("users_email_key") => Self::EmailTaken,
            _ => Self::Database(error),
        }
    }

    /// The same about a field of another name.
    pub(super) fn in_field(self, field: &'static str) -> Self {
        match self {
            Self::Invalid { message, .. } => Self::Invalid { field, message },
            other => other,
        }
    }

    /// The code that clients get; causes go to the log.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid { .. } => Code::BadRequest,
            Self::Credentials | Self::Token(_) | Self::Spent | Self::SeveralLogins | Self::Revoked | Self::ApiKey => {
                Code::Unauthenticated
            }
            Self::Suspended
            | Self::NeedsSession
            | Self::NoPassword
            | Self::GuestKey
            | Self::ScopeBeyondRole(_)
            | Self::NotAdmitted => Code::Forbidden,
            Self::EmailTaken => Code::Conflict,
            Self::InviteNotFound | Self::KeyNotFound => Code::NotFound,
            Self::TooManyTickets | Self::TooManyKeys | Self::TooManyGuests => Code::LimitReached,
            Self::LookUp(error) => error.code(),
            Self::NotLookedUp | Self::Throttled(_) => Code::RateLimited,
            Self::Overloaded => Code::Overloaded,
            Self::Hash(_)
            | Self::Key(_)
            | Self::OtherSecret
            | Self::NotThePreviousSecret
            | Self::Row(_)
            | Self::Word(_) => Code::Internal,
            Self::Database(error) => error.code(),
        }
    }
}

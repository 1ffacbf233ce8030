//! Who is calling: signing up and in, tokens, and what has been revoked since.
//!
//! | file | what |
//! |---|---|
//! | `access.rs` | who asks something of a conversation or search |
//! | `account.rs` | users and tenants as plain types, checks of what people type |
//! | `sign_in.rs` | register, log in, guests |
//! | `log_ins.rs` | refresh, log out, tickets |
//! | `token.rs` | access tokens; pure |
//! | `api_keys.rs` | the credentials of programs |
//! | `scopes.rs` | what credentials are good for; pure |
//! | `principal.rs` | who is calling, as plain data |
//! | `last_used.rs` | when keys were last used, written in batches |
//! | `permissions.rs` | tenant roles turned into answers; pure |
//! | `password.rs` | argon2id within bounds |
//! | `signing_key.rs` | the key that signs access tokens |
//! | `revocation.rs` | what was revoked or changed, in memory |
//! | `upkeep.rs` | the task that keeps the picture fresh and removes what has run out |
//! | `store/` | SQL |
//!
//! Authentication by token costs no query: the token is verified, then checked against the picture of recent changes. An
//! API key costs one when it is first seen, then none for a minute. Everything that writes goes to PostgreSQL first, then
//! to the picture, then to the listeners.

mod access;
mod account;
mod api_keys;
mod last_used;
mod log_ins;
mod password;
mod permissions;
mod principal;
mod revocation;
mod scopes;
mod sign_in;
mod signing_key;
mod store;
mod token;
mod upkeep;

pub use access::{Access, AllowedConversations};
pub use account::{Account, EMAIL_BYTES_MAX, Tenant, User, check_email, check_name};
pub use api_keys::{ApiKey, IssuedKey, NewApiKey};
pub use log_ins::Ticket;
pub use permissions::{Action, Refusal, Target, UserChange, check_user_change};
pub use principal::{Credential, CredentialId, Principal};
pub use revocation::{Event, UserState};
pub use scopes::{Scope, Scopes};
pub use sign_in::{Registration, SignedIn};
pub use token::TokenError;

use crate::cache::CacheHandle;
use crate::config::Config;
use crate::database::{self, Database};
use crate::error::Code;
use crate::ids::UserStatus;
use chrono::Utc;
use last_used::{Due, LastUsed};
use password::Passwords;
use revocation::Picture;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::broadcast;
use upkeep::Upkeep;

/// Why signing in or authentication failed. The texts are public, except of those that are logged instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field of the input is wrong.
    #[error("{message}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong, for people.
        message: String,
    },
    /// The address or the password is wrong; never which.
    #[error("The address or the password is wrong.")]
    Credentials,
    /// Not a valid access token.
    #[error("The credentials are not valid: {0}.")]
    Token(#[from] TokenError),
    /// A refresh token or ticket that is not, or no longer, good for anything.
    #[error("The credentials are not valid or have been used already.")]
    Spent,
    /// The log-in is over.
    #[error("The credentials have been revoked.")]
    Revoked,
    /// The user may not sign in.
    #[error("This account is suspended.")]
    Suspended,
    /// Somebody has signed up with this address.
    #[error("There is an account with this address already.")]
    EmailTaken,
    /// No such invite, or it is spent, expired or withdrawn.
    #[error("There is no such invite, or it cannot be used any more.")]
    InviteNotFound,
    /// An API key that is unknown, deleted or has run out; never which.
    #[error("The API key is not valid.")]
    ApiKey,
    /// Something that only people do, asked for with an API key.
    #[error("This cannot be done with an API key; sign in.")]
    NeedsSession,
    /// Guests have no keys.
    #[error("Guests make no API keys.")]
    GuestKey,
    /// A key cannot do more than its user.
    #[error("Your role does not give the scope `{0}`.")]
    ScopeBeyondRole(Scope),
    /// No such key of the caller.
    #[error("There is no such API key.")]
    KeyNotFound,
    /// Too many keys.
    #[error("There are as many API keys as one user can have; delete some.")]
    TooManyKeys,
    /// Looking a key up failed, for all who asked at that moment.
    #[error("{0}")]
    LookUp(Arc<Error>),
    /// A key that nobody here knows yet, shown by somebody for whom it is not looked up.
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
    fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid {
            field,
            message: message.into(),
        }
    }

    /// The public code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid { .. } => Code::BadRequest,
            Self::Credentials | Self::Token(_) | Self::Spent | Self::Revoked | Self::ApiKey => Code::Unauthenticated,
            Self::Suspended | Self::NeedsSession | Self::GuestKey | Self::ScopeBeyondRole(_) => Code::Forbidden,
            Self::EmailTaken => Code::Conflict,
            Self::InviteNotFound | Self::KeyNotFound => Code::NotFound,
            Self::TooManyTickets | Self::TooManyKeys => Code::LimitReached,
            Self::LookUp(error) => error.code(),
            Self::NotLookedUp => Code::RateLimited,
            Self::Overloaded => Code::Overloaded,
            Self::Hash(_) | Self::Key(_) | Self::Row(_) | Self::Word(_) => Code::Internal,
            Self::Database(error) => error.code(),
        }
    }
}

/// The way in. Cheap to clone.
#[derive(Clone)]
pub struct Auth {
    shared: Arc<Shared>,
}

struct Shared {
    database: Database,
    signer: token::Signer,
    passwords: Passwords,
    picture: Picture,
    cache: CacheHandle,
    last_used: LastUsed,
    upkeep: Upkeep,
    access_token_ttl: Duration,
    refresh_token_ttl: Duration,
}

impl Auth {
    /// Loads the key and what was revoked within the last access-token lifetime, and starts the upkeep task.
    ///
    /// # Errors
    /// [`Error::Key`] without a usable key, [`Error::Database`] if the events cannot be read.
    pub async fn start(config: &Config, database: Database, cache: CacheHandle) -> Result<Self, Error> {
        let key = signing_key::load(config.auth.jwt_secret.as_ref(), &config.data_dir)?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        // Nothing that is remembered of credentials is older than the oldest token, or than a look-up of a key.
        let picture = Picture::new(config.auth.access_token_ttl.max(api_keys::REMEMBERED_FOR));
        let read_at = picture.poll(&database, None).await?;
        let shared = Arc::new(Shared {
            database,
            signer: token::Signer::new(&key, config.auth.access_token_ttl),
            passwords: Passwords::new(cores)?,
            picture,
            cache,
            last_used: LastUsed::default(),
            upkeep: Upkeep::default(),
            access_token_ttl: config.auth.access_token_ttl,
            refresh_token_ttl: config.auth.refresh_token_ttl,
        });
        shared.upkeep.start(&shared, read_at);
        Ok(Self { shared })
    }

    /// Stops the upkeep task and writes what it would have; what is in memory stays usable until the process ends.
    pub async fn stop(&self) {
        self.shared.upkeep.stop();
        if let Err(error) = self.shared.write_last_used(Due::Everything).await {
            tracing::warn!(%error, "when API keys were last used could not be written");
        }
    }

    /// Who a credential of an `Authorization` header stands for: an access token, without a query, or an API key, with
    /// one at most, and only if `may_look_up`, which is asked for keys alone; with all that has changed since.
    ///
    /// # Errors
    /// [`Error::Token`], [`Error::ApiKey`], [`Error::Revoked`], [`Error::Suspended`], [`Error::LookUp`].
    pub async fn authenticate(&self, credential: &str, may_look_up: impl FnOnce() -> bool) -> Result<Principal, Error> {
        if api_keys::is_key(credential) {
            self.authenticate_key(credential, may_look_up()).await
        } else {
            self.authenticate_token(credential)
        }
    }

    /// Who an access token stands for, with all that has changed since; without a query. Where only a person's token will
    /// do: in the cookie, and to renew a socket.
    ///
    /// # Errors
    /// [`Error::Token`], [`Error::Revoked`], [`Error::Suspended`].
    pub fn authenticate_token(&self, token: &str) -> Result<Principal, Error> {
        self.recheck(self.shared.signer.verify(token, Utc::now())?)
    }

    /// The principal of a live connection with all that has changed since; for listeners that missed events.
    ///
    /// # Errors
    /// [`Error::Revoked`], [`Error::Suspended`].
    pub fn recheck(&self, principal: Principal) -> Result<Principal, Error> {
        self.shared.picture.check(principal, UserStatus::Active)
    }

    /// What is revoked or changed from now on, on any node, at most five seconds after it was. A receiver that lags
    /// rechecks every socket it is responsible for.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.picture.subscribe()
    }

    /// Takes up a committed change of a user at once on this node.
    pub fn apply_user_change(&self, user: UserState) {
        self.shared
            .picture
            .apply(vec![revocation::Row::Changed(user)], Instant::now());
    }
}

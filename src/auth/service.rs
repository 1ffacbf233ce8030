//! Auth: who is calling. Authenticates credentials, and owns what that needs.
//!
//! Used by `http/` for every request, by `sessions/` for every socket, and by `tenants/`, which
//! applies changes of users. An access token costs a query when its user is first seen, then none:
//! it is verified, then checked against the revocation cache. An API key costs one query when it is
//! first seen, then none for a minute. Whatever writes goes to PostgreSQL first, then to the
//! revocation cache, and from there to the listeners.
//!
//! Not an actor: the state is shared behind short locks, and everything else is in PostgreSQL. The
//! one background task is in `upkeep.rs`. Further methods of [`Auth`] are in `registration.rs`,
//! `logins.rs`, `tickets.rs` and `api_keys.rs`.

use super::credential_marks::CredentialMarks;
use super::error::Error;
use super::events::{AuthEvent, UserState};
use super::issue_budget::IssueBudget;
use super::key_lookup::{self, KeyLookup, REMEMBERED_FOR};
use super::known_users::KnownUsers;
use super::last_used::{LastUsed, WriteScope};
use super::login_throttle::LoginThrottle;
use super::password::Passwords;
use super::principal::{CredentialId, Principal};
use super::revocation::RevocationCache;
use super::secret_rotation::{self, Neighbours, NodeSecrets, Proof};
use super::signing_key::load_signing_key;
use super::store::installation;
use super::token::Signer;
use super::upkeep::{Upkeep, UpkeepTask};
use crate::cache::CacheHandle;
use crate::config::Config;
use crate::database::Database;
use crate::ids::UserStatus;
use chrono::Utc;
use parking_lot::Mutex;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::broadcast;

/// The way in. Cheap to clone.
#[derive(Clone)]
pub struct Auth {
    pub(super) inner: Arc<AuthInner>,
}

/// What all clones of [`Auth`] share.
pub(super) struct AuthInner {
    pub(super) database: Database,
    pub(super) signer: Signer,
    pub(super) passwords: Passwords,
    pub(super) marks: CredentialMarks,
    pub(super) revocations: Arc<RevocationCache>,
    pub(super) access_token_ttl: Duration,
    pub(super) refresh_token_ttl: Duration,
    pub(super) login_ttl_max: Duration,
    key_lookup: KeyLookup,
    pub(super) known_users: KnownUsers,
    last_used: Arc<LastUsed>,
    pub(super) login_throttle: LoginThrottle,
    pub(super) issue_budget: IssueBudget,
    upkeep: Upkeep,
}

impl Auth {
    /// Loads the key and what was revoked within the last access-token lifetime, and starts the
    /// upkeep task.
    ///
    /// # Errors
    /// [`Error::Key`] without a usable key, [`Error::OtherSecret`] beside nodes with another one,
    /// [`Error::Database`] if the events cannot be read.
    pub async fn start(config: &Config, database: Database, cache: CacheHandle) -> Result<Self, Error> {
        let (access_token_ttl, refresh_token_ttl) = (config.auth.access_token_ttl, config.auth.refresh_token_ttl);
        let key = load_signing_key(config)?;
        let secrets = node_secrets(config, &key);
        let neighbours = match config.database.url {
            Some(_) => Neighbours::Possible,
            None => Neighbours::None,
        };
        secret_rotation::check(&database, &secrets, neighbours).await?;
        let marks = CredentialMarks::new(&installation::load_mark_key(&database.client().await?).await?)?;
        let signer = Signer::new(secrets.signing, secrets.accepted, access_token_ttl);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        // Nothing that is remembered of credentials is older than the oldest token, or than a
        // look-up of a key.
        let revocations = Arc::new(RevocationCache::new(access_token_ttl.max(REMEMBERED_FOR)));
        let polled_at = revocations.poll(&database, None).await?;
        let last_used = Arc::new(LastUsed::default());
        let login_throttle = LoginThrottle::new(config.limits.enabled);
        let passwords = Passwords::new(cores)?;
        let upkeep = Upkeep::start(UpkeepTask {
            database: database.clone(),
            revocations: revocations.clone(),
            last_used: last_used.clone(),
            login_throttle: login_throttle.clone(),
            access_token_ttl,
            polled_at: Mutex::new(polled_at),
        });
        let inner = AuthInner {
            key_lookup: KeyLookup::new(database.clone(), cache),
            known_users: KnownUsers::new(database.clone()),
            database,
            signer,
            passwords,
            marks,
            revocations,
            access_token_ttl,
            refresh_token_ttl,
            login_ttl_max: config.auth.login_ttl_max,
            last_used,
            login_throttle,
            issue_budget: IssueBudget::new(config.limits.enabled),
            upkeep,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Stops the upkeep task and writes what it would have; what is in memory stays usable until
    /// the process ends.
    pub async fn stop(&self) {
        self.inner.upkeep.stop();
        let written = self.inner.last_used.write(&self.inner.database, WriteScope::All).await;
        if let Err(error) = written {
            tracing::warn!(%error, "when API keys were last used could not be written");
        }
    }

    /// Whether an API key, a refresh token or a ticket is one that this installation has issued, as
    /// its mark says: then it is looked up whoever else is at its address.
    #[must_use]
    pub fn is_marked(&self, credential: &str) -> bool {
        let opaque = credential.strip_prefix(key_lookup::PREFIX).unwrap_or(credential);
        self.inner.marks.is_marked(opaque)
    }

    /// Whether somebody at this address has lately logged in to this account: then nobody else's
    /// failures there make them wait.
    #[must_use]
    pub fn is_known_login(&self, email: &str, address: IpAddr) -> bool {
        self.inner.login_throttle.is_known(email, address)
    }

    /// Asserts that the user of a token is there, where [`Auth::authenticate_token`] has not asked.
    ///
    /// # Errors
    /// [`Error::Token`], [`Error::LookUp`].
    pub async fn check_user(&self, principal: &Principal) -> Result<(), Error> {
        self.inner.known_users.check(principal).await
    }

    /// Who an access token stands for, with all that has changed since; without a query, so that
    /// its user may not be there. Used where only a person's token will do: in the cookie, and to
    /// renew a socket.
    ///
    /// # Errors
    /// [`Error::Token`], [`Error::Revoked`], [`Error::Suspended`].
    pub fn authenticate_token(&self, token: &str) -> Result<Principal, Error> {
        self.recheck(self.inner.signer.verify(token, Utc::now())?)
    }

    /// Who an API key stands for, with all that has changed since; with a query at most, and only
    /// if the key is marked or `may_look_up` says so.
    ///
    /// # Errors
    /// [`Error::ApiKey`], [`Error::NotLookedUp`], [`Error::Revoked`], [`Error::Suspended`],
    /// [`Error::LookUp`].
    pub async fn authenticate_key(&self, key: &str, may_look_up: impl FnOnce() -> bool) -> Result<Principal, Error> {
        let may_look_up = self.is_marked(key) || may_look_up();
        let found = self.inner.key_lookup.find(key, may_look_up).await;
        if matches!(found, Err(Error::ApiKey))
            && let Some(opaque) = key.strip_prefix(key_lookup::PREFIX)
        {
            self.inner.marks.note_refused(opaque);
        }
        let holder = found?;
        let now = Utc::now();
        let principal = self.inner.revocations.check(holder.principal.clone(), holder.status)?;
        if principal.expires_at.is_some_and(|at| at <= now) {
            return Err(Error::ApiKey);
        }
        if let CredentialId::ApiKey(id) = principal.credential.id() {
            self.inner.last_used.note(id, now);
        }
        Ok(principal)
    }

    /// The principal of a live connection with all that has changed since; for listeners that
    /// missed events.
    ///
    /// # Errors
    /// [`Error::Revoked`], [`Error::Suspended`].
    pub fn recheck(&self, principal: Principal) -> Result<Principal, Error> {
        self.inner.revocations.check(principal, UserStatus::Active)
    }

    /// What is revoked or changed from now on, on any node, at most five seconds after it was. A
    /// receiver that lags rechecks every socket it is responsible for.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<AuthEvent> {
        self.inner.revocations.subscribe()
    }

    /// Applies a committed change of a user at once on this node.
    pub fn apply_user_change(&self, user: UserState) {
        let event = AuthEvent::UserChanged(user);
        self.inner.revocations.apply(vec![event], Instant::now());
    }
}

/// Makes the configured `JWT_SECRET` that of the database: nodes with it may start, and for the life
/// of a token also nodes that sign with the one of before and accept both.
///
/// # Errors
/// [`Error::NotThePreviousSecret`], [`Error::Key`], [`Error::Database`].
pub async fn rotate_secret(config: &Config, database: &Database, proof: Proof) -> Result<(), Error> {
    let key = load_signing_key(config)?;
    let secrets = node_secrets(config, &key);
    secret_rotation::rotate(database, &secrets, proof, config.auth.access_token_ttl).await
}

fn node_secrets<'a>(config: &'a Config, signing: &'a [u8]) -> NodeSecrets<'a> {
    let accepted = config.auth.jwt_secret_previous.as_ref();
    NodeSecrets {
        signing,
        accepted: accepted.map(|secret| secret.expose().as_bytes()),
    }
}

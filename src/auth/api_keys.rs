//! API keys: the long-lived credentials of programs, as methods of [`Auth`].
//!
//! A key is `pk_` and 256 random bits; only its SHA-256 is kept, and the secret is shown once. It is found by that hash:
//! there is nothing to compare in constant time, because whoever could learn something about a stored hash from the time
//! an index takes would still have to find a preimage. A plain SHA-256 is enough where the input is 256 random bits; the
//! slow hash is for what people choose.
//!
//! A key costs one query when it is first seen, then none for [`REMEMBERED_FOR`]: the cache holds who it stands for, or that
//! it is nobody's, and each use is checked against the picture of what was deleted or changed since, as a token is. So
//! nothing that decides a permission is older than that picture, whatever is remembered. Only in this process: Redis is not
//! asked who somebody is, or who can write there could be anybody. Only people make and delete keys, so a key that got away
//! makes no others; it never does more than its user may at that moment.
//!
//! Bounds: [`KEYS_MAX`] keys of a user; what is remembered is bounded by the cache. Many callers with one unknown key wait
//! for one query. When the database is away, keys that are remembered go on working until they are forgotten, then callers
//! get `unavailable`.

use super::account::check_name;
use super::last_used::Due;
use super::principal::{CredentialId, Principal};
use super::revocation::Row;
use super::scopes::{Scope, Scopes};
use super::sign_in::{hash_opaque, make_opaque};
use super::store::api_keys as store;
use super::{Auth, Error, Shared};
use crate::cache::{Cacheable, Kind, LoadedValue, keys};
use crate::config::Secret;
use crate::ids::{ApiKeyId, Role, UserStatus};
use crate::wire::frames::{Timestamp, optional_timestamp, timestamp};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use utoipa::ToSchema;

/// What every key begins with, so that it can be told from a token, and found where it should not lie.
const PREFIX: &str = "pk_";
/// Characters of a key: the prefix, and 32 bytes in base64url.
const KEY_BYTES: usize = PREFIX.len() + 43;
/// Keys of one user.
pub(super) const KEYS_MAX: i64 = 50;
/// The longest life a key can be given; without an end it lives until it is deleted.
const LIFE_MAX: TimeDelta = TimeDelta::days(3_653);
/// How long it is remembered who a key stands for, at most. Less than the picture keeps, which is what keeps it honest.
pub(super) const REMEMBERED_FOR: Duration = Duration::from_secs(60);
/// Keys that have run out are listed for this long, so that it can be seen why a program stopped.
pub(super) const EXPIRED_AGE: Duration = Duration::from_secs(30 * 24 * 3_600);

/// An API key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ApiKey {
    /// Its id, to delete it.
    pub id: ApiKeyId,
    /// What its owner calls it.
    pub name: String,
    /// What it was made for; it does less when its user's role allows less.
    pub scopes: Vec<Scope>,
    /// When it was made.
    #[serde(serialize_with = "timestamp")]
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub created_at: Timestamp,
    /// When it runs out, if it does.
    #[serde(serialize_with = "optional_timestamp")]
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub expires_at: Option<Timestamp>,
    /// When it was last used, up to a minute behind; null if never.
    #[serde(serialize_with = "optional_timestamp")]
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub last_used_at: Option<Timestamp>,
}

/// What a new key is to be.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// What its owner calls it.
    pub name: String,
    /// What it is for; at least one.
    pub scopes: Scopes,
    /// When it runs out; never, unless said.
    pub expires_at: Option<Timestamp>,
}

/// A key that was just made: the only time its secret is seen.
#[derive(Debug)]
pub struct IssuedKey {
    /// The key.
    pub key: ApiKey,
    /// What its owner keeps.
    pub secret: Secret,
}

/// Who a key stands for, as the rows said when they were read.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub(super) principal: Principal,
    pub(super) status: UserStatus,
}

/// Who a key stands for, as this process remembers it. A secret is random and shown to its owner after it was kept, so a
/// key that is unknown stays unknown.
#[derive(Clone)]
struct CachedHolder(Arc<Holder>);

impl Cacheable for CachedHolder {
    const KIND: Kind = Kind::ApiKey;

    fn weight(&self) -> usize {
        size_of::<Holder>() + self.0.principal.name.len()
    }
}

/// Whether a credential says of itself that it is a key.
pub(super) fn is_key(credential: &str) -> bool {
    credential.starts_with(PREFIX)
}

/// Whether it has the form of one: anything else costs no look-up.
fn is_plausible(credential: &str) -> bool {
    let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    credential.len() == KEY_BYTES && credential.bytes().all(is_base64url)
}

impl Auth {
    /// Makes a key for the caller, whose role is judged as it is now.
    ///
    /// # Errors
    /// [`Error::NeedsSession`] for callers that are keys, [`Error::Invalid`], [`Error::ScopeBeyondRole`],
    /// [`Error::TooManyKeys`], [`Error::Suspended`], [`Error::Database`].
    pub async fn create_api_key(&self, caller: &Principal, new: &NewApiKey) -> Result<IssuedKey, Error> {
        caller.session_id().ok_or(Error::NeedsSession)?;
        let name = check_name("name", &new.name)?;
        if new.scopes.is_empty() {
            return Err(Error::invalid("scopes", "At least one scope."));
        }
        check_expiry(new.expires_at, Utc::now())?;
        let (random, _) = make_opaque();
        let secret = format!("{PREFIX}{random}");
        let mut client = self.shared.database.client().await?;
        let tx = client.transaction().await?;
        let (role, status) = store::lock_user(&tx, caller.tenant_id, caller.user_id)
            .await?
            .ok_or(Error::Revoked)?;
        if status == UserStatus::Suspended {
            return Err(Error::Suspended);
        }
        if role == Role::Guest {
            return Err(Error::GuestKey);
        }
        if let Some(scope) = new.scopes.first_beyond(Scopes::of_role(role)) {
            return Err(Error::ScopeBeyondRole(scope));
        }
        if store::count_api_keys(&tx, caller.tenant_id, caller.user_id).await? >= KEYS_MAX {
            return Err(Error::TooManyKeys);
        }
        let row = store::NewRow {
            tenant_id: caller.tenant_id,
            user_id: caller.user_id,
            name,
            hash: &hash_opaque(&secret),
            scopes: new.scopes,
            expires_at: new.expires_at,
        };
        let key = store::insert_api_key(&tx, &row).await?;
        tx.commit().await?;
        tracing::info!(api_key.id = %key.id, user.id = %caller.user_id, scopes = ?new.scopes, "API key made");
        Ok(IssuedKey {
            key,
            secret: Secret::new(secret),
        })
    }

    /// A page of the caller's keys, newest first, after `from` (the last one of the page before); one more than `limit` if
    /// there are more.
    ///
    /// # Errors
    /// [`Error::NeedsSession`], [`Error::Database`].
    pub async fn list_api_keys(
        &self,
        caller: &Principal,
        limit: i64,
        from: Option<(Timestamp, ApiKeyId)>,
    ) -> Result<Vec<ApiKey>, Error> {
        caller.session_id().ok_or(Error::NeedsSession)?;
        let client = self.shared.database.client().await?;
        store::list_api_keys(&client, caller.tenant_id, caller.user_id, limit + 1, from).await
    }

    /// Deletes a key of the caller; every node refuses it within five seconds, this one at once.
    ///
    /// # Errors
    /// [`Error::NeedsSession`], [`Error::KeyNotFound`], [`Error::Database`].
    pub async fn delete_api_key(&self, caller: &Principal, id: ApiKeyId) -> Result<(), Error> {
        caller.session_id().ok_or(Error::NeedsSession)?;
        let client = self.shared.database.client().await?;
        if !store::delete_api_key(&client, caller.tenant_id, caller.user_id, id).await? {
            return Err(Error::KeyNotFound);
        }
        self.shared
            .picture
            .apply(vec![Row::Revoked(CredentialId::ApiKey(id))], Instant::now());
        tracing::info!(api_key.id = %id, user.id = %caller.user_id, "API key deleted");
        Ok(())
    }

    /// Who a key stands for, with all that has changed since it was looked up.
    pub(super) async fn authenticate_key(&self, key: &str, may_look_up: bool) -> Result<Principal, Error> {
        if !is_plausible(key) {
            return Err(Error::ApiKey);
        }
        let holder = self.shared.find_holder(key, may_look_up).await?.ok_or(Error::ApiKey)?;
        let now = Utc::now();
        let principal = self.shared.picture.check(holder.principal.clone(), holder.status)?;
        if principal.expires_at.is_some_and(|at| at <= now) {
            return Err(Error::ApiKey);
        }
        if let CredentialId::ApiKey(id) = principal.credential.id() {
            self.shared.last_used.note(id, now);
        }
        Ok(principal)
    }
}

impl Shared {
    /// From the cache, or else from the database if that may be asked.
    async fn find_holder(&self, secret: &str, may_look_up: bool) -> Result<Option<Arc<Holder>>, Error> {
        let hash = hash_opaque(secret);
        let (key, database) = (keys::api_key(&hash), self.database.clone());
        let load = move || async move {
            if !may_look_up {
                return Err(Error::NotLookedUp);
            }
            let client = database.client().await?;
            let holder = store::find_api_key(&client, &hash).await?;
            Ok(LoadedValue {
                value: holder.map(|holder| CachedHolder(Arc::new(holder))),
                depends_on: Vec::new(),
                keep: true,
            })
        };
        let found = self.cache.get_or_load_here(&key, REMEMBERED_FOR, load).await;
        Ok(found.map_err(Error::LookUp)?.map(|CachedHolder(holder)| holder))
    }

    /// Writes when keys were last used. What cannot be written is tried again in the next round.
    pub(super) async fn write_last_used(&self, due: Due) -> Result<(), Error> {
        loop {
            let batch = self.last_used.take(due, Instant::now());
            if batch.is_empty() {
                return Ok(());
            }
            let written = match self.database.client().await {
                Ok(client) => store::touch_api_keys(&client, &batch).await,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = written {
                self.last_used.put_back(&batch);
                return Err(error);
            }
        }
    }
}

fn check_expiry(expires_at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Result<(), Error> {
    let Some(at) = expires_at else { return Ok(()) };
    if at <= now {
        return Err(Error::invalid("expires_at", "Not in the past."));
    }
    if at - now > LIFE_MAX {
        return Err(Error::invalid(
            "expires_at",
            "At most ten years from now; or leave it out.",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_looks_like_a_key_is_looked_up() {
        let (random, _) = make_opaque();
        let key = format!("{PREFIX}{random}");
        assert!(is_key(&key) && is_plausible(&key));
        assert!(!is_key("eyJhbGciOiJIUzI1NiJ9.e30.x"), "a token is no key");
        for bad in [
            "pk_",
            &key[..key.len() - 1],
            &format!("{key}x"),
            &key.replace('_', "/"),
            &format!("pk_{}", "ä".repeat(43)),
        ] {
            assert!(!is_plausible(bad), "{bad}");
        }
    }

    #[test]
    fn a_key_ends_in_the_future_and_in_this_age() {
        let now = DateTime::UNIX_EPOCH;
        let after = |delta| check_expiry(Some(now + delta), now);
        assert!(check_expiry(None, now).is_ok());
        assert!(after(TimeDelta::seconds(1)).is_ok() && after(LIFE_MAX).is_ok());
        for bad in [
            TimeDelta::zero(),
            TimeDelta::seconds(-1),
            LIFE_MAX + TimeDelta::seconds(1),
        ] {
            assert!(after(bad).is_err(), "{bad}");
        }
        assert!(check_expiry(Some(DateTime::<Utc>::MAX_UTC), now).is_err());
    }

    #[test]
    fn the_secret_is_not_printed() {
        let issued = Secret::new("pk_x");
        assert!(!format!("{issued:?}").contains("pk_x"));
        assert!(
            REMEMBERED_FOR < Duration::from_secs(90),
            "the picture keeps at least as long; see `Picture::new`"
        );
    }
}

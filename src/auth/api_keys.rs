//! The management of API keys: make, list and delete, as methods of [`Auth`].
//!
//! API keys are the long-lived credentials of programs. A key is `pk_`, 192 random bits and a mark;
//! only its SHA-256 is stored, and the secret is shown once. Only people make and delete keys, so a
//! key that got away makes no others. A key never does more than its user may at that moment. How a
//! key is used is in `key_lookup.rs`.
//!
//! Bound: [`KEYS_MAX`] keys of a user.

use super::error::Error;
use super::events::AuthEvent;
use super::key_lookup::PREFIX;
use super::key_types::{ApiKey, IssuedKey, NewApiKey};
use super::names::check_name;
use super::opaque::hash_opaque;
use super::principal::{CredentialId, Principal};
use super::scopes::Scopes;
use super::service::Auth;
use super::store::api_keys as store;
use crate::config::Secret;
use crate::ids::{ApiKeyId, Role, UserStatus};
use crate::wire::frames::Timestamp;
use chrono::{DateTime, TimeDelta, Utc};
use std::time::Instant;

/// Keys of one user.
const KEYS_MAX: i64 = 50;
/// The longest life a key can be given; without an end it lives until it is deleted.
const LIFE_MAX: TimeDelta = TimeDelta::days(3_653);

impl Auth {
    /// Makes a key for the caller, whose role is judged as it is now.
    ///
    /// # Errors
    /// [`Error::NeedsSession`] for callers that are keys, [`Error::Invalid`],
    /// [`Error::ScopeBeyondRole`], [`Error::TooManyKeys`], [`Error::Suspended`],
    /// [`Error::Database`].
    pub async fn create_api_key(&self, caller: &Principal, new: &NewApiKey) -> Result<IssuedKey, Error> {
        caller.session_id().ok_or(Error::NeedsSession)?;
        let name = check_name("name", &new.name)?;
        if new.scopes.is_empty() {
            return Err(Error::invalid("scopes", "At least one scope."));
        }
        check_expiry(new.expires_at, Utc::now())?;
        let (random, _) = self.inner.marks.make();
        let secret = format!("{PREFIX}{random}");
        let mut client = self.inner.database.client().await?;
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
        let row = store::NewKeyRow {
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

    /// A page of the caller's keys, newest first, after `from` (the last one of the page before);
    /// one more than `limit` if there are more.
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
        let client = self.inner.database.client().await?;
        store::list_api_keys(&client, caller.tenant_id, caller.user_id, limit + 1, from).await
    }

    /// Deletes a key of the caller; every node refuses it within five seconds, this one at once.
    ///
    /// # Errors
    /// [`Error::NeedsSession`], [`Error::KeyNotFound`], [`Error::Database`].
    pub async fn delete_api_key(&self, caller: &Principal, id: ApiKeyId) -> Result<(), Error> {
        caller.session_id().ok_or(Error::NeedsSession)?;
        let client = self.inner.database.client().await?;
        if !store::delete_api_key(&client, caller.tenant_id, caller.user_id, id).await? {
            return Err(Error::KeyNotFound);
        }
        self.inner
            .revocations
            .apply(vec![AuthEvent::Revoked(CredentialId::ApiKey(id))], Instant::now());
        tracing::info!(api_key.id = %id, user.id = %caller.user_id, "API key deleted");
        Ok(())
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
    }
}

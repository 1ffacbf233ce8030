//! Whom an API key stands for: looked up by its hash, and remembered for a while.
//!
//! A key costs one query when it is first seen, then none for [`REMEMBERED_FOR`]: the cache holds
//! its holder, or that it is nobody's. `Auth` checks every use against the revocation cache, as it
//! does a token. So nothing that decides a permission is older than that cache, whatever is
//! remembered here. Only this process remembers. Redis is not used for that, because
//! anybody who can write there could be any user.
//!
//! There is nothing to compare in constant time. Anyone who could learn something about a stored hash
//! from the time an index takes would still have to find a preimage.
//!
//! Bound: that of the cache. Many callers with one unknown key wait for one query. While the
//! database is away, remembered keys go on working until they are forgotten; then callers get
//! `unavailable`.

use super::error::Error;
use super::key_types::KeyHolder;
use super::opaque::hash_opaque;
use super::store::api_keys as store;
use crate::cache::{CacheHandle, Cacheable, Kind, LoadedValue, keys};
use crate::database::Database;
use std::sync::Arc;
use std::time::Duration;

/// What every key begins with, so that it can be told from a token, and found where it should not
/// lie.
pub(super) const PREFIX: &str = "pk_";
/// Characters of a key: the prefix, and 32 bytes in base64url.
const KEY_BYTES: usize = PREFIX.len() + 43;
/// How long it is remembered whom a key stands for, at most. The revocation cache keeps its entries
/// longer.
pub(super) const REMEMBERED_FOR: Duration = Duration::from_secs(60);

/// A holder as this process remembers it. A secret is random and shown to its owner after it was
/// stored, so a key that is unknown stays unknown.
#[derive(Clone)]
struct CachedHolder(Arc<KeyHolder>);

impl Cacheable for CachedHolder {
    const KIND: Kind = Kind::ApiKey;

    fn weight(&self) -> usize {
        size_of::<KeyHolder>() + self.0.principal.name.len()
    }
}

/// Whether a credential says of itself that it is a key.
#[must_use]
pub fn is_key(credential: &str) -> bool {
    credential.starts_with(PREFIX)
}

/// Whether it has the form of a key: anything else costs no look-up.
fn is_well_formed(credential: &str) -> bool {
    let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    is_key(credential) && credential.len() == KEY_BYTES && credential.bytes().all(is_base64url)
}

/// Finds the holders of keys.
pub(super) struct KeyLookup {
    database: Database,
    cache: CacheHandle,
}

impl KeyLookup {
    pub(super) const fn new(database: Database, cache: CacheHandle) -> Self {
        Self { database, cache }
    }

    /// From the cache, or else from the database if that may be asked.
    ///
    /// # Errors
    /// [`Error::ApiKey`] for a key of nobody, [`Error::LookUp`].
    pub(super) async fn find(&self, secret: &str, may_look_up: bool) -> Result<Arc<KeyHolder>, Error> {
        if !is_well_formed(secret) {
            return Err(Error::ApiKey);
        }
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
        let CachedHolder(holder) = found.map_err(Error::LookUp)?.ok_or(Error::ApiKey)?;
        Ok(holder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::credential_marks::CredentialMarks;

    #[test]
    fn only_what_looks_like_a_key_is_looked_up() {
        let (random, _) = CredentialMarks::new(&[1; 32]).unwrap().make();
        let key = format!("{PREFIX}{random}");
        assert!(is_key(&key) && is_well_formed(&key));
        assert!(!is_key("eyJhbGciOiJIUzI1NiJ9.e30.x"), "a token is no key");
        for bad in [
            "pk_",
            &key[..key.len() - 1],
            &format!("{key}x"),
            &key.replace('_', "/"),
            &format!("pk_{}", "ä".repeat(43)),
        ] {
            assert!(!is_well_formed(bad), "{bad}");
        }
    }
}

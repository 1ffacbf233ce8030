//! Opaque secrets: refresh tokens, socket tickets and the random part of API keys. Pure but for the
//! random bits.
//!
//! Each is 256 random bits as text. Only its SHA-256 is stored. A plain hash is enough for random
//! input; the slow hash of `password.rs` is for what people choose.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Longest opaque token or invite code that is looked up, in bytes.
const OPAQUE_BYTES_MAX: usize = 128;

/// A new secret, and the hash that is stored of it.
pub(super) fn make_opaque() -> (String, Vec<u8>) {
    let secret: [u8; 32] = rand::random();
    let text = BASE64_URL_SAFE_NO_PAD.encode(secret);
    let hash = hash_opaque(&text);
    (text, hash)
}

pub(super) fn hash_opaque(text: &str) -> Vec<u8> {
    Sha256::digest(text.as_bytes()).to_vec()
}

/// Whether a text can be an opaque token or a code at all. PostgreSQL's text cannot hold a NUL.
pub(super) fn is_plausible(text: &str) -> bool {
    text.len() <= OPAQUE_BYTES_MAX && !text.contains('\0')
}

/// When something ends that is issued now; far in the future if the sum cannot be represented.
pub(super) fn expiry(now: DateTime<Utc>, ttl: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(ttl)
        .ok()
        .and_then(|ttl| now.checked_add_signed(ttl))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opaque_tokens_are_long_and_stored_as_a_hash() {
        let (a, hash) = make_opaque();
        let (b, _) = make_opaque();
        assert_ne!(a, b);
        assert_eq!((a.len(), hash.len()), (43, 32));
        assert_eq!(hash_opaque(&a), hash);
        assert!(a.len() <= OPAQUE_BYTES_MAX);
    }
}

//! Opaque secrets: refresh tokens, socket tickets and the random part of API keys, as they are
//! stored. Pure. How they are made is in `credential_marks.rs`.
//!
//! Only the SHA-256 of one is stored. A plain hash is enough for random input; the slow hash of
//! `password.rs` is for what people choose.

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Longest opaque token or invite code that is looked up, in bytes.
const OPAQUE_BYTES_MAX: usize = 128;

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
    fn what_cannot_be_a_secret_is_not_looked_up() {
        assert_eq!(hash_opaque("a").len(), 32);
        assert!(is_plausible(&"x".repeat(OPAQUE_BYTES_MAX)));
        assert!(!is_plausible(&"x".repeat(OPAQUE_BYTES_MAX + 1)));
        assert!(!is_plausible("a\0"));
    }
}

//! Whether the nodes of one database sign with the same secret.
//!
//! Nodes with different secrets would refuse each other's tokens, and people would be signed in and
//! out with every request. So the first node leaves a fingerprint of its secret in the database, and
//! a node with another one does not start. The fingerprint is an HMAC with the secret as its key: it
//! can be compared, and says nothing of the secret.
//!
//! The secret is changed with `parlance secrets rotate`: then the fingerprint of before stays known
//! for the life of a token, and nodes may have either one first, as long as they accept both
//! (`JWT_SECRET_PREVIOUS`). A private database has one node, so its fingerprint follows the node.
//!
//! Used by `secret_rotation.rs`. Pure.

use super::error::Error;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// What is signed, and with which version of this rule.
const TEXT: &[u8] = b"parlance fingerprint of JWT_SECRET, version 1";

/// Tells secrets apart, and not what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SecretFingerprint(pub(super) [u8; 32]);

/// What the database knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KnownFingerprints {
    pub(super) present: SecretFingerprint,
    /// While tokens that it signed live.
    pub(super) previous: Option<SecretFingerprint>,
}

impl SecretFingerprint {
    pub(super) fn of(secret: &[u8]) -> Result<Self, Error> {
        let mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|error| Error::Key(error.to_string()))?;
        Ok(Self(mac.chain_update(TEXT).finalize().into_bytes().into()))
    }
}

/// Whether a node whose tokens have the fingerprint `signing`, and that accepts `accepted` besides,
/// goes with those beside it.
pub(super) fn fits(known: &KnownFingerprints, signing: SecretFingerprint, accepted: Option<SecretFingerprint>) -> bool {
    let is_known = signing == known.present || known.previous == Some(signing);
    let accepts_present = signing == known.present || accepted == Some(known.present);
    is_known && accepts_present
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_tells_secrets_apart() {
        let of = |secret: &[u8]| SecretFingerprint::of(secret).unwrap();
        assert_eq!(of(b"one"), of(b"one"));
        assert_ne!(of(b"one"), of(b"other"));
    }

    #[test]
    fn nodes_go_together_if_each_accepts_what_the_others_sign() {
        let [old, new, other] =
            [b"old".as_slice(), b"new", b"other"].map(|secret| SecretFingerprint::of(secret).unwrap());
        let before = KnownFingerprints {
            present: old,
            previous: None,
        };
        let during = KnownFingerprints {
            present: new,
            previous: Some(old),
        };
        let after = KnownFingerprints {
            present: new,
            previous: None,
        };
        for (known, signing, accepted, goes) in [
            (before, old, None, true),
            (before, old, Some(new), true),
            (before, new, None, false),
            // Others would refuse what it signs: not before the change.
            (before, new, Some(old), false),
            (during, new, Some(old), true),
            (during, new, None, true),
            (during, old, Some(new), true),
            (during, old, None, false),
            (during, other, Some(new), false),
            (after, old, Some(new), false),
            (after, new, None, true),
        ] {
            assert_eq!(
                fits(&known, signing, accepted),
                goes,
                "{known:?} {signing:?} {accepted:?}"
            );
        }
    }
}

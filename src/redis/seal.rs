//! Seals: whoever can write to Redis is not believed for it. Pure.
//!
//! What nodes put there for each other carries a MAC (HMAC-SHA-256, half of it) over the place where
//! it stands and the content. The key comes from `JWT_SECRET`, which all nodes have, by HKDF with
//! the purpose. The place is in it, or somebody could carry what is true of one conversation to
//! another.
//!
//! Used by the bus. Quotas have no seal: Redis itself counts there. Nor have cached values: nothing
//! that decides a permission is read from Redis.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bytes of a seal. Guessing one takes 2¹²⁷ tries, each of which is counted.
pub const SEAL_BYTES: usize = 16;

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// Separates our keys from others that somebody may derive from the same secret.
const SALT: &[u8] = b"parlance";

/// What seals are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealPurpose {
    /// Envelopes between nodes.
    Bus,
}

impl SealPurpose {
    const fn name(self) -> &'static str {
        match self {
            Self::Bus => "bus",
        }
    }
}

/// Makes and checks the seals of one purpose.
#[derive(Clone)]
pub struct Sealer {
    own: Hmac<Sha256>,
    /// Of nodes with the other secret, while secrets are exchanged.
    accepted: Option<Hmac<Sha256>>,
}

impl Sealer {
    /// Seals with the first secret, and accepts seals of both.
    #[must_use]
    pub fn new(secret: &[u8], accepted: Option<&[u8]>, purpose: SealPurpose) -> Self {
        Self {
            own: Self::keyed(secret, purpose),
            accepted: accepted.map(|secret| Self::keyed(secret, purpose)),
        }
    }

    fn keyed(secret: &[u8], purpose: SealPurpose) -> Hmac<Sha256> {
        // A whole block, as HMAC takes it: zeros behind the key.
        let mut key = [0; 64];
        let derived = Hkdf::<Sha256>::new(Some(SALT), secret).expand(purpose.name().as_bytes(), &mut key[..KEY_BYTES]);
        debug_assert!(derived.is_ok(), "so few bytes can be derived");
        Hmac::new(&key.into())
    }

    /// The seal of some content at a place.
    #[must_use]
    pub fn seal(&self, place: &[u8], content: &[u8]) -> [u8; SEAL_BYTES] {
        let whole = over(&self.own, place, content).finalize().into_bytes();
        let mut half = [0; SEAL_BYTES];
        half.copy_from_slice(&whole[..SEAL_BYTES]);
        half
    }

    /// Whether a seal is that of the content at the place.
    #[must_use]
    pub fn is_sealed(&self, place: &[u8], content: &[u8], seal: &[u8]) -> bool {
        let is_of = |key: &Hmac<Sha256>| over(key, place, content).verify_truncated_left(seal).is_ok();
        seal.len() == SEAL_BYTES && (is_of(&self.own) || self.accepted.as_ref().is_some_and(is_of))
    }
}

fn over(key: &Hmac<Sha256>, place: &[u8], content: &[u8]) -> Hmac<Sha256> {
    let mut mac = key.clone();
    // Its length first: no part of one may be taken for a part of the other.
    mac.update(&(place.len() as u64).to_be_bytes());
    mac.update(place);
    mac.update(content);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"a secret that is long enough for it";

    #[test]
    fn a_seal_is_of_its_purpose_place_and_content() {
        let sealer = Sealer::new(SECRET, None, SealPurpose::Bus);
        let seal = sealer.seal(b"a place", b"content");
        assert!(sealer.is_sealed(b"a place", b"content", &seal));
        for (place, content) in [
            (&b"a place"[..], &b"contents"[..]),
            (b"a plac", b"econtent"),
            (b"a placec", b"ontent"),
            (b"", b"content"),
            (b"a place", b""),
        ] {
            assert!(!sealer.is_sealed(place, content, &seal), "{place:?} {content:?}");
        }
        for n in 0..SEAL_BYTES {
            let mut other = seal;
            other[n] ^= 1;
            assert!(!sealer.is_sealed(b"a place", b"content", &other));
            assert!(!sealer.is_sealed(b"a place", b"content", &seal[..n]));
        }
        assert!(!sealer.is_sealed(b"a place", b"content", &[&seal[..], &[0]].concat()));
        let other = Sealer::new(b"another", None, SealPurpose::Bus);
        assert!(!other.is_sealed(b"a place", b"content", &seal));
        let exchanging = Sealer::new(b"another", Some(SECRET), SealPurpose::Bus);
        assert!(exchanging.is_sealed(b"a place", b"content", &seal));
        assert!(other.is_sealed(b"a place", b"content", &exchanging.seal(b"a place", b"content")));
    }

    /// Nodes of other versions have to come to the same.
    #[test]
    fn a_seal_is_what_it_always_was() {
        // python3: hkdf(salt "parlance", info "bus") and hmac over the length, the place, the content.
        let seal = Sealer::new(SECRET, None, SealPurpose::Bus).seal(b"parlance:bus:0:everybody", b"hello");
        let text = seal.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(text, "062854386d644a5d6b5b016dc7d08dcb");
    }
}

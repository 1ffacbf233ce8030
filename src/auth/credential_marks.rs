//! Marks: what tells an opaque credential of this installation from a made-up one, without a query.
//!
//! A refresh token, a ticket and the random part of an API key are 192 random bits and a mark: 64
//! bits of an HMAC of them, with a key that all nodes find in the database. So who shares an address
//! with a client that makes up credentials is looked up all the same, and the made-up ones cause no
//! query beyond the address's budget.
//!
//! A mark proves nothing about rights: those are in the row of the credential. It only decides
//! whether the look-up has to be paid for first. A credential of before there were marks is as good
//! as before; it is looked up within the budget.
//!
//! Used by `service.rs`, `logins.rs`, `tickets.rs`, `api_keys.rs`. Bound: of [`REFUSED_MAX`] marked
//! credentials it is remembered that they were refused (spent, deleted), which takes their privilege
//! away; then the oldest is forgotten. A crash forgets all of them, and each costs a query once more.

use super::error::Error;
use super::opaque::hash_opaque;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use parking_lot::Mutex;
use sha2::Sha256;
use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

/// Random bytes of a credential.
const RANDOM_BYTES: usize = 24;
/// Bytes of its mark.
const MARK_BYTES: usize = 8;
/// Refused credentials that are remembered; about 50 bytes each.
const REFUSED_MAX: usize = 20_000;

/// Makes and recognises marked credentials.
pub(super) struct CredentialMarks {
    keyed: Hmac<Sha256>,
    refused: Mutex<RefusedCredentials>,
}

/// Hashes of marked credentials that were refused, in the order in which they were.
#[derive(Default)]
struct RefusedCredentials {
    known: HashSet<u64>,
    order: VecDeque<u64>,
    hasher: RandomState,
}

impl CredentialMarks {
    pub(super) fn new(key: &[u8]) -> Result<Self, Error> {
        let keyed = Hmac::<Sha256>::new_from_slice(key).map_err(|error| Error::Key(error.to_string()))?;
        Ok(Self {
            keyed,
            refused: Mutex::default(),
        })
    }

    /// A new credential, and the hash that is stored of it.
    pub(super) fn make(&self) -> (String, Vec<u8>) {
        let random: [u8; RANDOM_BYTES] = rand::random();
        let mut bytes = random.to_vec();
        bytes.extend_from_slice(&self.mark(&random));
        let text = BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let hash = hash_opaque(&text);
        (text, hash)
    }

    /// Whether this installation has issued it, and it was not refused lately.
    pub(super) fn is_marked(&self, text: &str) -> bool {
        let Ok(bytes) = BASE64_URL_SAFE_NO_PAD.decode(text) else {
            return false;
        };
        let Some((random, mark)) = bytes.split_at_checked(RANDOM_BYTES) else {
            return false;
        };
        mark == self.mark(random) && !self.refused.lock().contains(text)
    }

    /// It is good for nothing, and will not be: from now on its look-ups are paid for.
    pub(super) fn note_refused(&self, text: &str) {
        if self.is_marked(text) {
            self.refused.lock().note(text);
        }
    }

    fn mark(&self, random: &[u8]) -> [u8; MARK_BYTES] {
        let mac = self.keyed.clone().chain_update(random).finalize().into_bytes();
        let mut mark = [0; MARK_BYTES];
        for (to, from) in mark.iter_mut().zip(mac) {
            *to = from;
        }
        mark
    }
}

impl RefusedCredentials {
    fn contains(&self, text: &str) -> bool {
        !self.known.is_empty() && self.known.contains(&self.hasher.hash_one(text))
    }

    fn note(&mut self, text: &str) {
        let hash = self.hasher.hash_one(text);
        if !self.known.insert(hash) {
            return;
        }
        self.order.push_back(hash);
        if self.order.len() > REFUSED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_issued_has_a_mark() {
        let marks = CredentialMarks::new(&[1; 32]).unwrap();
        let (text, hash) = marks.make();
        assert_eq!((text.len(), hash.len()), (43, 32));
        assert_eq!(hash_opaque(&text), hash);
        assert_ne!(marks.make().0, text);
        assert!(marks.is_marked(&text));
        let other_end = if text.ends_with('A') { "E" } else { "A" };
        for made_up in [
            "",
            "x",
            &text[1..],
            &format!("{text}A"),
            &format!("{}{other_end}", &text[..42]),
            &BASE64_URL_SAFE_NO_PAD.encode([0; 32]),
            &"ä".repeat(43),
        ] {
            assert!(!marks.is_marked(made_up), "{made_up}");
        }
        assert!(
            !CredentialMarks::new(&[2; 32]).unwrap().is_marked(&text),
            "of another installation"
        );
    }

    #[test]
    fn what_was_refused_has_lost_its_mark_and_memory_is_bounded() {
        let marks = CredentialMarks::new(&[1; 32]).unwrap();
        let spent = marks.make().0;
        marks.note_refused(&spent);
        marks.note_refused(&spent);
        marks.note_refused("made up");
        assert!(!marks.is_marked(&spent));
        assert_eq!(marks.refused.lock().order.len(), 1);
        for _ in 0..REFUSED_MAX {
            marks.note_refused(&marks.make().0);
        }
        let refused = marks.refused.lock();
        assert_eq!((refused.known.len(), refused.order.len()), (REFUSED_MAX, REFUSED_MAX));
        drop(refused);
        assert!(marks.is_marked(&spent), "the oldest is forgotten");
    }
}

//! Slices: 8,192 messages of a conversation that follow each other, and the key of each. Pure.
//!
//! In the index every word stands behind the key of its message's slice. So a search looks its
//! words up in the slices of the caller's conversations. What other people write, in this workspace
//! or another, costs it nothing, and neither does the beginning of a word, which would otherwise be
//! searched in the words of everybody.
//!
//! A key is short, since it stands before every word. Two slices may share one: whoever searches
//! compares the conversation as well.

use crate::ids::{ConversationId, Seq};
use sha2::{Digest as _, Sha256};

/// Messages of a slice are 2 to this power. The statement `search.list_slices` has it, too.
const SLICE_BITS: u32 = 13;

/// The digits of a key. None of them means something in a tsquery.
const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_~";

/// The key of a slice: four characters, 24 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SliceKey([u8; 4]);

impl SliceKey {
    /// The key of the slice that a message is in.
    pub(super) fn of_message(conversation: ConversationId, seq: Seq) -> Self {
        Self::of(conversation, seq.0 >> SLICE_BITS)
    }

    /// The key of the nth slice of a conversation.
    pub(super) fn of(conversation: ConversationId, n: i64) -> Self {
        let hash = Sha256::new()
            .chain_update(conversation.0.as_bytes())
            .chain_update(n.to_be_bytes())
            .finalize();
        let bits = u32::from_be_bytes([0, hash[0], hash[1], hash[2]]);
        let digit = |place: u32| DIGITS[(bits >> (6 * place)) as usize & 63];
        Self([digit(0), digit(1), digit(2), digit(3)])
    }

    pub(super) fn as_str(&self) -> &str {
        // Always ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use uuid::Uuid;

    /// The index of a database that exists has these keys: they must never change.
    #[test]
    fn keys_are_for_ever() {
        let conversation = ConversationId(Uuid::from_u128(7));
        assert_eq!(SliceKey::of(conversation, 0).as_str(), "iaA0");
        assert_eq!(SliceKey::of(conversation, 1).as_str(), "Bfvl");
        assert_eq!(
            SliceKey::of_message(conversation, Seq(8_191)),
            SliceKey::of(conversation, 0)
        );
        assert_eq!(
            SliceKey::of_message(conversation, Seq(8_192)),
            SliceKey::of(conversation, 1)
        );
    }

    #[test]
    fn keys_hardly_meet() {
        let keys: HashSet<_> = (0..1_000)
            .map(|n| SliceKey::of(ConversationId(Uuid::from_u128(n)), 0))
            .collect();
        assert!(keys.len() > 990, "{}", keys.len());
    }
}

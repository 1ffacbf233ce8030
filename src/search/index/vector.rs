//! The words of a message as PostgreSQL takes them: a `tsvector` without positions. Pure.
//!
//! Written in the binary form of `tsvectorsend` and `tsvectorrecv` (`src/backend/utils/adt/tsvector.c`):
//! the number of words, then each with a zero behind it and the number of its positions, here none.
//! PostgreSQL expects them sorted by bytes, each once.

use crate::ids::{ConversationId, Seq};
use crate::search::slices::SliceKey;
use crate::search::words::{for_each_word, indexed_part};
use bytes::{BufMut as _, BytesMut};
use std::collections::BTreeSet;
use std::error::Error;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// The words of a message, each behind the key of its slice.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WordVector(BTreeSet<String>);

impl WordVector {
    /// `None` where the text has no word, and needs no entry.
    pub(super) fn of(conversation: ConversationId, seq: Seq, text: &str) -> Option<Self> {
        let key = SliceKey::of_message(conversation, seq);
        let mut words = BTreeSet::new();
        for_each_word(text, |word, _| {
            let word = indexed_part(word);
            let mut keyed = String::with_capacity(4 + word.len());
            keyed.push_str(key.as_str());
            keyed.push_str(word);
            words.insert(keyed);
        });
        (!words.is_empty()).then_some(Self(words))
    }

    /// Whether these are the words, which are sorted.
    pub(super) fn is(&self, words: &[String]) -> bool {
        self.0.iter().eq(words)
    }
}

impl ToSql for WordVector {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_i32(i32::try_from(self.0.len())?);
        for word in &self.0 {
            out.put_slice(word.as_bytes());
            out.put_u8(0);
            out.put_u16(0);
        }
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TS_VECTOR
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn words_are_sorted_and_once() {
        let conversation = ConversationId(Uuid::from_u128(7));
        let key = SliceKey::of(conversation, 0);
        let vector = WordVector::of(conversation, Seq(1), "b A b").unwrap();
        let words = ["a", "b"].map(|word| format!("{}{word}", key.as_str()));
        assert!(vector.is(&words));
        let mut bytes = BytesMut::new();
        vector.to_sql(&Type::TS_VECTOR, &mut bytes).unwrap();
        let expected = format!("\0\0\0\u{2}{}\0\0\0{}\0\0\0", words[0], words[1]);
        assert_eq!(&bytes[..], expected.as_bytes());
        assert_eq!(WordVector::of(conversation, Seq(1), "😀 !"), None);
    }
}

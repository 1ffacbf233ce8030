//! How values look in Redis: a version byte, then the value in postcard. Pure.
//!
//! The format does not describe itself, so everything rests on the version byte. Bytes of another
//! version, or bytes that are not exactly one value, are no value: the reader that finds them loads and
//! overwrites them. A test pins the bytes of each shape, so a changed shape without a new version
//! fails there.
//!
//! A first byte of 0 marks a tombstone: an invalidation that outlives the value. Its random bytes
//! make every tombstone different. Anyone who read before it cannot write after it (see `remote.rs`).
//!
//! Why postcard: it is small (a user takes about 90 bytes, in JSON 250), its format is specified
//! and stable, and it is maintained, which bincode is not any more.

use super::cacheable::Shareable;

/// What a tombstone begins with; versions begin with 1.
const TOMBSTONE: u8 = 0;

/// What the bytes of a key are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded<T> {
    /// A value, or the knowledge that there is none.
    Value(Option<T>),
    /// Invalidated a moment ago.
    Tombstone,
    /// A value of another version, or nothing of ours.
    Foreign,
}

/// The bytes of a value. `None` if it cannot be encoded; a shape that derives its encoding always
/// can.
pub(super) fn encode<T: Shareable>(value: &Option<T>) -> Option<Vec<u8>> {
    const { assert!(T::VERSION != TOMBSTONE, "versions begin with 1") }
    postcard::to_extend(value, vec![T::VERSION]).ok()
}

pub(super) fn decode<T: Shareable>(bytes: &[u8]) -> Decoded<T> {
    match bytes.split_first() {
        Some((&TOMBSTONE, _)) => Decoded::Tombstone,
        Some((version, rest)) if *version == T::VERSION => match postcard::take_from_bytes(rest) {
            Ok((value, [])) => Decoded::Value(value),
            _ => Decoded::Foreign,
        },
        _ => Decoded::Foreign,
    }
}

/// A tombstone that differs from every other.
pub(super) fn tombstone() -> Vec<u8> {
    let mut bytes = vec![TOMBSTONE];
    bytes.extend(rand::random::<[u8; 16]>());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Cacheable, Kind};
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct Sample {
        name: String,
        count: i64,
    }

    impl Cacheable for Sample {
        const KIND: Kind = Kind::User;

        fn weight(&self) -> usize {
            self.name.len()
        }
    }

    impl Shareable for Sample {
        const VERSION: u8 = 2;
    }

    #[test]
    fn other_versions_and_garbage_are_no_value() {
        let shape = Sample {
            name: "Ann".to_owned(),
            count: 7,
        };
        let bytes = encode(&Some(shape.clone())).unwrap();
        assert_eq!(bytes, [2, 1, 3, b'A', b'n', b'n', 14]);
        assert_eq!(decode::<Sample>(&bytes), Decoded::Value(Some(shape)));
        assert_eq!(
            decode::<Sample>(&encode::<Sample>(&None).unwrap()),
            Decoded::Value(None)
        );
        assert_eq!(decode::<Sample>(&tombstone()), Decoded::Tombstone);
        let mut old = bytes.clone();
        old[0] = 1;
        let (cut, longer) = (&bytes[..bytes.len() - 1], [&bytes[..], &[0]].concat());
        for foreign in [&old[..], cut, &longer, b"", b"OK", b"{}"] {
            assert_eq!(decode::<Sample>(foreign), Decoded::Foreign, "{foreign:?}");
        }
        assert_ne!(tombstone(), tombstone());
    }

    proptest! {
        #[test]
        fn values_come_back_and_no_bytes_do_harm(name in ".*", count in any::<i64>(), bytes in any::<Vec<u8>>()) {
            let shape = Some(Sample { name, count });
            prop_assert_eq!(decode(&encode(&shape).unwrap()), Decoded::Value(shape));
            decode::<Sample>(&bytes);
        }
    }
}

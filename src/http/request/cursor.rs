//! The cursor: where the next page of a list begins, as an opaque word. Pure.
//!
//! It names the last item of the page before, so that a list stays whole while things are added to
//! it. It holds nothing secret and needs no signature: whatever it says, a list shows only what its
//! caller may see.

use crate::http::response::error::Error;
use crate::wire::frames::Timestamp;
use chrono::{DateTime, Datelike as _};
use uuid::Uuid;

/// The position after an item that is ordered by time and id.
#[must_use]
pub(crate) fn after(at: Timestamp, id: Uuid) -> String {
    format!("{:x}.{}", at.timestamp_micros(), id.simple())
}

/// The position that [`after`] wrote.
///
/// # Errors
/// `bad_request`.
pub(crate) fn parse(cursor: &str) -> Result<(Timestamp, Uuid), Error> {
    let parse = || {
        let (micros, id) = cursor.split_once('.')?;
        let at = DateTime::from_timestamp_micros(i64::from_str_radix(micros, 16).ok()?)?;
        // Nothing of ours is older, and PostgreSQL refuses what is much older or younger than that.
        let is_ours = (1970..=9999).contains(&at.year());
        Some((at, Uuid::try_parse(id).ok()?)).filter(|_| is_ours)
    };
    parse().ok_or_else(wrong)
}

/// The position that is just an id.
///
/// # Errors
/// `bad_request`.
pub(crate) fn parse_id(cursor: &str) -> Result<Uuid, Error> {
    Uuid::try_parse(cursor).map_err(|_| wrong())
}

/// The refusal of a cursor that is not one of ours.
#[must_use]
pub(crate) fn wrong() -> Error {
    Error::field("cursor", "Not a cursor of this list; use `next` as it was answered.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    #[test]
    fn a_cursor_brings_its_position_back_to_the_microsecond() {
        let id = Uuid::now_v7();
        for micros in [0, 1, -1, 1_795_329_185_507_123] {
            let at = DateTime::UNIX_EPOCH + TimeDelta::microseconds(micros);
            if micros >= 0 {
                assert_eq!(parse(&after(at, id)).unwrap(), (at, id));
            }
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let id = Uuid::now_v7();
        for bad in [
            "",
            ".",
            "x",
            &format!(".{id}"),
            &format!("1.{id}x"),
            &format!("ffffffffffffffffff.{id}"),
            &format!("7000000000000000.{id}"),
            &format!("-7000000000000000.{id}"),
            "1.2",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse_id("x").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,60}") {
            parse(&text).ok();
        }
    }
}

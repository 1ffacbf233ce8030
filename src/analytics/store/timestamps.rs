//! Milliseconds of Unix time, as PostgreSQL takes them. Pure.

use crate::wire::frames::Timestamp;
use chrono::DateTime;

pub(super) fn timestamp(at: i64) -> Timestamp {
    DateTime::from_timestamp_millis(at).unwrap_or_default()
}

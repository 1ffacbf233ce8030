//! Moments on the wire. Pure; used by the types of frames and of REST.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serializer;

/// A moment on the wire: RFC 3339, UTC, milliseconds.
pub type Timestamp = DateTime<Utc>;

/// The wire form of a moment: `2026-11-22T10:00:00.123Z`.
#[must_use]
pub fn format_timestamp(at: &Timestamp) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// For `#[serde(serialize_with)]` on a [`Timestamp`].
///
/// # Errors
/// Those of the serializer.
pub fn timestamp<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_timestamp(at))
}

/// For `#[serde(serialize_with)]` on an optional [`Timestamp`].
///
/// # Errors
/// Those of the serializer.
pub fn optional_timestamp<S: Serializer>(at: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => timestamp(at, serializer),
        None => serializer.serialize_none(),
    }
}

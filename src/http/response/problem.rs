//! The problem document (RFC 9457): the one shape in which errors leave over HTTP.

use crate::error::Code;
use serde::Serialize;
use utoipa::ToSchema;

/// Media type of problem documents.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// A field of the input that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The field, as a path: `name`, `members[3]`.
    pub field: String,
    /// What is wrong, for people.
    pub message: String,
}

/// A problem document (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// `about:blank`: the code says it all.
    pub r#type: &'static str,
    /// The status in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What happened, for people.
    pub detail: String,
    /// What happened, for programs.
    pub code: Code,
    /// The `X-Request-Id` of the response, to quote in a report.
    pub request_id: String,
    /// How long to wait before the same is tried again, in milliseconds; where that is of use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The fields that are wrong, where input was invalid.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

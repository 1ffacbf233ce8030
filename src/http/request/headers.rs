//! Headers as text.

use actix_web::HttpRequest;

/// The value of a header; empty if it is no text, `None` without the header.
pub(crate) fn header_text<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    request
        .headers()
        .get(name)
        .map(|value| value.to_str().unwrap_or_default())
}

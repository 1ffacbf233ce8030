//! Which media types are text, and so become much smaller by compression.

use actix_web::http::header::HeaderValue;

/// Whether compression gains much of what has this type.
pub(crate) fn is_text(media_type: &HeaderValue) -> bool {
    let media_type = media_type.to_str().unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    // A stream of events must leave when it is written, not when it fills a block.
    media_type != "text/event-stream"
        && (media_type.starts_with("text/")
            || ["application/json", "application/x-ndjson", "application/javascript"].contains(&media_type)
            || ["+json", "+xml"].iter().any(|suffix| media_type.ends_with(suffix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_is_text() {
        for text in [
            "text/html; charset=utf-8",
            "application/json",
            "application/problem+json",
            "image/svg+xml",
        ] {
            assert!(is_text(&HeaderValue::from_static(text)), "{text}");
        }
        for other in [
            "image/png",
            "font/woff2",
            "text/event-stream",
            "application/octet-stream",
            "application/openmetrics-text; version=1.0.0",
        ] {
            assert!(!is_text(&HeaderValue::from_static(other)), "{other}");
        }
    }
}

//! Which page a request comes from: asked for cookies on unsafe methods, for CORS and for the
//! socket's handshake.
//!
//! A browser says in `Origin` whose page made a request. The host itself is always welcome; others
//! are those the operator lists. The scheme is not compared: behind nginx the server sees `http`
//! where the page sees `https`.

use super::headers::header_text;
use crate::error::Code;
use crate::http::response::error::Error;
use actix_web::HttpRequest;

/// Whether `Origin` is the host itself or one of `allowed`; `None` without the header.
#[must_use]
pub(crate) fn is_allowed_page(request: &HttpRequest, allowed: &[String]) -> Option<bool> {
    let origin = header_text(request, "origin")?;
    let host = header_text(request, "host").unwrap_or_default();
    Some(is_allowed(origin, host, allowed))
}

/// Whether the request says that a page of this very host made it. Listed origins do not count:
/// their pages show a token.
pub(crate) fn is_own_page(request: &HttpRequest) -> bool {
    let host = header_text(request, "host").unwrap_or_default();
    match header_text(request, "origin") {
        Some(origin) => is_same(origin, host),
        None => header_text(request, "sec-fetch-site") == Some("same-origin"),
    }
}

/// Refuses a request that a page of another site made, unless its origin is listed. A request that
/// names no page at all comes from no browser.
///
/// # Errors
/// `forbidden`.
pub(crate) fn refuse_foreign_page(request: &HttpRequest, allowed: &[String]) -> Result<(), Error> {
    let names_page = request.headers().contains_key("origin") || request.headers().contains_key("sec-fetch-site");
    let is_listed = || is_allowed_page(request, allowed) == Some(true);
    if names_page && !is_own_page(request) && !is_listed() {
        return Err(Error::with_detail(
            Code::Forbidden,
            "This cannot be asked for by a page of another site.",
        ));
    }
    Ok(())
}

/// Whether an `Origin` header names the host of the request or an allowed origin.
///
/// `host` is the request's `Host`; `allowed` are origins as `https://chat.example.org`.
#[must_use]
fn is_allowed(origin: &str, host: &str, allowed: &[String]) -> bool {
    is_same(origin, host) || is_listed(origin, allowed)
}

/// Whether an `Origin` header names one of the allowed origins.
#[must_use]
pub(crate) fn is_listed(origin: &str, allowed: &[String]) -> bool {
    allowed
        .iter()
        .any(|entry| entry.trim_end_matches('/').eq_ignore_ascii_case(origin))
}

/// Whether an `Origin` header names the host of the request.
#[must_use]
fn is_same(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false; // `null`, or nonsense.
    };
    let default_port = match scheme.to_ascii_lowercase().as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let strip = |authority: &str| {
        authority
            .strip_suffix(default_port)
            .unwrap_or(authority)
            .to_ascii_lowercase()
    };
    !authority.is_empty() && strip(authority) == strip(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_itself_is_welcome() {
        for (origin, host) in [
            ("http://localhost:8080", "localhost:8080"),
            ("https://chat.example.org", "chat.example.org"),
            ("https://chat.example.org", "Chat.Example.org:443"),
            ("http://chat.example.org:80", "chat.example.org"),
            ("http://[::1]:8080", "[::1]:8080"),
        ] {
            assert!(is_allowed(origin, host, &[]), "{origin} at {host}");
        }
    }

    #[test]
    fn others_are_not_unless_listed() {
        let allowed = vec!["https://app.example.org".to_owned()];
        assert!(is_allowed("https://app.example.org", "chat.example.org", &allowed));
        for origin in [
            "",
            "null",
            "https://evil.example",
            "https://chat.example.org.evil.example",
            "https://chat.example.org:8443",
            "https://evil.example/chat.example.org",
            "ftp://chat.example.org",
            "http://app.example.org",
            "https://",
        ] {
            assert!(!is_allowed(origin, "chat.example.org", &allowed), "{origin}");
        }
        assert!(!is_allowed("http://", "", &[]));
    }
}

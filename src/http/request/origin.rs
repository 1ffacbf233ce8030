//! Which page a request comes from: asked for cookies on unsafe methods, for CORS and for the
//! socket's handshake.
//!
//! A browser says in `Origin` whose page made a request. The host itself is always welcome; others
//! are those the operator lists. Where people come by TLS, a page without it is another page, which
//! anybody on the line can have written. Where they do not, as far as we know, the scheme is not
//! compared: a proxy in front that we were not told of may speak TLS all the same.

use super::headers::header_text;
use crate::error::Code;
use crate::http::response::error::Error;
use crate::http::state::AppState;
use actix_web::HttpRequest;

/// The site that a request was sent to.
#[derive(Clone, Copy)]
struct OwnSite<'a> {
    /// The `Host` header.
    host: &'a str,
    /// Whether people come by TLS.
    is_tls: bool,
}

impl<'a> OwnSite<'a> {
    fn of(request: &'a HttpRequest, state: &AppState) -> Self {
        Self {
            host: header_text(request, "host").unwrap_or_default(),
            is_tls: state.comes_by_tls(request),
        }
    }
}

/// Whether `Origin` is the host itself or one of those that are listed; `None` without the
/// header.
#[must_use]
pub(crate) fn is_allowed_page(request: &HttpRequest, state: &AppState) -> Option<bool> {
    let origin = header_text(request, "origin")?;
    let own = OwnSite::of(request, state);
    Some(is_allowed(origin, own, &state.config.http.allowed_origins))
}

/// Whether the request says that a page of this very host made it. Listed origins do not count:
/// their pages show a token.
pub(crate) fn is_own_page(request: &HttpRequest, state: &AppState) -> bool {
    match header_text(request, "origin") {
        Some(origin) => is_same(origin, OwnSite::of(request, state)),
        None => header_text(request, "sec-fetch-site") == Some("same-origin"),
    }
}

/// Refuses a request that a page of another site made, unless its origin is listed. A request that
/// names no page at all comes from no browser.
///
/// # Errors
/// `forbidden`.
pub(crate) fn refuse_foreign_page(request: &HttpRequest, state: &AppState) -> Result<(), Error> {
    let names_page = request.headers().contains_key("origin") || request.headers().contains_key("sec-fetch-site");
    let is_listed = || is_allowed_page(request, state) == Some(true);
    if names_page && !is_own_page(request, state) && !is_listed() {
        return Err(Error::with_detail(
            Code::Forbidden,
            "This cannot be asked for by a page of another site.",
        ));
    }
    Ok(())
}

/// Whether a page of another site has made a browser ask for this, without the person having gone
/// there: an image, a script, a frame, a form in the background. Only browsers say so, and pages
/// cannot make them say otherwise. Old ones say nothing.
pub(crate) fn is_foreign_embedding(request: &HttpRequest, state: &AppState) -> bool {
    let is_other_site = matches!(header_text(request, "sec-fetch-site"), Some("cross-site" | "same-site"));
    let is_visit = header_text(request, "sec-fetch-mode") == Some("navigate")
        && header_text(request, "sec-fetch-dest") == Some("document");
    is_other_site && !is_visit && is_allowed_page(request, state) != Some(true)
}

/// Whether an `Origin` header names the host of the request or an allowed origin.
///
/// `allowed` are origins as `https://chat.example.org`.
#[must_use]
fn is_allowed(origin: &str, own: OwnSite<'_>, allowed: &[String]) -> bool {
    is_same(origin, own) || is_listed(origin, allowed)
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
fn is_same(origin: &str, own: OwnSite<'_>) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false; // `null`, or nonsense.
    };
    let default_port = match scheme.to_ascii_lowercase().as_str() {
        "http" if !own.is_tls => ":80",
        "https" => ":443",
        _ => return false,
    };
    let strip = |authority: &str| {
        authority
            .strip_suffix(default_port)
            .unwrap_or(authority)
            .to_ascii_lowercase()
    };
    !authority.is_empty() && strip(authority) == strip(own.host)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn plain(host: &str) -> OwnSite<'_> {
        OwnSite { host, is_tls: false }
    }

    #[test]
    fn with_tls_a_page_without_is_another() {
        let own = OwnSite {
            host: "chat.example.org",
            is_tls: true,
        };
        assert!(is_same("https://chat.example.org", own) && is_same("https://chat.example.org:443", own));
        for origin in [
            "http://chat.example.org",
            "http://chat.example.org:443",
            "http://chat.example.org:80",
        ] {
            assert!(!is_same(origin, own), "{origin}");
        }
        let listed = ["http://chat.example.org".to_owned()];
        assert!(
            is_allowed("http://chat.example.org", own, &listed),
            "the operator knows"
        );
    }

    #[test]
    fn the_host_itself_is_welcome() {
        for (origin, host) in [
            ("http://localhost:8080", "localhost:8080"),
            ("https://chat.example.org", "chat.example.org"),
            ("https://chat.example.org", "Chat.Example.org:443"),
            ("http://chat.example.org:80", "chat.example.org"),
            ("http://[::1]:8080", "[::1]:8080"),
        ] {
            assert!(is_allowed(origin, plain(host), &[]), "{origin} at {host}");
        }
    }

    #[test]
    fn others_are_not_unless_listed() {
        let allowed = vec!["https://app.example.org".to_owned()];
        assert!(is_allowed(
            "https://app.example.org",
            plain("chat.example.org"),
            &allowed
        ));
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
            assert!(!is_allowed(origin, plain("chat.example.org"), &allowed), "{origin}");
        }
        assert!(!is_allowed("http://", plain(""), &[]));
    }
}

//! The headers by which a browser protects the user of the page, on every response: pages, data,
//! errors, and the 101 of a socket.
//!
//! They are set here: a proxy in front passes them on and adds none, so none comes twice. Only what
//! the shipped nginx replies by itself has them from there (`nginx/security-headers.conf`), and a
//! test compares the two. What never gets here are the empty responses of the HTTP parser to what
//! is no request (400, 408, 431). A browser cannot be made to cause one with a body, and nothing in
//! them could be framed, sniffed or run.

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// For pages and data alike: nothing is loaded from elsewhere, nothing inline runs, nobody frames
/// us.
const HEADERS: [(&str, &str); 8] = [
    (
        "content-security-policy",
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    (
        "permissions-policy",
        "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
    ("x-permitted-cross-domain-policies", "none"),
];

/// A year. Only for this host: what its neighbours speak is not ours to say.
const TRANSPORT_SECURITY: &str = "max-age=31536000";

/// Sets them all. Responses that say nothing about caching are not kept by anybody.
pub(super) fn apply(headers: &mut HeaderMap, is_tls: bool) {
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    // A browser ignores it on a response that came without TLS.
    if is_tls {
        headers.insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static(TRANSPORT_SECURITY),
        );
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_strict_and_tls_is_kept_only_where_it_is() {
        let mut headers = HeaderMap::new();
        apply(&mut headers, false);
        let policy = headers.get("content-security-policy").unwrap().to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'self'") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(headers.get("cache-control").unwrap(), "no-store");
        assert!(!headers.contains_key("strict-transport-security"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        apply(&mut headers, true);
        assert!(headers.contains_key("strict-transport-security"));
        assert_eq!(headers.get_all("cache-control").collect::<Vec<_>>(), ["no-cache"]);
    }
}

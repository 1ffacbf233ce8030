//! Which pages of other origins may read our answers: those in `ALLOWED_ORIGINS`, no others.
//!
//! A few lines of our own rather than actix-cors: the question "is this origin listed" is asked by the socket's handshake
//! too and must have one answer (`request/origin.rs`); actix-cors says `Access-Control-Allow-Credentials` also to origins
//! that it refuses, refuses preflights in a shape that is no problem document, and as a middleware below the envelope it
//! does not see the errors that the envelope writes. The envelope asks here first and furnishes last.
//!
//! An origin that is not listed is told nothing: its browser keeps the answer from the page. That does not replace the
//! rule on cookies (`extract.rs`): a request that needs no preflight is carried out before anybody asks.

use crate::http::request::origin;
use crate::http::state::AppState;
use actix_web::HttpResponse;
use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderValue};

/// What the REST interface takes.
const METHODS: &str = "GET, POST, PATCH, DELETE";
const REQUEST_HEADERS: &str = "Authorization, Content-Type, X-Request-Id";
/// What a page may read besides the few headers that it always may.
const EXPOSED_HEADERS: &str =
    "X-Request-Id, X-Process-Time, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After";
/// How long a browser remembers a preflight, in seconds; the least that browsers agree on.
const MAX_AGE: &str = "600";

/// What the origin of a request may.
pub(crate) enum Cors {
    /// No origin is listed: answers do not depend on it.
    Off,
    /// Not a listed page, or no page.
    Foreign,
    /// A page of this origin, which is listed.
    Listed(HeaderValue),
}

impl Cors {
    pub(crate) fn of(request: &ServiceRequest, state: &AppState) -> Self {
        let allowed = &state.config.http.allowed_origins;
        if allowed.is_empty() {
            return Self::Off;
        }
        let given = request.headers().get(header::ORIGIN);
        let is_listed = |origin: &&HeaderValue| origin.to_str().is_ok_and(|text| origin::is_listed(text, allowed));
        given
            .filter(is_listed)
            .map_or(Self::Foreign, |origin| Self::Listed(origin.clone()))
    }

    /// The answer to a listed page's browser that asks beforehand; everything else goes its usual way.
    pub(crate) fn preflight(&self, request: &ServiceRequest) -> Option<HttpResponse> {
        let asks = request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !asks || !matches!(self, Self::Listed(_)) {
            return None;
        }
        let answer = HttpResponse::NoContent()
            .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, METHODS))
            .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS))
            .insert_header((header::ACCESS_CONTROL_MAX_AGE, MAX_AGE))
            .append_header((header::VARY, "Access-Control-Request-Method"))
            .append_header((header::VARY, "Access-Control-Request-Headers"))
            .finish();
        Some(answer)
    }

    /// Tells the browser, and every cache between.
    pub(crate) fn furnish(&self, headers: &mut HeaderMap) {
        match self {
            Self::Off => return,
            Self::Foreign => {}
            Self::Listed(origin) => {
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                let yes = HeaderValue::from_static("true");
                headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
                let exposed = HeaderValue::from_static(EXPOSED_HEADERS);
                headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
            }
        }
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}

//! Which pages of other origins may read our responses: those in `ALLOWED_ORIGINS`, no others.
//!
//! A few lines of our own rather than actix-cors. The question "is this origin listed" is asked by
//! the socket's handshake too and must have one reply (`request/origin.rs`). actix-cors says
//! `Access-Control-Allow-Credentials` also to origins that it refuses, and refuses preflights in a
//! shape that is no problem document. As an inner middleware it would not see the errors that the
//! request log writes. So the request log asks here first and applies the headers last.
//!
//! An origin that is not listed is told nothing: its browser keeps the response from the page. That
//! does not replace the rule on cookies (`request/caller.rs`): a request that needs no preflight is
//! carried out before anybody asks.

use crate::http::request::origin;
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
pub(super) enum Cors {
    /// No origin is listed: responses do not depend on it.
    Off,
    /// Not a listed page, or no page.
    Foreign,
    /// A page of this origin, which is listed.
    Listed(HeaderValue),
}

impl Cors {
    /// By the request's `Origin`.
    pub(super) fn of(request: &ServiceRequest, allowed: &[String]) -> Self {
        if allowed.is_empty() {
            return Self::Off;
        }
        let given = request.headers().get(header::ORIGIN);
        let is_listed = |origin: &&HeaderValue| origin.to_str().is_ok_and(|text| origin::is_listed(text, allowed));
        given
            .filter(is_listed)
            .map_or(Self::Foreign, |origin| Self::Listed(origin.clone()))
    }

    /// The response to a preflight of a listed page. Everything else goes its usual way.
    pub(super) fn preflight(&self, request: &ServiceRequest) -> Option<HttpResponse> {
        let is_preflight = request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !is_preflight || !matches!(self, Self::Listed(_)) {
            return None;
        }
        let response = HttpResponse::NoContent()
            .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, METHODS))
            .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS))
            .insert_header((header::ACCESS_CONTROL_MAX_AGE, MAX_AGE))
            .append_header((header::VARY, "Access-Control-Request-Method"))
            .append_header((header::VARY, "Access-Control-Request-Headers"))
            .finish();
        Some(response)
    }

    /// Tells the browser, and every cache between.
    pub(super) fn apply(&self, headers: &mut HeaderMap) {
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

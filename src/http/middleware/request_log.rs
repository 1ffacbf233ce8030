//! What every answer has, whoever made it: an id, the time it took, security headers, a log line, and for errors the
//! one shape of a problem document.
//!
//! The outermost middleware, so the last to touch an answer; the framework's own errors (no such route, method not allowed)
//! and those of the other middlewares pass it too.

use super::cors::Cors;
use super::security_headers;
use crate::auth::Principal;
use crate::error::Code;
use crate::http::request::client_address;
use crate::http::response::error::{Error, PROBLEM_JSON};
use crate::http::server::deadlines::Watch;
use crate::http::state::AppState;
use crate::metrics::metrics;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, ResponseError, web};
use std::time::{Duration, Instant};
use tracing::field::Empty;
use tracing::{Instrument, Span};
use uuid::Uuid;

/// Longest `X-Request-Id` that is taken over from the caller, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_PROCESS_TIME: HeaderName = HeaderName::from_static("x-process-time");

/// The id of a request: the caller's, if it has a sane form, else made here.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub String);

impl RequestId {
    fn of(headers: &HeaderMap) -> Self {
        let given = headers
            .get(X_REQUEST_ID)
            .and_then(|value| value.to_str().ok())
            .filter(|id| is_sane(id));
        Self(given.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned))
    }
}

/// It goes into logs and headers: printable, without anything a parser could trip over.
fn is_sane(id: &str) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
}

/// The id of a request that has passed the envelope.
pub(crate) fn request_id(request: &HttpRequest) -> String {
    request
        .extensions()
        .get::<RequestId>()
        .map(|id| id.0.clone())
        .unwrap_or_default()
}

/// Writes who makes the request into its span, and so into every line that is logged for it.
pub(crate) fn note_caller(caller: &Principal) {
    let (tenant, user) = (caller.tenant_id, caller.user_id);
    tracing::record_all!(Span::current(), tenant.id = %tenant, user.id = %user);
}

/// Writes which conversation the request is about, if it is about one, into its span.
pub(crate) fn note_conversation(request: &HttpRequest) {
    if let Some(rest) = request.path().strip_prefix("/api/conversations/")
        && let Ok(id) = rest.split('/').next().unwrap_or_default().parse::<Uuid>()
    {
        tracing::record_all!(Span::current(), conversation.id = %id);
    }
}

/// The outermost middleware.
pub(crate) async fn request_log(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let started = Instant::now();
    let watch = Watch::of(request.request());
    watch.request_came();
    let id = RequestId::of(request.headers());
    let method = request.method().clone();
    if method == Method::HEAD {
        // The same answer as to GET; the connection leaves the body away.
        request.head_mut().method = Method::GET;
    }
    request.extensions_mut().insert(id.clone());
    // The pattern, never the path or the query: they may hold an invitation's code or a ticket. Asked before anything can
    // go wrong, because a request that runs out of time is gone afterwards.
    let route = request.match_pattern().unwrap_or_else(|| NO_ROUTE.to_owned());
    let state = request.app_data::<web::Data<AppState>>().cloned();
    let state = state.ok_or_else(|| Error::new(Code::Internal))?;
    let cors = Cors::of(&request, &state);
    let tls = comes_by_tls(&request, &state);
    let furnish = |headers: &mut HeaderMap, elapsed| {
        identify(headers, &id, elapsed);
        security_headers::furnish(headers, tls);
        cors.furnish(headers);
    };
    let span = tracing::info_span!(
        "request",
        request.id = %id.0,
        tenant.id = Empty,
        user.id = Empty,
        conversation.id = Empty
    );
    let result = match cors.preflight(&request) {
        Some(answer) => Ok(request.into_response(answer)),
        None => next
            .call(request)
            .instrument(span.clone())
            .await
            .map(ServiceResponse::map_into_boxed_body),
    };
    let is_draining = state.health.is_draining();
    // What is logged from here on belongs to the request too.
    let _entered = span.entered();
    let elapsed = started.elapsed();
    match result {
        Ok(answer) => {
            let mut answer = problematize(answer, &id);
            furnish(answer.headers_mut(), elapsed);
            write_log(&method, &route, answer.status(), elapsed);
            metrics().http_answered(method.as_str(), route, answer.status().as_u16(), elapsed);
            Ok(answer.map_body(|head, body| {
                let body = watch.answer_begins(head, body);
                if is_draining && head.status != StatusCode::SWITCHING_PROTOCOLS {
                    // The next request of this connection, which a balancer may keep, belongs to another node.
                    head.set_connection_type(ConnectionType::Close);
                }
                body
            }))
        }
        Err(error) => {
            // Only a middleware fails like this; the request is gone with it, so the answer travels in the error.
            let own = error.as_error::<Error>();
            let fallback = Error::from_status(error.as_response_error().status_code());
            let mut answer = respond(own.unwrap_or(&fallback), &id, &HeaderMap::new());
            furnish(answer.headers_mut(), elapsed);
            write_log(&method, &route, answer.status(), elapsed);
            let status = answer.status().as_u16();
            metrics().http_answered(method.as_str(), route, status, elapsed);
            let answer = answer.map_body(|head, body| watch.answer_begins(head, body));
            Err(InternalError::from_response(error, answer).into())
        }
    }
}

/// Whether people come by TLS: always, where cookies are for it only, or as a trusted proxy says of this request.
fn comes_by_tls(request: &ServiceRequest, state: &AppState) -> bool {
    let peer = request.request().peer_addr().map(|peer| peer.ip());
    let trusted = &state.config.limits.trusted_proxies;
    state.config.http.secure_cookies || client_address::came_by_tls(peer, request.headers(), trusted)
}

/// Turns what a handler or the framework refused into a problem document; leaves everything else alone.
fn problematize(answer: ServiceResponse<BoxBody>, id: &RequestId) -> ServiceResponse<BoxBody> {
    let status = answer.status();
    if !status.is_client_error() && !status.is_server_error() {
        return answer;
    }
    let is_bare = answer
        .headers()
        .get(header::CONTENT_TYPE)
        .is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    let is_problem = answer
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == PROBLEM_JSON);
    if is_problem || (answer.response().error().is_none() && !is_bare) {
        return answer;
    }
    let (request, answer) = answer.into_parts();
    let own = answer.error().and_then(|error| error.as_error::<Error>());
    let problem = match (own, answer.error()) {
        (Some(own), _) => respond(own, id, answer.headers()),
        (None, Some(other)) if status.is_server_error() => respond(
            &Error::from_feature(Code::Internal, other.to_string()),
            id,
            answer.headers(),
        ),
        _ => respond(&Error::from_status(status), id, answer.headers()),
    };
    ServiceResponse::new(request, problem)
}

/// Writes the document, and the cause into the log: here and nowhere else.
fn respond(error: &Error, id: &RequestId, headers: &HeaderMap) -> HttpResponse {
    if let Some(cause) = error.cause() {
        if error.status_code() == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(code = %error.code(), cause, "request failed");
        } else {
            tracing::warn!(code = %error.code(), cause, "request not served");
        }
    }
    error.respond(&id.0, headers)
}

fn identify(headers: &mut HeaderMap, id: &RequestId, elapsed: Duration) {
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        headers.insert(X_REQUEST_ID, value);
    }
    if let Ok(value) = HeaderValue::from_str(&format!("{:.6}", elapsed.as_secs_f64())) {
        headers.insert(X_PROCESS_TIME, value);
    }
}

/// What the log says instead of a route for a request that found none.
const NO_ROUTE: &str = "(none)";

fn write_log(method: &Method, route: &str, status: StatusCode, elapsed: Duration) {
    let (status, ms) = (status.as_u16(), elapsed.as_secs_f64() * 1_000.0);
    if route.starts_with("/health") || route == "/metrics" || route.starts_with("/static/") {
        tracing::debug!(target: "access", %method, route, status, ms, "answered");
    } else {
        tracing::info!(target: "access", %method, route, status, ms, "answered");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_taken_over_only_when_sane() {
        for good in [
            "a",
            "0192f0c1-2345-7abc-8def-0123456789ab",
            "trace:1.2_3",
            &"x".repeat(128),
        ] {
            assert!(is_sane(good), "{good}");
        }
        for bad in ["", "a b", "a\"b", "ä", "a\nb", &"x".repeat(129)] {
            assert!(!is_sane(bad), "{bad:?}");
        }
        assert_eq!(RequestId::of(&HeaderMap::new()).0.len(), 36);
    }

    #[test]
    fn every_answer_says_which_and_how_long() {
        let mut headers = HeaderMap::new();
        identify(&mut headers, &RequestId("r".into()), Duration::from_micros(1_500));
        assert_eq!(headers.get("x-process-time").unwrap(), "0.001500");
        assert_eq!(headers.get("x-request-id").unwrap(), "r");
    }
}

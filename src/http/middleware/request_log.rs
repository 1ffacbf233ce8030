//! The request log: what every request and every response has, no matter who made the response.
//!
//! A request gets an id, its route, a span for the log and the deadline of its connection. A
//! response gets the id, the time it took, the security headers, the CORS headers, a log line, and
//! for errors the one shape of a problem document. It is the outermost middleware, so it touches a
//! response last: errors of the framework (no such route, method not allowed) and of the other
//! middleware pass it too.

use super::cors::Cors;
use super::log_sample::{self, LogSample, Sampled};
use super::{flood_subject, problems, security_headers};
use crate::error::Code;
use crate::http::request::log_fields::{RequestId, X_REQUEST_ID};
use crate::http::request::matched_route::MatchedRoute;
use crate::http::response::error::Error;
use crate::http::routes::access;
use crate::http::server::deadlines::ConnectionDeadline;
use crate::http::state::AppState;
use crate::metrics::metrics;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, web};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tracing::field::Empty;
use tracing::{Instrument, Span};

/// One for the process, as the log is.
static SAMPLE: LogSample = LogSample::new();

const X_PROCESS_TIME: HeaderName = HeaderName::from_static("x-process-time");

/// What the log and the metrics say instead of a route for a request that has none.
const NO_ROUTE: &str = "(none)";

pub(crate) async fn request_log(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let record = RequestRecord::begin(&mut request)?;
    let span = record.span();
    let result = match record.cors.preflight(&request) {
        Some(response) => Ok(request.into_response(response)),
        None => next
            .call(request)
            .instrument(span.clone())
            .await
            .map(ServiceResponse::map_into_boxed_body),
    };
    // What is logged from here on belongs to the request too.
    let _entered = span.entered();
    match result {
        Ok(response) => Ok(record.complete(response)),
        Err(error) => Err(record.fail(error)),
    }
}

/// What is kept of a request until its response: a request that runs out of time is gone by then.
struct RequestRecord {
    started: Instant,
    id: RequestId,
    /// As the client wrote it.
    method: Method,
    route: Rc<MatchedRoute>,
    deadline: ConnectionDeadline,
    cors: Cors,
    /// Whether people come by TLS.
    is_tls: bool,
    /// Whether quotas do not count it.
    is_free: bool,
    state: web::Data<AppState>,
}

impl RequestRecord {
    /// Starts the request's clocks, and puts its id and route into its extensions.
    fn begin(request: &mut ServiceRequest) -> Result<Self, Error> {
        let started = Instant::now();
        let state = request.app_data::<web::Data<AppState>>().cloned();
        let state = state.ok_or_else(|| Error::new(Code::Internal))?;
        let id = RequestId::from_headers(request.headers());
        let method = request.method().clone();
        if method == Method::HEAD {
            // The same response as to GET. The connection leaves the body away.
            request.head_mut().method = Method::GET;
        }
        let route = Rc::new(MatchedRoute::find(request.request()));
        let deadline = ConnectionDeadline::of(request.request());
        deadline.request_arrived(route.limits.deadline);
        request.extensions_mut().insert(id.clone());
        request.extensions_mut().insert(route.clone());
        flood_subject::note(request.request(), &state);
        Ok(Self {
            started,
            id,
            method,
            route,
            deadline,
            cors: Cors::of(request, &state.config.http.allowed_origins),
            is_tls: state.comes_by_tls(request.request()),
            is_free: access::is_free(request.match_info().as_str()),
            state,
        })
    }

    /// Carries the fields that every line logged for the request has.
    fn span(&self) -> Span {
        tracing::info_span!(
            "request",
            request.id = %self.id.0,
            tenant.id = Empty,
            user.id = Empty,
            conversation.id = Empty
        )
    }

    /// The response of the routes and the inner middleware.
    fn complete(self, response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
        let elapsed = self.started.elapsed();
        let is_draining = self.state.health.is_draining();
        let mut response = problems::replace_failure(response, &self.id);
        self.apply_headers(response.headers_mut(), elapsed);
        self.write(response.status(), elapsed);
        response.map_body(|head, body| {
            let body = self.deadline.response_begins(head, body);
            if is_draining && head.status != StatusCode::SWITCHING_PROTOCOLS {
                // The next request of this connection, which a balancer may keep, belongs to
                // another node.
                head.set_connection_type(ConnectionType::Close);
            }
            body
        })
    }

    /// The failure of an inner middleware. The request is gone with it, so the response travels in
    /// the error.
    fn fail(self, error: actix_web::Error) -> actix_web::Error {
        let elapsed = self.started.elapsed();
        let mut response = problems::of_failed_middleware(&error, &self.id);
        self.apply_headers(response.headers_mut(), elapsed);
        self.write(response.status(), elapsed);
        let response = response.map_body(|head, body| self.deadline.response_begins(head, body));
        InternalError::from_response(error, response).into()
    }

    fn apply_headers(&self, headers: &mut HeaderMap, elapsed: Duration) {
        apply_identity(headers, &self.id, elapsed);
        security_headers::apply(headers, self.is_tls);
        self.cors.apply(headers);
    }

    /// Writes the log line and the metrics.
    fn write(&self, status: StatusCode, elapsed: Duration) {
        let (method, code, status) = (&self.method, status, status.as_u16());
        let route = self.route.pattern.as_deref().unwrap_or(NO_ROUTE);
        let ms = elapsed.as_secs_f64() * 1_000.0;
        if route.starts_with("/health") || route == "/metrics" || route.starts_with("/static/") {
            tracing::debug!(target: "access", %method, route, status, ms, "answered");
        } else if self.is_free || log_sample::is_refusal(code) {
            let second = u64::try_from(chrono::Utc::now().timestamp()).unwrap_or_default();
            match SAMPLE.take(second) {
                Sampled::Written { left_out: 0 } => {
                    tracing::info!(target: "access", %method, route, status, ms, "answered");
                }
                Sampled::Written { left_out } => {
                    tracing::info!(target: "access", %method, route, status, ms, left_out, "answered");
                }
                Sampled::LeftOut => {}
            }
        } else {
            tracing::info!(target: "access", %method, route, status, ms, "answered");
        }
        metrics().http_answered(method.as_str(), route.to_owned(), status, elapsed);
    }
}

/// Sets `X-Request-Id`, and `X-Process-Time` in seconds.
fn apply_identity(headers: &mut HeaderMap, id: &RequestId, elapsed: Duration) {
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        headers.insert(X_REQUEST_ID, value);
    }
    if let Ok(value) = HeaderValue::from_str(&format!("{:.6}", elapsed.as_secs_f64())) {
        headers.insert(X_PROCESS_TIME, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_response_says_which_and_how_long() {
        let mut headers = HeaderMap::new();
        apply_identity(&mut headers, &RequestId("r".into()), Duration::from_micros(1_500));
        assert_eq!(headers.get("x-process-time").unwrap(), "0.001500");
        assert_eq!(headers.get("x-request-id").unwrap(), "r");
    }
}

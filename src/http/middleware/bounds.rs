//! How large a request's head may be and how long a request may take.
//!
//! The HTTP parser takes heads of up to 128 KiB and 96 headers and then answers 431 by itself, with an empty body; the limits
//! here are lower, so that whoever is a little too large is told so in a problem document. A body that is encoded is
//! refused, because a kilobyte of it can stand for a gigabyte. The deadline covers a request until its answer begins: the
//! socket's handshake is such a request, its life afterwards is not. Whose fault it is that it passes is known by what
//! was being waited for: the rest of the body (408), or anything of ours (503).

use crate::error::Code;
use crate::http::response::error::Error;
use crate::http::state::AppState;
use crate::rate_limit::QuotaDecision;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, RequestHead, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::uri::Authority;
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use std::cell::Cell;
use std::rc::Rc;

/// Longest target of a request, path and query together, in bytes.
const TARGET_BYTES_MAX: usize = 8 * 1_024;
/// Largest head of a request besides its target, in bytes.
const HEADERS_BYTES_MAX: usize = 32 * 1_024;
/// Largest request body, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 1_024 * 1_024;

/// Whether the request's body is being waited for.
#[derive(Clone, Default)]
struct Reading(Rc<Cell<bool>>);

/// What was decided about the caller's quota, once it was: the answer of a request that is gone tells it too.
#[derive(Clone, Default)]
pub(crate) struct Budget(Rc<Cell<Option<QuotaDecision>>>);

impl Budget {
    /// Notes a decision about a request.
    pub(crate) fn note(request: &HttpRequest, decision: QuotaDecision) {
        if let Some(Self(budget)) = request.extensions().get() {
            budget.set(Some(decision));
        }
    }
}

/// The middleware: checks the head, then gives the rest its time.
pub(crate) async fn bound(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    if let Err(error) = check_head(request.head()) {
        return Ok(request.error_response(error));
    }
    let time = AppState::of(request.request())?.config.http.request_deadline;
    let (reading, budget) = (Reading::default(), Budget::default());
    request.extensions_mut().insert(reading.clone());
    request.extensions_mut().insert(budget.clone());
    if let Ok(answer) = tokio::time::timeout(time, next.call(request)).await {
        return answer.map(ServiceResponse::map_into_boxed_body);
    }
    let late = if reading.0.get() {
        Error::from_status(StatusCode::REQUEST_TIMEOUT)
    } else {
        Error::from_feature(Code::Unavailable, "the request's deadline passed".to_owned())
    };
    Err(match budget.0.get() {
        Some(decision) => late.with_budget(decision).into(),
        None => late.into(),
    })
}

fn check_head(head: &RequestHead) -> Result<(), Error> {
    let (target, headers) = (&head.uri, &head.headers);
    let target_bytes = target.path_and_query().map_or(0, |target| target.as_str().len());
    if target_bytes > TARGET_BYTES_MAX {
        return Err(Error::from_status(StatusCode::URI_TOO_LONG));
    }
    // Each stands in a line of its own: `name: value\r\n`.
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if bytes > HEADERS_BYTES_MAX {
        return Err(Error::from_status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    }
    if let Some(host) = headers.get(header::HOST).map(HeaderValue::as_bytes) {
        let is_host = |host: &[u8]| Authority::try_from(host).is_ok() && !host.contains(&b'@');
        if !host.is_empty() && !is_host(host) {
            return Err(Error::with_detail(Code::BadRequest, "The `Host` header names no host."));
        }
        // `GET http://one/ HTTP/1.1` with `Host: two`: a proxy and we might disagree on who is asked.
        let asked = target.authority().map(|authority| authority.as_str().as_bytes());
        if asked.is_some_and(|asked| !asked.eq_ignore_ascii_case(host)) {
            let detail = "The target of the request and its `Host` header name different hosts.";
            return Err(Error::with_detail(Code::BadRequest, detail));
        }
    }
    // The parser takes all that follows for the stream of a socket, whatever length it says it has.
    let is_upgrade = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
    if headers.get(header::UPGRADE).is_some_and(is_upgrade) && head.method != Method::GET {
        return Err(Error::with_detail(Code::BadRequest, "A socket is opened with `GET`."));
    }
    let encoding = headers.get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Error::from_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    Ok(())
}

/// Reads the body of a request to its end. Whoever takes a body takes it through here, so that the deadline can tell who
/// was slow.
pub(crate) fn read_body(
    request: &HttpRequest,
    payload: &mut Payload,
) -> impl Future<Output = Result<Bytes, Error>> + use<> {
    let reading = request.extensions().get::<Reading>().cloned().unwrap_or_default();
    let body = Bytes::from_request(request, payload);
    async move {
        reading.0.set(true);
        let bytes = body.await;
        reading.0.set(false);
        bytes.map_err(|error| Error::from_status(error.as_response_error().status_code()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn status(target: &str, headers: &[(&'static str, &str)]) -> Option<u16> {
        let request = TestRequest::with_uri(target);
        let request = headers
            .iter()
            .fold(request, |request, header| request.append_header(*header))
            .to_srv_request();
        let refused = check_head(request.head()).err()?;
        Some(actix_web::ResponseError::status_code(&refused).as_u16())
    }

    #[test]
    fn heads_are_bounded() {
        let path = |bytes: usize| format!("/{}", "x".repeat(bytes - 1));
        assert_eq!(status(&path(TARGET_BYTES_MAX), &[]), None);
        assert_eq!(status(&path(TARGET_BYTES_MAX + 1), &[]), Some(414));
        let value = "x".repeat(HEADERS_BYTES_MAX - 5);
        assert_eq!(status("/", &[("x", &value)]), None);
        assert_eq!(status("/", &[("x", &value), ("y", "")]), Some(431));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        assert_eq!(status("/", &[("content-encoding", "Identity")]), None);
        assert_eq!(status("/", &[("content-encoding", "br")]), Some(415));
        assert_eq!(status("http://one/x", &[("host", "ONE")]), None);
        assert_eq!(status("http://one/x", &[("host", "two")]), Some(400));
        assert_eq!(status("http://a@one/x", &[("host", "one")]), Some(400));
        for host in ["", "one", "one:80", "[::1]:8080", "127.0.0.1"] {
            assert_eq!(status("/", &[("host", host)]), None, "{host}");
        }
        for host in ["a b", "one/x", "a@one", "one:80:80", "[::1", "one?x"] {
            assert_eq!(status("/", &[("host", host)]), Some(400), "{host}");
        }
    }
}

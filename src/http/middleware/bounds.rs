//! How large the head of a request may be, whom it may be for, and how long a request may take.
//!
//! The HTTP parser takes heads of up to 128 KiB and 96 headers, and then replies 431 by itself with
//! an empty body. The limits here are lower, so that a request that is a little too large gets a problem
//! document. A body that is encoded is refused, because a kilobyte of it can stand for a gigabyte.
//!
//! How long a request may take, and how large its body may be, is declared beside its route
//! (`routes/access.rs`). The deadline covers a request until its response begins. The socket's
//! handshake is such a request; its life afterwards is not. Whose fault it is that the deadline
//! passes is known by what was being waited for: the rest of the body (408), or anything of ours
//! (503).

use crate::error::Code;
use crate::http::request::headers::header_text;
use crate::http::request::hosts;
use crate::http::request::matched_route::MatchedRoute;
use crate::http::request::progress::RequestProgress;
use crate::http::response::error::Error;
use crate::http::routes::access;
use crate::http::state::AppState;
use actix_web::HttpMessage;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{RequestHead, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::uri::Authority;
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;

/// Longest target of a request, path and query together, in bytes.
const TARGET_BYTES_MAX: usize = 8 * 1_024;
/// Largest head of a request besides its target, in bytes.
const HEADERS_BYTES_MAX: usize = 32 * 1_024;

/// The middleware: checks the head, then gives the rest its time.
pub(crate) async fn bounds(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    if let Err(error) = check_head(request.head()) {
        return Ok(request.error_response(error));
    }
    let http = &AppState::of(request.request())?.config.http;
    let host = header_text(request.request(), "host").unwrap_or_default();
    if !hosts::is_ours(host, &http.public_hosts) && !access::is_health(request.match_info().as_str()) {
        return Ok(request.error_response(Error::other_host()));
    }
    let own = MatchedRoute::of(request.request()).limits.deadline;
    let time = own.unwrap_or(http.request_deadline);
    let progress = RequestProgress::default();
    request.extensions_mut().insert(progress.clone());
    if let Ok(response) = tokio::time::timeout(time, next.call(request)).await {
        return response.map(ServiceResponse::map_into_boxed_body);
    }
    let late = if progress.is_reading_body() {
        Error::from_status(StatusCode::REQUEST_TIMEOUT)
    } else {
        Error::from_feature(Code::Unavailable, "the request's deadline passed".to_owned())
    };
    Err(match progress.quota() {
        Some(decision) => late.with_quota(decision).into(),
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
        // `GET http://one/ HTTP/1.1` with `Host: two`: a proxy and we might disagree on who is
        // asked.
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

//! The body of a request, read to its end within the limit of its route.
//!
//! Every body is read here, so that a deadline that passes can tell who was slow: the client that
//! sends, or we.

use super::matched_route::MatchedRoute;
use super::progress::RequestProgress;
use crate::http::response::error::Error;
use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header;
use actix_web::web::{Bytes, BytesMut};
use actix_web::{HttpRequest, ResponseError};
use futures_util::StreamExt;

/// Reads the body; `too_large` beyond the limit of the route, if announced without reading any of
/// it.
pub(crate) fn read_body(
    request: &HttpRequest,
    payload: &mut Payload,
) -> impl Future<Output = Result<Bytes, Error>> + use<> {
    let progress = RequestProgress::of(request);
    let bytes_max = MatchedRoute::of(request).limits.body_bytes_max;
    let announced = announced_bytes(request);
    let payload = payload.take();
    async move {
        progress.set_reading_body(true);
        let body = collect(payload, announced, bytes_max).await;
        progress.set_reading_body(false);
        body.map_err(|error| Error::from_status(error.status_code()))
    }
}

/// What `Content-Length` says, if it is there.
fn announced_bytes(request: &HttpRequest) -> Result<Option<usize>, PayloadError> {
    let Some(value) = request.headers().get(header::CONTENT_LENGTH) else {
        return Ok(None);
    };
    let bytes = value.to_str().ok().and_then(|text| text.parse().ok());
    bytes.map(Some).ok_or(PayloadError::UnknownLength)
}

async fn collect(
    mut payload: Payload,
    announced: Result<Option<usize>, PayloadError>,
    bytes_max: usize,
) -> Result<Bytes, PayloadError> {
    if announced?.is_some_and(|bytes| bytes > bytes_max) {
        return Err(PayloadError::Overflow);
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk?;
        if body.len() + chunk.len() > bytes_max {
            return Err(PayloadError::Overflow);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::routes::access::{RouteAccess, RouteLimits};
    use actix_web::HttpMessage;
    use actix_web::test::TestRequest;
    use std::rc::Rc;

    /// How a body of some bytes ends on a route with a limit.
    async fn read(bytes: usize, bytes_max: usize, is_announced: bool) -> Result<usize, u16> {
        let mut request = TestRequest::post().set_payload(vec![b'x'; bytes]);
        if is_announced {
            request = request.insert_header((header::CONTENT_LENGTH, bytes));
        }
        let (request, mut payload) = request.to_http_parts();
        request.extensions_mut().insert(Rc::new(MatchedRoute {
            pattern: None,
            access: RouteAccess::UNDECIDED,
            limits: RouteLimits {
                body_bytes_max: bytes_max,
                ..RouteLimits::DEFAULT
            },
        }));
        let body = read_body(&request, &mut payload).await;
        body.map(|body| body.len())
            .map_err(|error| error.status_code().as_u16())
    }

    #[actix_web::test]
    async fn a_body_is_as_large_as_its_route_allows() {
        let default = RouteLimits::DEFAULT.body_bytes_max;
        for is_announced in [false, true] {
            assert_eq!(read(7, 7, is_announced).await, Ok(7));
            assert_eq!(read(8, 7, is_announced).await, Err(413));
            assert_eq!(read(default + 1, default + 1, is_announced).await, Ok(default + 1));
        }
    }
}

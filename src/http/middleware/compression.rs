//! Compression of what is worth it: text of 1 KiB and more, for clients that accept brotli or gzip.
//!
//! Own lines around the framework's encoder, because its middleware compresses whatever its size,
//! replies 406 to clients that exclude everything, and knows nothing of secrets. What is the same
//! for everybody is encoded once (`assets/files.rs`), and comes here as it is to be sent.
//!
//! Where a response holds a credential, its compressed size would tell who watches the line how
//! much of a guess was right (BREACH). So the responses of [`SECRET_ROUTES`] are never compressed,
//! and a test compares that list with the OpenAPI document. On all other routes what is secret is
//! what people wrote, and a foreign page cannot make a browser ask for it with its cookie
//! (`SameSite=Lax`).

use crate::http::request::matched_route::MatchedRoute;
use crate::http::response::encoding::{BODY_BYTES_MIN, negotiate};
use crate::http::response::media_type;
use actix_http::encoding::Encoder;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, AcceptEncoding, ContentEncoding, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpResponse};

/// Patterns of routes whose responses hold credentials; a `*` at the end stands for what follows.
const SECRET_ROUTES: [&str; 3] = ["/auth/*", "/api/keys*", "/api/conversations/{id}/invites*"];

pub(crate) async fn compression(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let accepted = request.get_header::<AcceptEncoding>();
    let mut response = next.call(request).await?.map_into_boxed_body();
    let route = MatchedRoute::of(response.request());
    let pattern = route.pattern.as_deref().unwrap_or_default();
    if !is_worth_it(response.response()) || is_secret(pattern) {
        return Ok(response);
    }
    let encoding = negotiate(accepted.as_ref());
    if encoding == ContentEncoding::Identity {
        // The encoder says it of what it has encoded.
        let vary = HeaderValue::from_static("accept-encoding");
        response.headers_mut().append(header::VARY, vary);
        return Ok(response);
    }
    Ok(response.map_body(|head, body| BoxBody::new(Encoder::response(encoding, head, body))))
}

fn is_worth_it(response: &HttpResponse<BoxBody>) -> bool {
    let is_large = match response.body().size() {
        BodySize::None => false,
        BodySize::Sized(bytes) => bytes >= BODY_BYTES_MIN,
        BodySize::Stream => true,
    };
    is_large
        && response.status() != StatusCode::SWITCHING_PROTOCOLS
        && !response.headers().contains_key(header::CONTENT_ENCODING)
        && response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(media_type::is_text)
}

/// Whether the responses of a route hold credentials.
pub(crate) fn is_secret(route: &str) -> bool {
    SECRET_ROUTES.iter().any(|known| match known.strip_suffix('*') {
        Some(start) => route.starts_with(start),
        None => route == *known,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_with_credentials_are_found_by_their_pattern() {
        for route in [
            "/auth/login",
            "/auth/ticket",
            "/api/keys",
            "/api/keys/{id}",
            "/api/conversations/{id}/invites",
        ] {
            assert!(is_secret(route), "{route}");
        }
        for route in ["/api/conversations/{id}/messages", "/api/conversations", "/", ""] {
            assert!(!is_secret(route), "{route}");
        }
    }
}

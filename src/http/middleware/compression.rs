//! Compression of what is worth it: text of 1 KiB and more, for whoever accepts brotli or gzip.
//!
//! Own lines around the framework's encoder, because its middleware compresses whatever its size, answers 406 to clients
//! that exclude everything, and knows nothing of secrets. Where an answer holds a credential, its compressed size would
//! tell who watches the line how much of a guess was right (BREACH); so answers of the routes in [`SECRET_ROUTES`] are never
//! compressed, and a test compares that list with the document of the interface. On all other routes what is secret is
//! what people wrote, and a foreign page cannot make a browser ask for it with its cookie (`SameSite=Lax`).

use actix_http::encoding::Encoder;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, AcceptEncoding, ContentEncoding, Encoding, HeaderMap, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpResponse};

/// Smallest body that is compressed, in bytes: less fits into a packet anyway.
const BODY_BYTES_MIN: u64 = 1_024;

/// Patterns of routes that answer credentials; a `*` at the end stands for what follows.
pub(crate) const SECRET_ROUTES: [&str; 3] = ["/auth/*", "/api/keys*", "/api/conversations/{id}/invites*"];

/// The middleware.
pub(crate) async fn compress(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let accepted = request.get_header::<AcceptEncoding>();
    let mut answer = next.call(request).await?.map_into_boxed_body();
    let route = answer.request().match_pattern().unwrap_or_default();
    if !is_worth_it(answer.response()) || is_secret(&route) {
        return Ok(answer);
    }
    let encoding = accepted.as_ref().map_or(ContentEncoding::Identity, negotiate);
    if encoding == ContentEncoding::Identity {
        // The encoder says it of what it has encoded.
        let vary = HeaderValue::from_static("accept-encoding");
        answer.headers_mut().append(header::VARY, vary);
        return Ok(answer);
    }
    Ok(answer.map_body(|head, body| BoxBody::new(Encoder::response(encoding, head, body))))
}

fn is_worth_it(answer: &HttpResponse<BoxBody>) -> bool {
    let is_large = match answer.body().size() {
        BodySize::None => false,
        BodySize::Sized(bytes) => bytes >= BODY_BYTES_MIN,
        BodySize::Stream => true,
    };
    is_large
        && answer.status() != StatusCode::SWITCHING_PROTOCOLS
        && !answer.headers().contains_key(header::CONTENT_ENCODING)
        && is_text(answer.headers())
}

fn is_text(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(is_text_kind)
}

/// Whether compression gains much of what has this type.
pub(crate) fn is_text_kind(kind: &HeaderValue) -> bool {
    let kind = kind.to_str().unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    // A stream of events must leave when it is written, not when it fills a block.
    kind != "text/event-stream"
        && (kind.starts_with("text/")
            || ["application/json", "application/x-ndjson", "application/javascript"].contains(&kind)
            || ["+json", "+xml"].iter().any(|suffix| kind.ends_with(suffix)))
}

/// Whether the answers of a route hold credentials.
pub(crate) fn is_secret(route: &str) -> bool {
    SECRET_ROUTES.iter().any(|known| match known.strip_suffix('*') {
        Some(start) => route.starts_with(start),
        None => route == *known,
    })
}

/// What the client likes best of what we have; nothing, where it likes none of it.
fn negotiate(accepted: &AcceptEncoding) -> ContentEncoding {
    let ours = [Encoding::identity(), Encoding::brotli(), Encoding::gzip()];
    match accepted.negotiate(ours.iter()) {
        Some(Encoding::Known(encoding)) => encoding,
        _ => ContentEncoding::Identity,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::documents::openapi;
    use actix_web::test::TestRequest;
    use serde_json::Value;

    #[test]
    fn the_clients_wish_is_followed_where_it_can_be() {
        for (wish, expected) in [
            ("gzip", ContentEncoding::Gzip),
            ("gzip, deflate, br, zstd", ContentEncoding::Brotli),
            ("br;q=0.1, gzip;q=0.9", ContentEncoding::Gzip),
            ("identity", ContentEncoding::Identity),
            ("zstd", ContentEncoding::Identity),
            ("identity;q=0, *;q=0", ContentEncoding::Identity),
            ("gzip;q=0", ContentEncoding::Identity),
        ] {
            let request = TestRequest::get()
                .insert_header((header::ACCEPT_ENCODING, wish))
                .to_srv_request();
            let wish = request.get_header::<AcceptEncoding>().unwrap();
            assert_eq!(negotiate(&wish), expected, "{wish:?}");
        }
    }

    #[test]
    fn only_text_is_compressed() {
        let of = |kind: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            is_text(&headers)
        };
        for kind in [
            "text/html; charset=utf-8",
            "application/json",
            "application/problem+json",
            "image/svg+xml",
            "application/openmetrics-text; version=1.0.0",
        ] {
            assert_eq!(of(kind), !kind.contains("openmetrics"), "{kind}");
        }
        for kind in [
            "image/png",
            "font/woff2",
            "text/event-stream",
            "application/octet-stream",
        ] {
            assert!(!of(kind), "{kind}");
        }
        assert!(!is_text(&HeaderMap::new()));
    }

    #[test]
    fn routes_that_answer_credentials_are_found_by_their_pattern() {
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

    /// Whether a schema of the document, or what it is made of, has a member that is a credential.
    fn answers_a_credential(document: &Value, schema: &Value) -> bool {
        const CREDENTIALS: [&str; 4] = ["access_token", "ticket", "secret", "code"];
        match schema {
            Value::Object(members) => {
                let target = members.get("$ref").and_then(Value::as_str);
                let target = target.and_then(|target| document.pointer(target.strip_prefix('#')?));
                let properties = members.get("properties").and_then(Value::as_object);
                properties.is_some_and(|names| CREDENTIALS.iter().any(|name| names.contains_key(*name)))
                    || target.is_some_and(|target| answers_a_credential(document, target))
                    || members.values().any(|inner| answers_a_credential(document, inner))
            }
            Value::Array(items) => items.iter().any(|item| answers_a_credential(document, item)),
            _ => false,
        }
    }

    #[test]
    fn the_document_has_no_other_routes_that_answer_credentials() {
        let document: Value = serde_json::from_str(&openapi::TEXT).unwrap();
        let mut found = 0;
        for (path, operations) in document["paths"].as_object().unwrap() {
            for operation in operations.as_object().unwrap().values() {
                let answers = operation["responses"].as_object().unwrap().iter();
                let secret = answers
                    .filter(|(status, _)| status.starts_with('2'))
                    .any(|(_, answer)| answers_a_credential(&document, answer));
                found += usize::from(secret);
                assert!(!secret || is_secret(path), "{path} answers a credential");
            }
        }
        assert!(found >= 6, "the document was not understood");
    }
}

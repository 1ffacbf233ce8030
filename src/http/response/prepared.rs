//! Responses whose bodies are the same for everybody: encoded once, and not sent again to who has
//! them.

use crate::http::assets::files::Asset;
use actix_web::http::header::{self, AcceptEncoding, ContentEncoding, HeaderValue};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};

/// The asset as the client wants it, or that it has not changed.
pub(crate) async fn respond(request: &HttpRequest, asset: &Asset, cache_control: &'static str) -> HttpResponse {
    let is_cached = is_cached(request, &asset.etag);
    let mut response = if is_cached {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    response
        .insert_header((header::CACHE_CONTROL, cache_control))
        .insert_header((header::ETAG, asset.etag.clone()));
    if is_cached {
        return response.finish();
    }
    response.insert_header((header::CONTENT_TYPE, asset.media_type.clone()));
    let accepted = request.get_header::<AcceptEncoding>();
    let encoding = asset.negotiate(accepted.as_ref());
    if encoding != ContentEncoding::Identity {
        response
            .insert_header(encoding)
            .append_header((header::VARY, "accept-encoding"));
    }
    response.body(asset.encoded(encoding).await)
}

/// Whether the client has what has this tag.
pub(crate) fn is_cached(request: &HttpRequest, etag: &HeaderValue) -> bool {
    let known = request
        .headers()
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let etag = etag.to_str().unwrap_or_default().trim_start_matches("W/");
    known == "*"
        || known
            .split(',')
            .any(|known| known.trim().trim_start_matches("W/") == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_compare_weakly() {
        let request = |value: &str| {
            actix_web::test::TestRequest::get()
                .insert_header((header::IF_NONE_MATCH, value))
                .to_http_request()
        };
        let etag = HeaderValue::from_static("W/\"abc\"");
        for cached in ["W/\"abc\"", "\"abc\"", "\"x\", W/\"abc\"", "*"] {
            assert!(is_cached(&request(cached), &etag), "{cached}");
        }
        for fresh in ["", "\"abcd\"", "abc"] {
            assert!(!is_cached(&request(fresh), &etag), "{fresh}");
        }
    }
}

//! The page and its files over HTTP.
//!
//! `/` and the application's own paths give `index.html`, which is never cached and points to the
//! hash of today's files. A path with another hash is `not_found`.

use crate::error::Code;
use crate::http::assets::files::{self, Assets, HtmlPage};
use crate::http::response::error::Error;
use crate::http::state::AppState;
use actix_web::http::header::{self, AcceptEncoding, ContentEncoding, Encoding, Header as _, HeaderValue};
use actix_web::web::{self, Bytes};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

/// `GET /`, `/i/{code}` and whatever a messenger has added to it: the page.
pub(crate) async fn index(request: HttpRequest, state: web::Data<AppState>) -> Result<HttpResponse, Error> {
    page(&request, &state.assets, files::INDEX)
}

/// `GET /docs`: the REST API for people.
pub(crate) async fn docs(request: HttpRequest, state: web::Data<AppState>) -> Result<HttpResponse, Error> {
    page(&request, &state.assets, files::DOCS)
}

/// `GET /docs/socket`: the socket for people.
pub(crate) async fn docs_socket(request: HttpRequest, state: web::Data<AppState>) -> Result<HttpResponse, Error> {
    page(&request, &state.assets, files::DOCS_SOCKET)
}

fn page(request: &HttpRequest, assets: &Assets, name: &str) -> Result<HttpResponse, Error> {
    let HtmlPage { text, etag } = assets.page(name).ok_or_else(|| Error::new(Code::NotFound))?;
    let is_cached = is_cached(request, etag);
    let mut response = cacheable(is_cached, "no-cache", etag);
    if is_cached {
        return Ok(response.finish());
    }
    Ok(response.content_type("text/html; charset=utf-8").body(text.clone()))
}

/// `GET /static/{hash}/{path}`: a file of the page.
pub(crate) async fn file(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    state: web::Data<AppState>,
) -> Result<HttpResponse, Error> {
    let (hash, path) = path.into_inner();
    let asset = state.assets.find(&hash, &path);
    let asset = asset.ok_or_else(|| Error::new(Code::NotFound))?;
    // One version, one tag: the hash is in the path already. Weak, because the encoding may differ.
    let etag = HeaderValue::from_str(&format!("W/\"{hash}\"")).map_err(|_| Error::new(Code::NotFound))?;
    let is_cached = is_cached(&request, &etag);
    let mut response = cacheable(is_cached, "public, max-age=31536000, immutable", &etag);
    if is_cached {
        return Ok(response.finish());
    }
    response.insert_header((header::CONTENT_TYPE, asset.media_type.clone()));
    if !asset.is_large() || !accepts_gzip(&request) {
        return Ok(response.body(asset.body.clone()));
    }
    let body = match asset.known_compressed() {
        Some(body) => body,
        None => compress(state.clone(), hash, path).await?,
    };
    Ok(response
        .insert_header(ContentEncoding::Gzip)
        .insert_header((header::VARY, "accept-encoding"))
        .body(body))
}

/// The head of a response that caches may keep.
fn cacheable(is_cached: bool, cache_control: &'static str, etag: &HeaderValue) -> HttpResponseBuilder {
    let mut response = if is_cached {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    response
        .insert_header((header::CACHE_CONTROL, cache_control))
        .insert_header((header::ETAG, etag.clone()));
    response
}

fn is_cached(request: &HttpRequest, etag: &HeaderValue) -> bool {
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

fn accepts_gzip(request: &HttpRequest) -> bool {
    let ours = [Encoding::gzip(), Encoding::identity()];
    let accepted = AcceptEncoding::parse(request).ok();
    accepted.and_then(|accepted| accepted.negotiate(ours.iter())) == Some(Encoding::gzip())
}

/// Compresses a large file, on a thread that serves nobody.
async fn compress(state: web::Data<AppState>, hash: String, path: String) -> Result<Bytes, Error> {
    let made = web::block(move || Some(state.assets.find(&hash, &path)?.compressed()));
    let made = made
        .await
        .map_err(|error| Error::from_feature(Code::Internal, error.to_string()))?;
    made.ok_or_else(|| Error::new(Code::NotFound))
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

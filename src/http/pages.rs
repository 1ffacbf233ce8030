//! The page: the files of `static/`, in the binary, under a path that names their content.
//!
//! All files share one hash, so `/static/<hash>/…` can be cached for ever and relative imports between modules stay
//! within one version; `/` and the application's own paths answer `index.html`, which is never cached and points to the
//! present hash. A path with another hash is `not_found`: answering it with today's content would poison caches.
//! Everything is read once at the start (in development builds from the disk), a few hundred KiB.

use super::State;
use super::error::Error;
use crate::error::Code;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::{self, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::Write;

/// Where `index.html` wants the path of this version.
const PLACEHOLDER: &str = "__STATIC__";
const INDEX: &str = "index.html";

#[derive(rust_embed::RustEmbed)]
#[folder = "static/"]
#[allow_missing = true]
struct Files;

struct Asset {
    body: Bytes,
    kind: HeaderValue,
}

/// The page's files, ready to be answered.
pub struct Assets {
    hash: String,
    files: HashMap<String, Asset>,
    index: Option<(Bytes, HeaderValue)>,
}

impl Assets {
    /// Reads all files and hashes them.
    #[must_use]
    pub fn load() -> Self {
        let mut paths: Vec<String> = Files::iter().map(|path| path.into_owned()).collect();
        paths.sort_unstable();
        let mut digest = Sha256::new();
        let mut files = HashMap::new();
        for path in paths {
            let Some(file) = Files::get(&path) else { continue };
            digest.update((path.len() as u64).to_be_bytes());
            digest.update(path.as_bytes());
            digest.update((file.data.len() as u64).to_be_bytes());
            digest.update(&file.data);
            files.insert(
                path.clone(),
                Asset {
                    body: file.data.into_owned().into(),
                    kind: kind_of(&path, file.metadata.mimetype()),
                },
            );
        }
        let hash = hex(&digest.finalize(), 16);
        let index = files.get(INDEX).map(|file| {
            let page = String::from_utf8_lossy(&file.body).replace(PLACEHOLDER, &format!("/static/{hash}"));
            let etag = format!("W/\"{}\"", hex(&Sha256::digest(page.as_bytes()), 16));
            (
                Bytes::from(page),
                HeaderValue::from_str(&etag).unwrap_or(HeaderValue::from_static("\"\"")),
            )
        });
        Self { hash, files, index }
    }
}

/// Text is UTF-8; scripts have the type that browsers insist on.
fn kind_of(path: &str, guess: &str) -> HeaderValue {
    let kind = match path.rsplit('.').next().unwrap_or_default() {
        "js" | "mjs" => "text/javascript; charset=utf-8".to_owned(),
        "json" | "map" => "application/json".to_owned(),
        _ if guess.starts_with("text/") => format!("{guess}; charset=utf-8"),
        _ => guess.to_owned(),
    };
    HeaderValue::from_str(&kind).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

fn hex(bytes: &[u8], digits: usize) -> String {
    let mut text = String::with_capacity(digits);
    for byte in bytes.iter().take(digits / 2) {
        // Writing to a string does not fail.
        write!(text, "{byte:02x}").ok();
    }
    text
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

/// `GET /`, `/i/{code}`: the page.
pub(super) async fn index(request: HttpRequest, state: web::Data<State>) -> Result<HttpResponse, Error> {
    let (page, etag) = state.assets.index.as_ref().ok_or_else(|| Error::new(Code::NotFound))?;
    let mut answer = if is_cached(&request, etag) {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    answer
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::ETAG, etag.clone()));
    if is_cached(&request, etag) {
        return Ok(answer.finish());
    }
    Ok(answer.content_type("text/html; charset=utf-8").body(page.clone()))
}

/// `GET /static/{hash}/{path}`: a file of the page.
pub(super) async fn file(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    state: web::Data<State>,
) -> Result<HttpResponse, Error> {
    let (hash, path) = path.into_inner();
    let assets = &state.assets;
    let asset = assets
        .files
        .get(&path)
        .filter(|_| hash == assets.hash)
        .ok_or_else(|| Error::new(Code::NotFound))?;
    // One version, one tag: the hash is in the path already. Weak, because the encoding may differ.
    let etag = HeaderValue::from_str(&format!("W/\"{hash}\"")).map_err(|_| Error::new(Code::NotFound))?;
    let mut answer = if is_cached(&request, &etag) {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    answer
        .insert_header((header::CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .insert_header((header::ETAG, etag.clone()));
    if is_cached(&request, &etag) {
        return Ok(answer.finish());
    }
    Ok(answer
        .insert_header((header::CONTENT_TYPE, asset.kind.clone()))
        .body(asset.body.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_and_text_have_the_types_browsers_want() {
        assert_eq!(
            kind_of("app.js", "application/javascript"),
            "text/javascript; charset=utf-8"
        );
        assert_eq!(kind_of("css/base.css", "text/css"), "text/css; charset=utf-8");
        assert_eq!(kind_of("icon.svg", "image/svg+xml"), "image/svg+xml");
    }

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

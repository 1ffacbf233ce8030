//! The page: the files of `static/`, in the binary, under a path that names their content.
//!
//! All files share one hash, so `/static/<hash>/…` can be cached for ever and relative imports between modules stay
//! within one version; `/` and the application's own paths answer `index.html`, which is never cached and points to the
//! present hash. A path with another hash is `not_found`: answering it with today's content would poison caches.
//! Everything is read once at the start (in development builds from the disk), about two MiB, most of it the vendored
//! viewer of `/docs`. Files as large as that are compressed once and not for each request; in a release nothing is copied,
//! because the files stand in the program.

use crate::error::Code;
use crate::http::response::error::Error;
use crate::http::state::AppState;
use actix_web::http::header::{self, AcceptEncoding, ContentEncoding, Encoding, Header as _, HeaderValue};
use actix_web::web::{self, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::OnceLock;

/// Where `index.html` wants the path of this version.
const PLACEHOLDER: &str = "__STATIC__";
/// The page of the application.
const INDEX: &str = "index.html";
/// The REST API for people.
const DOCS: &str = "docs/rest.html";
/// The socket for people.
const DOCS_SOCKET: &str = "docs/socket.html";
/// Files of at least so many bytes are compressed once and kept so.
const LARGE_BYTES: usize = 256 * 1_024;

#[derive(rust_embed::RustEmbed)]
#[folder = "static/"]
#[allow_missing = true]
struct Files;

struct Asset {
    body: Bytes,
    kind: HeaderValue,
    /// Of a large file: what gzip makes of it, once somebody wanted it.
    compressed: OnceLock<Bytes>,
}

/// A page that points to the files of this version, and its tag.
struct Page {
    text: Bytes,
    etag: HeaderValue,
}

/// The page's files, ready to be answered.
pub struct Assets {
    hash: String,
    files: HashMap<String, Asset>,
    pages: HashMap<&'static str, Page>,
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
                    body: match file.data {
                        Cow::Borrowed(data) => Bytes::from_static(data),
                        Cow::Owned(data) => data.into(),
                    },
                    compressed: OnceLock::new(),
                    kind: kind_of(&path, file.metadata.mimetype()),
                },
            );
        }
        let hash = hex(&digest.finalize(), 16);
        let page = |name: &'static str| {
            let file: &Asset = files.get(name)?;
            let text = String::from_utf8_lossy(&file.body).replace(PLACEHOLDER, &format!("/static/{hash}"));
            let etag = format!("W/\"{}\"", hex(&Sha256::digest(text.as_bytes()), 16));
            let page = Page {
                text: Bytes::from(text),
                etag: HeaderValue::from_str(&etag).unwrap_or(HeaderValue::from_static("\"\"")),
            };
            Some((name, page))
        };
        let pages = [INDEX, DOCS, DOCS_SOCKET].into_iter().filter_map(page).collect();
        Self { hash, files, pages }
    }

    /// The hash of all files, as it stands in their paths.
    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }

    /// All files: path below the hash, media type, content.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &HeaderValue, &Bytes)> {
        let files = self.files.iter();
        files.map(|(path, asset)| (path.as_str(), &asset.kind, &asset.body))
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
pub(crate) async fn index(request: HttpRequest, state: web::Data<AppState>) -> Result<HttpResponse, Error> {
    answer_page(&request, &state.assets, INDEX)
}

/// `GET /docs`: the REST API for people.
pub(crate) async fn docs(request: HttpRequest, state: web::Data<AppState>) -> Result<HttpResponse, Error> {
    answer_page(&request, &state.assets, DOCS)
}

/// `GET /docs/socket`: the socket for people.
pub(crate) async fn docs_socket(request: HttpRequest, state: web::Data<AppState>) -> Result<HttpResponse, Error> {
    answer_page(&request, &state.assets, DOCS_SOCKET)
}

fn answer_page(request: &HttpRequest, assets: &Assets, name: &str) -> Result<HttpResponse, Error> {
    let Page { text, etag } = assets.pages.get(name).ok_or_else(|| Error::new(Code::NotFound))?;
    let mut answer = if is_cached(request, etag) {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    answer
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::ETAG, etag.clone()));
    if is_cached(request, etag) {
        return Ok(answer.finish());
    }
    Ok(answer.content_type("text/html; charset=utf-8").body(text.clone()))
}

/// `GET /static/{hash}/{path}`: a file of the page.
pub(crate) async fn file(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    state: web::Data<AppState>,
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
    answer.insert_header((header::CONTENT_TYPE, asset.kind.clone()));
    if asset.body.len() < LARGE_BYTES || !takes_gzip(&request) {
        return Ok(answer.body(asset.body.clone()));
    }
    let body = compressed(&state, &path).await?;
    Ok(answer
        .insert_header(ContentEncoding::Gzip)
        .insert_header((header::VARY, "accept-encoding"))
        .body(body))
}

fn takes_gzip(request: &HttpRequest) -> bool {
    let ours = [Encoding::gzip(), Encoding::identity()];
    let accepted = AcceptEncoding::parse(request).ok();
    accepted.and_then(|accepted| accepted.negotiate(ours.iter())) == Some(Encoding::gzip())
}

/// What gzip makes of a large file; the first who wants it lets it be made, on a thread that serves nobody.
async fn compressed(state: &web::Data<AppState>, path: &str) -> Result<Bytes, Error> {
    let find = |state: &AppState, path: &str| {
        state
            .assets
            .files
            .get(path)
            .and_then(|asset| asset.compressed.get().cloned())
    };
    if let Some(known) = find(state, path) {
        return Ok(known);
    }
    let (state, path) = (state.clone(), path.to_owned());
    let made = web::block(move || {
        let asset = state.assets.files.get(&path)?;
        Some(asset.compressed.get_or_init(|| gzip(&asset.body)).clone())
    });
    let made = made
        .await
        .map_err(|error| Error::from_feature(Code::Internal, error.to_string()))?;
    made.ok_or_else(|| Error::new(Code::NotFound))
}

fn gzip(data: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail.
    encoder
        .write_all(data)
        .and_then(|()| encoder.finish())
        .unwrap_or_default()
        .into()
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

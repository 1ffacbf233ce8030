//! The page's files: what stands in `static/`, in the program, under a path that names its content.
//!
//! All files share one hash, so `/static/<hash>/…` can be cached for ever and relative imports
//! between modules stay within one version. Everything is read once at the start (in development
//! builds from the disk), about two MiB, most of it the vendored viewer of `/docs`. Each is
//! compressed once and not for each request. In a release nothing is copied, because the files stand
//! in the program. The documents of the interface are sent in the same way.

use crate::http::response::encoding::{BODY_BYTES_MIN, negotiate};
use crate::http::response::media_type;
use actix_http::encoding::Encoder;
use actix_web::body::to_bytes;
use actix_web::dev::ResponseHead;
use actix_web::http::StatusCode;
use actix_web::http::header::{AcceptEncoding, ContentEncoding, HeaderValue};
use actix_web::web::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use tokio::sync::OnceCell;

/// Where pages want the path of this version.
const PLACEHOLDER: &str = "__STATIC__";

/// The page of the application.
pub(crate) const INDEX: &str = "index.html";
/// The REST API for people.
pub(crate) const DOCS: &str = "docs/rest.html";
/// The socket for people.
pub(crate) const DOCS_SOCKET: &str = "docs/socket.html";

#[derive(rust_embed::RustEmbed)]
#[folder = "static/"]
#[allow_missing = true]
struct EmbeddedFiles;

/// A body that is the same for everybody, ready to be sent.
pub(crate) struct Asset {
    pub(crate) body: Bytes,
    pub(crate) media_type: HeaderValue,
    /// Weak, because the encoding may differ.
    pub(crate) etag: HeaderValue,
    /// What brotli and gzip make of it, once someone wanted it.
    brotli: OnceCell<Bytes>,
    gzip: OnceCell<Bytes>,
}

impl Asset {
    fn new(body: Bytes, media_type: HeaderValue, tag: &str) -> Self {
        let etag = HeaderValue::from_str(&format!("W/\"{tag}\"")).unwrap_or(HeaderValue::from_static("\"\""));
        Self {
            body,
            media_type,
            etag,
            brotli: OnceCell::new(),
            gzip: OnceCell::new(),
        }
    }

    /// A text that is tagged by its content.
    pub(crate) fn of_text(text: String, media_type: &'static str) -> Self {
        let tag = hex(&Sha256::digest(text.as_bytes()), 16);
        Self::new(Bytes::from(text), HeaderValue::from_static(media_type), &tag)
    }

    /// The encoding that a client is given.
    pub(crate) fn negotiate(&self, accepted: Option<&AcceptEncoding>) -> ContentEncoding {
        let is_worth_it = self.body.len() as u64 >= BODY_BYTES_MIN && media_type::is_text(&self.media_type);
        if is_worth_it {
            negotiate(accepted)
        } else {
            ContentEncoding::Identity
        }
    }

    /// The body in an encoding. Made by the first who wants it, on a thread that serves nobody.
    pub(crate) async fn encoded(&self, encoding: ContentEncoding) -> Bytes {
        let cell = match encoding {
            ContentEncoding::Brotli => &self.brotli,
            ContentEncoding::Gzip => &self.gzip,
            _ => return self.body.clone(),
        };
        cell.get_or_init(|| encode(self.body.clone(), encoding)).await.clone()
    }
}

async fn encode(body: Bytes, encoding: ContentEncoding) -> Bytes {
    if encoding == ContentEncoding::Gzip {
        // It fails only when the process ends.
        let smallest = tokio::task::spawn_blocking(move || gzip(&body)).await;
        return smallest.ok().and_then(Result::ok).unwrap_or_default().into();
    }
    let mut head = ResponseHead::new(StatusCode::OK);
    let encoder = Encoder::response(encoding, &mut head, body);
    // Encoding in memory does not fail.
    to_bytes(encoder).await.unwrap_or_default()
}

/// As small as it gets: it is done once.
pub(super) fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body)?;
    encoder.finish()
}

/// The page's files, ready to be sent.
pub struct Assets {
    hash: String,
    files: HashMap<String, Asset>,
    pages: HashMap<&'static str, Asset>,
}

impl Assets {
    /// Reads all files and hashes them.
    #[must_use]
    pub fn load() -> Self {
        let mut paths: Vec<String> = EmbeddedFiles::iter().map(|path| path.into_owned()).collect();
        paths.sort_unstable();
        let mut digest = Sha256::new();
        let mut bodies = Vec::new();
        for path in paths {
            let Some(file) = EmbeddedFiles::get(&path) else {
                continue;
            };
            digest.update((path.len() as u64).to_be_bytes());
            digest.update(path.as_bytes());
            digest.update((file.data.len() as u64).to_be_bytes());
            digest.update(&file.data);
            let body = match file.data {
                Cow::Borrowed(data) => Bytes::from_static(data),
                Cow::Owned(data) => data.into(),
            };
            let media_type = media_type_of(&path, file.metadata.mimetype());
            bodies.push((path, body, media_type));
        }
        let hash = hex(&digest.finalize(), 16);
        // One version, one tag: the hash is in the path already.
        let files: HashMap<String, Asset> = bodies
            .into_iter()
            .map(|(path, body, media_type)| (path, Asset::new(body, media_type, &hash)))
            .collect();
        let page = |name: &'static str| {
            let file = files.get(name)?;
            let text = String::from_utf8_lossy(&file.body).replace(PLACEHOLDER, &format!("/static/{hash}"));
            Some((name, Asset::of_text(text, "text/html; charset=utf-8")))
        };
        let pages = [INDEX, DOCS, DOCS_SOCKET].into_iter().filter_map(page).collect();
        Self { hash, files, pages }
    }

    /// The hash of all files, as it stands in their paths.
    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }

    /// A file of this version. Another hash has none: today's content under it would poison caches.
    pub(crate) fn find(&self, hash: &str, path: &str) -> Option<&Asset> {
        self.files.get(path).filter(|_| hash == self.hash)
    }

    /// A page by the name of its file.
    pub(crate) fn page(&self, name: &str) -> Option<&Asset> {
        self.pages.get(name)
    }

    /// All files: path below the hash, media type, content.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &HeaderValue, &Bytes)> {
        let files = self.files.iter();
        files.map(|(path, asset)| (path.as_str(), &asset.media_type, &asset.body))
    }
}

/// Text is UTF-8; scripts have the type that browsers insist on. `.ts` is no video here. The same
/// table is in `nginx/static.conf`.
fn media_type_of(path: &str, guess: &str) -> HeaderValue {
    let media_type = match path.rsplit('.').next().unwrap_or_default() {
        "js" | "mjs" => "text/javascript; charset=utf-8".to_owned(),
        "json" | "map" => "application/json".to_owned(),
        "ts" => "text/plain; charset=utf-8".to_owned(),
        _ if guess.starts_with("text/") => format!("{guess}; charset=utf-8"),
        _ => guess.to_owned(),
    };
    HeaderValue::from_str(&media_type).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

fn hex(bytes: &[u8], digits: usize) -> String {
    let mut text = String::with_capacity(digits);
    for byte in bytes.iter().take(digits / 2) {
        // Writing to a string does not fail.
        write!(text, "{byte:02x}").ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn a_body_is_encoded_once() {
        let asset = Asset::of_text("text ".repeat(1_000), "application/json");
        for encoding in [ContentEncoding::Gzip, ContentEncoding::Brotli] {
            let (first, second) = (asset.encoded(encoding).await, asset.encoded(encoding).await);
            assert!(first.len() < 500, "{encoding:?}: {}", first.len());
            assert_eq!(first.as_ptr(), second.as_ptr(), "{encoding:?}");
        }
        assert_eq!(
            asset.encoded(ContentEncoding::Identity).await.as_ptr(),
            asset.body.as_ptr()
        );
        let image = Asset::new(Bytes::from(vec![0; 5_000]), HeaderValue::from_static("image/png"), "x");
        assert_eq!(image.negotiate(None), ContentEncoding::Identity);
    }

    #[test]
    fn scripts_and_text_have_the_types_browsers_want() {
        assert_eq!(
            media_type_of("app.js", "application/javascript"),
            "text/javascript; charset=utf-8"
        );
        assert_eq!(media_type_of("css/base.css", "text/css"), "text/css; charset=utf-8");
        assert_eq!(media_type_of("icon.svg", "image/svg+xml"), "image/svg+xml");
    }
}

//! The page's files: what stands in `static/`, in the program, under a path that names its content.
//!
//! All files share one hash, so `/static/<hash>/…` can be cached for ever and relative imports
//! between modules stay within one version. Everything is read once at the start (in development
//! builds from the disk), about two MiB, most of it the vendored viewer of `/docs`. Files as large
//! as that are compressed once and not for each request. In a release nothing is copied, because
//! the files stand in the program.

use actix_web::http::header::HeaderValue;
use actix_web::web::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::OnceLock;

/// Where pages want the path of this version.
const PLACEHOLDER: &str = "__STATIC__";
/// Files of at least so many bytes are compressed once and kept so.
const LARGE_BYTES: usize = 256 * 1_024;

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

pub(crate) struct Asset {
    pub(crate) body: Bytes,
    pub(crate) media_type: HeaderValue,
    /// Of a large file: what gzip makes of it, once someone wanted it.
    compressed: OnceLock<Bytes>,
}

impl Asset {
    /// Whether it is worth keeping a compressed copy.
    pub(crate) fn is_large(&self) -> bool {
        self.body.len() >= LARGE_BYTES
    }

    /// The compressed copy, if it was made.
    pub(crate) fn known_compressed(&self) -> Option<Bytes> {
        self.compressed.get().cloned()
    }

    /// The compressed copy; made by the first who wants it, which takes some time.
    pub(crate) fn compressed(&self) -> Bytes {
        self.compressed.get_or_init(|| gzip(&self.body)).clone()
    }
}

/// A page that points to the files of this version, and its tag.
pub(crate) struct HtmlPage {
    pub(crate) text: Bytes,
    pub(crate) etag: HeaderValue,
}

/// The page's files, ready to be sent.
pub struct Assets {
    hash: String,
    files: HashMap<String, Asset>,
    pages: HashMap<&'static str, HtmlPage>,
}

impl Assets {
    /// Reads all files and hashes them.
    #[must_use]
    pub fn load() -> Self {
        let mut paths: Vec<String> = EmbeddedFiles::iter().map(|path| path.into_owned()).collect();
        paths.sort_unstable();
        let mut digest = Sha256::new();
        let mut files = HashMap::new();
        for path in paths {
            let Some(file) = EmbeddedFiles::get(&path) else {
                continue;
            };
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
                    media_type: media_type(&path, file.metadata.mimetype()),
                },
            );
        }
        let hash = hex(&digest.finalize(), 16);
        let page = |name: &'static str| {
            let file: &Asset = files.get(name)?;
            let text = String::from_utf8_lossy(&file.body).replace(PLACEHOLDER, &format!("/static/{hash}"));
            let etag = format!("W/\"{}\"", hex(&Sha256::digest(text.as_bytes()), 16));
            let page = HtmlPage {
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

    /// A file of this version. Another hash has none: today's content under it would poison caches.
    pub(crate) fn find(&self, hash: &str, path: &str) -> Option<&Asset> {
        self.files.get(path).filter(|_| hash == self.hash)
    }

    /// A page by the name of its file.
    pub(crate) fn page(&self, name: &str) -> Option<&HtmlPage> {
        self.pages.get(name)
    }

    /// All files: path below the hash, media type, content.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &HeaderValue, &Bytes)> {
        let files = self.files.iter();
        files.map(|(path, asset)| (path.as_str(), &asset.media_type, &asset.body))
    }
}

/// Text is UTF-8; scripts have the type that browsers insist on.
fn media_type(path: &str, guess: &str) -> HeaderValue {
    let media_type = match path.rsplit('.').next().unwrap_or_default() {
        "js" | "mjs" => "text/javascript; charset=utf-8".to_owned(),
        "json" | "map" => "application/json".to_owned(),
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
            media_type("app.js", "application/javascript"),
            "text/javascript; charset=utf-8"
        );
        assert_eq!(media_type("css/base.css", "text/css"), "text/css; charset=utf-8");
        assert_eq!(media_type("icon.svg", "image/svg+xml"), "image/svg+xml");
    }
}

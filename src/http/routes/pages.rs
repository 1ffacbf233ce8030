//! The page and its files over HTTP.
//!
//! `/` and the application's own paths give `index.html`, which is never cached and points to the
//! hash of today's files. A path with another hash is `not_found`.

use crate::error::Code;
use crate::http::assets::files;
use crate::http::response::error::Error;
use crate::http::response::prepared;
use crate::http::state::AppState;
use actix_web::web;
use actix_web::{HttpRequest, HttpResponse};

/// `GET /`, `/analytics`, `/i/{code}` and whatever a messenger has added to it: the page.
pub(crate) async fn index(request: HttpRequest, state: web::Data<AppState>) -> Result<HttpResponse, Error> {
    page(&request, &state, files::INDEX).await
}

/// `GET /docs`: the REST API for people.
pub(crate) async fn docs(request: HttpRequest, state: web::Data<AppState>) -> Result<HttpResponse, Error> {
    page(&request, &state, files::DOCS).await
}

/// `GET /docs/socket`: the socket for people.
pub(crate) async fn docs_socket(request: HttpRequest, state: web::Data<AppState>) -> Result<HttpResponse, Error> {
    page(&request, &state, files::DOCS_SOCKET).await
}

async fn page(request: &HttpRequest, state: &AppState, name: &str) -> Result<HttpResponse, Error> {
    let page = state.assets.page(name).ok_or_else(|| Error::new(Code::NotFound))?;
    Ok(prepared::respond(request, page, "no-cache").await)
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
    Ok(prepared::respond(&request, asset, "public, max-age=31536000, immutable").await)
}

//! What handlers take: the caller, JSON bodies, query strings and path parameters, parsed and checked before the handler
//! runs, and refused as problems that name the field.
//!
//! Credentials are `Authorization: Bearer`, with an access token or an API key, or the `session` cookie, which holds a
//! token and nothing else. The header wins, and is never ignored when it is wrong. Whether a key has the scope its
//! route needs is asked here, of the table in `access.rs`, and nowhere else. With a cookie, an unsafe method must also
//! come from our own pages: a foreign page can make a browser send the cookie, but not lie about its origin.
//!
//! Bounds: a body is as `bounds.rs` says; a page of a list has 1–100 items.

use super::{cookies, origin};
use crate::auth::Principal;
use crate::error::Code;
use crate::http::middleware::{bounds, quotas, request_log};
use crate::http::response::error::Error;
use crate::http::routes::access;
use crate::http::state::AppState;
use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::web;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::future::{Ready, ready};
use std::ops::Deref;

/// Items of a page unless asked otherwise.
pub(crate) const LIMIT_DEFAULT: i64 = 50;
/// Most items of a page.
pub(crate) const LIMIT_MAX: i64 = 100;

/// The caller of a route that needs one.
#[derive(Clone, Debug)]
pub(crate) struct Caller(pub(crate) Principal);

impl Deref for Caller {
    type Target = Principal;

    fn deref(&self) -> &Principal {
        &self.0
    }
}

impl FromRequest for Caller {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        async move { authenticate(&request, AppState::of(&request)?).await.map(Self) }.boxed_local()
    }
}

/// Who makes the request, by header or cookie, with credentials that are good for its route.
///
/// # Errors
/// `unauthenticated`; `forbidden` for a suspended user, a cookie from a foreign page, or a key without the scope.
pub(crate) async fn authenticate(request: &HttpRequest, state: &AppState) -> Result<Principal, Error> {
    let principal = identify(request, state).await?;
    if principal.session_id().is_some() {
        // People are not held to scopes; what they may do, their roles decide.
        return Ok(principal);
    }
    let pattern = request.match_pattern().unwrap_or_default();
    match access::refusal(&principal, request.method().as_str(), &pattern) {
        Some(detail) => Err(Error::with_detail(Code::Forbidden, detail)),
        None => Ok(principal),
    }
}

/// Who makes the request, whatever it is for; found out once for each request.
///
/// # Errors
/// `unauthenticated`; `rate_limited` for a key that is not looked up, as its address has used up its quota;
/// `forbidden` for a suspended user or a cookie from a foreign page.
pub(crate) async fn identify(request: &HttpRequest, state: &AppState) -> Result<Principal, Error> {
    let known = request.extensions().get::<Caller>().cloned();
    if let Some(Caller(principal)) = known {
        return Ok(principal);
    }
    let principal = match bearer(request)? {
        Some(credential) => {
            // Who makes up keys pays with their address for looking them up, and then they are not.
            let may_look_up = || quotas::peek(request, state).is_none();
            state.auth.authenticate(credential, may_look_up).await?
        }
        None => by_cookie(request, state)?,
    };
    request_log::note_caller(&principal);
    request.extensions_mut().insert(Caller(principal.clone()));
    Ok(principal)
}

/// Who makes the request, by an access token in header or cookie: never a query, so that whoever asks costs nothing.
///
/// # Errors
/// As [`identify`]; a key is `unauthenticated`.
pub(crate) fn identify_by_token(request: &HttpRequest, state: &AppState) -> Result<Principal, Error> {
    match bearer(request)? {
        Some(token) => Ok(state.auth.authenticate_token(token)?),
        None => by_cookie(request, state),
    }
}

/// A key in a cookie would be sent along by a browser for pages that its owner never meant; so only a token counts.
fn by_cookie(request: &HttpRequest, state: &AppState) -> Result<Principal, Error> {
    let Some(cookie) = request.cookie(cookies::SESSION) else {
        return Err(Error::new(Code::Unauthenticated));
    };
    let principal = state.auth.authenticate_token(cookie.value())?;
    if !request.method().is_safe() && !comes_from_us(request) {
        let detail = "With a cookie this needs an `Origin` of this host or `Sec-Fetch-Site: same-origin`.";
        return Err(Error::with_detail(Code::Forbidden, detail));
    }
    Ok(principal)
}

/// The token of `Authorization: Bearer`, if the header is there.
///
/// # Errors
/// `unauthenticated` for a header of another form.
fn bearer(request: &HttpRequest) -> Result<Option<&str>, Error> {
    let Some(value) = request.headers().get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let value = value.to_str().unwrap_or_default();
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Err(Error::with_detail(
            Code::Unauthenticated,
            "The `Authorization` header must be `Bearer <token>`.",
        )),
    }
}

fn header_text<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    request
        .headers()
        .get(name)
        .map(|value| value.to_str().unwrap_or_default())
}

/// Whether `Origin`, if there is one, is the host itself or allowed; `None` without the header.
#[must_use]
pub(crate) fn origin_allowed(request: &HttpRequest, state: &AppState) -> Option<bool> {
    let origin = header_text(request, "origin")?;
    let host = header_text(request, "host").unwrap_or_default();
    Some(origin::is_allowed(origin, host, &state.config.http.allowed_origins))
}

/// Whether the request says that a page of this very host made it. Listed origins do not count: their pages show a token.
fn comes_from_us(request: &HttpRequest) -> bool {
    let host = header_text(request, "host").unwrap_or_default();
    match header_text(request, "origin") {
        Some(origin) => origin::is_same(origin, host),
        None => header_text(request, "sec-fetch-site") == Some("same-origin"),
    }
}

/// Refuses a request that a page of somebody else made, unless its origin is listed; one that names no page at all comes
/// from no browser.
///
/// # Errors
/// `forbidden`.
pub(crate) fn refuse_foreign_page(request: &HttpRequest, state: &AppState) -> Result<(), Error> {
    let names_page = request.headers().contains_key("origin") || request.headers().contains_key("sec-fetch-site");
    let is_listed = || origin_allowed(request, state) == Some(true);
    if names_page && !comes_from_us(request) && !is_listed() {
        return Err(Error::with_detail(
            Code::Forbidden,
            "This cannot be asked for by a page of another site.",
        ));
    }
    Ok(())
}

/// A JSON body. Unknown fields are refused by the types (`deny_unknown_fields`), and the field is named.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = web_mime_is_json(request);
        let body = bounds::read_body(request, payload);
        async move {
            if !is_json {
                let detail = "The body must be JSON, with `Content-Type: application/json`.";
                return Err(Error::with_detail(Code::BadRequest, detail));
            }
            parse_json(&body.await?).map(Self)
        }
        .boxed_local()
    }
}

fn web_mime_is_json(request: &HttpRequest) -> bool {
    let value = header_text(request, "content-type").unwrap_or_default();
    value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .eq_ignore_ascii_case("application/json")
}

fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    // serde would take `["x", null]` for a structure of two fields, whatever their names.
    let starts = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if starts.is_some_and(|byte| *byte != b'{') && serde_json::from_slice::<IgnoredAny>(bytes).is_ok() {
        return Err(Error::with_detail(Code::BadRequest, "The body must be a JSON object."));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        // For some wrong values (a number for a word) serde_json says "syntax"; so the text itself is asked.
        if serde_json::from_slice::<IgnoredAny>(bytes).is_ok() {
            wrong_field(&path, &error.into_inner().to_string())
        } else {
            Error::with_detail(Code::BadRequest, "The body is not valid JSON.")
        }
    })?;
    reader
        .end()
        .map_err(|_| Error::with_detail(Code::BadRequest, "The body is not valid JSON."))?;
    Ok(value)
}

/// Names the field serde complains about: its path, or for a missing or unknown one the name in the message.
fn wrong_field(path: &str, message: &str) -> Error {
    let message = message.split(" at line ").next().unwrap_or(message);
    let named = ["unknown field `", "missing field `", "duplicate field `"]
        .iter()
        .find_map(|prefix| message.strip_prefix(prefix)?.split('`').next());
    let field = match (path, named) {
        ("." | "", Some(named)) => named.to_owned(),
        // The path of an unknown field ends with that field already.
        (path, Some(named)) if path == named || path.ends_with(&format!(".{named}")) => path.to_owned(),
        (path, Some(named)) => format!("{path}.{named}"),
        ("." | "", None) => return Error::with_detail(Code::BadRequest, format!("The input is wrong: {message}.")),
        (path, None) => path.to_owned(),
    };
    Error::field(field, message.to_owned())
}

/// A query string; unknown parameters are refused by the types.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let pairs = form_urlencoded::parse(request.query_string().as_bytes());
        let query = serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs));
        ready(query.map(Self).map_err(|error| {
            let path = error.path().to_string();
            wrong_field(&path, &error.into_inner().to_string())
        }))
    }
}

/// Path parameters.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest for Path<T> {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let path = web::Path::<T>::from_request(request, payload).into_inner();
        let refused = |_| Error::with_detail(Code::BadRequest, "An id in the path is not a UUID.");
        let path = path.map(|path| Self(path.into_inner())).map_err(refused);
        if path.is_ok() {
            request_log::note_conversation(request);
        }
        ready(path)
    }
}

/// The size of a page, from the `limit` parameter.
///
/// # Errors
/// `bad_request` outside of 1–100.
pub(crate) fn page_limit(limit: Option<i64>) -> Result<i64, Error> {
    match limit.unwrap_or(LIMIT_DEFAULT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        _ => Err(Error::field("limit", format!("1 to {LIMIT_MAX}."))),
    }
}

/// The start of a page, from the `offset` parameter.
///
/// # Errors
/// `bad_request` for a negative one.
pub(crate) fn page_offset(offset: Option<i64>) -> Result<i64, Error> {
    match offset.unwrap_or(0) {
        offset @ 0.. => Ok(offset),
        _ => Err(Error::field("offset", "Not negative.")),
    }
}

/// The page itself, and where the next one begins if a list answered one item more than `limit`.
#[must_use]
pub(crate) fn cut_page<T>(
    mut items: Vec<T>,
    limit: i64,
    cursor: impl FnOnce(&T) -> String,
) -> (Vec<T>, Option<String>) {
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > size;
    items.truncate(size);
    let next = items.last().filter(|_| more).map(cursor);
    (items, next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only the parsing matters")]
    struct Input {
        name: String,
        role: Option<crate::ids::Role>,
        count: Option<i64>,
        inner: Option<Vec<Inner>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only the parsing matters")]
    struct Inner {
        id: uuid::Uuid,
    }

    fn field(text: &str) -> String {
        let error = parse_json::<Input>(text.as_bytes()).map(drop).unwrap_err();
        assert_eq!(error.code(), Code::BadRequest);
        let body = serde_json::to_value(error.fields()).unwrap();
        body[0]["field"].as_str().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_wrong_field_is_named() {
        assert!(parse_json::<Input>(br#"{"name":"x"}"#).is_ok());
        assert_eq!(field(r#"{"name":"x","colour":1}"#), "colour");
        assert_eq!(field("{}"), "name");
        assert_eq!(field(r#"{"name":5}"#), "name");
        assert_eq!(field(r#"{"name":"x","count":"y"}"#), "count");
        assert_eq!(field(r#"{"name":"x","role":1}"#), "role");
        assert_eq!(field(r#"{"name":"x","role":"emperor"}"#), "role");
        assert_eq!(field(r#"{"name":"x","inner":[{"id":"nonsense"}]}"#), "inner[0].id");
        assert_eq!(field(r#"{"name":"x","inner":[{}]}"#), "inner[0].id");
        assert_eq!(
            field(r#"{"name":"x","inner":[{"id":"0192f0c1-2345-7abc-8def-0123456789ab","x":1}]}"#),
            "inner[0].x"
        );
        assert_eq!(field(r#"{"name":"x","name":"y"}"#), "name");
        for list in ["[]", r#"["x"]"#, r#" ["x",null,1,[]]"#, "null", "5", r#""x""#] {
            assert_eq!(field(list), "");
        }
        assert_eq!(field("{"), "");
        assert_eq!(field(r#"{"name":"x"} x"#), "");
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only the parsing matters")]
    struct Page {
        limit: Option<i64>,
        user: Option<uuid::Uuid>,
    }

    #[actix_web::test]
    async fn a_wrong_parameter_is_named() {
        for (query, field) in [
            ("limit=x", "limit"),
            ("user=x", "user"),
            ("colour=1", "colour"),
            ("limit=1&limit=2", "limit"),
        ] {
            let request = actix_web::test::TestRequest::with_uri(&format!("/?{query}")).to_http_request();
            let error = Query::<Page>::extract(&request).await.map(|page| page.0).unwrap_err();
            assert_eq!(
                error.fields().first().map(|error| &*error.field),
                Some(field),
                "{query}"
            );
        }
    }

    #[test]
    fn pages_are_bounded() {
        assert_eq!(page_limit(None).unwrap(), 50);
        assert_eq!(page_limit(Some(100)).unwrap(), 100);
        for bad in [0, -1, 101, i64::MAX] {
            assert!(page_limit(Some(bad)).is_err());
        }
        assert_eq!(
            cut_page(vec![1, 2, 3], 2, ToString::to_string),
            (vec![1, 2], Some("2".to_owned()))
        );
        assert_eq!(cut_page(vec![1, 2], 2, ToString::to_string), (vec![1, 2], None));
        assert_eq!(page_offset(None).unwrap(), 0);
        assert!(page_offset(Some(-1)).is_err());
    }
}

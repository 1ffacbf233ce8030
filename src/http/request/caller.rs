//! Who makes a request, and whether the credentials are good for its route.
//!
//! Credentials are `Authorization: Bearer` with an access token or an API key, or the session
//! cookie, which holds an access token and nothing else. The header goes first. It is never ignored
//! when it is wrong.
//!
//! Whether a key has the scope that its route needs is asked here, of `routes/access.rs`, and
//! nowhere else. With a cookie, an unsafe method must also come from our own pages: a foreign page
//! can make a browser send the cookie, but it cannot lie about its origin.

use super::matched_route::MatchedRoute;
use super::token::{bearer, verify_token};
use super::{address_quota, log_fields, origin};
use crate::auth::{Principal, is_api_key};
use crate::error::Code;
use crate::http::response::error::Error;
use crate::http::state::AppState;
use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use std::ops::Deref;

/// The caller of a route that needs one, with credentials that are good for it.
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

/// The principal, by header or cookie, with credentials that are good for the route.
///
/// # Errors
/// `unauthenticated`; `forbidden` for a suspended user, a cookie from a foreign page, or a key
/// without the scope.
pub(crate) async fn authenticate(request: &HttpRequest, state: &AppState) -> Result<Principal, Error> {
    let principal = identify(request, state).await?;
    if principal.session_id().is_some() {
        // People are not held to scopes. What they may do, their roles decide.
        return Ok(principal);
    }
    match MatchedRoute::of(request).access.refusal(&principal) {
        Some(detail) => Err(Error::with_detail(Code::Forbidden, detail)),
        None => Ok(principal),
    }
}

/// The principal, whatever route it is for. Found out once for each request.
///
/// # Errors
/// `unauthenticated`; `rate_limited` for a key without a mark that is not looked up, because its
/// address has used up its budget for false credentials; `forbidden` for a suspended user or a cookie from a foreign page.
pub(crate) async fn identify(request: &HttpRequest, state: &AppState) -> Result<Principal, Error> {
    let known = request.extensions().get::<Caller>().cloned();
    if let Some(Caller(principal)) = known {
        return Ok(principal);
    }
    let principal = match bearer(request)? {
        Some(key) if is_api_key(key) => {
            // Made-up keys are paid for by the address. Once that budget is used up, only keys with
            // a mark are looked up any more.
            let may_look_up = || address_quota::peek(request, state).is_none();
            state.auth.authenticate_key(key, may_look_up).await?
        }
        _ => {
            let principal = identify_by_token(request, state)?;
            state.auth.check_user(&principal).await?;
            principal
        }
    };
    log_fields::note_caller(&principal);
    request.extensions_mut().insert(Caller(principal.clone()));
    Ok(principal)
}

/// The principal, by an access token in header or cookie. Never causes a query.
///
/// # Errors
/// As [`identify`]; a key is `unauthenticated`.
pub(crate) fn identify_by_token(request: &HttpRequest, state: &AppState) -> Result<Principal, Error> {
    let principal = verify_token(request, state)?;
    let is_by_cookie = !request.headers().contains_key(header::AUTHORIZATION);
    if is_by_cookie && !request.method().is_safe() && !origin::is_own_page(request, state) {
        let detail = "With a cookie this needs an `Origin` of this host or `Sec-Fetch-Site: same-origin`.";
        return Err(Error::with_detail(Code::Forbidden, detail));
    }
    Ok(principal)
}

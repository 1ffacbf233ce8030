//! The credentials that requests carry themselves: `Authorization: Bearer`, or else the session
//! cookie.
//!
//! The header goes first, and is never ignored when it is wrong. A token is verified once for each
//! request, without a query. What its user may do is asked in `caller.rs`.

use super::cookies;
use crate::auth::Principal;
use crate::error::Code;
use crate::http::response::error::Error;
use crate::http::state::AppState;
use actix_web::http::header;
use actix_web::{HttpMessage, HttpRequest};

/// Whose token is in header or cookie, whichever page sent it. Found out once for each request. The
/// cookie may only hold a token: a browser would send a key in it to pages that its owner never
/// meant.
///
/// # Errors
/// `unauthenticated`; `forbidden` for a suspended user.
pub(crate) fn verify_token(request: &HttpRequest, state: &AppState) -> Result<Principal, Error> {
    let known = request.extensions().get::<VerifiedToken>().cloned();
    if let Some(VerifiedToken(principal)) = known {
        return Ok(principal);
    }
    let check = |token: &str| state.auth.authenticate_token(token);
    let principal = match bearer(request)? {
        Some(token) => check(token)?,
        None => cookies::valid_session(request.headers(), state.config.http.secure_cookies, check)
            .ok_or_else(|| Error::new(Code::Unauthenticated))??,
    };
    request.extensions_mut().insert(VerifiedToken(principal.clone()));
    Ok(principal)
}

/// Whose token a request has, before anything else is asked about them.
#[derive(Clone, Debug)]
struct VerifiedToken(Principal);

/// The token of `Authorization: Bearer`, if the header is there.
///
/// # Errors
/// `unauthenticated` for a header of another form.
pub(crate) fn bearer(request: &HttpRequest) -> Result<Option<&str>, Error> {
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

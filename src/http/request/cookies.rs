//! The two cookies of a signed-in browser: names, paths and flags in one place.
//!
//! `session` carries the access token and goes with every request. `refresh` goes only where tokens
//! are exchanged. Both are out of reach for scripts. `Secure` is left away only where the server is
//! bound to loopback, so that the first run works without TLS.

use crate::auth::IssuedLogin;
use crate::wire::frames::Timestamp;
use actix_web::HttpResponse;
use actix_web::cookie::time::OffsetDateTime;
use actix_web::cookie::{Cookie, Expiration, SameSite};

/// Holds the access token.
pub(crate) const SESSION: &str = "session";
/// Holds the refresh token.
pub(crate) const REFRESH: &str = "refresh";

fn build<'a>(name: &'a str, value: &'a str, secure: bool) -> Cookie<'a> {
    let (path, same_site) = if name == REFRESH {
        ("/auth", SameSite::Strict)
    } else {
        ("/", SameSite::Lax)
    };
    Cookie::build(name, value)
        .path(path)
        .http_only(true)
        .same_site(same_site)
        .secure(secure)
        .finish()
}

fn add(response: &mut HttpResponse, cookie: &Cookie<'_>) {
    if let Err(error) = response.add_cookie(cookie) {
        tracing::error!(%error, "a cookie could not be written");
    }
}

/// Gives both tokens to the browser.
pub(crate) fn set(response: &mut HttpResponse, signed_in: &IssuedLogin, secure: bool) {
    for (name, token, until) in [
        (SESSION, &signed_in.access_token, signed_in.expires_at),
        (REFRESH, &signed_in.refresh_token, signed_in.refresh_expires_at),
    ] {
        let mut cookie = build(name, token, secure);
        cookie.set_expires(expiration(until));
        add(response, &cookie);
    }
}

fn expiration(until: Timestamp) -> Expiration {
    OffsetDateTime::from_unix_timestamp(until.timestamp()).map_or(Expiration::Session, Expiration::DateTime)
}

/// Makes the browser remove both.
pub(crate) fn clear(response: &mut HttpResponse, secure: bool) {
    for name in [SESSION, REFRESH] {
        let mut cookie = build(name, "", secure);
        cookie.make_removal();
        add(response, &cookie);
    }
}

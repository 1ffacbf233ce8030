//! The two cookies of a signed-in browser: names, paths and flags, and how they are read.
//!
//! The session cookie carries the access token and goes with every request. The refresh cookie goes
//! only where tokens are exchanged. Both are out of reach for scripts. `Secure` is left away only
//! where the server is bound to loopback, so that the first run works without TLS.
//!
//! A browser sends what every neighbour of the host has set, of which we know nothing. So:
//! - The names are our own. With TLS they have the prefixes by which a browser lets no neighbour
//!   set them.
//! - The header is read as bytes, pair by pair. What is no text or no pair is somebody else's.
//! - Of several cookies with our name the valid one counts. Two different valid ones are two
//!   logins, and nobody is asked to guess which one is meant.
//!
//! Not used: the parser of the framework. It gives up the whole header at the first byte that is no
//! UTF-8, and knows one value of a name.
//!
//! Bound: the head of a request. A refresh cookie costs a query, so of these [`REFRESH_MAX`] count.

use crate::auth::{self, IssuedLogin};
use crate::http::response::error::Error;
use crate::wire::frames::Timestamp;
use actix_web::HttpResponse;
use actix_web::cookie::time::OffsetDateTime;
use actix_web::cookie::{Cookie, Expiration, SameSite};
use actix_web::http::header::{self, HeaderMap};

/// Different refresh cookies of a request that are looked at.
const REFRESH_MAX: usize = 8;

/// What the cookies of a node are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CookieNames {
    /// Holds the access token.
    pub(crate) session: &'static str,
    /// Holds the refresh token.
    pub(crate) refresh: &'static str,
}

impl CookieNames {
    /// By whether people come by TLS. `__Host-` demands the path `/`, which the second has not.
    pub(crate) const fn of(secure: bool) -> Self {
        if secure {
            Self {
                session: "__Host-parlance_session",
                refresh: "__Secure-parlance_refresh",
            }
        } else {
            Self {
                session: "parlance_session",
                refresh: "parlance_refresh",
            }
        }
    }
}

/// What is valid among the session cookies of a request, by `check`; `None` without one.
///
/// # Errors
/// That of the first cookie, where none is valid; `unauthenticated`, where two different ones are.
pub(crate) fn valid_session<T, E: Into<Error>>(
    headers: &HeaderMap,
    secure: bool,
    check: impl Fn(&str) -> Result<T, E>,
) -> Option<Result<T, Error>> {
    let mut valid: Option<(&str, T)> = None;
    let mut refusal = None;
    for value in values(headers, CookieNames::of(secure).session) {
        match check(value) {
            Ok(_) if valid.as_ref().is_some_and(|(known, _)| *known != value) => {
                return Some(Err(auth::Error::SeveralLogins.into()));
            }
            Ok(found) => valid = Some((value, found)),
            Err(error) if refusal.is_none() => refusal = Some(error.into()),
            Err(_) => {}
        }
    }
    valid.map(|(_, found)| Ok(found)).or_else(|| refusal.map(Err))
}

/// Whether a request has a session cookie of ours, whatever is in it.
pub(crate) fn has_session(headers: &HeaderMap, secure: bool) -> bool {
    values(headers, CookieNames::of(secure).session).next().is_some()
}

/// The different refresh tokens in the cookies of a request, in the order in which they came.
pub(crate) fn refresh_tokens(headers: &HeaderMap, secure: bool) -> Vec<&str> {
    let mut tokens = Vec::new();
    for value in values(headers, CookieNames::of(secure).refresh) {
        if tokens.len() < REFRESH_MAX && !tokens.contains(&value) {
            tokens.push(value);
        }
    }
    tokens
}

/// The values of all cookies of a name, over all `Cookie` headers.
fn values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(header::COOKIE);
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .filter_map(move |pair| {
            let value = pair.trim_ascii().strip_prefix(name.as_bytes())?;
            let value = value.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
            let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
            std::str::from_utf8(quoted.unwrap_or(value)).ok()
        })
}

fn build<'a>(name: &'a str, value: &'a str, secure: bool) -> Cookie<'a> {
    let (path, same_site) = if name == CookieNames::of(secure).refresh {
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
    let names = CookieNames::of(secure);
    for (name, token, until) in [
        (names.session, &signed_in.access_token, signed_in.expires_at),
        (names.refresh, &signed_in.refresh_token, signed_in.refresh_expires_at),
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
    let names = CookieNames::of(secure);
    for name in [names.session, names.refresh] {
        let mut cookie = build(name, "", secure);
        cookie.make_removal();
        add(response, &cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use actix_web::http::header::HeaderValue;

    fn headers(lines: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, HeaderValue::from_bytes(line).unwrap());
        }
        headers
    }

    fn session(lines: &[&[u8]]) -> Option<Result<String, Code>> {
        let good = |value: &str| match value {
            "good" | "other" => Ok(value.to_owned()),
            "late" => Err(Error::new(Code::Forbidden)),
            _ => Err(Error::new(Code::Unauthenticated)),
        };
        valid_session(&headers(lines), false, good).map(|found| found.map_err(|error| error.code()))
    }

    #[test]
    fn what_neighbours_set_does_not_matter() {
        let good = Some(Ok("good".to_owned()));
        for lines in [
            &[b"parlance_session=good".as_slice()][..],
            &[b"session=x; parlance_session=good; refresh=y"],
            &[b"a=\xff\xfe; parlance_session=good"],
            &[b"\xff", b"parlance_session=good;"],
            &[b"; =; ;;x;parlance_session = \"good\" "],
            &[b"parlance_sessions=other; parlance_session=good; xparlance_session=other"],
            &[b"a=parlance_session=other; parlance_session=good"],
            // The name is ours, and what it holds is not.
            &[b"parlance_session=\xff; parlance_session=good"],
            &[b"parlance_session=; parlance_session=good; parlance_session=nonsense"],
            &[
                b"parlance_session=good; parlance_session=good",
                b"parlance_session=good",
            ],
        ] {
            assert_eq!(session(lines), good, "{lines:?}");
        }
    }

    #[test]
    fn without_a_valid_one_it_is_said_why() {
        for none in [&[][..], &[b"session=good".as_slice()], &[b"parlance_session=\xff"]] {
            assert_eq!(session(none), None, "{none:?}");
        }
        assert_eq!(
            session(&[b"parlance_session=late; parlance_session=x"]),
            Some(Err(Code::Forbidden))
        );
        assert_eq!(
            session(&[b"parlance_session=good; parlance_session=other"]),
            Some(Err(Code::Unauthenticated)),
            "nobody guesses"
        );
        // With TLS only the name that no neighbour can set is ours.
        let headers = headers(&[b"parlance_session=x; __Host-parlance_session=y"]);
        let seen = valid_session(&headers, true, |value| Ok::<_, Error>(value.to_owned()));
        assert_eq!(seen.unwrap().unwrap(), "y");
    }

    #[test]
    fn refresh_tokens_are_few_and_different() {
        let many: String = (0..20).map(|n| format!("parlance_refresh={n}; ")).collect();
        let headers = headers(&[b"parlance_refresh=0; parlance_refresh=0", many.as_bytes()]);
        let tokens = refresh_tokens(&headers, false);
        assert_eq!(tokens, ["0", "1", "2", "3", "4", "5", "6", "7"]);
    }
}

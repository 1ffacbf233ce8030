//! What a request shows of who makes it, as far as that can be told without a query.
//!
//! Many people share an address: an office, a carrier, a hall of residence. So who shows something
//! good is told apart from the address before anything is counted: a token by its signature, and an
//! API key, a refresh token or a ticket by the mark that only this installation can make. Only what
//! can be made up is counted by address.
//!
//! Used by the flood guard and by the quotas. Pure but for the two keys. Bound: a token is verified
//! once for a request, and at most eight refresh cookies are looked at.

use super::{cookies, token};
use crate::auth::is_api_key;
use crate::http::state::AppState;
use crate::ids::UserId;
use actix_web::HttpRequest;
use actix_web::http::header;

/// What a request shows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Evidence<'a> {
    /// A token that is good.
    Token(UserId),
    /// A key, refresh token or ticket that this installation has issued.
    Marked(&'a str),
    /// Something that may be false.
    Unproven,
    /// Nothing.
    Nothing,
}

impl<'a> Evidence<'a> {
    /// Of a request. What a path does not take, it does not show.
    pub(crate) fn of(request: &'a HttpRequest, state: &AppState) -> Self {
        let path = request.match_info().as_str();
        if path == "/ws"
            && let Some(ticket) = ticket(request)
        {
            return Self::by_mark(ticket, state);
        }
        if let Ok(Some(key)) = token::bearer(request)
            && is_api_key(key)
        {
            return Self::by_mark(key, state);
        }
        if let Ok(principal) = token::verify_token(request, state) {
            return Self::Token(principal.user_id);
        }
        if takes_refresh_cookie(path) {
            let tokens = cookies::refresh_tokens(request.headers(), state.config.http.secure_cookies);
            if let Some(marked) = tokens.iter().find(|token| state.auth.is_marked(token)) {
                return Self::Marked(marked);
            }
            if !tokens.is_empty() {
                return Self::Unproven;
            }
        }
        let has_session = cookies::has_session(request.headers(), state.config.http.secure_cookies);
        if has_session || request.headers().contains_key(header::AUTHORIZATION) {
            Self::Unproven
        } else {
            Self::Nothing
        }
    }

    fn by_mark(credential: &'a str, state: &AppState) -> Self {
        if state.auth.is_marked(credential) {
            Self::Marked(credential)
        } else {
            Self::Unproven
        }
    }
}

/// Whether a path is one of those to which a refresh cookie is a credential.
pub(crate) fn takes_refresh_cookie(path: &str) -> bool {
    matches!(path, "/auth/refresh" | "/auth/logout")
}

/// The ticket of a handshake, as it stands in the query: one of ours has nothing to decode.
fn ticket(request: &HttpRequest) -> Option<&str> {
    let mut fields = request.query_string().split('&');
    fields.find_map(|field| field.strip_prefix("ticket="))
}

//! The quota of an address: it pays for requests without valid credentials.
//!
//! An address that has used up its quota causes no query: keys that are not known yet are not
//! looked up for it, and tickets are not redeemed.

use crate::error::Code;
use crate::http::response::error::Error;
use crate::http::state::AppState;
use crate::metrics::{Surface, metrics};
use crate::rate_limit::Payer;
use actix_web::HttpRequest;

/// The refusal that a request without valid credentials would get from this address now. Nothing is
/// counted.
pub(crate) fn peek(request: &HttpRequest, state: &AppState) -> Option<Error> {
    if !state.limits.is_enabled() {
        return None;
    }
    let payer = Payer::address(state.client_address(request));
    state.limits.peek(payer).map(Error::over_quota)
}

/// Charges a handshake whose credentials were refused to its address. Returns what the client is
/// told: `error`, or that the quota is used up.
pub(crate) async fn charge(request: &HttpRequest, state: &AppState, error: Error) -> Error {
    if !matches!(
        error.code(),
        Code::Unauthenticated | Code::Forbidden | Code::RateLimited
    ) {
        return error;
    }
    let payer = Payer::address(state.client_address(request));
    match state.limits.check(payer, 1).await {
        Some(decision) if !decision.is_admitted() => {
            metrics().rate_limited(payer.tier(), Surface::Rest);
            Error::over_quota(decision)
        }
        _ => error,
    }
}

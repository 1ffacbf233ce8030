//! The budgets of an address: they pay for requests without good credentials.
//!
//! There are three, so that one kind does not refuse another: what shows nothing, false credentials,
//! and sign-ups. An address that has used up the second causes no query by guessing: credentials
//! without a mark of ours are not looked up for it.

use super::evidence::Evidence;
use crate::error::Code;
use crate::http::response::error::Error;
use crate::http::state::AppState;
use crate::metrics::{Surface, metrics};
use crate::rate_limit::Payer;
use actix_web::HttpRequest;

/// Who pays for a request whose credentials are not good.
pub(crate) fn payer(request: &HttpRequest, state: &AppState) -> Payer {
    let address = state.client_address(request);
    match Evidence::of(request, state) {
        Evidence::Nothing => Payer::address(address),
        Evidence::Token(_) | Evidence::Marked(_) | Evidence::Unproven => Payer::false_credentials(address),
    }
}

/// The refusal that false credentials would get from this address now. Nothing is counted.
pub(crate) fn peek(request: &HttpRequest, state: &AppState) -> Option<Error> {
    if !state.limits.is_enabled() {
        return None;
    }
    let payer = Payer::false_credentials(state.client_address(request));
    state.limits.peek(payer).map(Error::over_quota)
}

/// Charges a handshake whose credentials were refused to its address. Returns what the client is
/// told: `error`, or that the quota is used up.
pub(crate) async fn charge(request: &HttpRequest, state: &AppState, error: Error) -> Error {
    if !is_about_credentials(error.code()) {
        return error;
    }
    let payer = payer(request, state);
    match state.limits.check(payer, 1).await {
        Some(decision) if !decision.is_admitted() => {
            metrics().rate_limited(payer.tier(), Surface::Rest);
            Error::over_quota(decision)
        }
        _ => error,
    }
}

/// Whether a failure is the credentials' and not ours.
pub(crate) const fn is_about_credentials(code: Code) -> bool {
    matches!(code, Code::Unauthenticated | Code::Forbidden | Code::RateLimited)
}

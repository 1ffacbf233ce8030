//! Who pays for a request with their quota, and the extractor of routes that cost much.

use super::{address_quota, caller};
use crate::auth::Principal;
use crate::http::response::error::Error;
use crate::http::state::AppState;
use crate::metrics::{Surface, metrics};
use crate::rate_limit::Payer;
use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

/// The user, and their tenant besides.
pub(crate) fn of_principal(principal: &Principal) -> Payer {
    Payer::user(principal.user_id, principal.tier).of_tenant(principal.tenant_id, principal.plan)
}

/// The user, if the credentials are valid; otherwise the address, with a quota of guests.
async fn payer_of(request: &HttpRequest, state: &AppState) -> Payer {
    match caller::identify(request, state).await {
        Ok(principal) => of_principal(&principal),
        Err(_) => address_quota::payer(request, state),
    }
}

/// What a handler takes that costs much: 10 a minute for each caller, over all such routes, besides
/// their quota. A refusal has the numbers of this quota.
pub(crate) struct Expensive;

impl FromRequest for Expensive {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        async move {
            let state = AppState::of(&request)?;
            if !state.limits.is_enabled() {
                return Ok(Self);
            }
            let payer = payer_of(&request, state).await.expensive();
            match state.limits.check(payer, 1).await {
                Some(decision) if !decision.is_admitted() => {
                    metrics().rate_limited(payer.tier(), Surface::Expensive);
                    Err(Error::over_quota(decision))
                }
                _ => Ok(Self),
            }
        }
        .boxed_local()
    }
}

//! The quotas of the tiers, for REST: who pays for a request, and what the response says about it.
//!
//! A request with valid credentials is paid for by its user. Any other, also one whose credentials
//! are wrong, is paid for by its address, with the quota of guests. So is signing in: nobody is
//! known before. The decision falls before anything is done, and every response says what is left.
//!
//! Free is what `routes/access.rs` says is free, and the socket's handshake, which the caps on
//! connections judge; what is sent on the socket pays then. A handshake whose credentials are wrong
//! is paid for by its address.

use crate::http::request::payer;
use crate::http::request::progress::RequestProgress;
use crate::http::response::error::Error;
use crate::http::response::quota_headers;
use crate::http::routes::access;
use crate::http::state::AppState;
use crate::ids::Tier;
use crate::metrics::{Surface, metrics};
use crate::rate_limit::QuotaDecision;
use actix_web::HttpResponse;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;

pub(crate) async fn quotas(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let path = request.match_info().as_str();
    let charged = if path == "/ws" || access::is_free(path) {
        None
    } else {
        charge(&request).await?
    };
    let Some((tier, decision)) = charged else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    if !decision.is_admitted() {
        metrics().rate_limited(tier, Surface::Rest);
        let refused = HttpResponse::from_error(Error::over_quota(decision));
        // Not `into_response`, which drops the error of a response.
        return Ok(ServiceResponse::new(request.into_parts().0, refused));
    }
    // The deadline may pass, and then nothing comes back here.
    RequestProgress::of(request.request()).set_quota(decision);
    let mut response = match next.call(request).await {
        Ok(response) => response.map_into_boxed_body(),
        // A middleware further in has failed, and the request is gone with it. The headers travel
        // in the error.
        Err(error) => {
            return Err(match error.as_error::<Error>() {
                Some(own) => own.again().with_quota(decision).into(),
                None => error,
            });
        }
    };
    quota_headers::apply(response.headers_mut(), &decision);
    Ok(response)
}

/// Takes the request from the quota of the payer; `None` when limits are off.
async fn charge(request: &ServiceRequest) -> Result<Option<(Tier, QuotaDecision)>, Error> {
    let request = request.request();
    let state = AppState::of(request)?;
    if !state.limits.is_enabled() {
        return Ok(None);
    }
    let payer = payer::payer_of(request, state).await;
    let decision = state.limits.check(payer, 1).await;
    Ok(decision.map(|decision| (payer.tier(), decision)))
}

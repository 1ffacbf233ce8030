//! The quotas of the tiers, for REST: who pays for a request, and what the response says about it.
//!
//! A request with valid credentials is paid for by its user. What shows none, what shows false ones,
//! and sign-ups are paid for by the address, each kind from a budget of its own, as large as the
//! quota of guests. The decision falls before anything is done, and every response says what is
//! left.
//!
//! Credentials that turn out right are never paid for by the address, nor refused for it. Where that
//! is known only afterwards (a password, a refresh token), the address pays when they were refused.
//!
//! What a page of another site embeds is refused, and nobody pays: neither the person who sees that
//! page nor their neighbours have asked for it.
//!
//! Free is what `routes/access.rs` says is free, and the socket's handshake, which the caps on
//! connections judge; what is sent on the socket pays then. A handshake whose credentials are wrong
//! is paid for by its address.

use crate::error::Code;
use crate::http::request::evidence::{self, Evidence};
use crate::http::request::progress::RequestProgress;
use crate::http::request::{address_quota, caller, origin, payer};
use crate::http::response::error::Error;
use crate::http::response::quota_headers;
use crate::http::routes::access;
use crate::http::state::AppState;
use crate::ids::Tier;
use crate::metrics::{Surface, metrics};
use crate::rate_limit::{Payer, QuotaDecision};
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::middleware::Next;
use actix_web::{HttpRequest, HttpResponse};

/// Who pays for a request, and when.
enum Charge {
    /// Nobody.
    Free,
    /// Before anything is done.
    Before(Payer),
    /// When its credentials have been refused.
    IfRefused(Payer),
}

pub(crate) async fn quotas(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    match charge_of(request.request()).await {
        Ok(Charge::Free) => Ok(next.call(request).await?.map_into_boxed_body()),
        Ok(Charge::Before(payer)) => charge_before(request, next, payer).await,
        Ok(Charge::IfRefused(payer)) => charge_if_refused(request, next, payer).await,
        // Not `into_response`, which drops the error of a response.
        Err(error) => Ok(ServiceResponse::new(
            request.into_parts().0,
            HttpResponse::from_error(error),
        )),
    }
}

async fn charge_of(request: &HttpRequest) -> Result<Charge, Error> {
    let path = request.match_info().as_str();
    if path == "/ws" || access::is_free(path) {
        return Ok(Charge::Free);
    }
    let state = AppState::of(request)?;
    if origin::is_foreign_embedding(request, state) {
        return Err(Error::with_detail(
            Code::Forbidden,
            "This cannot be asked for by a page of another site.",
        ));
    }
    if !state.limits.is_enabled() {
        return Ok(Charge::Free);
    }
    let error = match caller::identify(request, state).await {
        Ok(principal) => return Ok(Charge::Before(payer::of_principal(&principal))),
        Err(error) => error,
    };
    if !address_quota::is_about_credentials(error.code()) {
        // Something of ours failed, and the handler will find the same.
        return Ok(Charge::Free);
    }
    let address = state.client_address(request);
    if path == access::LOGIN {
        return Ok(Charge::IfRefused(Payer::false_credentials(address)));
    }
    if access::is_sign_up(path) {
        return Ok(Charge::Before(Payer::sign_up(address)));
    }
    match Evidence::of(request, state) {
        Evidence::Token(_) | Evidence::Marked(_) => Ok(Charge::IfRefused(Payer::false_credentials(address))),
        // A refresh token of before there were marks may be right all the same.
        Evidence::Unproven if evidence::takes_refresh_cookie(path) => match address_quota::peek(request, state) {
            Some(refusal) => Err(refusal),
            None => Ok(Charge::IfRefused(Payer::false_credentials(address))),
        },
        Evidence::Unproven => Ok(Charge::Before(Payer::false_credentials(address))),
        Evidence::Nothing => Ok(Charge::Before(Payer::address(address))),
    }
}

async fn charge_before(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
    payer: Payer,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let Some(decision) = AppState::of(request.request())?.limits.check(payer, 1).await else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    if !decision.is_admitted() {
        return Ok(refuse(request, payer.tier(), decision));
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

/// Gives the response, and charges the address where it says that the credentials were refused.
async fn charge_if_refused(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
    payer: Payer,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let mut response = next.call(request).await?.map_into_boxed_body();
    let is_refused = matches!(
        response.status(),
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
    );
    if is_refused && let Some(decision) = AppState::of(response.request())?.limits.check(payer, 1).await {
        quota_headers::apply(response.headers_mut(), &decision);
    }
    Ok(response)
}

fn refuse(request: ServiceRequest, tier: Tier, decision: QuotaDecision) -> ServiceResponse<BoxBody> {
    metrics().rate_limited(tier, Surface::Rest);
    let refused = HttpResponse::from_error(Error::over_quota(decision));
    ServiceResponse::new(request.into_parts().0, refused)
}

//! The quotas of the tiers, for REST: who pays for a request, and what the answer says about it.
//!
//! A request with valid credentials is its user's; any other, also one whose credentials are wrong, is its address's, with
//! the quota of guests. So is signing in: nobody is known before. The decision falls before anything is done, and every
//! answer, whatever it is, tells what is left.
//!
//! Free are health, metrics and the documents, which operators and machines read by the clock, the page and its files, and
//! the socket's handshake, which the caps on connections judge; what is sent on the socket then pays. A handshake whose
//! credentials are wrong is its address's like any other request.
//!
//! An address that has used up its quota causes no query: keys that are not known yet are not looked up for it, and tickets
//! not redeemed.

use super::bounds::Budget;
use crate::error::Code;
use crate::http::request::{client_address, extract};
use crate::http::response::error::Error;
use crate::http::state::AppState;
use crate::ids::Tier;
use crate::metrics::{Surface, metrics};
use crate::rate_limit::{Payer, QuotaDecision};
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use chrono::Utc;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use std::time::Duration;

const X_RATE_LIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_RATE_LIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RATE_LIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Whether a path, as the router reads it, is never limited.
pub(crate) fn is_exempt(path: &str) -> bool {
    matches!(
        path,
        "/" | "/health" | "/health/live" | "/health/ready" | "/metrics" | "/openapi.json" | "/asyncapi.json" | "/docs"
    ) || ["/static/", "/docs/", "/i/"]
        .iter()
        .any(|prefix| path.starts_with(prefix))
}

/// The middleware.
pub(crate) async fn quotas(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let path = request.match_info().as_str();
    let decision = if path == "/ws" || is_exempt(path) {
        None
    } else {
        decide(&request).await?
    };
    let Some((tier, decision)) = decision else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    if !decision.is_admitted() {
        metrics().rate_limited(tier, Surface::Rest);
        let refused = HttpResponse::from_error(Error::over_quota(decision));
        // Not `into_response`, which forgets the error behind an answer.
        return Ok(ServiceResponse::new(request.into_parts().0, refused));
    }
    // The deadline may pass, and then nothing comes back here.
    Budget::note(request.request(), decision);
    let mut answer = match next.call(request).await {
        Ok(answer) => answer.map_into_boxed_body(),
        // A middleware further in has failed, and the request is gone with it; the headers travel in the error.
        Err(error) => {
            return Err(match error.as_error::<Error>() {
                Some(own) => own.again().with_budget(decision).into(),
                None => error,
            });
        }
    };
    tell(answer.headers_mut(), &decision);
    Ok(answer)
}

/// Finds out who pays, and takes the request from their budget.
async fn decide(request: &ServiceRequest) -> Result<Option<(Tier, QuotaDecision)>, Error> {
    let request = request.request();
    let state = AppState::of(request)?;
    if !state.limits.is_enabled() {
        return Ok(None);
    }
    let payer = payer(request, state).await;
    Ok(state
        .limits
        .check(payer, 1)
        .await
        .map(|decision| (payer.tier(), decision)))
}

async fn payer(request: &HttpRequest, state: &AppState) -> Payer {
    match extract::identify(request, state).await {
        Ok(principal) => Payer::user(principal.user_id, principal.tier),
        Err(_) => Payer::address(client_address::of(request, state)),
    }
}

/// The refusal of whoever shows no valid credentials at this address, while its quota is used up; nothing is counted.
pub(crate) fn peek(request: &HttpRequest, state: &AppState) -> Option<Error> {
    if !state.limits.is_enabled() {
        return None;
    }
    let payer = Payer::address(client_address::of(request, state));
    state.limits.peek(payer).map(Error::over_quota)
}

/// Charges a handshake whose credentials were refused to its address; what it is answered.
pub(crate) async fn charge(request: &HttpRequest, state: &AppState, error: Error) -> Error {
    if !matches!(
        error.code(),
        Code::Unauthenticated | Code::Forbidden | Code::RateLimited
    ) {
        return error;
    }
    let payer = Payer::address(client_address::of(request, state));
    match state.limits.check(payer, 1).await {
        Some(decision) if !decision.is_admitted() => {
            metrics().rate_limited(payer.tier(), Surface::Rest);
            Error::over_quota(decision)
        }
        _ => error,
    }
}

/// What a handler takes that costs much: 10 a minute for each caller, over all such routes, besides their quota. Refused
/// like any other request, with the numbers of this budget.
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
            let payer = payer(&request, state).await.expensive();
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

/// Writes what is left onto an answer.
pub(crate) fn tell(headers: &mut HeaderMap, decision: &QuotaDecision) {
    let reset = Utc::now() + Duration::from_millis(decision.reset_ms);
    // Rounded up, so that it is true.
    let reset = reset.timestamp() + i64::from(reset.timestamp_subsec_nanos() > 0);
    headers.insert(X_RATE_LIMIT_LIMIT, HeaderValue::from(decision.limit));
    headers.insert(X_RATE_LIMIT_REMAINING, HeaderValue::from(decision.remaining));
    headers.insert(X_RATE_LIMIT_RESET, HeaderValue::from(reset));
}

impl Error {
    /// Somebody's quota is used up.
    fn over_quota(decision: QuotaDecision) -> Self {
        Self::too_many(Duration::from_millis(decision.retry_after_ms.unwrap_or_default())).with_budget(decision)
    }

    /// `rate_limited`, until `wait` has passed.
    pub(crate) fn too_many(wait: Duration) -> Self {
        Self::new(Code::RateLimited).with_retry_after(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exempt_is_what_is_listed_and_nothing_like_it() {
        for path in [
            "/",
            "/health",
            "/health/ready",
            "/metrics",
            "/openapi.json",
            "/docs/x.js",
            "/static/1/app.js",
            "/i/x",
        ] {
            assert!(is_exempt(path), "{path}");
        }
        for path in [
            "/healthy",
            "/health/",
            "/api/me",
            "/auth/login",
            "/static",
            "/metrics/x",
            "/ws",
            "//",
            "",
        ] {
            assert!(!is_exempt(path), "{path}");
        }
    }

    #[test]
    fn the_headers_say_when_the_oldest_request_leaves() {
        let decision = QuotaDecision {
            limit: 100,
            remaining: 7,
            reset_ms: 1_500,
            retry_after_ms: None,
        };
        let (mut headers, before) = (HeaderMap::new(), Utc::now().timestamp());
        tell(&mut headers, &decision);
        let number = |name: HeaderName| headers.get(name).unwrap().to_str().unwrap().parse::<i64>().unwrap();
        assert_eq!((number(X_RATE_LIMIT_LIMIT), number(X_RATE_LIMIT_REMAINING)), (100, 7));
        assert!((before + 2..=before + 4).contains(&number(X_RATE_LIMIT_RESET)));
    }
}

//! What is left of a quota, as headers: `X-RateLimit-Limit`, `-Remaining` and `-Reset`.

use crate::rate_limit::QuotaDecision;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use chrono::Utc;
use std::time::Duration;

const X_RATE_LIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_RATE_LIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RATE_LIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Sets all three. The reset is rounded up to the second, so that it is true.
pub(crate) fn apply(headers: &mut HeaderMap, decision: &QuotaDecision) {
    let reset = Utc::now() + Duration::from_millis(decision.reset_ms);
    let reset = reset.timestamp() + i64::from(reset.timestamp_subsec_nanos() > 0);
    headers.insert(X_RATE_LIMIT_LIMIT, HeaderValue::from(decision.limit));
    headers.insert(X_RATE_LIMIT_REMAINING, HeaderValue::from(decision.remaining));
    headers.insert(X_RATE_LIMIT_RESET, HeaderValue::from(reset));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_say_when_the_oldest_request_leaves() {
        let decision = QuotaDecision {
            limit: 100,
            remaining: 7,
            reset_ms: 1_500,
            retry_after_ms: None,
        };
        let (mut headers, before) = (HeaderMap::new(), Utc::now().timestamp());
        apply(&mut headers, &decision);
        let number = |name: HeaderName| headers.get(name).unwrap().to_str().unwrap().parse::<i64>().unwrap();
        assert_eq!((number(X_RATE_LIMIT_LIMIT), number(X_RATE_LIMIT_REMAINING)), (100, 7));
        assert!((before + 2..=before + 4).contains(&number(X_RATE_LIMIT_RESET)));
    }
}

//! A failed request: the only `ResponseError`, and the one mapping from failures to HTTP.
//!
//! A failure travels as an [`Error`]: a code, a public sentence, the fields that are wrong, and the
//! private cause. `middleware/problems.rs` makes the problem document of it, because only there the
//! id of the request is known, and logs the cause, once. Errors of the framework itself (no such
//! route, method not allowed, body too large) pass the same place, so that no error leaves in
//! another shape.

use super::problem::{FieldError, PROBLEM_JSON, Problem};
use super::quota_headers;
use crate::error::Code;
use crate::rate_limit::QuotaDecision;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// The version of WebSocket that the server speaks (RFC 6455).
pub(crate) const WEBSOCKET_VERSION: &str = "13";

/// A failed request.
#[derive(Debug)]
pub struct Error {
    code: Code,
    /// Other than the code's own, where HTTP is finer than the catalogue (405).
    status: Option<StatusCode>,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    cause: Option<String>,
    /// Other than the code's own advice.
    retry_after_ms: Option<u64>,
    /// What is left of the caller's quota, where nothing else puts it onto the response.
    quota: Option<Box<QuotaDecision>>,
}

impl Error {
    /// A failure with the code's own text.
    #[must_use]
    pub fn new(code: Code) -> Self {
        Self::with_detail(code, code.text())
    }

    /// A failure with a more precise public text.
    #[must_use]
    pub fn with_detail(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            status: None,
            detail: detail.into(),
            errors: Vec::new(),
            cause: None,
            retry_after_ms: None,
            quota: None,
        }
    }

    /// The same failure once more. Not `Clone`, because a failure is logged once.
    pub(crate) fn again(&self) -> Self {
        Self {
            code: self.code,
            status: self.status,
            detail: self.detail.clone(),
            errors: self.errors.clone(),
            cause: self.cause.clone(),
            retry_after_ms: self.retry_after_ms,
            quota: self.quota.clone(),
        }
    }

    /// Advises when to try again.
    pub(crate) fn with_retry_after(self, wait: Duration) -> Self {
        Self {
            retry_after_ms: u64::try_from(wait.as_millis()).ok(),
            ..self
        }
    }

    /// Adds what is left of the caller's quota.
    pub(crate) fn with_quota(self, quota: QuotaDecision) -> Self {
        Self {
            quota: Some(Box::new(quota)),
            ..self
        }
    }

    /// `rate_limited`, until `wait` has passed.
    pub(crate) fn too_many(wait: Duration) -> Self {
        Self::new(Code::RateLimited).with_retry_after(wait)
    }

    /// `rate_limited`, because someone's quota is used up.
    pub(crate) fn over_quota(decision: QuotaDecision) -> Self {
        Self::too_many(Duration::from_millis(decision.retry_after_ms.unwrap_or_default())).with_quota(decision)
    }

    /// `bad_request` with 426, because a handshake is of another version of WebSocket than ours.
    pub(crate) fn other_websocket() -> Self {
        Self {
            status: Some(StatusCode::UPGRADE_REQUIRED),
            ..Self::with_detail(Code::BadRequest, "The version of WebSocket here is 13.")
        }
    }

    /// `bad_request` with 421, because the `Host` header names somebody else.
    pub(crate) fn other_host() -> Self {
        Self {
            status: Some(StatusCode::MISDIRECTED_REQUEST),
            ..Self::with_detail(
                Code::BadRequest,
                "This host is not served here. Its operator lists the names of the site in PARLANCE_PUBLIC_HOSTS.",
            )
        }
    }

    /// `bad_request` because of one field.
    #[must_use]
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        let error = FieldError {
            field: field.into(),
            message: message.into(),
        };
        Self::new(Code::BadRequest).with_fields(vec![error])
    }

    /// `bad_request` because of one field, which `detail` says too.
    #[must_use]
    pub fn wrong_parameter(field: &str, message: String) -> Self {
        let error = FieldError {
            field: field.to_owned(),
            message: message.clone(),
        };
        Self::with_detail(Code::BadRequest, message).with_fields(vec![error])
    }

    /// Adds the fields that are wrong.
    pub(super) fn with_fields(self, errors: Vec<FieldError>) -> Self {
        Self { errors, ..self }
    }

    /// Adds the private cause, for the log.
    pub(super) fn with_cause(self, cause: String) -> Self {
        Self {
            cause: Some(cause),
            ..self
        }
    }

    /// A failure whose public text is `detail` unless the code stands for a fault of ours; then it
    /// is the private cause.
    #[must_use]
    pub fn from_feature(code: Code, detail: String) -> Self {
        match code {
            Code::Internal | Code::Unavailable | Code::Overloaded => Self::new(code).with_cause(detail),
            _ => Self::with_detail(code, detail),
        }
    }

    /// What the framework replied on its own, by its status.
    #[must_use]
    pub fn from_status(status: StatusCode) -> Self {
        let code = match status {
            StatusCode::UNAUTHORIZED => Code::Unauthenticated,
            StatusCode::FORBIDDEN => Code::Forbidden,
            StatusCode::NOT_FOUND => Code::NotFound,
            StatusCode::CONFLICT => Code::Conflict,
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                Code::TooLarge
            }
            StatusCode::TOO_MANY_REQUESTS => Code::RateLimited,
            StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
            status if status.is_client_error() => Code::BadRequest,
            _ => Code::Internal,
        };
        let detail = match status {
            StatusCode::METHOD_NOT_ALLOWED => {
                "This method is not offered here; the `Allow` header lists those that are."
            }
            StatusCode::REQUEST_TIMEOUT => "The rest of the request did not come in time.",
            StatusCode::URI_TOO_LONG => "The path and query of the request are longer than allowed.",
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "The headers of the request are larger than allowed.",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "The body must be plain JSON; no `Content-Encoding` is taken.",
            _ => code.text(),
        };
        Self {
            status: status.is_client_error().then_some(status),
            ..Self::with_detail(code, detail)
        }
    }

    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// The fields that are wrong.
    #[must_use]
    pub fn fields(&self) -> &[FieldError] {
        &self.errors
    }

    /// What only the log may say.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// The problem document. `headers` are kept (cookies that are taken away, `Allow`), except
    /// those that describe another body.
    pub(crate) fn to_response(&self, request_id: &str, headers: &HeaderMap) -> HttpResponse {
        let status = self.status_code();
        let retry_after_ms = self.advice(headers);
        let problem = Problem {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: self.detail.to_string(),
            code: self.code,
            request_id: request_id.to_owned(),
            retry_after_ms,
            errors: self.errors.clone(),
        };
        let mut response = HttpResponseBuilder::new(status);
        for (name, value) in headers {
            if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH && name != header::CONTENT_ENCODING {
                response.append_header((name.clone(), value.clone()));
            }
        }
        // The rest of such a request may be on its way for long: it is not waited for.
        if matches!(
            self.status,
            Some(StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE)
        ) {
            response.force_close();
        }
        if let Some(wait_ms) = retry_after_ms {
            response.insert_header((header::RETRY_AFTER, retry_after(Duration::from_millis(wait_ms))));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        }
        if status == StatusCode::UPGRADE_REQUIRED {
            let version = HeaderValue::from_static(WEBSOCKET_VERSION);
            response.insert_header((header::SEC_WEBSOCKET_VERSION, version));
            response.insert_header((header::UPGRADE, HeaderValue::from_static("websocket")));
        }
        let body = serde_json::to_string(&problem).unwrap_or_default();
        let mut response = response.content_type(PROBLEM_JSON).body(body);
        if let Some(quota) = &self.quota {
            quota_headers::apply(response.headers_mut(), quota);
        }
        response
    }
}

impl Error {
    /// When to try again. A more precise advice, of the failure or on the response already, goes
    /// before that of the code.
    fn advice(&self, headers: &HeaderMap) -> Option<u64> {
        let given = || {
            let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
            Some(seconds.parse::<u64>().ok()?.saturating_mul(1_000))
        };
        let general = self.code.retry_after_ms()?;
        Some(self.retry_after_ms.or_else(given).unwrap_or(general))
    }
}

/// The value of `Retry-After`: rounded up, so that it is true; never 0, which would invite a storm.
pub(crate) fn retry_after(wait: Duration) -> HeaderValue {
    let seconds = wait.as_millis().div_ceil(1_000).max(1);
    HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        let own = || StatusCode::from_u16(self.code.http_status()).ok();
        self.status.or_else(own).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Only the status: the document is written where the id of the request is known.
    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.status_code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::body::to_bytes;
    use serde_json::{Value, json};

    async fn document(error: &Error) -> (HttpResponse<()>, Value) {
        let response = error.to_response("r-1", &HeaderMap::new());
        let (head, body) = response.into_parts();
        (head, serde_json::from_slice(&to_bytes(body).await.unwrap()).unwrap())
    }

    #[actix_web::test]
    async fn a_problem_has_every_member() {
        let (head, body) = document(&Error::field("name", "too long")).await;
        assert_eq!(head.headers().get(header::CONTENT_TYPE).unwrap(), PROBLEM_JSON);
        assert_eq!(
            body,
            json!({"type": "about:blank", "title": "Bad Request", "status": 400, "detail": Code::BadRequest.text(),
                   "code": "bad_request", "request_id": "r-1", "errors": [{"field": "name", "message": "too long"}]})
        );
    }

    #[actix_web::test]
    async fn every_code_has_its_status_and_advice() {
        for code in Code::ALL {
            let (head, body) = document(&Error::new(code)).await;
            assert_eq!(head.status().as_u16(), code.http_status());
            assert_eq!(body["code"], code.as_str());
            assert_eq!(body["status"], code.http_status());
            assert_eq!(
                head.headers().contains_key(header::RETRY_AFTER),
                code.retry_after_ms().is_some()
            );
            assert_eq!(body["retry_after_ms"].as_u64(), code.retry_after_ms());
            assert_eq!(
                head.headers().contains_key(header::WWW_AUTHENTICATE),
                code == Code::Unauthenticated
            );
        }
    }

    #[actix_web::test]
    async fn the_body_and_the_header_give_the_same_advice() {
        let (head, body) = document(&Error::too_many(Duration::from_millis(61_001))).await;
        assert_eq!(head.headers().get(header::RETRY_AFTER).unwrap(), "62");
        assert_eq!(body["retry_after_ms"], 61_001);
        // What another part of the server has put on the response.
        let mut given = HeaderMap::new();
        given.insert(header::RETRY_AFTER, HeaderValue::from_static("7"));
        let response = Error::new(Code::RateLimited).to_response("r", &given);
        assert_eq!(
            response.headers().get_all(header::RETRY_AFTER).collect::<Vec<_>>(),
            ["7"]
        );
        let body: Value = serde_json::from_slice(&to_bytes(response.into_body()).await.unwrap()).unwrap();
        assert_eq!(body["retry_after_ms"], 7_000);
    }

    #[actix_web::test]
    async fn causes_stay_inside() {
        let error = Error::from_feature(Code::Internal, "password of db is x".into());
        assert_eq!(error.cause(), Some("password of db is x"));
        let (_, body) = document(&error).await;
        assert!(!body.to_string().contains("db"), "{body}");
    }

    #[test]
    fn errors_of_the_framework_get_codes() {
        for (status, code) in [
            (StatusCode::NOT_FOUND, Code::NotFound),
            (StatusCode::METHOD_NOT_ALLOWED, Code::BadRequest),
            (StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge),
            (StatusCode::URI_TOO_LONG, Code::TooLarge),
            (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, Code::TooLarge),
            (StatusCode::REQUEST_TIMEOUT, Code::BadRequest),
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::BadRequest),
            (StatusCode::INTERNAL_SERVER_ERROR, Code::Internal),
            (StatusCode::NOT_IMPLEMENTED, Code::Internal),
        ] {
            let error = Error::from_status(status);
            assert_eq!(error.code(), code, "{status}");
            let expected = if status.is_server_error() {
                StatusCode::INTERNAL_SERVER_ERROR
            } else {
                status
            };
            assert_eq!(error.status_code(), expected);
        }
    }
}

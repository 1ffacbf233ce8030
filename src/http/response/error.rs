//! Problem documents (RFC 9457): the only `ResponseError`, and the one mapping from failures to HTTP.
//!
//! A failure travels as an [`Error`]: a code, a public sentence, the fields that are wrong, and the private cause. The
//! envelope middleware turns it into the answer, because only there the request's id is known, and logs the cause, once.
//! Answers of the framework itself (no such route, method not allowed, body too large) pass the same place, so that
//! no error leaves in another shape.

use crate::error::Code;
use crate::rate_limit::QuotaDecision;
use crate::{auth, conversations, database, search, tenants};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use serde::Serialize;
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;
use utoipa::ToSchema;

/// Media type of problem documents.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// A field of the input that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The field, as a path: `name`, `members[3]`.
    pub field: String,
    /// What is wrong, for people.
    pub message: String,
}

/// A problem document (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// `about:blank`: the code says it all.
    pub r#type: &'static str,
    /// The status in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What happened, for people.
    pub detail: String,
    /// What happened, for programs.
    pub code: Code,
    /// The `X-Request-Id` of the answer, to quote in a report.
    pub request_id: String,
    /// The fields that are wrong, where input was invalid.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

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
    /// What is left of the caller's quota, where the answer would not hear of it otherwise.
    budget: Option<Box<QuotaDecision>>,
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
            budget: None,
        }
    }

    /// The same failure, for another answer.
    pub(crate) fn again(&self) -> Self {
        Self {
            code: self.code,
            status: self.status,
            detail: self.detail.clone(),
            errors: self.errors.clone(),
            cause: self.cause.clone(),
            retry_after_ms: self.retry_after_ms,
            budget: self.budget.clone(),
        }
    }

    /// Advises when to try again.
    pub(crate) fn with_retry_after(self, wait: Duration) -> Self {
        Self {
            retry_after_ms: u64::try_from(wait.as_millis()).ok(),
            ..self
        }
    }

    /// Tells what is left of the caller's quota.
    pub(crate) fn with_budget(self, budget: QuotaDecision) -> Self {
        Self {
            budget: Some(Box::new(budget)),
            ..self
        }
    }

    /// `bad_request` because of one field.
    #[must_use]
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        let error = FieldError {
            field: field.into(),
            message: message.into(),
        };
        Self {
            errors: vec![error],
            ..Self::new(Code::BadRequest)
        }
    }

    /// A failure whose public text is `detail` unless the code stands for a fault of ours; then it is the private cause.
    #[must_use]
    pub fn from_feature(code: Code, detail: String) -> Self {
        match code {
            Code::Internal | Code::Unavailable | Code::Overloaded => Self {
                cause: Some(detail),
                ..Self::new(code)
            },
            _ => Self::with_detail(code, detail),
        }
    }

    /// What the framework answered on its own, by its status.
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

    /// The public code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// The fields that are wrong.
    #[must_use]
    pub fn fields(&self) -> &[FieldError] {
        &self.errors
    }

    /// What only the log may hear.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// The answer. `headers` are kept (cookies that are taken away, `Allow`), except those that describe another body.
    pub(crate) fn respond(&self, request_id: &str, headers: &HeaderMap) -> HttpResponse {
        let status = self.status_code();
        let problem = Problem {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: self.detail.to_string(),
            code: self.code,
            request_id: request_id.to_owned(),
            errors: self.errors.clone(),
        };
        let mut answer = HttpResponseBuilder::new(status);
        for (name, value) in headers {
            if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH && name != header::CONTENT_ENCODING {
                answer.append_header((name.clone(), value.clone()));
            }
        }
        // The rest of such a request may be on its way for long: it is not waited for.
        if matches!(
            self.status,
            Some(StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE)
        ) {
            answer.force_close();
        }
        // A more precise advice, of the failure or on the answer already, goes before that of the code.
        let general = || {
            self.code
                .retry_after_ms()
                .filter(|_| !headers.contains_key(header::RETRY_AFTER))
        };
        if let Some(wait_ms) = self.retry_after_ms.or_else(general) {
            answer.insert_header((header::RETRY_AFTER, retry_after(Duration::from_millis(wait_ms))));
        }
        if status == StatusCode::UNAUTHORIZED {
            answer.insert_header((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        }
        let body = serde_json::to_string(&problem).unwrap_or_default();
        let mut answer = answer.content_type(PROBLEM_JSON).body(body);
        if let Some(budget) = &self.budget {
            crate::http::middleware::quotas::tell(answer.headers_mut(), budget);
        }
        answer
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

    /// Only the status: the envelope, which knows the request, writes the document.
    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.status_code())
    }
}

impl From<auth::Error> for Error {
    fn from(error: auth::Error) -> Self {
        match error {
            auth::Error::Invalid { field, message } => Self::field(field, message),
            auth::Error::EmailTaken => {
                let errors = vec![FieldError {
                    field: "email".to_owned(),
                    message: error.to_string(),
                }];
                Self {
                    errors,
                    ..Self::with_detail(Code::Conflict, error.to_string())
                }
            }
            other => Self::from_feature(other.code(), other.to_string()),
        }
    }
}

impl From<tenants::Error> for Error {
    fn from(error: tenants::Error) -> Self {
        match error {
            tenants::Error::Auth(error) => error.into(),
            other => Self::from_feature(other.code(), other.to_string()),
        }
    }
}

impl From<conversations::Error> for Error {
    fn from(error: conversations::Error) -> Self {
        let own = Self::with_detail(error.code(), error.message());
        // A refusal is an answer; anything else is something to look into.
        let is_refusal = matches!(error, conversations::Error::Refused(..)) || error.code().http_status() < 500;
        if is_refusal {
            own
        } else {
            Self {
                cause: Some(error.to_string()),
                ..own
            }
        }
    }
}

impl From<search::Error> for Error {
    fn from(error: search::Error) -> Self {
        match error {
            search::Error::NotFound | search::Error::Overloaded => Self::new(error.code()),
            search::Error::Database(error) => error.into(),
        }
    }
}

impl From<database::Error> for Error {
    fn from(error: database::Error) -> Self {
        // A database refusal has no text for strangers, whatever its code.
        Self {
            cause: Some(error.to_string()),
            ..Self::new(error.code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::body::to_bytes;
    use serde_json::{Value, json};

    async fn document(error: &Error) -> (HttpResponse<()>, Value) {
        let answer = error.respond("r-1", &HeaderMap::new());
        let (head, body) = answer.into_parts();
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
    async fn every_code_answers_with_its_status_and_advice() {
        for code in Code::ALL {
            let (head, body) = document(&Error::new(code)).await;
            assert_eq!(head.status().as_u16(), code.http_status());
            assert_eq!(body["code"], code.as_str());
            assert_eq!(body["status"], code.http_status());
            assert_eq!(
                head.headers().contains_key(header::RETRY_AFTER),
                code.retry_after_ms().is_some()
            );
            assert_eq!(
                head.headers().contains_key(header::WWW_AUTHENTICATE),
                code == Code::Unauthenticated
            );
        }
    }

    #[actix_web::test]
    async fn causes_stay_inside() {
        let error = Error::from_feature(Code::Internal, "password of db is x".into());
        assert_eq!(error.cause(), Some("password of db is x"));
        let (_, body) = document(&error).await;
        assert!(!body.to_string().contains("db"), "{body}");
    }

    #[test]
    fn the_frameworks_answers_get_codes() {
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

//! Turns every failure into a problem document, and logs its cause: here and nowhere else.

use crate::error::Code;
use crate::http::request::log_fields::RequestId;
use crate::http::response::error::Error;
use crate::http::response::problem::PROBLEM_JSON;
use actix_web::body::BoxBody;
use actix_web::dev::ServiceResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpResponse, ResponseError};

/// Replaces what a handler or the framework refused by a problem document. Leaves everything else
/// alone.
pub(super) fn replace_failure(response: ServiceResponse<BoxBody>, id: &RequestId) -> ServiceResponse<BoxBody> {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let media_type = response.headers().get(header::CONTENT_TYPE);
    let is_bare = media_type.is_none_or(|media_type| media_type.as_bytes().starts_with(b"text/plain"));
    let is_problem = media_type.is_some_and(|media_type| media_type == PROBLEM_JSON);
    if is_problem || (response.response().error().is_none() && !is_bare) {
        return response;
    }
    let (request, response) = response.into_parts();
    let own = response.error().and_then(|error| error.as_error::<Error>());
    let problem = match (own, response.error()) {
        (Some(own), _) => problem_of(own, id, response.headers()),
        (None, Some(other)) if status.is_server_error() => problem_of(
            &Error::from_feature(Code::Internal, other.to_string()),
            id,
            response.headers(),
        ),
        _ => problem_of(&Error::from_status(status), id, response.headers()),
    };
    ServiceResponse::new(request, problem)
}

/// The document of a failure with which a middleware has ended the request.
pub(super) fn of_failed_middleware(error: &actix_web::Error, id: &RequestId) -> HttpResponse {
    let fallback = Error::from_status(error.as_response_error().status_code());
    problem_of(error.as_error::<Error>().unwrap_or(&fallback), id, &HeaderMap::new())
}

fn problem_of(error: &Error, id: &RequestId, headers: &HeaderMap) -> HttpResponse {
    if let Some(cause) = error.cause() {
        if error.status_code() == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(code = %error.code(), cause, "request failed");
        } else {
            tracing::warn!(code = %error.code(), cause, "request not served");
        }
    }
    error.to_response(&id.0, headers)
}

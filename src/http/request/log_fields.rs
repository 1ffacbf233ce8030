//! What the log says about a request: its id, and in its span who makes it and which conversation
//! it is about.

use crate::auth::Principal;
use actix_web::http::header::{HeaderMap, HeaderName};
use actix_web::{HttpMessage, HttpRequest};
use tracing::Span;
use uuid::Uuid;

/// Longest `X-Request-Id` that is taken over from the client, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request: the client's if it has a sane form, otherwise made here.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) String);

impl RequestId {
    /// Takes it from the headers, or makes one.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let given = headers
            .get(X_REQUEST_ID)
            .and_then(|value| value.to_str().ok())
            .filter(|id| is_sane(id));
        Self(given.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned))
    }

    /// The id of a request that has passed the request log; empty otherwise.
    pub(crate) fn of(request: &HttpRequest) -> Self {
        let known = request.extensions().get::<Self>().cloned();
        known.unwrap_or_else(|| Self(String::new()))
    }
}

/// It goes into logs and headers: printable, without anything a parser could trip over.
fn is_sane(id: &str) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
}

/// Writes who makes the request into its span, and so into every line that is logged for it.
pub(crate) fn note_caller(caller: &Principal) {
    let (tenant, user) = (caller.tenant_id, caller.user_id);
    tracing::record_all!(Span::current(), tenant.id = %tenant, user.id = %user);
}

/// Writes which conversation the request is about into its span, if it is about one.
pub(crate) fn note_conversation(request: &HttpRequest) {
    if let Some(rest) = request.path().strip_prefix("/api/conversations/")
        && let Ok(id) = rest.split('/').next().unwrap_or_default().parse::<Uuid>()
    {
        tracing::record_all!(Span::current(), conversation.id = %id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_taken_over_only_when_sane() {
        for good in [
            "a",
            "0192f0c1-2345-7abc-8def-0123456789ab",
            "trace:1.2_3",
            &"x".repeat(128),
        ] {
            assert!(is_sane(good), "{good}");
        }
        for bad in ["", "a b", "a\"b", "ä", "a\nb", &"x".repeat(129)] {
            assert!(!is_sane(bad), "{bad:?}");
        }
        assert_eq!(RequestId::from_headers(&HeaderMap::new()).0.len(), 36);
    }
}

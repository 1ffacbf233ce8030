//! Query strings and path parameters as typed input.

use super::log_fields;
use super::wrong_field::wrong_field;
use crate::error::Code;
use crate::http::response::error::Error;
use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use serde::de::DeserializeOwned;
use std::future::{Ready, ready};

/// A query string. Unknown parameters are refused by the types.
pub(crate) struct QueryString<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest for QueryString<T> {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let pairs = form_urlencoded::parse(request.query_string().as_bytes());
        let query = serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs));
        ready(query.map(Self).map_err(|error| {
            let path = error.path().to_string();
            wrong_field(&path, &error.into_inner().to_string())
        }))
    }
}

/// The parameters in the path: ids, codes.
pub(crate) struct PathParams<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest for PathParams<T> {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let path = web::Path::<T>::from_request(request, payload).into_inner();
        let refused = |_| Error::with_detail(Code::BadRequest, "An id in the path is not a UUID.");
        let path = path.map(|path| Self(path.into_inner())).map_err(refused);
        if path.is_ok() {
            log_fields::note_conversation(request);
        }
        ready(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only the parsing matters")]
    struct Filter {
        limit: Option<i64>,
        user: Option<uuid::Uuid>,
    }

    #[actix_web::test]
    async fn a_wrong_parameter_is_named() {
        for (query, field) in [
            ("limit=x", "limit"),
            ("user=x", "user"),
            ("colour=1", "colour"),
            ("limit=1&limit=2", "limit"),
        ] {
            let request = actix_web::test::TestRequest::with_uri(&format!("/?{query}")).to_http_request();
            let error = QueryString::<Filter>::extract(&request)
                .await
                .map(|query| query.0)
                .unwrap_err();
            assert_eq!(
                error.fields().first().map(|error| &*error.field),
                Some(field),
                "{query}"
            );
        }
    }
}

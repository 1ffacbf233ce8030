//! JSON bodies as typed input.
//!
//! Unknown fields are refused by the types (`deny_unknown_fields`). The problem names the field
//! that is wrong.

use super::body;
use super::headers::header_text;
use super::wrong_field::wrong_field;
use crate::error::Code;
use crate::http::response::error::Error;
use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use serde::de::{DeserializeOwned, IgnoredAny};

/// A JSON object, as large as the route allows.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned + 'static> FromRequest for JsonBody<T> {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = is_json(request);
        let body = body::read_body(request, payload);
        async move {
            if !is_json {
                return Err(not_json());
            }
            parse_json(&body.await?).map(Self)
        }
        .boxed_local()
    }
}

/// The same where there may be no body, or `null`: then it is the default.
pub(crate) struct OptionalJsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned + Default + 'static> FromRequest for OptionalJsonBody<T> {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = is_json(request);
        let body = body::read_body(request, payload);
        async move {
            let body = body.await?;
            if body.is_empty() {
                return Ok(Self(T::default()));
            }
            if !is_json {
                return Err(not_json());
            }
            // What many clients send for nothing.
            if body.trim_ascii() == b"null" {
                return Ok(Self(T::default()));
            }
            parse_json(&body).map(Self)
        }
        .boxed_local()
    }
}

fn not_json() -> Error {
    let detail = "The body must be JSON, with `Content-Type: application/json`.";
    Error::with_detail(Code::BadRequest, detail)
}

fn is_json(request: &HttpRequest) -> bool {
    let value = header_text(request, "content-type").unwrap_or_default();
    value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .eq_ignore_ascii_case("application/json")
}

fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    // serde would take `["x", null]` for a structure of two fields, whatever their names.
    let starts = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if starts.is_some_and(|byte| *byte != b'{') && serde_json::from_slice::<IgnoredAny>(bytes).is_ok() {
        return Err(Error::with_detail(Code::BadRequest, "The body must be a JSON object."));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        // For some wrong values (a number for a word) serde_json says "syntax"; so the text itself
        // is asked.
        if serde_json::from_slice::<IgnoredAny>(bytes).is_ok() {
            wrong_field(&path, &error.into_inner().to_string())
        } else {
            Error::with_detail(Code::BadRequest, "The body is not valid JSON.")
        }
    })?;
    reader
        .end()
        .map_err(|_| Error::with_detail(Code::BadRequest, "The body is not valid JSON."))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only the parsing matters")]
    struct Input {
        name: String,
        role: Option<crate::ids::Role>,
        count: Option<i64>,
        items: Option<Vec<Item>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only the parsing matters")]
    struct Item {
        id: uuid::Uuid,
    }

    fn field(text: &str) -> String {
        let error = parse_json::<Input>(text.as_bytes()).map(drop).unwrap_err();
        assert_eq!(error.code(), Code::BadRequest);
        let body = serde_json::to_value(error.fields()).unwrap();
        body[0]["field"].as_str().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_wrong_field_is_named() {
        assert!(parse_json::<Input>(br#"{"name":"x"}"#).is_ok());
        assert_eq!(field(r#"{"name":"x","colour":1}"#), "colour");
        assert_eq!(field("{}"), "name");
        assert_eq!(field(r#"{"name":5}"#), "name");
        assert_eq!(field(r#"{"name":"x","count":"y"}"#), "count");
        assert_eq!(field(r#"{"name":"x","role":1}"#), "role");
        assert_eq!(field(r#"{"name":"x","role":"emperor"}"#), "role");
        assert_eq!(field(r#"{"name":"x","items":[{"id":"nonsense"}]}"#), "items[0].id");
        assert_eq!(field(r#"{"name":"x","items":[{}]}"#), "items[0].id");
        assert_eq!(
            field(r#"{"name":"x","items":[{"id":"0192f0c1-2345-7abc-8def-0123456789ab","x":1}]}"#),
            "items[0].x"
        );
        assert_eq!(field(r#"{"name":"x","name":"y"}"#), "name");
        for list in ["[]", r#"["x"]"#, r#" ["x",null,1,[]]"#, "null", "5", r#""x""#] {
            assert_eq!(field(list), "");
        }
        assert_eq!(field("{"), "");
        assert_eq!(field(r#"{"name":"x"} x"#), "");
    }
}

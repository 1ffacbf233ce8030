//! The AsyncAPI 3 document of the socket, made from the types of the wire.
//!
//! Keys are `server_<type>` and `client_<type>`, because `read` and `typing` exist in both
//! directions. When you add a frame, add it to the list in `server.rs` or `client.rs`; a test finds
//! those that are missing.

use super::schemas::{FrameSchema, SharedSchemas};
use super::{client, server};
use crate::http::assets::files::Asset;
use crate::http::response::prepared;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

fn message(frame: FrameSchema) -> Value {
    let mut message = json!({
        "name": frame.word,
        "title": frame.word,
        "summary": frame.summary,
        "contentType": "application/json",
        "payload": frame.schema,
    });
    if !frame.examples.is_empty() {
        message["examples"] = frame
            .examples
            .into_iter()
            .map(|payload| json!({"payload": payload}))
            .collect();
    }
    message
}

/// The whole document.
fn document() -> Value {
    let mut schemas = SharedSchemas::default();
    let mut messages = Map::new();
    let mut directions = [Vec::new(), Vec::new()];
    let server = server::frames(&mut schemas);
    let client = client::frames(&mut schemas);
    for (n, (prefix, frames)) in [("server", server), ("client", client)].into_iter().enumerate() {
        for frame in frames {
            let key = format!("{prefix}_{}", frame.word);
            directions[n].push(json!({"$ref": format!("#/channels/socket/messages/{key}")}));
            messages.insert(key, message(frame));
        }
    }
    let references: Map<String, Value> = messages
        .keys()
        .map(|key| (key.clone(), json!({"$ref": format!("#/components/messages/{key}")})))
        .collect();
    let [server, client] = directions;
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Parlance socket",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Text frames, one JSON object each. The sub-protocol is `parlance.v1`.",
            "license": {"name": "GPL-3.0-or-later"},
        },
        "defaultContentType": "application/json",
        "channels": {"socket": {"address": "/ws", "messages": references}},
        "operations": {
            "serverFrames": {"action": "send", "channel": {"$ref": "#/channels/socket"}, "messages": server},
            "clientFrames": {"action": "receive", "channel": {"$ref": "#/channels/socket"}, "messages": client},
        },
        "components": {"messages": messages, "schemas": schemas.0},
    })
}

/// The document as it is sent; made once.
static DOCUMENT: LazyLock<Asset> = LazyLock::new(|| Asset::of_text(document().to_string(), "application/json"));

/// `GET /asyncapi.json`.
pub(crate) async fn show(request: HttpRequest) -> HttpResponse {
    prepared::respond(&request, &DOCUMENT, "no-cache").await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;
    use crate::wire::frames::{self, ServerFrame as _};
    use std::collections::BTreeSet;

    fn words(prefix: &str) -> BTreeSet<String> {
        let document = document();
        let messages = document["components"]["messages"].as_object().unwrap();
        messages
            .keys()
            .filter_map(|key| key.strip_prefix(prefix))
            .map(str::to_owned)
            .collect()
    }

    /// The words in quotes that stand between two marks in a source file.
    fn words_in_source(source: &str, from: &str, to: &str) -> BTreeSet<String> {
        let part = source.split_once(from).unwrap().1.split_once(to).unwrap().0;
        part.split('"').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn every_server_frame_is_in_it() {
        let source = include_str!("../../../wire/frames.rs");
        let expected = words_in_source(source, "\nserver_frame!(", ");");
        assert!(expected.len() >= 15, "{expected:?}");
        assert_eq!(words("server_"), expected);
    }

    #[test]
    fn every_client_frame_is_in_it() {
        let source = include_str!("../../../wire/client.rs");
        let arms = source
            .split_once("match kind.as_str() {")
            .unwrap()
            .1
            .split_once("_ =>")
            .unwrap()
            .0;
        let expected: BTreeSet<_> = arms
            .lines()
            .filter_map(|line| Some(line.trim().strip_prefix('"')?.split_once('"')?.0.to_owned()))
            .collect();
        assert!(expected.len() >= 10, "{expected:?}");
        assert_eq!(words("client_"), expected);
    }

    /// A validator for one message, with the document's shared schemas within reach.
    fn validator(document: &Value, key: &str) -> jsonschema::Validator {
        let mut schema = document["components"]["messages"][key]["payload"].clone();
        schema["components"] = document["components"].clone();
        jsonschema::validator_for(&schema).unwrap()
    }

    #[test]
    fn examples_fit_their_schema_and_the_parser() {
        let document = document();
        for word in words("client_") {
            let key = format!("client_{word}");
            let validator = validator(&document, &key);
            let examples = document["components"]["messages"][&key]["examples"].as_array().unwrap();
            for example in examples {
                let payload = &example["payload"];
                assert!(validator.is_valid(payload), "{payload}");
                assert!(wire::parse(&payload.to_string()).is_ok(), "{payload}");
                let mut extra = payload.clone();
                extra["colour"] = json!(1);
                assert!(
                    !validator.is_valid(&extra) && wire::parse(&extra.to_string()).is_err(),
                    "{extra}"
                );
                for field in payload.as_object().unwrap().keys() {
                    let mut less = payload.clone();
                    less.as_object_mut().unwrap().remove(field);
                    assert_eq!(
                        validator.is_valid(&less),
                        wire::parse(&less.to_string()).is_ok(),
                        "{less}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_server_frame_fits_its_schema() {
        let document = document();
        let goodbye = frames::Goodbye {
            reason: "draining",
            retry_after_ms: 7,
        };
        let frame = serde_json::to_value(goodbye.tagged()).unwrap();
        assert!(validator(&document, "server_goodbye").is_valid(&frame), "{frame}");
        let error = frames::ErrorFrame {
            reference: Some("r".into()),
            code: crate::error::Code::Overloaded,
            message: "busy".into(),
            retry_after_ms: Some(500),
        };
        let frame = serde_json::to_value(error.tagged()).unwrap();
        assert!(validator(&document, "server_error").is_valid(&frame), "{frame}");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn check(document: &Value, value: &Value) {
            match value {
                Value::Object(fields) => {
                    if let Some(Value::String(reference)) = fields.get("$ref") {
                        let pointer = reference.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{reference}");
                    }
                    fields.values().for_each(|field| check(document, field));
                }
                Value::Array(items) => items.iter().for_each(|item| check(document, item)),
                _ => {}
            }
        }
        let document = document();
        check(&document, &document);
    }
}

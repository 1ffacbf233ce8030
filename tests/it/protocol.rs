//! The examples of `docs/protocol.md`, tried: client frames are parsed, server frames are held
//! against the document of the socket, and requests are sent to a node, whose responses must look
//! as the page says.
//!
//! A fenced block says what it is: `json client`, `json server`, or `http`. The last one has a
//! request, perhaps a body, and the response, with an empty line between them.

use crate::documents::complaints;
use crate::support::{Person, TestApp};
use parlance::ids::ConversationId;
use parlance::wire;
use reqwest::Method;
use serde_json::Value;
use std::collections::BTreeSet;
use uuid::Uuid;

const PAGE: &str = include_str!("../../docs/protocol.md");

/// Fields whose values are those of the moment.
const VARYING: [&str; 3] = ["email", "uptime_seconds", "version"];

/// A fenced block of the page.
struct Example {
    kind: &'static str,
    /// Where it begins, for messages.
    line: usize,
    text: String,
}

impl Example {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("line {}: {error}", self.line))
    }
}

fn examples() -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    let mut is_open = false;
    for (number, line) in (1..).zip(PAGE.lines()) {
        match line.strip_prefix("```") {
            Some(_) if is_open => is_open = false,
            Some(kind) => {
                is_open = true;
                found.push(Example {
                    kind,
                    line: number,
                    text: String::new(),
                });
            }
            None if is_open => {
                let text = &mut found.last_mut().unwrap().text;
                text.push_str(line);
                text.push('\n');
            }
            None => {}
        }
    }
    found
}

fn examples_of(kind: &str) -> Vec<Example> {
    let found: Vec<_> = examples().into_iter().filter(|example| example.kind == kind).collect();
    assert!(!found.is_empty(), "the examples were not found");
    found
}

#[test]
fn every_example_says_what_it_is() {
    for example in examples() {
        let is_known = ["json client", "json server", "http"].contains(&example.kind);
        assert!(
            is_known,
            "line {}: ```{} is not tried by any test",
            example.line, example.kind
        );
    }
}

#[test]
fn client_frames_of_the_page_are_taken() {
    for example in examples_of("json client") {
        let parsed = wire::parse(&example.text);
        assert!(parsed.is_ok(), "line {}: {:?}", example.line, parsed.err());
    }
}

#[actix_web::test]
async fn frames_of_the_page_are_those_of_the_document() {
    let app = TestApp::start().await;
    let document = app.request(Method::GET, "/asyncapi.json", None, None).await.ok();
    let messages = document["components"]["messages"].as_object().unwrap();
    let mut missing: BTreeSet<_> = messages.keys().cloned().collect();
    for (kind, direction) in [("json client", "client"), ("json server", "server")] {
        for example in examples_of(kind) {
            let frame = example.json();
            let key = format!("{direction}_{}", frame["type"].as_str().unwrap());
            let message = messages.get(&key).unwrap_or_else(|| panic!("there is no {key}"));
            let errors = complaints(&document, &message["payload"], &frame);
            assert!(errors.is_empty(), "line {}: {errors:?}", example.line);
            missing.remove(&key);
        }
    }
    assert!(missing.is_empty(), "the page has no example of {missing:?}");
    app.stop().await;
}

#[actix_web::test]
async fn requests_of_the_page_get_its_responses() {
    let app = TestApp::start().await;
    let ([ada, bob], conversation) = app.conversation_of(["Ada", "Bob"]).await;
    let mut broken = Vec::new();
    for example in examples_of("http") {
        let place = format!("line {}", example.line);
        let parts: Vec<_> = example.text.trim_end().split("\n\n").collect();
        let (request, body, response) = match parts[..] {
            [request, response] => (request, None, response),
            [request, body, response] => (request, Some(body), response),
            _ => panic!("{place}: a request, perhaps a body, and a response"),
        };
        let request = filled(request, &ada, &bob, conversation);
        let body = body.map(|body| serde_json::from_str(&filled(body, &ada, &bob, conversation)).unwrap());
        let (status, expected) = response.split_once('\n').unwrap_or((response, "null"));
        let expected: Value = serde_json::from_str(expected).unwrap_or_else(|error| panic!("{place}: {error}"));
        let mut lines = request.lines();
        let (method, path) = lines.next().unwrap().split_once(' ').unwrap();
        let token = lines
            .next()
            .map(|line| line.strip_prefix("Authorization: Bearer ").unwrap());
        let reply = app.request(method.parse().unwrap(), path, token, body).await;
        if reply.status.to_string() != status {
            broken.push(format!("{place}: {status} is {} {}", reply.status, reply.body));
            continue;
        }
        compare(
            &expected,
            &reply.body,
            &format!("{place}: {method} {path}"),
            &mut broken,
        );
    }
    assert!(
        broken.is_empty(),
        "the page says something else\n  {}\n",
        broken.join("\n  ")
    );
    app.stop().await;
}

/// Puts what exists in the test in place of what stands in braces.
fn filled(text: &str, ada: &Person, bob: &Person, conversation: ConversationId) -> String {
    text.replace("{token}", &ada.token)
        .replace("{conversation}", &conversation.to_string())
        .replace("{user}", &bob.id.to_string())
}

/// Adds where the response differs from the page: in its fields, in the kinds of their values, and
/// in values that do not vary. Ids and times do, and so does a text that the page shortens with
/// `…`.
fn compare(page: &Value, reply: &Value, place: &str, broken: &mut Vec<String>) {
    match (page, reply) {
        (Value::Object(on_page), Value::Object(in_reply)) => {
            let names: BTreeSet<_> = on_page.keys().chain(in_reply.keys()).collect();
            for name in names {
                let place = format!("{place} .{name}");
                match (on_page.get(name), in_reply.get(name)) {
                    (Some(_), Some(_)) if VARYING.contains(&name.as_str()) => {}
                    (Some(page), Some(reply)) => compare(page, reply, &place, broken),
                    (page, reply) => broken.push(format!("{place}: {page:?} is {reply:?}")),
                }
            }
        }
        (Value::Array(on_page), Value::Array(in_reply)) if on_page.len() == in_reply.len() => {
            for (page, reply) in on_page.iter().zip(in_reply) {
                compare(page, reply, &format!("{place}[]"), broken);
            }
        }
        (Value::String(page), Value::String(reply)) if is_alike(page, reply) => {}
        _ if page == reply => {}
        _ => broken.push(format!("{place}: {page} is {reply}")),
    }
}

fn is_alike(page: &str, reply: &str) -> bool {
    let is_id = |text: &str| text.parse::<Uuid>().is_ok();
    let is_time = |text: &str| chrono::DateTime::parse_from_rfc3339(text).is_ok();
    page == reply || page.contains('…') || (is_id(page) && is_id(reply)) || (is_time(page) && is_time(reply))
}

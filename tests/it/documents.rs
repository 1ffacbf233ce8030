//! The published documents against what the server really says.

use crate::support::client::PASSWORD;
use crate::support::{Answer, Person, Site, TestApp};
use parlance::ids::MessageId;
use reqwest::Method;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// The OpenAPI document, and which of its operations were held against it.
struct Document {
    document: Value,
    seen: RefCell<BTreeSet<(String, String)>>,
}

impl Document {
    async fn load(site: &Site) -> Self {
        let document = site.request(Method::GET, "/openapi.json", None, None).await.ok();
        Self {
            document,
            seen: RefCell::default(),
        }
    }

    /// Makes a request to a documented route and holds the answer against its schema.
    async fn call(&self, person: &Person, operation: &str, path: &str, body: Option<Value>) -> Value {
        let (method, template) = operation.split_once(' ').unwrap();
        let token = Some(&*person.token);
        let answer = person.site.request(method.parse().unwrap(), path, token, body).await;
        self.check(method, template, &answer);
        answer.body
    }

    fn check(&self, method: &str, template: &str, answer: &Answer) {
        let operation = &self.document["paths"][template][method.to_lowercase()];
        assert!(operation.is_object(), "{method} {template} is not documented");
        self.seen.borrow_mut().insert((method.to_owned(), template.to_owned()));
        let responses = &operation["responses"];
        let status = answer.status.to_string();
        let response = responses.get(&status).unwrap_or(&responses["default"]);
        if answer.status < 400 {
            assert!(
                responses.get(&status).is_some(),
                "{method} {template}: {status} is not documented"
            );
        }
        let Some(content) = response["content"].as_object() else {
            assert_eq!(answer.body, Value::Null, "{method} {template} has no documented body");
            return;
        };
        let kind = answer.header("content-type").unwrap();
        let mut schema = content
            .get(kind)
            .unwrap_or_else(|| panic!("{method} {template}: {kind}"))["schema"]
            .clone();
        schema["components"] = self.document["components"].clone();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let errors: Vec<_> = validator
            .iter_errors(&answer.body)
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{method} {template}: {errors:?} in {}", answer.body);
    }

    /// Asserts that nothing documented was left out.
    fn assert_complete(&self, except: &[&str]) {
        let seen = self.seen.borrow();
        for (path, item) in self.document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                let operation = (method.to_uppercase(), path.clone());
                assert!(
                    seen.contains(&operation) || except.contains(&path.as_str()),
                    "{operation:?} was not tried"
                );
            }
        }
    }
}

#[actix_web::test]
async fn every_answer_fits_the_document() {
    let app = TestApp::start().await;
    let documented = Document::load(&app).await;
    let ann = app.register("Ann").await;
    let call =
        async |operation: &str, path: &str, body: Option<Value>| documented.call(&ann, operation, path, body).await;
    for path in ["/health", "/health/live", "/health/ready"] {
        call(&format!("GET {path}"), path, None).await;
    }
    let made = call(
        "POST /api/conversations",
        "/api/conversations",
        Some(json!({"title": "x"})),
    )
    .await;
    let place = format!("/api/conversations/{}", made["id"].as_str().unwrap());
    let conversation = "/api/conversations/{id}";
    let (id, reply) = (MessageId::new(), MessageId::new());
    let messages = format!("{place}/messages");
    call(
        "POST /api/conversations/{id}/messages",
        &messages,
        Some(json!({"id": id, "body": "x"})),
    )
    .await;
    call(
        "POST /api/conversations/{id}/messages",
        &messages,
        Some(json!({"id": id, "body": "x"})),
    )
    .await;
    call(
        "POST /api/conversations/{id}/messages",
        &messages,
        Some(json!({"id": id, "body": "y"})),
    )
    .await;
    let answering = json!({"id": reply, "body": "x", "reply_to": id});
    call("POST /api/conversations/{id}/messages", &messages, Some(answering)).await;
    let mut socket = ann.connect().await;
    let react = json!({"type": "react", "conversation": made["id"], "id": id, "emoji": "👍", "on": true});
    assert_eq!(socket.ask(react).await["type"], "ok");
    let one = "/api/conversations/{id}/messages/{message_id}";
    call(
        &format!("PATCH {one}"),
        &format!("{messages}/{id}"),
        Some(json!({"body": "y"})),
    )
    .await;
    call(&format!("DELETE {one}"), &format!("{messages}/{reply}"), None).await;
    call("GET /api/conversations/{id}/messages", &messages, None).await;
    call("GET /api/conversations", "/api/conversations", None).await;
    call(&format!("GET {conversation}"), &place, None).await;
    call(&format!("PATCH {conversation}"), &place, Some(json!({"title": "y"}))).await;
    let invites = format!("{place}/invites");
    let later = chrono::Utc::now() + chrono::TimeDelta::hours(1);
    let invite = call(
        "POST /api/conversations/{id}/invites",
        &invites,
        Some(json!({"max_uses": 9, "expires_at": later})),
    )
    .await;
    call("GET /api/conversations/{id}/invites", &invites, None).await;
    let code = invite["code"].as_str().unwrap();
    call(
        "POST /api/invites/{code}/accept",
        &format!("/api/invites/{code}/accept"),
        None,
    )
    .await;
    let guest = call(
        "POST /auth/guest",
        "/auth/guest",
        Some(json!({"name": "Gus", "invite": code})),
    )
    .await;
    let body = json!({"email": "bob@example.org", "password": PASSWORD, "name": "Bob", "invite": code});
    let bob = call("POST /auth/register", "/auth/register", Some(body)).await["user"]["id"].clone();
    let members = format!("{place}/members");
    call("GET /api/conversations/{id}/members", &members, None).await;
    let member = "/api/conversations/{id}/members/{user_id}";
    let bobs = format!("{members}/{}", bob.as_str().unwrap());
    call(&format!("PATCH {member}"), &bobs, Some(json!({"role": "moderator"}))).await;
    call(&format!("DELETE {member}"), &bobs, None).await;
    call(
        "POST /api/conversations/{id}/members",
        &members,
        Some(json!({"user_id": bob})),
    )
    .await;
    let withdraw = format!("{invites}/{}", invite["id"].as_str().unwrap());
    call("DELETE /api/conversations/{id}/invites/{invite_id}", &withdraw, None).await;
    let input = json!({"name": "bot", "scopes": ["chat", "admin"], "expires_at": later});
    let key = call("POST /api/keys", "/api/keys", Some(input)).await["id"].clone();
    call("GET /api/keys", "/api/keys", None).await;
    let key = format!("/api/keys/{}", key.as_str().unwrap());
    call("DELETE /api/keys/{id}", &key, None).await;
    call("DELETE /api/keys/{id}", &key, None).await;
    call("GET /api/me", "/api/me", None).await;
    call("PATCH /api/me", "/api/me", Some(json!({"name": "Anna"}))).await;
    call("GET /api/tenant", "/api/tenant", None).await;
    call("PATCH /api/tenant", "/api/tenant", Some(json!({"name": "Ours"}))).await;
    call("GET /api/users", "/api/users", None).await;
    let user = format!("/api/users/{}", guest["user"]["id"].as_str().unwrap());
    call("GET /api/users/{id}", &user, None).await;
    call("PATCH /api/users/{id}", &user, Some(json!({"tier": "regular"}))).await;
    call(&format!("DELETE {conversation}"), &place, None).await;
    call(&format!("GET {conversation}"), &place, None).await;
    call("POST /auth/ticket", "/auth/ticket", None).await;
    let entrance = json!({"email": ann.email, "password": PASSWORD});
    call("POST /auth/login", "/auth/login", Some(entrance)).await;
    call("POST /auth/refresh", "/auth/refresh", None).await;
    call("POST /auth/logout-all", "/auth/logout-all", None).await;
    call("POST /auth/logout", "/auth/logout", None).await;
    // Neither of them answers JSON: `socket/` and `metrics.rs` are about them.
    documented.assert_complete(&["/ws", "/metrics"]);
    app.stop().await;
}

#[actix_web::test]
async fn the_socket_speaks_as_its_document_says() {
    let app = TestApp::start().await;
    let document = app.request(Method::GET, "/asyncapi.json", None, None).await.ok();
    assert_eq!(document["asyncapi"], "3.0.0");
    let ([ann, bob], conversation) = app.conversation_of(["Ann", "Bob"]).await;
    let (mut socket, mut other) = (ann.connect().await, bob.connect().await);
    let mut frames = vec![socket.hello().clone()];
    let id = MessageId::new();
    socket.subscribe(conversation, None).await;
    other.subscribe(conversation, None).await;
    let of = |kind: &str, more: Value| {
        let mut frame = json!({"type": kind, "conversation": conversation});
        frame.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        frame
    };
    for frame in [
        of("subscribe", json!({"after": 0})),
        of("send", json!({"id": id, "body": "x"})),
        of("send", json!({"id": id, "body": "x"})),
        of("send", json!({"id": id, "body": "other"})),
        of("react", json!({"id": id, "emoji": "👍", "on": true})),
        of("edit", json!({"id": id, "body": "y"})),
        of("read", json!({"seq": 1})),
        of("typing", json!({"on": true})),
        json!({"type": "ping"}),
        of("delete", json!({"id": id})),
        of("unsubscribe", json!({})),
    ] {
        frames.push(socket.ask(frame).await);
    }
    other.expect("typing").await;
    other.ask(of("read", json!({"seq": 1}))).await;
    let title = json!({"title": "Other"});
    ann.patch(&format!("/api/conversations/{conversation}"), title)
        .await
        .ok();
    frames.push(other.expect("conversation").await);
    frames.extend(socket.drain());
    frames.extend(other.drain());
    for frame in frames {
        let key = format!("server_{}", frame["type"].as_str().unwrap());
        let mut schema = document["components"]["messages"][&key]["payload"].clone();
        assert!(schema.is_object(), "{key} is not documented");
        schema["components"] = document["components"].clone();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let errors: Vec<_> = validator.iter_errors(&frame).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?} in {frame}");
    }
    app.stop().await;
}

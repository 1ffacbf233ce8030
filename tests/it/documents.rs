//! The published documents against what the server really says.

use crate::auth::{cookie, email_of, login, refresh};
use crate::support::client::PASSWORD;
use crate::support::{Answer, Person, Site, TestApp};
use parlance::ids::MessageId;
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// What is wrong with a value by a schema of a document: what the schema says, and fields that it does not know. Readers
/// have to ignore those, so schemas allow them; but what we send is what we document.
pub fn complaints(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut whole = schema.clone();
    whole["components"] = document["components"].clone();
    let validator = jsonschema::validator_for(&whole).unwrap();
    let mut found: Vec<_> = validator.iter_errors(value).map(|error| error.to_string()).collect();
    find_strangers(document, &[schema], value, "", &mut found);
    found
}

/// Adds the fields of `value` that none of the schemas knows.
fn find_strangers(document: &Value, schemas: &[&Value], value: &Value, place: &str, found: &mut Vec<String>) {
    // Whatever the value may be together: references, all of, one of.
    let (mut whole, mut next) = (Vec::new(), schemas.to_vec());
    while let Some(schema) = next.pop() {
        if let Some(reference) = schema["$ref"].as_str() {
            next.push(document.pointer(reference.strip_prefix('#').unwrap()).unwrap());
        }
        for parts in ["allOf", "oneOf", "anyOf"] {
            next.extend(schema[parts].as_array().into_iter().flatten());
        }
        whole.push(schema);
    }
    match value {
        Value::Object(fields) if whole.iter().any(|schema| schema["properties"].is_object()) => {
            for (name, value) in fields {
                let of: Vec<_> = whole.iter().map(|schema| &schema["properties"][name]).collect();
                let of: Vec<_> = of.into_iter().filter(|schema| !schema.is_null()).collect();
                let place = format!("{place}.{name}");
                if of.is_empty() {
                    found.push(format!("{place} is not documented"));
                } else {
                    find_strangers(document, &of, value, &place, found);
                }
            }
        }
        Value::Array(items) => {
            let of: Vec<_> = whole.iter().map(|schema| &schema["items"]).collect();
            let of: Vec<_> = of.into_iter().filter(|schema| schema.is_object()).collect();
            for item in items {
                find_strangers(document, &of, item, &format!("{place}[]"), found);
            }
        }
        _ => {}
    }
}

/// The OpenAPI document, and which of its operations were held against it, with which statuses.
struct Document {
    document: Value,
    seen: RefCell<BTreeSet<(String, String, String)>>,
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
        let responses = &operation["responses"];
        let status = answer.status.to_string();
        let tried = (method.to_owned(), template.to_owned(), status.clone());
        self.seen.borrow_mut().insert(tried);
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
        let schema = &content
            .get(kind)
            .unwrap_or_else(|| panic!("{method} {template}: {kind}"))["schema"];
        let errors = complaints(&self.document, schema, &answer.body);
        assert!(errors.is_empty(), "{method} {template}: {errors:?} in {}", answer.body);
    }

    /// All operations, with their answers.
    fn operations(&self) -> impl Iterator<Item = (&str, String, &Map<String, Value>)> {
        let paths = self.document["paths"].as_object().unwrap();
        paths.iter().flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().iter();
            methods.map(move |(method, operation)| {
                let answers = operation["responses"].as_object().unwrap();
                (path.as_str(), method.to_uppercase(), answers)
            })
        })
    }

    /// Asserts that every documented success has occurred.
    fn assert_complete(&self, except: &[&str]) {
        let seen = self.seen.borrow();
        for (path, method, answers) in self.operations().filter(|(path, ..)| !except.contains(path)) {
            for status in answers.keys().filter(|status| status.starts_with(['2', '3'])) {
                let wanted = (method.clone(), path.to_owned(), status.clone());
                assert!(seen.contains(&wanted), "{wanted:?} did not occur");
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
    call("GET /api/search", "/api/search?q=y", None).await;
    call("GET /api/analytics/latency", "/api/analytics/latency", None).await;
    call("GET /api/analytics/export", "/api/analytics/export", None).await;
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
    let blocked = json!({"user_id": guest["user"]["id"]});
    call("POST /api/me/blocks", "/api/me/blocks", Some(blocked)).await;
    call("GET /api/me/blocks", "/api/me/blocks", None).await;
    let block = format!("/api/me/blocks/{}", guest["user"]["id"].as_str().unwrap());
    call("DELETE /api/me/blocks/{user_id}", &block, None).await;
    let all = json!({"conversations": [made["id"], guest["user"]["id"]], "decline": false});
    call("POST /api/conversations/leave", "/api/conversations/leave", Some(all)).await;
    call("GET /api/tenant", "/api/tenant", None).await;
    call("PATCH /api/tenant", "/api/tenant", Some(json!({"name": "Ours"}))).await;
    call("GET /api/tenant/invites", "/api/tenant/invites?limit=2", None).await;
    let link = call("POST /api/conversations/{id}/invites", &invites, Some(json!({}))).await["id"].clone();
    let link = format!("/api/tenant/invites/{}", link.as_str().unwrap());
    call("DELETE /api/tenant/invites/{invite_id}", &link, None).await;
    call("DELETE /api/tenant/invites/{invite_id}", &link, None).await;
    call("DELETE /api/tenant/invites", "/api/tenant/invites", None).await;
    call("GET /api/users", "/api/users", None).await;
    let user = format!("/api/users/{}", guest["user"]["id"].as_str().unwrap());
    call("GET /api/users/{id}", &user, None).await;
    call("PATCH /api/users/{id}", &user, Some(json!({"tier": "regular"}))).await;
    call(&format!("DELETE {conversation}"), &place, None).await;
    call(&format!("GET {conversation}"), &place, None).await;
    crate::analytics::counted(&app).await;
    for route in crate::analytics::ROUTES {
        call(&format!("GET {route}"), route, None).await;
        // Of a time that is over, with a tag.
        let path = format!("{route}?from=2020-01-01&to=2020-01-02");
        let whole = ann.get(&path).await;
        documented.check("GET", route, &whole);
        let again = app.http().get(app.url(&path)).bearer_auth(&ann.token);
        let again = again.header("if-none-match", whole.header("etag").unwrap());
        let unchanged = Site::read(again.send().await.unwrap()).await.unwrap();
        documented.check("GET", route, &unchanged);
    }
    call("POST /auth/ticket", "/auth/ticket", None).await;
    let entrance = json!({"email": ann.email, "password": PASSWORD});
    call("POST /auth/login", "/auth/login", Some(entrance)).await;
    call("POST /auth/logout", "/auth/logout", None).await;
    let answer = login(&app, email_of(&ann), PASSWORD).await;
    documented.check("POST", "/auth/login", &answer);
    let answer = refresh(&app, &cookie(&answer, "parlance_refresh").value).await;
    documented.check("POST", "/auth/refresh", &answer);
    let token = answer.body["access_token"].as_str().unwrap().to_owned();
    let again = Person { token, ..ann.clone() };
    let change = json!({"password": PASSWORD, "new_password": "another harbour at dusk"});
    documented
        .call(&again, "POST /api/me/password", "/api/me/password", Some(change))
        .await;
    documented
        .call(&again, "POST /auth/logout-all", "/auth/logout-all", None)
        .await;
    // Neither of them answers JSON: `socket/` and `metrics.rs` are about them.
    documented.assert_complete(&["/ws", "/metrics"]);
    app.stop().await;
}

/// By the schema that the OpenAPI Initiative publishes; what it leaves open, by that of JSON Schema.
#[actix_web::test]
async fn the_openapi_document_is_a_valid_one() {
    let published: Value = serde_json::from_str(include_str!("support/openapi-3.1.schema.json")).unwrap();
    assert_eq!(published["$id"], "https://spec.openapis.org/oas/3.1/schema/2022-10-07");
    let validator = jsonschema::draft202012::new(&published).unwrap();
    for secure in [false, true] {
        let app = TestApp::with(|config| config.http.secure_cookies = secure).await;
        let document = app.request(Method::GET, "/openapi.json", None, None).await.ok();
        let errors: Vec<_> = validator
            .iter_errors(&document)
            .map(|error| format!("{}: {error:.200}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
        let schemas = document["components"]["schemas"].as_object().unwrap();
        assert!(schemas.len() > 20);
        for (name, schema) in schemas {
            let valid = jsonschema::draft202012::meta::validate(schema);
            assert!(valid.is_ok(), "{name}: {valid:?}");
        }
        // A document that it would not take.
        let mut broken = document;
        broken["paths"]["/api/me"]["get"]["responses"]["200"]
            .as_object_mut()
            .unwrap()
            .remove("description");
        assert!(!validator.is_valid(&broken));
        app.stop().await;
    }
}

#[actix_web::test]
async fn the_socket_speaks_as_its_document_says() {
    let mut app = TestApp::start().await;
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
    frames.push(other.expect("typing").await);
    other.ask(of("read", json!({"seq": 1}))).await;
    // How far somebody has read is told with the next tick of the conversation, which may come after all that follows.
    frames.push(other.expect("read").await);
    frames.push(
        socket
            .refused(json!({"type": "ping", "colour": 1}), "bad_request")
            .await,
    );
    let title = json!({"title": "Other"});
    ann.patch(&format!("/api/conversations/{conversation}"), title)
        .await
        .ok();
    frames.push(other.expect("conversation").await);
    // Ann's first socket has unsubscribed, so it is told of news; Cem joins and comes online.
    other.post(conversation, MessageId::new(), "news").await;
    frames.push(socket.expect("notice").await);
    let cem = app.join("Cem", &ann.invite(conversation).await).await;
    frames.push(other.expect("member").await);
    let cems = cem.connect().await;
    frames.push(other.expect("presence").await);
    frames.push(cems.hello().clone());
    app.begin_stop();
    frames.push(other.expect("goodbye").await);
    frames.extend(socket.drain());
    frames.extend(other.drain());
    let messages = document["components"]["messages"].as_object().unwrap();
    let mut missing: BTreeMap<_, _> = messages.iter().filter(|(key, _)| key.starts_with("server_")).collect();
    for frame in frames {
        let key = format!("server_{}", frame["type"].as_str().unwrap());
        let message = messages.get(&key).unwrap_or_else(|| panic!("{key} is not documented"));
        let errors = complaints(&document, &message["payload"], &frame);
        assert!(errors.is_empty(), "{errors:?} in {frame}");
        missing.remove(&key);
    }
    assert!(missing.is_empty(), "not tried: {:?}", missing.keys());
    app.stop().await;
}

#[actix_web::test]
async fn what_is_served_is_what_is_documented() {
    let app = TestApp::start().await;
    let documented = Document::load(&app).await;
    let mut methods: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (path, method, _) in documented.operations() {
        methods.entry(path).or_default().insert(method);
    }
    for (path, methods) in methods {
        // A value that every kind of parameter takes; who asks is nobody.
        let place: String = path
            .split('/')
            .map(|part| {
                if part.starts_with('{') {
                    "0192f0c1-2345-7abc-8def-0123456789ab"
                } else {
                    part
                }
            })
            .collect::<Vec<_>>()
            .join("/");
        let refused = app.request(Method::PUT, &place, None, None).await;
        assert_eq!(refused.status, 405, "PUT {place}");
        let allowed = refused
            .header("allow")
            .unwrap()
            .split(',')
            .map(|method| method.trim().to_owned());
        assert_eq!(
            allowed.filter(|method| method != "HEAD").collect::<BTreeSet<_>>(),
            methods,
            "{path}"
        );
        for method in methods {
            let answer = app
                .request(method.parse().unwrap(), &place, None, Some(json!({})))
                .await;
            assert!(
                answer.status != 405 && answer.status != 500,
                "{method} {place}: {}",
                answer.status
            );
        }
    }
    app.stop().await;
}

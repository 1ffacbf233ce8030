//! Secrets stay secret: nothing that people write, no credential and no password of the server's own is in its log, its
//! metrics or its refusals, however much is logged and whatever goes wrong; and nobody can write lines of the log.
//!
//! Against the real program, with everything logged (`trace`). Canaries are planted in every place a secret can be in, the
//! server is driven through all of its features, through refusals, a panic, a lock that makes statements slow, a Redis
//! that is not there, and then everything it said is searched.

use crate::support::db::TestDatabase;
use crate::support::raw::exchange;
use crate::support::{Answer, ServerProcess, Site, Socket};
use parlance::ids::MessageId;
use reqwest::Method;
use serde_json::{Value, json};
use std::fmt::Write;

const JWT_SECRET: &str = "canary-jwt-secret-0123456789-0123456789";
const DATABASE_PASSWORD: &str = "canary-database-password";
const REDIS_PASSWORD: &str = "canary-redis-password";
const PASSWORD: &str = "canary-password of a harbour";

/// What must not be found, and where it was planted.
#[derive(Default)]
struct Canaries(Vec<(&'static str, String)>);

impl Canaries {
    fn plant(&mut self, place: &'static str, text: &str) -> String {
        assert!(text.len() >= 8, "{place}: too short to be found for sure: {text}");
        self.0.push((place, text.to_owned()));
        text.to_owned()
    }

    #[track_caller]
    fn expect_none_in(&self, what: &str, text: &str) {
        let found: Vec<_> = self.0.iter().filter(|(_, canary)| text.contains(canary)).collect();
        let lines: String = found.iter().fold(String::new(), |mut lines, (place, canary)| {
            let line = text.lines().find(|line| line.contains(canary)).unwrap_or_default();
            writeln!(lines, "{place}: {}", line.chars().take(600).collect::<String>()).unwrap();
            lines
        });
        assert!(found.is_empty(), "{what} has canaries:\n{lines}");
    }
}

/// A server with secrets of its own.
async fn server(log_format: &str, more: &[(&str, &str)]) -> (ServerProcess, TestDatabase) {
    let database = TestDatabase::create().await;
    let (scheme, rest) = database.url().split_once("://").unwrap();
    let (user, place) = rest.split_once('@').unwrap();
    let user = user.split(':').next().unwrap();
    let url = format!("{scheme}://{user}:{DATABASE_PASSWORD}@{place}");
    let redis = format!("redis://:{REDIS_PASSWORD}@127.0.0.1:1/0");
    let environment = [
        ("LOG_FORMAT", log_format),
        // Also by spans, which goes before directives about targets.
        ("RUST_LOG", "trace,[request]=trace,[socket]=trace"),
        ("JWT_SECRET", JWT_SECRET),
        ("DATABASE_URL", &url),
        ("REDIS_URL", &redis),
        ("RATE_LIMIT_ENABLED", "false"),
    ];
    let environment: Vec<_> = environment.into_iter().chain(more.iter().copied()).collect();
    (ServerProcess::start(&environment), database)
}

/// Somebody's tokens, as the answer that signed them in gave them.
fn tokens(canaries: &mut Canaries, answer: &Answer) -> (String, String) {
    let access = answer.body["access_token"].as_str().unwrap();
    let cookies = answer.headers.get_all("set-cookie").iter();
    let mut values = cookies.filter_map(|cookie| {
        cookie
            .to_str()
            .ok()?
            .strip_prefix("parlance_refresh=")?
            .split(';')
            .next()
    });
    let refresh = values.next().expect("a refresh token").to_owned();
    // The signature alone is as bad as the whole: the rest can be guessed.
    canaries.plant("access token", access.rsplit('.').next().unwrap());
    canaries.plant("refresh token", &refresh);
    (access.to_owned(), refresh)
}

async fn post(site: &Site, path: &str, token: Option<&str>, body: Value) -> Answer {
    site.request(Method::POST, path, token, Some(body)).await
}

/// Signs somebody up in every way there is.
async fn sign_in(server: &ServerProcess, database: &TestDatabase, canaries: &mut Canaries) -> String {
    let email = canaries.plant("address", "canary.address@example.org");
    let name = canaries.plant("name", "Canary Person");
    let workspace = canaries.plant("workspace", "canary-workspace");
    canaries.plant("password", PASSWORD);
    let account = json!({"email": email, "password": PASSWORD, "name": name, "workspace": workspace});
    let registered = post(server, "/auth/register", None, account.clone()).await;
    tokens(canaries, &registered);
    // The database's refusal names the address; our answer and our log do not.
    let again = post(server, "/auth/register", None, account).await;
    assert_eq!(again.status, 409);
    canaries.expect_none_in("the refusal", &again.body.to_string());
    for (email, password) in [
        (&*email, "canary-wrong-password"),
        ("canary.nobody@example.org", PASSWORD),
    ] {
        canaries.plant("wrong password", password);
        canaries.plant("wrong address", email);
        let refused = post(
            server,
            "/auth/login",
            None,
            json!({"email": email, "password": password}),
        )
        .await;
        canaries.expect_none_in("the refusal", &refused.problem(401, "unauthenticated").to_string());
    }
    let login = post(
        server,
        "/auth/login",
        None,
        json!({"email": email, "password": PASSWORD}),
    )
    .await;
    let (_, refresh) = tokens(canaries, &login);
    let hashes = database
        .query("SELECT password_hash FROM users WHERE password_hash IS NOT NULL", &[])
        .await;
    for row in &hashes {
        canaries.plant("hash of a password", row.get(0));
    }
    assert!(!hashes.is_empty());
    for _ in 0..3 {
        // The second time the answer could have been lost; the third time it is refused.
        let request = server.http().post(server.url("/auth/refresh"));
        let answer = request
            .header("cookie", format!("parlance_refresh={refresh}"))
            .send()
            .await
            .unwrap();
        let answer = Site::read(answer).await.unwrap();
        if answer.status == 200 {
            tokens(canaries, &answer);
        } else {
            canaries.expect_none_in("the refusal", &answer.problem(401, "unauthenticated").to_string());
        }
    }
    let login = post(
        server,
        "/auth/login",
        None,
        json!({"email": email, "password": PASSWORD}),
    )
    .await;
    tokens(canaries, &login).0
}

/// Uses what a signed-in person can use, on the socket too.
async fn use_everything(server: &ServerProcess, canaries: &mut Canaries, token: &str) {
    let title = canaries.plant("title", "canary-title");
    let body = canaries.plant("body", "canary-body of a message");
    let conversation = post(server, "/api/conversations", Some(token), json!({"title": title}))
        .await
        .ok();
    let place = format!("/api/conversations/{}", conversation["id"].as_str().unwrap());
    let id = MessageId::new();
    let message = json!({"id": id, "body": body});
    post(server, &format!("{place}/messages"), Some(token), message.clone())
        .await
        .ok();
    post(server, &format!("{place}/messages"), Some(token), message)
        .await
        .ok();
    let other = json!({"id": id, "body": "canary-body, another"});
    let refused = post(server, &format!("{place}/messages"), Some(token), other).await;
    canaries.expect_none_in("the refusal", &refused.problem(409, "conflict").to_string());

    let invite = post(server, &format!("{place}/invites"), Some(token), json!({}))
        .await
        .ok();
    let code = canaries.plant("invitation", invite["code"].as_str().unwrap());
    let guest = canaries.plant("guest's name", "Canary Guest");
    let guest = post(server, "/auth/guest", None, json!({"name": guest, "invite": code})).await;
    tokens(canaries, &guest);
    let accept = |code: &str| format!("/api/invites/{code}/accept");
    server.request(Method::POST, &accept(&code), Some(token), None).await;
    let guessed = canaries.plant("guessed invitation", "canary-invitation");
    server
        .request(Method::POST, &accept(&guessed), Some(token), None)
        .await
        .problem(404, "not_found");
    server.request(Method::GET, &format!("/i/{code}"), None, None).await;

    let key = json!({"name": canaries.plant("key's name", "canary-key-name"), "scopes": ["chat"]});
    let key = post(server, "/api/keys", Some(token), key).await.ok();
    let secret = canaries.plant("key", key["secret"].as_str().unwrap());
    server.request(Method::GET, "/api/me", Some(&secret), None).await.ok();
    let guessed = canaries.plant("guessed key", "pk_canarycanarycanarycanarycanarycanarycanaryca");
    server
        .request(Method::GET, "/api/me", Some(&guessed), None)
        .await
        .problem(401, "unauthenticated");
    let guessed = canaries.plant("guessed token", "canary.canary.canary-token");
    server
        .request(Method::GET, "/api/me", Some(&guessed), None)
        .await
        .problem(401, "unauthenticated");
    let query = format!("/api/users?cursor={}", canaries.plant("query", "canary-query"));
    server
        .request(Method::GET, &query, Some(token), None)
        .await
        .problem(400, "bad_request");

    let ticket = post(server, "/auth/ticket", Some(token), json!({})).await.ok();
    let ticket = canaries.plant("ticket", ticket["ticket"].as_str().unwrap());
    let address = format!("ws://{}/ws?ticket={ticket}", server.address);
    for _ in 0..2 {
        // The second time it is used already.
        let request = tokio_tungstenite::tungstenite::ClientRequestBuilder::new(address.parse().unwrap());
        if let Ok(mut socket) = Socket::handshake(server.address, request).await {
            speak(&mut socket, canaries, &conversation["id"]).await;
            socket.close().await;
        }
    }
}

/// What is said on a socket, rightly and wrongly.
async fn speak(socket: &mut Socket, canaries: &mut Canaries, conversation: &Value) {
    socket
        .ask(json!({"type": "subscribe", "conversation": conversation}))
        .await;
    let body = canaries.plant("body on the socket", "canary-socket-body");
    let id = MessageId::new();
    // The conversation panics at one of its commands, so some of these are answered `unavailable`, and done again.
    while socket
        .ask(json!({"type": "send", "conversation": conversation, "id": id, "body": body}))
        .await["type"]
        != "ack"
    {}
    for frame in [
        json!({"type": "edit", "conversation": conversation, "id": id, "body": canaries.plant("edit", "canary-edited-body")}),
        json!({"type": "react", "conversation": conversation, "id": id, "emoji": canaries.plant("emoji", "canary-emoji"), "on": true}),
        json!({"type": "send", "conversation": conversation, "id": id, "body": canaries.plant("conflict", "canary-conflicting-body")}),
        json!({"type": "send", "conversation": conversation, "id": "canary-no-id", "body": "canary-refused-body"}),
        json!({"type": canaries.plant("type", "canary-frame-type")}),
        json!({"type": "refresh", "token": canaries.plant("token", "canary.refresh.token")}),
        json!({"type": "ping", "canary-field": "canary-value"}),
    ] {
        socket.ask(frame).await;
    }
    for text in ["no id", "body of a refused frame", "field", "value"] {
        canaries.plant("refused frame", &format!("canary-{}", text.replace(' ', "-")));
    }
}

/// What is no request, a lock that makes statements slow, and a database that breaks its connections.
async fn break_things(server: &ServerProcess, database: &TestDatabase, canaries: &mut Canaries, token: &str) {
    // A body that is no request, and one whose fields are wrong in every way.
    canaries.plant("broken body", "canary-broken");
    let start = "POST /auth/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n";
    for body in [
        "{\"email\":\"canary-broken",
        "{\"canary-broken\":1}",
        "[\"canary-broken\"]",
    ] {
        let request = format!("{start}Content-Length: {}\r\n\r\n{body}", body.len());
        exchange(server.address, request.as_bytes()).await;
    }
    exchange(
        server.address,
        b"canary-broken /canary-broken HTTP/9\r\ncanary-broken: x\r\n\r\n",
    )
    .await;

    // Statements that wait for a lock, time out, and are tried again.
    let client = crate::support::db::connect(database.url()).await;
    client
        .batch_execute("BEGIN; LOCK TABLE users, messages, conversations IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let name = canaries.plant("name while locked", "Canary While Locked");
    let waiting = server.request(Method::PATCH, "/api/me", Some(token), Some(json!({"name": name})));
    let release = async {
        client.batch_execute("SELECT pg_sleep(0.8)").await.unwrap();
        client.batch_execute("COMMIT").await.unwrap();
    };
    tokio::join!(waiting, release);
    // And a database that is gone.
    let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    client.query(terminate, &[]).await.unwrap();
    server
        .request(Method::PATCH, "/api/me", Some(token), Some(json!({"name": name})))
        .await;
}

#[tokio::test]
async fn whatever_happens_no_secret_is_said() {
    let faults = "conversations::command=6*off->1*panic(on purpose)->off";
    let (mut server, database) = server("json", &[("FAILPOINTS", faults)]).await;
    let mut canaries = Canaries::default();
    for (place, secret) in [
        ("JWT_SECRET", JWT_SECRET),
        ("DATABASE_URL", DATABASE_PASSWORD),
        ("REDIS_URL", REDIS_PASSWORD),
    ] {
        canaries.plant(place, secret);
    }
    let token = sign_in(&server, &database, &mut canaries).await;
    use_everything(&server, &mut canaries, &token).await;

    break_things(&server, &database, &mut canaries, &token).await;

    let metrics = server
        .http()
        .get(server.url("/metrics"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(metrics.contains("http_requests_total"), "{metrics}");
    canaries.expect_none_in("/metrics", &metrics);
    for path in ["/health", "/health/ready"] {
        let health = server.request(Method::GET, path, Some(&token), None).await;
        canaries.expect_none_in(path, &health.body.to_string());
    }
    server.begin_stop();
    assert!(server.wait(std::time::Duration::from_secs(30)).success());
    let log = server.log();
    // That it was worth searching: the trace is there, and what was to go wrong did.
    for proof in ["\"TRACE\"", "\"DEBUG\"", "Panic", "on purpose", "Slow statement"] {
        assert!(log.contains(proof), "{proof} is not in the log");
    }
    canaries.expect_none_in("the log", &log);
    for line in log.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(event["level"].is_string() && event["timestamp"].is_string(), "{line}");
    }
}

/// A line break, and colours, wherever a client can put a text.
#[tokio::test]
async fn nobody_writes_lines_of_the_log() {
    const FORGED: &str = "\n2026-01-01T00:00:00Z  INFO FORGED \u{1b}[31mred\u{1b}[0m\r\n\u{2028}FORGED";
    for format in ["pretty", "json"] {
        let faults = format!(
            "conversations::command=1*panic({})->off",
            FORGED.replace(['(', ')', '[', ']'], "")
        );
        let (mut server, _database) = server(format, &[("FAILPOINTS", &faults)]).await;
        let (ann, conversation) = server.person_with_conversation("Ann").await;
        for body in [
            json!({"name": FORGED}),
            json!({"FORGED\n": 1}),
            json!({"name": {"FORGED\n\u{1b}": FORGED}}),
        ] {
            ann.patch("/api/me", body).await.problem(400, "bad_request");
        }
        ann.post_message(conversation, MessageId::new(), FORGED).await;
        let mut socket = ann.connect().await;
        socket.ask(json!({"type": FORGED})).await;
        socket.ask(json!({"type": "subscribe", "conversation": FORGED})).await;
        socket.close().await;
        for target in [
            "/%0aFORGED%1b[31m",
            "/api/users/%0d%0aFORGED",
            "/api/users?limit=%0aFORGED%1b",
            "/i/%0aFORGED",
        ] {
            for head in [
                "",
                "X-Request-Id: a\tFORGED\r\n",
                "X-Request-Id: FORGED\u{7f}\r\n",
                "User-Agent: \u{9b}31mFORGED\r\n",
            ] {
                let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n");
                exchange(server.address, request.as_bytes()).await;
                let request = format!("FORGED {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n");
                exchange(server.address, request.as_bytes()).await;
            }
        }
        server.begin_stop();
        assert!(server.wait(std::time::Duration::from_secs(30)).success());
        let log = server.log();
        assert!(
            log.contains("on purpose") || log.contains("Panic"),
            "the panic's text is one of the ways"
        );
        for line in log.lines() {
            assert!(
                !line.trim_start().starts_with("2026-01-01") && !line.starts_with("FORGED"),
                "{format}: {line}"
            );
            let raw = line.chars().find(|c| c.is_control() && *c != '\t');
            assert_eq!(raw, None, "{format}: a control character in {line:?}");
        }
    }
}

//! API keys: made by people, used by programs over REST and the socket, gone everywhere within five seconds.

use crate::support::client::{Ended, uuid_of};
use crate::support::{Answer, Person, RawSocket, ServerProcess, Socket, TestApp, eventually};
use parlance::ids::{MessageId, UserId};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Revocation reaches everywhere within this.
const WITHIN: Duration = Duration::from_secs(5);

/// Makes a key with these scopes; the program that uses it, and the key's id.
pub async fn key_of(person: &Person, scopes: &[&str]) -> (Person, String) {
    let answer = person.post("/api/keys", json!({"name": "bot", "scopes": scopes})).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    program(person, &answer.ok())
}

/// The program that uses a key which was just made.
pub fn program(person: &Person, issued: &Value) -> (Person, String) {
    let program = Person {
        token: issued["secret"].as_str().unwrap().to_owned(),
        ..person.clone()
    };
    (program, issued["id"].as_str().unwrap().to_owned())
}

fn in_(seconds: i64) -> String {
    (chrono::Utc::now() + chrono::TimeDelta::seconds(seconds)).to_rfc3339()
}

async fn change_user(admin: &Person, user: UserId, change: Value) {
    admin.patch(&format!("/api/users/{user}"), change).await.ok();
}

#[actix_web::test]
async fn a_key_is_shown_once_and_kept_as_a_hash() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let expires_at = in_(3_600);
    let input = json!({"name": "  My bot ", "scopes": ["admin", "chat", "chat"], "expires_at": expires_at});
    let answer = ann.post("/api/keys", input).await;
    assert_eq!(answer.status, 201);
    let issued = answer.ok();
    let secret = issued["secret"].as_str().unwrap();
    assert!(secret.starts_with("pk_") && secret.len() == 46, "256 bits in base64url");
    assert_eq!(issued["name"], "My bot");
    assert_eq!(issued["scopes"], json!(["chat", "admin"]));
    assert_eq!(issued["last_used_at"], Value::Null);
    assert_eq!(issued["expires_at"].as_str().unwrap()[..19], expires_at[..19]);
    // The list shows everything else.
    let list = ann.get("/api/keys").await.ok();
    let mut shown = issued.clone();
    shown.as_object_mut().unwrap().remove("secret");
    assert_eq!(list, json!({"items": [shown], "next": null}));
    assert!(!list.to_string().contains(secret));
    // And the database has nothing that could be used.
    let rows = app
        .database
        .query("SELECT k::text AS row, hash FROM api_keys k", &[])
        .await;
    let (row, hash): (String, Vec<u8>) = (rows[0].get("row"), rows[0].get("hash"));
    assert!(!row.contains(&secret[3..]) && hash.len() == 32, "{row}");
    app.stop().await;
}

#[actix_web::test]
async fn programs_chat_with_a_key() {
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let (bot, _) = key_of(&bob, &["chat"]).await;
    assert_eq!(bot.get("/api/me").await.ok()["id"], json!(bob.id));
    let mut anns = ann.connect().await;
    anns.subscribe(c, None).await;
    bot.post_message(c, MessageId::new(), "over REST").await.ok();
    let mut socket = bot.connect().await;
    assert_eq!(socket.hello()["token_expires_at"], Value::Null);
    assert_eq!(socket.hello()["user"]["id"], json!(bob.id));
    socket.subscribe(c, None).await;
    socket.post(c, MessageId::new(), "over the socket").await;
    for body in ["over REST", "over the socket"] {
        let message = anns.expect("message").await;
        assert_eq!((&message["body"], &message["author"]), (&json!(body), &json!(bob.id)));
    }
    // Its owner's name follows it.
    bot.patch("/api/me", json!({"name": "Bobby"})).await.ok();
    assert_eq!(bob.get("/api/me").await.ok()["name"], "Bobby");
    // A key is no token: nothing renews its socket, and it renews nobody's.
    socket
        .refused(json!({"type": "refresh", "token": bob.token}), "forbidden")
        .await;
    let mut bobs = bob.connect().await;
    bobs.refused(json!({"type": "refresh", "token": bot.token}), "unauthenticated")
        .await;
    app.stop().await;
}

#[actix_web::test]
async fn what_a_key_is_made_of_is_checked() {
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let far = "2126-01-01T00:00:00Z";
    for (input, field) in [
        (json!({"scopes": ["chat"]}), "name"),
        (json!({"name": " ", "scopes": ["chat"]}), "name"),
        (json!({"name": "x".repeat(201), "scopes": ["chat"]}), "name"),
        (json!({"name": "x"}), "scopes"),
        (json!({"name": "x", "scopes": []}), "scopes"),
        (json!({"name": "x", "scopes": ["root"]}), "scopes[0]"),
        (
            json!({"name": "x", "scopes": ["chat"], "expires_at": in_(-1)}),
            "expires_at",
        ),
        (
            json!({"name": "x", "scopes": ["chat"], "expires_at": far}),
            "expires_at",
        ),
        (
            json!({"name": "x", "scopes": ["chat"], "expires_at": "soon"}),
            "expires_at",
        ),
        (json!({"name": "x", "scopes": ["chat"], "secret": "pk_mine"}), "secret"),
    ] {
        let problem = ann.post("/api/keys", input.clone()).await.problem(400, "bad_request");
        assert_eq!(problem["errors"][0]["field"], field, "{input}");
    }
    // Never more than the role gives, whatever the token says about it.
    for scope in ["admin", "analytics:read"] {
        let answer = bob
            .post("/api/keys", json!({"name": "x", "scopes": ["chat", scope]}))
            .await;
        let detail = answer.problem(403, "forbidden")["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(&format!("`{scope}`")), "{detail}");
    }
    change_user(&ann, bob.id, json!({"role": "admin"})).await;
    key_of(&bob, &["admin", "analytics:read"]).await;
    // Times that PostgreSQL, or the wire, cannot hold.
    for cursor in ["7000000000000000", "-7000000000000000"] {
        let path = format!("/api/keys?cursor={cursor}.{}", uuid::Uuid::nil());
        ann.get(&path).await.problem(400, "bad_request");
    }
    for expires_at in [
        "+262142-12-31T00:00:00Z",
        "+10000-01-01T00:00:00Z",
        "-0001-01-01T00:00:00Z",
    ] {
        let invites = format!("/api/conversations/{c}/invites");
        for path in ["/api/keys", &invites] {
            let mut input = json!({"expires_at": expires_at});
            if path == "/api/keys" {
                input = json!({"name": "x", "scopes": ["chat"], "expires_at": expires_at});
            }
            let problem = ann.post(path, input).await.problem(400, "bad_request");
            assert_eq!(problem["errors"][0]["field"], "expires_at", "{path} {expires_at}");
        }
    }
    let guest = app.guest("Gil", &ann.invite(c).await).await;
    guest
        .post("/api/keys", json!({"name": "x", "scopes": ["chat"]}))
        .await
        .problem(403, "forbidden");
    let kept = app.database.query("SELECT count(*) FROM api_keys", &[]).await;
    assert_eq!(kept[0].get::<_, i64>(0), 1, "what was refused left nothing");
    app.stop().await;
}

#[actix_web::test]
async fn keys_are_bounded_and_listed_in_pages() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let make = |n: usize| {
        let ann = ann.clone();
        async move {
            ann.post("/api/keys", json!({"name": format!("key {n}"), "scopes": ["chat"]}))
                .await
        }
    };
    let mut made = Vec::new();
    for n in 0..48 {
        made.push(make(n).await.ok()["id"].clone());
    }
    // All at once: two places are left, whoever is first.
    let answers: Vec<Answer> = futures_util::future::join_all((48..54).map(make)).await;
    let (ok, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
    assert_eq!((ok.len(), refused.len()), (2, 4));
    for answer in refused {
        answer.problem(409, "limit_reached");
    }
    let mut listed = Vec::new();
    let mut path = "/api/keys?limit=20".to_owned();
    loop {
        let page = ann.get(&path).await.ok();
        listed.extend(page["items"].as_array().unwrap().iter().map(|key| key["id"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/keys?limit=20&cursor={next}");
    }
    assert_eq!(listed.len(), 50);
    made.reverse();
    assert_eq!(listed[2..], made[..], "newest first, none twice");
    ann.delete(&format!("/api/keys/{}", made[0].as_str().unwrap()))
        .await
        .ok();
    make(60).await.ok();
    app.stop().await;
}

#[actix_web::test]
async fn a_key_does_only_what_its_scopes_say() {
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let bobs = format!("/api/users/{}", bob.id);
    let missing = |answer: Answer, scope: &str| {
        let problem = answer.problem(403, "forbidden");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("`{scope}`")), "{detail}");
    };
    let (chat, _) = key_of(&ann, &["chat"]).await;
    missing(chat.patch("/api/tenant", json!({"name": "X"})).await, "admin");
    missing(chat.patch(&bobs, json!({"tier": "premium"})).await, "admin");
    // An owner's key that only chats sees of others what a member sees.
    let seen = chat.get(&bobs).await.ok();
    assert_eq!(seen, json!({"id": bob.id, "name": "Bob", "kind": "person"}));
    let listed = chat.get("/api/users").await.ok();
    assert_eq!(listed["items"][1], seen);
    let (admin, _) = key_of(&ann, &["admin"]).await;
    missing(admin.get("/api/conversations").await, "chat");
    missing(admin.post_message(c, MessageId::new(), "x").await, "chat");
    assert!(
        Socket::try_connect(&app, &admin.token).await.is_err(),
        "the socket is for chat"
    );
    app.give_premium(&ann).await;
    admin.patch(&bobs, json!({"tier": "premium"})).await.ok();
    let (numbers, _) = key_of(&ann, &["analytics:read"]).await;
    assert_eq!(numbers.get("/api/me").await.ok()["id"], json!(ann.id));
    missing(numbers.get("/api/conversations").await, "chat");
    missing(numbers.patch("/api/tenant", json!({"name": "X"})).await, "admin");
    // What only people do: with no key at all.
    let (all, id) = key_of(&ann, &["chat", "admin", "analytics:read"]).await;
    all.post("/api/keys", json!({"name": "x", "scopes": ["chat"]}))
        .await
        .problem(403, "forbidden");
    all.get("/api/keys").await.problem(403, "forbidden");
    all.delete(&format!("/api/keys/{id}")).await.problem(403, "forbidden");
    for path in ["/auth/ticket", "/auth/logout", "/auth/logout-all"] {
        all.post(path, Value::Null).await.problem(403, "forbidden");
    }
    all.get("/api/me").await.ok();
    ann.get("/api/me").await.ok();
    app.stop().await;
}

#[actix_web::test]
async fn a_key_counts_only_in_the_header() {
    let app = TestApp::start().await;
    let (ann, _) = app.person_with_conversation("Ann").await;
    let (bot, _) = key_of(&ann, &["chat"]).await;
    let request = app
        .http()
        .get(app.url("/api/me"))
        .header("Cookie", format!("parlance_session={}", bot.token));
    let answer = crate::support::Site::read(request.send().await.unwrap()).await.unwrap();
    answer.problem(401, "unauthenticated");
    for path in [
        format!("/ws?ticket={}", bot.token),
        format!("/api/me?token={}", bot.token),
    ] {
        let request = app.http().get(app.url(&path)).header("Upgrade", "websocket");
        assert_eq!(request.send().await.unwrap().status().as_u16(), 401);
    }
    // No key ends like this: the last character stands for four bits.
    let almost = format!("{}B", &bot.token[..45]);
    // A path is not another one to the scopes than it is to the routes.
    let named = [
        (Method::PATCH, "/api/tenan%74"),
        (Method::PATCH, "/api/%74enant"),
        (Method::POST, "/api/%6beys"),
        (Method::POST, "/auth/%74icket"),
    ];
    for (method, path) in named {
        let body = json!({"name": "X"});
        let answer = app.request(method, path, Some(&bot.token), Some(body)).await;
        assert!(
            [403, 404].contains(&answer.status),
            "{path}: {} {}",
            answer.status,
            answer.body
        );
    }
    let nonsense = [
        "pk_",
        "pk_x",
        &almost,
        &bot.token[..45],
        "PK_x",
        &format!("{}A", bot.token),
    ];
    for token in nonsense {
        app.request(Method::GET, "/api/me", Some(token), None)
            .await
            .problem(401, "unauthenticated");
    }
    app.stop().await;
}

/// A node, and another one that hears nothing of it but through the database.
struct Nodes {
    first: TestApp,
    deaf: TestApp,
}

impl Nodes {
    async fn start() -> Self {
        let first = TestApp::start().await;
        let deaf = first.peer_without_bus().await;
        Self { first, deaf }
    }

    /// A socket on each; also makes both remember the key.
    async fn connect(&self, program: &Person) -> Vec<Socket> {
        let mut sockets = Vec::new();
        for node in [&self.first, &self.deaf] {
            program.at(node).get("/api/me").await.ok();
            sockets.push(program.at(node).connect().await);
        }
        sockets
    }

    async fn refuse(&self, program: &Person, status: u16, code: &str) {
        for node in [&self.first, &self.deaf] {
            program.at(node).get("/api/me").await.problem(status, code);
            assert!(Socket::try_connect(node, &program.token).await.is_err());
        }
    }

    async fn stop(self) {
        self.deaf.stop().await;
        self.first.stop().await;
    }
}

/// All are closed with this code in time.
async fn all_closed(sockets: Vec<Socket>, code: u16, since: Instant) {
    for mut socket in sockets {
        assert_eq!(socket.until_end().await, Ended::Closed(code));
        assert!(since.elapsed() < WITHIN, "{:?}", since.elapsed());
    }
}

#[actix_web::test]
async fn a_deleted_key_is_gone_everywhere() {
    let nodes = Nodes::start().await;
    let (ann, bob) = (nodes.first.register("Ann").await, nodes.first.register("Bob").await);
    let (bot, id) = key_of(&ann, &["chat"]).await;
    let (other, _) = key_of(&ann, &["chat"]).await;
    let path = format!("/api/keys/{id}");
    let sockets = nodes.connect(&bot).await;
    let others = nodes.connect(&other).await;
    // Another person's key is as if it were not there.
    bob.delete(&path).await.problem(404, "not_found");
    bot.get("/api/me").await.ok();
    let since = Instant::now();
    assert_eq!(ann.delete(&path).await.status, 204);
    bot.get("/api/me").await.problem(401, "unauthenticated");
    all_closed(sockets, 4001, since).await;
    nodes.refuse(&bot, 401, "unauthenticated").await;
    ann.delete(&path).await.problem(404, "not_found");
    ann.delete(&format!("/api/keys/{}", uuid::Uuid::now_v7()))
        .await
        .problem(404, "not_found");
    // The other key, and its sockets, go on; so does the person.
    for mut socket in others {
        assert_eq!(socket.ask(json!({"type": "ping"})).await["type"], "pong");
    }
    assert_eq!(ann.get("/api/keys").await.ok()["items"].as_array().unwrap().len(), 1);
    nodes.stop().await;
}

#[actix_web::test]
async fn a_key_runs_out_with_its_sockets() {
    let nodes = Nodes::start().await;
    let ann = nodes.first.register("Ann").await;
    let expires_at = Instant::now() + Duration::from_secs(3);
    let input = json!({"name": "short", "scopes": ["chat"], "expires_at": in_(3)});
    let (bot, _) = program(&ann, &ann.post("/api/keys", input).await.ok());
    let sockets = nodes.connect(&bot).await;
    for socket in &sockets {
        assert_eq!(socket.hello()["token_expires_at"], Value::Null);
    }
    all_closed(sockets, 4001, expires_at).await;
    nodes.refuse(&bot, 401, "unauthenticated").await;
    // It stays in the list, so that it can be seen what happened.
    assert_eq!(ann.get("/api/keys").await.ok()["items"][0]["name"], "short");
    nodes.stop().await;
}

#[actix_web::test]
async fn a_key_follows_what_becomes_of_its_user() {
    let nodes = Nodes::start().await;
    let ([ann, bob], c) = nodes.first.conversation_of(["Ann", "Bob"]).await;
    change_user(&ann, bob.id, json!({"role": "admin"})).await;
    let (bot, _) = key_of(&bob, &["chat", "admin"]).await;
    let rename = json!({"name": "Ours"});
    for node in [&nodes.first, &nodes.deaf] {
        bot.at(node).patch("/api/tenant", rename.clone()).await.ok();
    }
    // Demoted: `admin` is gone, `chat` is not.
    let since = Instant::now();
    change_user(&ann, bob.id, json!({"role": "member"})).await;
    for node in [&nodes.first, &nodes.deaf] {
        let there = bot.at(node);
        eventually("the key is no admin's any more", async || {
            there.patch("/api/tenant", rename.clone()).await.status == 403
        })
        .await;
    }
    assert!(since.elapsed() < WITHIN);
    bot.post_message(c, MessageId::new(), "still here").await.ok();
    // A guest's key is good for nothing, and its sockets end.
    let sockets = nodes.connect(&bot).await;
    let since = Instant::now();
    change_user(&ann, bob.id, json!({"role": "guest"})).await;
    all_closed(sockets, 4001, since).await;
    nodes.refuse(&bot, 403, "forbidden").await;
    // Suspended, and back.
    change_user(&ann, bob.id, json!({"role": "member"})).await;
    eventually("the key works again", async || {
        bot.at(&nodes.deaf).get("/api/me").await.status == 200
    })
    .await;
    let sockets = nodes.connect(&bot).await;
    let since = Instant::now();
    change_user(&ann, bob.id, json!({"status": "suspended"})).await;
    all_closed(sockets, 4003, since).await;
    nodes.refuse(&bot, 403, "forbidden").await;
    // A node that never saw the key before.
    let fresh = nodes.first.peer().await;
    bot.at(&fresh).get("/api/me").await.problem(403, "forbidden");
    change_user(&ann, bob.id, json!({"status": "active"})).await;
    for node in [&nodes.first, &nodes.deaf, &fresh] {
        let there = bot.at(node);
        eventually("the key works again", async || there.get("/api/me").await.status == 200).await;
    }
    fresh.stop().await;
    nodes.stop().await;
}

/// A member who becomes a guest does not go on hearing what guests do not: sockets start anew.
#[actix_web::test]
async fn who_becomes_a_guest_hears_no_more_of_other_conversations() {
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let mut socket = bob.connect().await;
    socket.subscribe(c, None).await;
    change_user(&ann, bob.id, json!({"role": "guest"})).await;
    socket.expect_close(4205).await;
    app.stop().await;
}

#[actix_web::test]
async fn a_key_costs_one_query_and_its_use_is_noted() {
    let mut app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let (bot, id) = key_of(&ann, &["chat"]).await;
    let before = chrono::Utc::now();
    bot.get("/api/me").await.ok();
    let key = uuid_of(&json!(id));
    let used_at = async || -> Option<chrono::DateTime<chrono::Utc>> {
        let rows = app
            .database
            .query("SELECT last_used_at FROM api_keys WHERE id = $1", &[&key])
            .await;
        rows[0].get(0)
    };
    eventually("the use is written", async || used_at().await.is_some()).await;
    let first = used_at().await.unwrap();
    assert!(first >= before - chrono::TimeDelta::milliseconds(1));
    assert!(ann.get("/api/keys").await.ok()["items"][0]["last_used_at"].is_string());
    // While the row is out of reach, the key works from memory: not one look-up more. Its uses wait for the minute.
    app.database
        .query("UPDATE api_keys SET hash = sha256(hash) RETURNING 1", &[])
        .await;
    for _ in 0..20 {
        bot.get("/api/me").await.ok();
    }
    assert_eq!(used_at().await, Some(first), "at most one write a minute");
    // What was not written yet is written at the end.
    let database = app.database.clone();
    app.begin_stop();
    app.stop().await;
    let rows = database
        .query("SELECT last_used_at FROM api_keys WHERE id = $1", &[&key])
        .await;
    assert!(rows[0].get::<_, chrono::DateTime<chrono::Utc>>(0) > first);
    database.remove().await;
}

/// Many programs with the same key, and many without a good one: bounded look-ups, no confusion.
#[actix_web::test]
async fn keys_are_used_by_many_at_once() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let (bot, _) = key_of(&ann, &["chat"]).await;
    let unknown = format!("pk_{}", "A".repeat(43));
    let good = (0..40).map(|_| app.request(Method::GET, "/api/me", Some(&bot.token), None));
    let bad = (0..40).map(|_| app.request(Method::GET, "/api/me", Some(&unknown), None));
    let (good, bad) = futures_util::future::join(
        futures_util::future::join_all(good),
        futures_util::future::join_all(bad),
    )
    .await;
    assert!(good.iter().all(|answer| answer.body["id"] == json!(ann.id)));
    for answer in bad {
        answer.problem(401, "unauthenticated");
    }
    let mut raw = RawSocket::connect(app.address, &bot.token, None).await;
    assert!(raw.read_frame().await.is_some());
    app.stop().await;
}

/// However much is logged, no secret is: also not when it is put where it does not belong.
#[actix_web::test]
async fn no_key_reaches_the_log() {
    let server = ServerProcess::start(&[("RUST_LOG", "trace"), ("LOG_FORMAT", "json")]);
    let (ann, c) = server.person_with_conversation("Ann").await;
    let input = json!({"name": "bot", "scopes": ["chat", "admin"]});
    let (bot, id) = program(&ann, &ann.post("/api/keys", input).await.ok());
    let secret = bot.token.clone();
    bot.get("/api/me").await.ok();
    let mut socket = bot.connect().await;
    socket.subscribe(c, None).await;
    socket
        .refused(json!({"type": "refresh", "token": secret}), "forbidden")
        .await;
    for path in [
        format!("/ws?ticket={secret}"),
        format!("/api/conversations?token={secret}"),
        format!("/api/keys/{secret}"),
        format!("/{secret}"),
    ] {
        assert!(bot.get(&path).await.status >= 400, "{path}");
    }
    for (name, value) in [
        ("authorization", format!("Basic {secret}")),
        (
            "cookie",
            format!("parlance_session={secret}; parlance_refresh={secret}"),
        ),
        ("x-request-id", format!("{secret} {secret}")),
    ] {
        let request = server.http().post(server.url("/auth/refresh")).header(name, value);
        assert!(request.send().await.unwrap().status().is_client_error(), "{name}");
    }
    ann.post("/api/keys", json!({"name": "bot", "scopes": [secret]}))
        .await
        .problem(400, "bad_request");
    ann.delete(&format!("/api/keys/{id}")).await.ok();
    socket.expect_close(4001).await;
    let log = server.log();
    server.terminate();
    assert!(
        log.contains("API key made") && log.contains(&id),
        "it is the log of this"
    );
    let leaks: Vec<_> = log.lines().filter(|line| line.contains(&secret[3..])).collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
}

//! Who gets in, and what they are told first.

use crate::support::raw::exchange;
use crate::support::{Answer, PATIENCE, Person, RawSocket, Site, Socket, TestApp};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use uuid::Uuid;

/// A handshake over plain HTTP, for its answer.
fn handshake(site: &Site, path: &str) -> reqwest::RequestBuilder {
    site.http()
        .get(site.url(path))
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "cGFybGFuY2UtdGVzdC0wMA==")
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    Site::read(request.send().await.unwrap()).await.unwrap()
}

/// The status and headers of an upgrade, whose body never ends.
async fn upgraded(request: reqwest::RequestBuilder) -> HeaderMap {
    let response = request.send().await.unwrap();
    assert_eq!(response.status().as_u16(), 101);
    response.headers().clone()
}

async fn ticket(person: &Person) -> Value {
    person.post("/auth/ticket", Value::Null).await.ok()
}

fn by_ticket(site: &Site, ticket: &str) -> ClientRequestBuilder {
    ClientRequestBuilder::new(format!("ws://{}/ws?ticket={ticket}", site.address).parse().unwrap())
}

#[actix_web::test]
async fn nobody_gets_in_without_credentials() {
    let app = TestApp::start().await;
    answer(handshake(&app, "/ws")).await.problem(401, "unauthenticated");
    for token in ["", "nonsense", "a.b.c"] {
        answer(handshake(&app, "/ws").bearer_auth(token))
            .await
            .problem(401, "unauthenticated");
    }
    answer(handshake(&app, "/ws?ticket=nonsense"))
        .await
        .problem(401, "unauthenticated");
    let ann = app.register("Ann").await;
    let path = format!("/ws?ticket={}", ann.token);
    answer(handshake(&app, &path)).await.problem(401, "unauthenticated");
    let path = format!("/ws?token={}", ann.token);
    answer(handshake(&app, &path)).await.problem(400, "bad_request");
    app.stop().await;
}

#[actix_web::test]
async fn a_foreign_page_does_not_get_in_whatever_its_credentials() {
    let app = TestApp::with(|config| config.http.allowed_origins = vec!["https://chat.example.org".to_owned()]).await;
    let ann = app.register("Ann").await;
    let own = format!("http://{}", app.address);
    for origin in ["https://evil.example", "null", "https://chat.example.org.evil.example"] {
        answer(handshake(&app, "/ws").bearer_auth(&ann.token).header("Origin", origin))
            .await
            .problem(403, "forbidden");
        answer(handshake(&app, "/ws").header("Origin", origin))
            .await
            .problem(403, "forbidden");
        let cookie = format!("parlance_session={}", ann.token);
        let request = handshake(&app, "/ws")
            .header("Cookie", &cookie)
            .header("Origin", origin);
        answer(request).await.problem(403, "forbidden");
        let path = format!("/ws?ticket={}", ticket(&ann).await["ticket"].as_str().unwrap());
        answer(handshake(&app, &path).header("Origin", origin))
            .await
            .problem(403, "forbidden");
        // It was not redeemed: its owner still gets in with it.
        upgraded(handshake(&app, &path)).await;
    }
    for origin in [own.as_str(), "https://chat.example.org"] {
        upgraded(handshake(&app, "/ws").bearer_auth(&ann.token).header("Origin", origin)).await;
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_sub_protocol_is_agreed_to_or_refused() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let offer = |protocols: &'static str| {
        handshake(&app, "/ws")
            .bearer_auth(&ann.token)
            .header("Sec-WebSocket-Protocol", protocols)
    };
    for protocols in ["chat", "parlance.v2, chat", "PARLANCE.v1x", ""] {
        answer(offer(protocols)).await.problem(400, "bad_request");
    }
    for protocols in ["parlance.v1", "chat, parlance.v1", "parlance.v1,other"] {
        assert_eq!(
            upgraded(offer(protocols)).await["sec-websocket-protocol"],
            "parlance.v1",
            "{protocols}"
        );
    }
    let none = upgraded(handshake(&app, "/ws").bearer_auth(&ann.token)).await;
    assert!(none.get("sec-websocket-protocol").is_none(), "nothing was offered");
    let plain = app.http().get(app.url("/ws")).bearer_auth(&ann.token);
    answer(plain).await.problem(400, "bad_request");
    app.stop().await;
}

#[actix_web::test]
async fn the_session_cookie_opens_a_socket() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let request = ClientRequestBuilder::new(format!("ws://{}/ws", app.address).parse().unwrap())
        .with_header("Cookie", format!("parlance_session={}", ann.token))
        .with_header("Origin", format!("http://{}", app.address));
    let socket = Socket::handshake(app.address, request).await.unwrap();
    assert_eq!(socket.hello()["user"]["id"], json!(ann.id));
    socket.close().await;
    app.stop().await;
}

#[actix_web::test]
async fn another_websocket_than_ours_is_told_which_one_is() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    for version in ["8", "7", "14", "13, 8", "x", ""] {
        let request = app
            .http()
            .get(app.url("/ws"))
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", version)
            .header("Sec-WebSocket-Key", "cGFybGFuY2UtdGVzdC0wMA==");
        let refused = answer(request.bearer_auth(&ann.token)).await;
        assert_eq!(refused.header("sec-websocket-version"), Some("13"), "{version}");
        assert_eq!(refused.header("upgrade"), Some("websocket"));
        refused.problem(426, "bad_request");
    }
    let old = format!(
        "GET /ws HTTP/1.0\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: cGFybGFuY2UtdGVzdC0wMA==\r\nAuthorization: Bearer {}\r\n\r\n",
        app.address, ann.token
    );
    let refused = exchange(app.address, old.as_bytes()).await;
    assert!(refused.text.contains(" 400 Bad Request"), "{}", refused.text);
    app.stop().await;
}

#[actix_web::test]
async fn a_ticket_is_good_once_and_for_thirty_seconds() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let made = ticket(&ann).await;
    assert_eq!(made["expires_in"], 30);
    let word = made["ticket"].as_str().unwrap().to_owned();
    let socket = Socket::handshake(app.address, by_ticket(&app, &word)).await.unwrap();
    assert_eq!(socket.hello()["user"]["id"], json!(ann.id));
    assert!(
        socket.hello()["token_expires_at"].is_string(),
        "a socket by ticket ends with its session's token"
    );
    let path = format!("/ws?ticket={word}");
    answer(handshake(&app, &path)).await.problem(401, "unauthenticated");

    // Two at once: one gets in.
    let path = format!("/ws?ticket={}", ticket(&ann).await["ticket"].as_str().unwrap());
    let (one, two) = tokio::join!(handshake(&app, &path).send(), handshake(&app, &path).send());
    let mut statuses = [one.unwrap().status().as_u16(), two.unwrap().status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [101, 401]);

    // One whose time is over.
    let path = format!("/ws?ticket={}", ticket(&ann).await["ticket"].as_str().unwrap());
    let rows = app
        .database
        .query(
            "SELECT extract(epoch FROM expires_at - now())::float8 FROM socket_tickets",
            &[],
        )
        .await;
    let rest: f64 = rows[0].get(0);
    assert!((25.0..=30.0).contains(&rest), "{rest}");
    app.database
        .query("UPDATE socket_tickets SET expires_at = now() - interval '1 ms'", &[])
        .await;
    answer(handshake(&app, &path)).await.problem(401, "unauthenticated");

    // One whose session ended.
    let path = format!("/ws?ticket={}", ticket(&ann).await["ticket"].as_str().unwrap());
    ann.post("/auth/logout", Value::Null).await.ok();
    answer(handshake(&app, &path)).await.problem(401, "unauthenticated");
    socket.close().await;
    app.stop().await;
}

#[actix_web::test]
async fn hello_says_all_that_a_client_needs() {
    let app = TestApp::start().await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let guest = app.guest("Gus", &ann.invite(conversation).await).await;
    let (one, two) = (ann.connect().await, ann.connect().await);
    let hello = one.hello();
    assert_eq!(hello["protocol"], 1);
    assert_eq!(
        hello["user"],
        json!({"id": ann.id, "name": "Ann", "kind": "person", "tier": "regular"})
    );
    assert_eq!(hello["heartbeat_ms"], 25_000);
    assert_eq!(
        hello["limits"],
        json!({"frame_bytes": 65536, "body_bytes": 16384, "subscriptions": 200, "window": 32})
    );
    for time in ["server_time", "token_expires_at"] {
        let text = hello[time].as_str().unwrap();
        chrono::DateTime::parse_from_rfc3339(text).unwrap();
        assert!(
            text.ends_with('Z') && text.len() == "2026-11-22T10:00:00.123Z".len(),
            "{text}"
        );
    }
    for id in ["connection", "node"] {
        assert!(hello[id].as_str().unwrap().parse::<Uuid>().is_ok(), "{hello}");
    }
    assert_ne!(hello["connection"], two.hello()["connection"]);
    assert_eq!(hello["node"], two.hello()["node"]);
    assert_eq!(guest.connect().await.hello()["user"]["tier"], "anonymous");
    app.stop().await;
}

#[actix_web::test]
async fn a_full_node_answers_503() {
    let app = TestApp::with(|config| config.sessions.connections_max = 20).await;
    let ann = app.register("Ann").await;
    let bob = app.register("Bob").await;
    let mut sockets = Vec::new();
    for _ in 0..10 {
        sockets.push(ann.connect().await);
        sockets.push(bob.connect().await);
    }
    // The HTTP server counts connections as well, and has room for whoever is refused.
    let refused = answer(handshake(&app, "/ws").bearer_auth(&ann.token)).await;
    assert!(refused.problem(503, "overloaded")["detail"].is_string());
    ann.get("/api/me").await.ok();
    drop(sockets);
    app.stop().await;
}

/// A client that does not close by itself must not keep what it was refused.
#[actix_web::test]
async fn the_twenty_first_connection_is_closed_and_does_not_linger() {
    let app = TestApp::with(|config| config.sessions.connections_per_user = 3).await;
    let ann = app.register("Ann").await;
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(ann.connect().await);
    }
    let mut one_too_many = RawSocket::connect(app.address, &ann.token, None).await;
    assert_eq!(one_too_many.close_code().await, Some(4005));
    let started = Instant::now();
    let end = tokio::time::timeout(PATIENCE, one_too_many.read_frame()).await;
    assert!(
        matches!(end, Ok(None)),
        "the server leaves the refused connection open: {end:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(8));
    // Those who are in stay, and a place that becomes free can be taken.
    for socket in &mut sockets {
        assert_eq!(socket.ask(json!({"type": "ping"})).await["type"], "pong");
    }
    sockets.pop().unwrap().close().await;
    crate::support::eventually("the place is free", async || {
        let mut socket = RawSocket::connect(app.address, &ann.token, None).await;
        socket.read_frame().await.is_some_and(|(first, _)| first & 0x0F == 1)
    })
    .await;
    app.stop().await;
}

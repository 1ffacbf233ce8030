//! Nodes behind nginx that go away: whoever was there moves and goes on, and nothing is asked twice that may not be.

use super::Front;
use crate::support::chaos::{Chaos, Proxy};
use crate::support::db::TestDatabase;
use crate::support::{Nginx, PATIENCE, Person, ServerProcess, Site, Socket, TestApp, back_off, eventually};
use futures_util::future::join_all;
use parlance::config::Secret;
use parlance::ids::MessageId;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

/// Connects as a client does: until it works.
async fn reconnect(person: &Person) -> Socket {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Socket::try_connect(&person.site, &person.token).await {
            Ok(socket) => return socket,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        back_off().await;
    }
}

/// Whether a ping is answered before the end.
async fn is_alive(socket: &mut Socket) -> bool {
    if !socket.try_send_json(&json!({"type": "ping"})).await {
        return false;
    }
    while let Ok(frame) = socket.next_frame(PATIENCE).await {
        if frame["type"] == "pong" {
            return true;
        }
    }
    false
}

#[actix_web::test]
async fn people_of_a_killed_node_move_and_resume() {
    let database = TestDatabase::create().await;
    let environment = [
        ("DATABASE_URL", database.url()),
        ("JWT_SECRET", "the same of both, and long enough for it"),
    ];
    let mut nodes = [ServerProcess::start(&environment), ServerProcess::start(&environment)];
    let nginx = Nginx::before(&[&nodes[0], &nodes[1]]);
    let (ann, conversation) = nginx.person_with_conversation("Ann").await;
    let mut sockets = vec![ann.connect().await, ann.connect().await];
    for socket in &mut sockets {
        socket.subscribe(conversation, None).await;
    }
    assert_ne!(sockets[0].hello()["node"], sockets[1].hello()["node"]);
    let before = sockets[0].post(conversation, MessageId::new(), "before").await;
    for socket in &mut sockets {
        socket.expect("message").await;
    }
    nodes[0].kill_9();
    // One of them breaks, the other does not notice.
    let mut moved = Vec::new();
    for mut socket in sockets {
        if is_alive(&mut socket).await {
            socket.post(conversation, MessageId::new(), "meanwhile").await;
            continue;
        }
        moved.push(reconnect(&ann).await);
    }
    let [mut moved] = <[Socket; 1]>::try_from(moved)
        .ok()
        .expect("one socket was on the killed node");
    let replay = moved.subscribe(conversation, Some(before.rev)).await;
    let meanwhile = replay.frames.iter().any(|frame| frame["body"] == "meanwhile");
    if !meanwhile {
        // Written by the other after we had subscribed.
        moved
            .expect_where("what was said meanwhile", |frame| frame["body"] == "meanwhile")
            .await;
    }
    // Requests of everybody, wherever they were sent before: the dead node is asked once, and another instead.
    for n in 0..20 {
        let answer = nginx.request(Method::GET, "/api/me", Some(&ann.token), None).await;
        assert_eq!(answer.status, 200, "{n}: {}", answer.body);
        assert_eq!(nginx.request(Method::GET, "/", None, None).await.status, 200);
    }
    nodes[0].restart();
    eventually("the node that is back gets sockets", async || {
        let socket = ann.connect().await;
        let is_new = socket.hello()["node"] != moved.hello()["node"];
        socket.close().await;
        is_new
    })
    .await;
    moved.close().await;
    drop(nginx);
    let [one, two] = nodes;
    one.terminate();
    two.terminate();
    database.remove().await;
}

/// A node that is going away has fewest sockets, and would be sent everybody.
#[actix_web::test]
async fn nobody_is_sent_to_a_node_that_is_going_away() {
    let app = TestApp::start().await;
    let proxy = Proxy::start(app.database.url()).await;
    let mut leaving = app
        .peer_with(|config| {
            config.database.url = Some(Secret::new(proxy.url()));
            config.shutdown_timeout = PATIENCE;
        })
        .await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let mut last = ann.at(&leaving).connect().await;
    last.post(conversation, MessageId::new(), "warm").await;
    // It stays in the middle of going as long as what it has accepted is not written.
    proxy.set(Chaos::Freeze);
    let frame = json!({"type": "send", "conversation": conversation, "id": MessageId::new(), "body": "accepted"});
    last.send_json(&frame).await;
    last.ask(json!({"type": "ping"})).await;
    leaving.begin_stop();
    last.expect("goodbye").await;
    let nginx = Nginx::before(&[&leaving, &app]);
    let ann = ann.at(&nginx);
    for _ in 0..6 {
        let ticket = ann.at(&app).post("/auth/ticket", Value::Null).await.ok();
        let uri = format!(
            "ws://{}/ws?ticket={}",
            nginx.address,
            ticket["ticket"].as_str().unwrap()
        );
        let request = tokio_tungstenite::tungstenite::client::ClientRequestBuilder::new(uri.parse().unwrap());
        // Refused by the one before it has looked at the ticket, taken by the other.
        Socket::handshake(nginx.address, request).await.unwrap().close().await;
    }
    proxy.heal();
    drop(nginx);
    leaving.stop().await;
    app.stop().await;
}

/// A node that is down: nobody listens there, and nobody else gets the port while this is held.
fn closed_node() -> (TcpSocket, Site) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, Site::new(address))
}

/// A node that is going away: it says so to everybody.
async fn leaving_node() -> Site {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    actix_web::rt::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            // Whether nginx waits for it is not what is looked at.
            let _: Result<_, _> = connection.read(&mut vec![0; 4_096]).await;
            let _: Result<(), _> = connection.write_all(answer).await;
        }
    });
    Site::new(address)
}

/// Nodes without sockets are asked first, and those that can take none stay without, so no number of them may be enough for
/// giving up.
#[actix_web::test]
async fn the_one_node_that_is_well_gets_every_socket() {
    const SOCKETS: usize = 12;
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let (closed, leaving) = (
        [closed_node(), closed_node()],
        [leaving_node().await, leaving_node().await],
    );
    for (what, others) in [
        ("down", [&closed[0].1, &closed[1].1]),
        ("leaving", [&leaving[0], &leaving[1]]),
        ("one of each", [&closed[0].1, &leaving[0]]),
    ] {
        let nginx = Nginx::before(&[others[0], others[1], &app]);
        let mut sockets = Vec::new();
        for n in 0..SOCKETS {
            let socket = Socket::try_connect(&nginx, &ann.token).await;
            sockets.push(socket.unwrap_or_else(|error| panic!("{what}: socket {n}: {error}")));
        }
        join_all(sockets.into_iter().map(Socket::close)).await;
    }
    app.stop().await;
}

/// A node that takes a request and breaks off: only a second one of these may be asked the same.
#[actix_web::test]
async fn only_what_may_be_asked_twice_is() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let broken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = broken.local_addr().unwrap();
    let (sender, mut received) = tokio::sync::mpsc::channel(1_000);
    actix_web::rt::spawn(async move {
        while let Ok((mut connection, _)) = broken.accept().await {
            let mut head = vec![0; 4_096];
            let count = connection.read(&mut head).await.unwrap_or_default();
            let _: Result<(), _> = sender.try_send(String::from_utf8_lossy(&head[..count]).into_owned());
            let _: Result<(), _> = connection.shutdown().await;
        }
    });
    let site = Site::new(address);
    for (method, path, body, repeated) in [
        (Method::GET, "/api/me", None, true),
        (Method::HEAD, "/", None, true),
        (Method::POST, "/api/conversations", Some(json!({"title": "x"})), false),
        (Method::PATCH, "/api/me", Some(json!({"name": "Anna"})), false),
        (
            Method::DELETE,
            "/api/keys/0192f0c1-2345-7abc-8def-0123456789ab",
            None,
            false,
        ),
    ] {
        // Which node is asked first depends on the credentials; a fresh nginx has not marked any, and some address begins
        // with the broken one.
        let nginx = Nginx::with(&[&site, &app], &[("NGINX_TRUSTED_PROXIES", "127.0.0.1")]);
        let mut met = false;
        for n in 1..40 {
            let token = ann.token.clone();
            let mut request = nginx.http().request(method.clone(), nginx.url(path));
            // Not looked at by the node: it makes another hash.
            let name = ["parlance_session", "__Host-parlance_session"][n % 2];
            request = request.header("cookie", format!("{name}=x{n}")).bearer_auth(token);
            if let Some(body) = &body {
                request = request.json(body);
            }
            let answer = Site::read(request.send().await.unwrap()).await.unwrap();
            if received.try_recv().is_err() {
                continue;
            }
            met = true;
            if repeated {
                assert_eq!(answer.status, 200, "{method} {path}");
            } else {
                answer.problem(502, "unavailable");
            }
            break;
        }
        assert!(met, "{method} {path}: nothing was sent to the broken node");
    }
    app.stop().await;
}

/// What a caller has done shows at once on the node that did it, and later on others.
#[actix_web::test]
async fn requests_of_one_caller_go_to_one_node_and_callers_are_spread() {
    // Credentials are random, so one after the other may fall to the same node; that so many do is beyond belief.
    const CALLERS_MIN: usize = 6;
    const CALLERS_MAX: usize = 64;
    let front = Front::start().await;
    let mut nodes = std::collections::HashSet::new();
    for caller in 0..CALLERS_MAX {
        if caller >= CALLERS_MIN && nodes.len() == 2 {
            break;
        }
        let ann = front.nginx.register("Ann").await;
        for n in 0..3 {
            let title = format!("{caller} {n}");
            ann.create_conversation(&title).await;
            let list = ann.get("/api/conversations?limit=1").await.ok();
            assert_eq!(list["items"][0]["title"], title, "an own change was not seen");
            // What is sent once goes a way of its own, to the same node.
            let id = list["items"][0]["id"].as_str().unwrap();
            let path = format!("/api/conversations/{id}");
            assert_eq!(ann.delete(&path).await.status, 204);
            ann.get(&path).await.problem(404, "not_found");
        }
        let request = front
            .nginx
            .http()
            .get(front.nginx.url("/api/me"))
            .bearer_auth(&ann.token);
        let id = format!("caller-{caller}");
        request.header("x-request-id", &id).send().await.unwrap();
        nodes.insert(front.nginx.logged("a caller", |line| line["request_id"] == id).await["upstream"].to_string());
    }
    assert_eq!(nodes.len(), 2, "{nodes:?}");
    front.stop().await;
}

#[actix_web::test]
async fn without_any_node_the_answer_is_still_one_that_clients_know() {
    let front = Front::start().await;
    let token = front.nginx.register("Ann").await.token;
    let nginx = front.nginx;
    front.peer.stop().await;
    front.app.stop().await;
    for path in ["/api/me", "/", "/health/live", "/static/0/app.js"] {
        let answer = nginx.request(Method::GET, path, Some(&token), None).await;
        assert_eq!(answer.header("retry-after"), Some("1"), "{path}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{path}");
        answer.problem(502, "unavailable");
    }
    let handshake = Socket::try_connect(&nginx, &token).await;
    assert!(handshake.is_err());
}

//! Going away in order: said in time, nothing lost, soon over.

use crate::support::chaos::{Chaos, Proxy};
use crate::support::client::Ended;
use crate::support::{PATIENCE, Person, Socket, TestApp, eventually};
use parlance::config::Secret;
use parlance::ids::{ConversationId, MessageId};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::{Duration, Instant};

fn send(conversation: ConversationId, id: MessageId, body: &str) -> Value {
    json!({"type": "send", "conversation": conversation, "id": id, "body": body})
}

/// A writer that goes on until it is told goodbye.
struct Writer {
    socket: Socket,
    sent: Vec<(MessageId, String)>,
    acknowledged: HashMap<String, i64>,
    goodbye: Option<Value>,
}

impl Writer {
    async fn write_until_closed(person: Person, conversation: ConversationId, number: usize) -> Self {
        let socket = person.connect().await;
        let mut writer = Self {
            socket,
            sent: Vec::new(),
            acknowledged: HashMap::new(),
            goodbye: None,
        };
        let ended = loop {
            // Eight in flight, so that the end comes in the middle of something.
            while writer.sent.len() < writer.acknowledged.len() + 8 {
                let (id, body) = (MessageId::new(), format!("{number}/{}", writer.sent.len()));
                if !writer.socket.try_send_json(&send(conversation, id, &body)).await {
                    break;
                }
                writer.sent.push((id, body));
            }
            match writer.socket.next_frame(PATIENCE).await {
                Ok(frame) if frame["type"] == "ack" => {
                    let id = frame["id"].as_str().unwrap().to_owned();
                    writer.acknowledged.insert(id, frame["seq"].as_i64().unwrap());
                }
                Ok(frame) if frame["type"] == "goodbye" => writer.goodbye = Some(frame),
                Ok(frame) => assert_ne!(frame["type"], "error", "{frame}"),
                Err(ended) => break ended,
            }
        };
        assert_eq!(ended, Ended::Closed(4203));
        writer
    }
}

#[actix_web::test]
async fn what_was_acknowledged_stays_and_the_rest_is_repeated_without_duplicates() {
    let app = TestApp::start().await;
    let mut node = app.peer().await;
    let ([ann, bob, idle], c) = app.conversation_of(["Ann", "Bob", "Idle"]).await;
    let writers = [&ann, &bob, &ann, &bob];
    let running: Vec<_> = writers
        .iter()
        .enumerate()
        .map(|(number, person)| actix_web::rt::spawn(Writer::write_until_closed(person.at(&node), c, number)))
        .collect();
    let mut idlers = Vec::new();
    for _ in 0..5 {
        let mut socket = idle.at(&node).connect().await;
        socket.subscribe(c, None).await;
        idlers.push(socket);
    }
    // Under way, then told to stop.
    idlers[0]
        .expect_where("the hundredth message", |frame| frame["seq"].as_i64() >= Some(100))
        .await;
    let started = Instant::now();
    node.begin_stop();
    let mut pauses = Vec::new();
    for socket in &mut idlers {
        let goodbye = socket.expect("goodbye").await;
        assert!(goodbye["reason"].is_string(), "{goodbye}");
        pauses.push(goodbye["retry_after_ms"].as_u64().unwrap());
        socket.expect_close(4203).await;
    }
    assert!(pauses.iter().any(|pause| *pause != pauses[0]), "jittered: {pauses:?}");
    let mut ended = Vec::new();
    for writer in running {
        let writer = writer.await.unwrap();
        assert!(writer.goodbye.is_some());
        ended.push(writer);
    }
    node.stop().await;
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());

    // On another node of the same database: every number is where it was acknowledged, and repeating changes nothing.
    let mut sockets = [ann.connect().await, bob.connect().await];
    let (mut acknowledged, mut expected) = (0, 0);
    for (number, writer) in ended.iter().enumerate() {
        let socket = &mut sockets[number % 2];
        for (id, body) in &writer.sent {
            let ack = socket.post(c, *id, body).await;
            if let Some(seq) = writer.acknowledged.get(&id.to_string()) {
                assert_eq!((ack.seq, ack.duplicate), (*seq, true));
                acknowledged += 1;
            }
            expected += 1;
        }
    }
    assert!(acknowledged >= 80, "{acknowledged}");
    let rows = app
        .database
        .query(
            "SELECT count(*), max(seq) FROM messages WHERE conversation_id = $1",
            &[&c.0],
        )
        .await;
    assert_eq!(
        (rows[0].get::<_, i64>(0), rows[0].get::<_, i64>(1)),
        (expected, expected)
    );
    app.stop().await;
}

/// While it drains: not ready, but alive; no new sockets; what was accepted is still answered.
#[actix_web::test]
async fn a_draining_node_says_so_and_answers_what_it_has_accepted() {
    let app = TestApp::start().await;
    let proxy = Proxy::start(app.database.url()).await;
    let mut node = app
        .peer_with(|config| {
            config.database.url = Some(Secret::new(proxy.url()));
            config.shutdown_timeout = Duration::from_secs(20);
        })
        .await;
    let (ann, c) = app.person_with_conversation("Ann").await;
    let here = ann.at(&node);
    let ticket = here.post("/auth/ticket", Value::Null).await.ok();
    let mut socket = here.connect().await;
    let mut idle = here.connect().await;
    socket.post(c, MessageId::new(), "before").await;
    assert_eq!(here.get("/health/ready").await.status, 200);
    // PostgreSQL stands still, so what is accepted now is not answered before it goes on.
    proxy.set(Chaos::Freeze);
    let id = MessageId::new();
    socket.send_json(&send(c, id, "accepted")).await;
    // A pong after it says that it has been taken up.
    socket.ask(json!({"type": "ping"})).await;
    node.begin_stop();
    socket.expect("goodbye").await;
    idle.expect_close(4203).await;
    eventually("the node is not ready", async || {
        here.get("/health/ready").await.status == 503
    })
    .await;
    assert_eq!(here.get("/health/live").await.status, 200);
    let path = format!("/ws?ticket={}", ticket["ticket"].as_str().unwrap());
    for request in [
        node.http().get(node.url("/ws")).bearer_auth(&ann.token),
        node.http().get(node.url(&path)),
    ] {
        let request = request
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "cGFybGFuY2UtdGVzdC0wMA==");
        let answer = crate::support::Site::read(request.send().await.unwrap()).await.unwrap();
        answer.problem(503, "overloaded");
    }
    // What comes after the goodbye is not taken up.
    let late = MessageId::new();
    socket.try_send_json(&send(c, late, "too late")).await;
    proxy.heal();
    let ack = socket
        .expect_where("the acknowledgement", |frame| frame["type"] == "ack")
        .await;
    assert_eq!(ack["id"], json!(id));
    socket.expect_close(4203).await;
    let seqs = ann.connect().await.subscribe(c, None).await.frames;
    assert_eq!(
        seqs.iter()
            .map(|frame| frame["body"].as_str().unwrap())
            .collect::<Vec<_>>(),
        ["before", "accepted"]
    );
    node.stop().await;
    app.stop().await;
}

/// A database that does not answer, and readers that do not read, do not keep a node from ending.
#[actix_web::test]
async fn it_ends_in_time_although_nothing_moves() {
    let app = TestApp::start().await;
    let proxy = Proxy::start(app.database.url()).await;
    let node = app
        .peer_with(|config| {
            config.database.url = Some(Secret::new(proxy.url()));
            config.shutdown_timeout = Duration::from_secs(6);
        })
        .await;
    let (ann, c) = app.person_with_conversation("Ann").await;
    let mut socket = ann.at(&node).connect().await;
    socket.subscribe(c, None).await;
    let silent = ann.at(&node).connect_raw().await;
    proxy.set(Chaos::Freeze);
    let id = MessageId::new();
    socket.send_json(&send(c, id, "nobody knows")).await;
    let started = Instant::now();
    let (_, ended) = tokio::join!(node.stop(), socket.until_end());
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
    assert!(matches!(ended, Ended::Closed(4203) | Ended::Broken(_)), "{ended:?}");
    drop(silent);
    proxy.heal();
    drop(proxy);
    // Whatever became of it: repeated, it is there once.
    let mut again = ann.connect().await;
    again.post(c, id, "nobody knows").await;
    assert_eq!(again.subscribe(c, None).await.subscribed["last_seq"], 1);
    app.stop().await;
}

/// The node goes while it looks at somebody's ticket: refused like whoever comes later, not dropped.
#[actix_web::test]
async fn a_handshake_that_is_under_way_is_refused_cleanly() {
    let app = TestApp::start().await;
    let mut node = app.peer().await;
    let ann = app.register("Ann").await;
    let here = ann.at(&node);
    let mut idle = here.connect().await;
    let ticket = here.post("/auth/ticket", Value::Null).await.ok();
    let mut blocker = crate::support::db::connect(app.database.url()).await;
    let lock = blocker.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE socket_tickets IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let path = format!("/ws?ticket={}", ticket["ticket"].as_str().unwrap());
    let handshake = node
        .http()
        .get(node.url(&path))
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "cGFybGFuY2UtdGVzdC0wMA==")
        .send();
    let handshake = actix_web::rt::spawn(handshake);
    let waiting = "SELECT FROM pg_locks WHERE relation = 'socket_tickets'::regclass AND NOT granted";
    eventually("the ticket is being redeemed", async || {
        !app.database.query(waiting, &[]).await.is_empty()
    })
    .await;
    node.begin_stop();
    idle.expect("goodbye").await;
    idle.expect_close(4203).await;
    lock.rollback().await.unwrap();
    let answer = crate::support::Site::read(handshake.await.unwrap().unwrap()).await;
    answer.unwrap().problem(503, "overloaded");
    drop(blocker);
    node.stop().await;
    app.stop().await;
}

/// A balancer that asks for readiness once in a while gets the time to notice.
#[actix_web::test]
async fn it_can_go_on_serving_until_a_balancer_has_noticed() {
    let app = TestApp::start().await;
    let mut node = app
        .peer_with(|config| config.drain_delay = Duration::from_secs(2))
        .await;
    let (ann, c) = app.person_with_conversation("Ann").await;
    let here = ann.at(&node);
    let mut early = here.connect().await;
    let usual = here.get("/api/me").await;
    assert_eq!(usual.header("connection"), None);
    node.begin_stop();
    eventually("the node is not ready", async || {
        here.get("/health/ready").await.status == 503
    })
    .await;
    // For whoever has not noticed, everything is as before; but no connection is kept for another request.
    let answer = here.get("/api/me").await;
    assert_eq!(answer.header("connection"), Some("close"));
    answer.ok();
    let mut late = here.connect().await;
    for socket in [&mut early, &mut late] {
        socket.post(c, MessageId::new(), "as ever").await;
        assert!(socket.drain().iter().all(|frame| frame["type"] != "goodbye"));
    }
    for socket in [&mut early, &mut late] {
        socket.expect("goodbye").await;
        socket.expect_close(4203).await;
    }
    node.stop().await;
    app.stop().await;
}

/// A request has as long as its commit may take, also when the sockets are long gone.
#[actix_web::test]
async fn a_request_that_is_under_way_is_finished() {
    let app = TestApp::start().await;
    let proxy = Proxy::start(app.database.url()).await;
    let mut node = app
        .peer_with(|config| {
            config.database.url = Some(Secret::new(proxy.url()));
            config.shutdown_timeout = Duration::from_secs(30);
        })
        .await;
    let (ann, c) = app.person_with_conversation("Ann").await;
    let here = ann.at(&node);
    here.post_message(c, MessageId::new(), "before").await.ok();
    let mut idle = here.connect().await;
    proxy.set(Chaos::Freeze);
    let id = MessageId::new();
    let poster = here.clone();
    let posting = actix_web::rt::spawn(async move { poster.post_message(c, id, "under way").await });
    eventually("the post is on its way to the database", async || {
        proxy.effects().held > 0
    })
    .await;
    node.begin_stop();
    idle.expect_close(4203).await;
    eventually("the HTTP server stops", async || {
        tokio::net::TcpStream::connect(node.address).await.is_err()
    })
    .await;
    proxy.heal();
    // Whether it was the first attempt that arrived is the database's business.
    assert_eq!(posting.await.unwrap().ok()["seq"], 2);
    node.stop().await;
    app.stop().await;
}

//! What dies is restarted, within its budget, and nobody loses a message by it.
//!
//! The deaths are panics at the fail points of the code; each test has them for itself, because it has a process of its
//! own (nextest) or runs alone.

use crate::support::{Person, Socket, TestApp, back_off, eventually};
use parlance::ids::{ConversationId, MessageId};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Readers of the conversation that dies.
const READERS: usize = 20;
/// Writers.
const WRITERS: usize = 5;
/// What each of them posts.
const POSTS: usize = 60;
/// Longest time without a message that a reader may see while a conversation is restarted.
const PAUSE_MAX: Duration = Duration::from_secs(3);

fn panics(point: &str, times: usize) {
    fail::cfg(point, &format!("{times}*panic(on purpose)")).unwrap();
}

/// Posts until it is acknowledged, always with the same id.
async fn post_until_acknowledged(socket: &mut Socket, conversation: ConversationId, body: &str) -> i64 {
    let id = MessageId::new();
    loop {
        match socket.try_post(conversation, id, body).await {
            Ok(ack) => return ack.seq,
            Err(error) => {
                let code = error["code"].as_str().unwrap();
                assert!(matches!(code, "unavailable" | "overloaded"), "{error}");
                back_off().await;
            }
        }
    }
}

/// Reads messages until `count` have come; asserts that `rev` and `seq` have no holes and the longest pause.
async fn follow(mut socket: Socket, rev: i64, count: usize) -> Vec<Value> {
    let (mut seen, mut rev, mut last) = (Vec::new(), rev, Instant::now());
    while seen.len() < count {
        let frame = socket.expect("message").await;
        assert_eq!(frame["rev"].as_i64(), Some(rev + 1), "{frame}");
        assert_eq!(frame["seq"].as_u64(), Some(seen.len() as u64 + 1), "{frame}");
        assert!(last.elapsed() < PAUSE_MAX, "a pause of {:?}", last.elapsed());
        (rev, last) = (rev + 1, Instant::now());
        seen.push(frame["body"].clone());
    }
    socket.expect_none("message").await;
    socket.close().await;
    seen
}

/// Twenty read and five write while `point` panics `times` times, a few messages apart.
async fn talk_through(point: &'static str, times: usize) {
    let app = TestApp::with(|config| config.sessions.connections_per_user = READERS + WRITERS + 1).await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut socket = ann.connect().await;
        let rev = socket.subscribe(conversation, None).await.rev();
        readers.push(actix_web::rt::spawn(follow(socket, rev, WRITERS * POSTS)));
    }
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let mut socket = ann.connect().await;
        writers.push(actix_web::rt::spawn(async move {
            let mut last = 0;
            for n in 0..POSTS {
                if writer == 0 && n % 10 == 5 && n / 10 < times {
                    panics(point, 1);
                }
                let seq = post_until_acknowledged(&mut socket, conversation, &format!("{writer}:{n}")).await;
                assert!(seq > last, "the order of one writer");
                last = seq;
            }
            socket.close().await;
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let mut views = Vec::new();
    for reader in readers {
        views.push(reader.await.unwrap());
    }
    let rows = app.database.query("SELECT body FROM messages ORDER BY seq", &[]).await;
    let stored: Vec<Value> = rows.iter().map(|row| json!(row.get::<_, String>(0))).collect();
    assert!(
        views.iter().all(|view| *view == stored),
        "every reader has seen what is stored"
    );
    app.stop().await;
}

#[actix_web::test]
async fn a_conversation_that_dies_over_a_command_goes_on() {
    talk_through("conversations::command", 3).await;
}

#[actix_web::test]
async fn a_conversation_that_dies_over_a_fact_goes_on() {
    talk_through("conversations::event", 3).await;
}

#[actix_web::test]
async fn a_writer_lane_that_dies_before_a_commit_is_replaced() {
    talk_through("commit::before_commit", 3).await;
}

#[actix_web::test]
async fn a_writer_lane_that_dies_after_a_commit_is_replaced() {
    talk_through("commit::after_commit", 3).await;
}

#[actix_web::test]
async fn a_writer_lane_that_dies_over_a_group_is_replaced() {
    talk_through("commit::lane", 3).await;
}

#[actix_web::test]
async fn the_sixth_death_within_a_minute_leaves_a_conversation_down() {
    let app = TestApp::start().await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let (mut reader, mut writer) = (ann.connect().await, ann.connect().await);
    reader.subscribe(conversation, None).await;
    for n in 1..=5 {
        panics("conversations::command", 1);
        let error = writer.try_post(conversation, MessageId::new(), "x").await.unwrap_err();
        assert_eq!(error["code"], "unavailable");
        assert!(error["retry_after_ms"].is_u64(), "{error}");
        let ack = writer.post(conversation, MessageId::new(), "x").await;
        assert_eq!(ack.seq, n, "what died was not done");
        assert_eq!(reader.expect("message").await["seq"], n);
    }
    panics("conversations::command", 1);
    writer.try_post(conversation, MessageId::new(), "x").await.unwrap_err();
    reader.expect_close(4205).await;
    for _ in 0..3 {
        let error = writer.try_post(conversation, MessageId::new(), "x").await.unwrap_err();
        assert_eq!(error["code"], "unavailable");
    }
    let (bob, other) = app.person_with_conversation("Bob").await;
    bob.connect()
        .await
        .post(other, MessageId::new(), "others are not concerned")
        .await;
    app.stop().await;
}

#[actix_web::test]
async fn a_conversation_that_was_down_comes_back_when_the_window_has_passed() {
    let app = TestApp::with(|config| {
        config.conversations.restarts.restarts_max = 1;
        config.conversations.restarts.window = Duration::from_secs(2);
    })
    .await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let mut writer = ann.connect().await;
    for _ in 0..2 {
        panics("conversations::command", 1);
        writer.try_post(conversation, MessageId::new(), "x").await.unwrap_err();
    }
    let down = Instant::now();
    let id = MessageId::new();
    eventually("it is back", async || {
        writer.try_post(conversation, id, "x").await.is_ok()
    })
    .await;
    assert!(
        down.elapsed() > Duration::from_secs(1),
        "it was down for {:?}",
        down.elapsed()
    );
    let mut reader = ann.connect().await;
    assert_eq!(reader.subscribe(conversation, None).await.frames.len(), 1);
    app.stop().await;
}

#[actix_web::test]
async fn a_registry_that_dies_starts_what_it_was_about_to_start() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let mut socket = ann.connect().await;
    panics("conversations::registry", 2);
    let first = ann.create_conversation("One").await;
    // No repetition: the slot that was being started when the registry died must not be forgotten.
    assert_eq!(socket.post(first, MessageId::new(), "x").await.seq, 1);
    let second = ann.create_conversation("Two").await;
    assert_eq!(socket.post(second, MessageId::new(), "x").await.seq, 1);
    app.stop().await;
}

async fn read_seq(app: &TestApp, person: &Person) -> i64 {
    let sql = "SELECT max(read_seq) FROM conversation_members WHERE user_id = $1";
    app.database.query(sql, &[&person.id.0]).await[0].get(0)
}

#[actix_web::test]
async fn a_flush_of_read_markers_that_dies_is_replaced() {
    let app = TestApp::start().await;
    let ([ann, bob], conversation) = app.conversation_of(["Ann", "Bob"]).await;
    ann.connect().await.post(conversation, MessageId::new(), "x").await;
    panics("commit::read_markers", 1);
    let mut bobs = bob.connect().await;
    bobs.subscribe(conversation, None).await;
    let ok = bobs
        .ask(json!({"type": "read", "conversation": conversation, "seq": 1}))
        .await;
    assert_eq!(ok["type"], "ok");
    eventually("the read marker is written", async || read_seq(&app, &bob).await == 1).await;
    app.stop().await;
}

#[actix_web::test]
async fn a_sweep_that_dies_is_replaced() {
    let app = TestApp::with(|config| {
        config.sessions.heartbeat = Duration::from_secs(100);
        config.sessions.heartbeat_timeout = Duration::from_secs(2);
    })
    .await;
    let ann = app.register("Ann").await;
    panics("sessions::sweep", 1);
    let mut socket = ann.connect().await;
    socket.expect_close(4202).await;
    app.stop().await;
}

#[actix_web::test]
async fn a_task_of_presence_that_dies_is_replaced_and_nobody_is_forgotten() {
    let app = TestApp::start().await;
    let peer = app.peer().await;
    let ([ann, bob, carl], conversation) = app.conversation_of(["Ann", "Bob", "Carl"]).await;
    let mut anns = ann.connect().await;
    anns.subscribe(conversation, None).await;
    // One of the two nodes.
    panics("presence::tick", 1);
    let bobs = bob.at(&peer).connect().await;
    let frame = anns.expect("presence").await;
    assert_eq!((&frame["user"], &frame["online"]), (&json!(bob.id), &json!(true)));
    // The task that passes changes on dies with Carl in its hand: its successor looks at everybody.
    panics("conversations::presences", 1);
    let carls = carl.connect().await;
    let is_carl = |frame: &Value| frame["type"] == "presence" && frame["user"] == json!(carl.id);
    assert_eq!(anns.expect_where("Carl is online", is_carl).await["online"], true);
    for socket in [bobs, carls] {
        socket.close().await;
    }
    peer.stop().await;
    app.stop().await;
}

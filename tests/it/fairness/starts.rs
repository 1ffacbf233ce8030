//! Starts of conversations: made-up ids cost nothing, or little, and come to an end; loading is done in turns.

use super::{held_back, times};
use crate::support::chaos::Chaos;
use crate::support::{Person, Scrape, ServerProcess, Socket, TestApp, eventually};
use futures_util::future::join_all;
use parlance::ids::{ConversationId, MessageId};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const LOAD: &str = "conversations.load";

fn server() -> ServerProcess {
    ServerProcess::start(&[
        ("LOG_FORMAT", "json"),
        ("RATE_LIMIT_ENABLED", "true"),
        ("RATE_LIMIT_REGULAR_PER_MINUTE", "1000"),
        ("PARLANCE_FLOOD_BURST", "1000"),
    ])
}

async fn guest_of(server: &ServerProcess) -> Person {
    let (ann, conversation) = server.person_with_conversation("Ann").await;
    let invite = ann.invite(conversation).await;
    server.guest("Gus", &invite).await
}

#[tokio::test]
async fn frames_about_what_nobody_subscribed_to_start_nothing() {
    let server = server();
    let gus = guest_of(&server).await;
    let mut socket = gus.connect().await;
    let before = Scrape::of(&server).await;
    for n in 0..45 {
        let id = ConversationId::new();
        let frame = match n % 3 {
            0 => json!({"type": "typing", "conversation": id, "on": true}),
            1 => json!({"type": "read", "conversation": id, "seq": 1}),
            _ => {
                // So it is already.
                let frame = json!({"type": "unsubscribe", "conversation": id});
                assert_eq!(socket.ask(frame).await["type"], "ok");
                continue;
            }
        };
        socket.refused(frame, "not_found").await;
    }
    let after = Scrape::of(&server).await;
    assert_eq!(times(&after, LOAD), times(&before, LOAD));
    let active = |page: &Scrape| page.value("conversations_active", &[]);
    assert_eq!(active(&after), active(&before));
    // Who goes on is cut off, also without a `ref`.
    for _ in 0..30 {
        let frame = json!({"type": "typing", "conversation": ConversationId::new(), "on": true});
        socket.try_send_json(&frame).await;
    }
    socket.expect_close(4101).await;
    server.terminate();
}

#[tokio::test]
async fn what_does_not_exist_is_looked_up_once_a_second() {
    let server = server();
    let ann = server.register("Ann").await;
    let mut socket = ann.connect().await;
    let (id, before, started) = (ConversationId::new(), Scrape::of(&server).await, Instant::now());
    for _ in 0..10 {
        socket
            .refused(json!({"type": "subscribe", "conversation": id}), "not_found")
            .await;
        // By the handle that the session may have kept.
        socket
            .refused(json!({"type": "read", "conversation": id, "seq": 1}), "not_found")
            .await;
        let path = format!("/api/conversations/{id}/messages");
        let body = json!({"id": MessageId::new(), "body": "x"});
        ann.post(&path, body).await.problem(404, "not_found");
    }
    let looked_up = times(&Scrape::of(&server).await, LOAD) - times(&before, LOAD);
    assert!(looked_up <= 1.0 + started.elapsed().as_secs_f64(), "{looked_up} times");
    server.terminate();
}

#[tokio::test]
async fn what_is_not_there_counts_as_a_flood() {
    let server = server();
    let ann = server.register("Ann").await;
    let mut socket = ann.connect().await;
    let id = ConversationId::new();
    for _ in 0..60 {
        let frame = json!({"type": "subscribe", "conversation": id, "ref": "x"});
        socket.try_send_json(&frame).await;
    }
    socket.expect_close(4101).await;
    server.terminate();
}

#[tokio::test]
async fn made_up_ids_are_refused_before_they_are_looked_up() {
    let server = server();
    let (ann, bob) = (server.register("Ann").await, server.register("Bob").await);
    let (before, started) = (Scrape::of(&server).await, Instant::now());
    let mut answers = [0; 2];
    for _ in 0..100 {
        let path = format!("/api/conversations/{}/messages", ConversationId::new());
        let answer = ann.post(&path, json!({"id": MessageId::new(), "body": "x"})).await;
        if answer.status == 404 {
            answers[0] += 1;
        } else {
            let wait = answer.problem(429, "rate_limited")["retry_after_ms"].as_u64().unwrap();
            assert!((1..=600).contains(&wait), "{wait}");
            answers[1] += 1;
        }
    }
    let after = Scrape::of(&server).await;
    let allowed = 41.0 + 2.0 * started.elapsed().as_secs_f64();
    let looked_up = times(&after, LOAD) - times(&before, LOAD);
    assert!(
        looked_up <= allowed && answers[1] > 0,
        "{looked_up} of {allowed}, {answers:?}"
    );
    assert_eq!(
        held_back(&after, "conversation_starts", "refused"),
        f64::from(answers[1])
    );
    let lines = server.log().matches("beyond their share").count() as f64;
    assert!(
        lines >= 1.0 && lines <= 1.0 + started.elapsed().as_secs_f64(),
        "{lines} lines"
    );
    assert!(server.log().contains(&ann.tenant.to_string()), "the log says who");
    // It is theirs alone.
    let own = bob.create_conversation("Bob's").await;
    bob.connect().await.subscribe(own, None).await;
    server.terminate();
}

/// How many replies to its frames a socket gets, as they come.
async fn count_replies(socket: &mut Socket, frames: usize, replies: &AtomicUsize) {
    for _ in 0..frames {
        socket
            .expect_where("a reply", |frame: &Value| frame["ref"].is_string())
            .await;
        replies.fetch_add(1, Ordering::SeqCst);
    }
}

#[actix_web::test]
async fn a_neighbours_conversation_starts_while_a_tenant_starts_all_it_can() {
    const SOCKETS: usize = 12;
    const FRAMES: usize = 30;
    let (app, proxy) = TestApp::behind_proxy().await;
    let (mallory, (bob, conversation)) = (app.register("Mallory").await, app.person_with_conversation("Bob").await);
    let mut attackers: Vec<Socket> = join_all((0..SOCKETS).map(|_| mallory.connect())).await;
    let mut neighbour = bob.connect().await;
    proxy.set(Chaos::Delay(Duration::from_millis(20)));
    for socket in &mut attackers {
        for _ in 0..FRAMES {
            let frame = json!({"type": "subscribe", "conversation": ConversationId::new(), "ref": "x"});
            socket.send_json(&frame).await;
        }
    }
    let replies = AtomicUsize::new(0);
    let attack = join_all(
        attackers
            .iter_mut()
            .map(|socket| count_replies(socket, FRAMES, &replies)),
    );
    let served = async {
        eventually("the attack is under way", async || replies.load(Ordering::SeqCst) > 0).await;
        neighbour.subscribe(conversation, None).await;
        replies.load(Ordering::SeqCst)
    };
    let (_, before) = futures_util::join!(attack, served);
    assert!(
        before < SOCKETS * FRAMES / 2,
        "{before} were served before the neighbour"
    );
    app.stop().await;
}

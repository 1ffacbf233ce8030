//! Conversations that nobody needs leave the memory, and nothing is lost by it.

use crate::support::{Scrape, TestApp, eventually, pace, wait_out};
use parlance::ids::MessageId;
use serde_json::json;
use std::time::{Duration, Instant};

#[actix_web::test]
async fn posts_around_the_moment_of_passivation_are_all_done_in_order() {
    // So short that it passivates between almost any two posts.
    let app = TestApp::with(|config| config.conversations.passivate_after = Duration::from_millis(1)).await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let mut writers = Vec::new();
    for writer in 0..4_u64 {
        let mut socket = ann.connect().await;
        writers.push(actix_web::rt::spawn(async move {
            let started = Instant::now();
            let mut last = 0;
            let mut count = 0;
            while started.elapsed() < Duration::from_secs(3) {
                // Several at once: what is late keeps its order.
                let mut references = Vec::new();
                for _ in 0..3 {
                    let reference = socket.next_reference();
                    let frame = json!({"type": "send", "ref": reference, "conversation": conversation,
                        "id": MessageId::new(), "body": "x"});
                    socket.send_json(&frame).await;
                    references.push(reference);
                }
                for reference in references {
                    let ack = socket.reply_to(&reference).await;
                    assert_eq!(ack["type"], "ack", "{ack}");
                    let seq = ack["seq"].as_i64().unwrap();
                    assert!(seq > last, "the order of one connection: {seq} after {last}");
                    (last, count) = (seq, count + 1);
                }
                // The moment wanders around the one at which it passivates.
                pace(Duration::from_micros((count * 137 + writer * 311) % 4_000)).await;
            }
            socket.close().await;
            count
        }));
    }
    let mut posted = 0;
    for writer in writers {
        posted += writer.await.unwrap();
    }
    let row = &app.database.query("SELECT count(*), max(seq) FROM messages", &[]).await[0];
    assert_eq!(
        (row.get::<_, i64>(0), row.get::<_, i64>(1)),
        (posted as i64, posted as i64)
    );
    app.stop().await;
}

#[actix_web::test]
async fn who_follows_keeps_a_conversation_and_who_leaves_lets_it_go() {
    let app = TestApp::with(|config| config.conversations.passivate_after = Duration::from_millis(100)).await;
    let ([ann, bob], conversation) = app.conversation_of(["Ann", "Bob"]).await;
    let mut reader = ann.connect().await;
    let rev = reader.subscribe(conversation, None).await.rev();
    let mut writer = bob.connect().await;
    for n in 1..=5 {
        // Longer than it would take to go, if it went.
        wait_out(Duration::from_millis(150)).await;
        writer.post(conversation, MessageId::new(), "x").await;
        let frame = reader.expect("message").await;
        assert_eq!(
            frame["rev"].as_i64(),
            Some(rev + n),
            "the same subscription, without a gap"
        );
    }
    reader.close().await;
    // Its next generation knows what has happened, and a reader resumes over it.
    let mut reader = ann.connect().await;
    let resumed = reader.subscribe(conversation, Some(rev)).await;
    assert_eq!((resumed.frames.len(), resumed.rev()), (5, rev + 5));
    reader.close().await;
    writer.close().await;
    app.stop().await;
}

/// Nobody is refused, and nobody who is subscribed has to go.
#[actix_web::test]
async fn a_full_table_makes_room_for_a_newcomer() {
    let app = TestApp::with(|config| config.conversations.active_max = 10).await;
    let ann = app.register("Ann").await;
    let (mut reader, mut writer) = (ann.connect().await, ann.connect().await);
    let read = ann.create_conversation("read").await;
    reader.subscribe(read, None).await;
    for n in 0..40 {
        let conversation = ann.create_conversation(&format!("{n}")).await;
        writer.post(conversation, MessageId::new(), "x").await;
    }
    eventually("as many are active as may be", async || {
        Scrape::of(&app).await.value("conversations_active", &[]) <= 10.0
    })
    .await;
    writer.post(read, MessageId::new(), "heard").await;
    assert_eq!(reader.expect("message").await["body"], "heard");
    app.stop().await;
}

#[actix_web::test]
async fn more_conversations_than_may_be_active_are_served_in_turn() {
    // More conversations than may be active: they can only all be served if the idle ones go.
    let app = TestApp::with(|config| {
        config.conversations.passivate_after = Duration::from_millis(50);
        config.conversations.active_max = 10;
    })
    .await;
    let ann = app.register("Ann").await;
    let mut socket = ann.connect().await;
    for n in 0..60 {
        let conversation = ann.create_conversation(&format!("{n}")).await;
        let id = MessageId::new();
        let mut answer = socket.try_post(conversation, id, "x").await;
        eventually("there is room again", async || {
            if let Err(error) = &answer {
                assert_eq!(error["code"], "overloaded", "{error}");
                answer = socket.try_post(conversation, id, "x").await;
            }
            answer.is_ok()
        })
        .await;
    }
    app.stop().await;
}

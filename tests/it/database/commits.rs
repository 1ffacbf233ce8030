//! Receipts while the way to PostgreSQL misbehaves: each message once, and an honest answer at the deadline.

use crate::support::chaos::{Chaos, Proxy};
use crate::support::{Person, Socket, TestApp, eventually, pace};
use parlance::ids::{ConversationId, MessageId};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

struct Room {
    app: TestApp,
    proxy: Proxy,
    conversation: ConversationId,
    socket: Socket,
    person: Person,
}

impl Room {
    async fn open() -> Self {
        let (app, proxy) = TestApp::behind_proxy().await;
        let (person, conversation) = app.person_with_conversation("Ann").await;
        let mut socket = person.connect().await;
        socket.subscribe(conversation, None).await;
        Self {
            app,
            proxy,
            conversation,
            socket,
            person,
        }
    }

    /// Sends without waiting for the answer; returns the `ref`.
    async fn send(&mut self, id: MessageId, body: &str) -> String {
        let reference = self.socket.next_reference();
        let frame =
            json!({"type": "send", "ref": reference, "conversation": self.conversation, "id": id, "body": body});
        self.socket.send_json(&frame).await;
        reference
    }

    /// Asserts that exactly these messages are there, once each, in this order, and that the reader saw each once.
    async fn close(mut self, ids: &[MessageId]) {
        let sql = "SELECT id, seq FROM messages WHERE conversation_id = $1 ORDER BY seq";
        let rows = self.app.database.query(sql, &[&self.conversation.0]).await;
        let there: Vec<(MessageId, i64)> = rows.iter().map(|row| (MessageId(row.get(0)), row.get(1))).collect();
        let expected: Vec<_> = ids.iter().copied().zip(1..).collect();
        assert_eq!(there, expected);
        for (id, seq) in expected {
            let frame = self.socket.expect("message").await;
            assert_eq!(
                (&frame["id"], frame["seq"].as_i64()),
                (&json!(id), Some(seq)),
                "{frame}"
            );
        }
        self.socket.expect_none("message").await;
        let mut late = self.person.connect().await;
        assert_eq!(
            late.subscribe(self.conversation, Some(0)).await.subscribed["last_seq"],
            ids.len()
        );
        self.app.stop().await;
    }
}

#[track_caller]
fn assert_acknowledged(reply: &Value, seq: usize) {
    assert_eq!(
        (&reply["type"], reply["seq"].as_u64()),
        (&json!("ack"), Some(seq as u64)),
        "{reply}"
    );
}

#[actix_web::test]
async fn cut_connections_cost_time_and_nothing_else() {
    let mut room = Room::open().await;
    let mut ids = Vec::new();
    for number in 1..=24 {
        let id = MessageId::new();
        ids.push(id);
        let reference = room.send(id, "through the cut").await;
        if number % 3 == 0 {
            // Anywhere between the frame's arrival and the commit's answer.
            pace(Duration::from_micros(number * 120)).await;
            room.proxy.cut_once();
        }
        let reply = room.socket.reply_to(&reference).await;
        assert_acknowledged(&reply, ids.len());
    }
    room.close(&ids).await;
}

#[actix_web::test]
async fn a_commit_whose_answer_is_lost_is_acknowledged_once() {
    let mut room = Room::open().await;
    let first = MessageId::new();
    room.socket.post(room.conversation, first, "first").await;
    room.proxy.set(Chaos::LoseAnswers);
    let id = MessageId::new();
    let reference = room.send(id, "committed, but who knows").await;
    let database = room.app.database.clone();
    eventually("it is committed", async || {
        !database
            .query("SELECT seq FROM messages WHERE id = $1", &[&id.0])
            .await
            .is_empty()
    })
    .await;
    drop(database);
    room.proxy.heal();
    let reply = room.socket.reply_to(&reference).await;
    assert_acknowledged(&reply, 2);
    room.close(&[first, id]).await;
}

#[actix_web::test]
async fn a_slow_way_changes_nothing() {
    let mut room = Room::open().await;
    room.proxy.set(Chaos::Delay(Duration::from_millis(40)));
    let ids: Vec<_> = (0..20).map(|_| MessageId::new()).collect();
    let mut references = Vec::new();
    for id in &ids {
        references.push(room.send(*id, "slowly").await);
    }
    for (reference, seq) in references.iter().zip(1..) {
        let reply = room.socket.reply_to(reference).await;
        assert_acknowledged(&reply, seq);
    }
    room.proxy.heal();
    room.close(&ids).await;
}

#[actix_web::test]
async fn a_frozen_database_is_unavailable_at_the_deadline_and_the_same_id_goes_on_afterwards() {
    let mut room = Room::open().await;
    let first = MessageId::new();
    room.socket.post(room.conversation, first, "first").await;
    room.proxy.set(Chaos::Freeze);
    let id = MessageId::new();
    let begun = Instant::now();
    let reference = room.send(id, "into the ice").await;
    let reply = room.socket.reply_to(&reference).await;
    assert_eq!(
        (&reply["type"], &reply["code"]),
        (&json!("error"), &json!("unavailable")),
        "{reply}"
    );
    assert!(reply["retry_after_ms"].as_u64().is_some_and(|ms| ms > 0), "{reply}");
    let waited = begun.elapsed().as_secs();
    assert!((5..15).contains(&waited), "answered after {waited} s");
    // The node says that it is not ready, and a socket that only listens goes on.
    let ready = room.app.http().get(room.app.url("/health/ready")).send().await.unwrap();
    assert_eq!(ready.status(), 503);
    assert_eq!(room.socket.ask(json!({"type": "ping"})).await["type"], "pong");

    room.proxy.heal();
    eventually("the node is ready again", async || {
        room.app
            .http()
            .get(room.app.url("/health/ready"))
            .send()
            .await
            .unwrap()
            .status()
            == 200
    })
    .await;
    // Whether the first attempt was carried out when the ice broke is not known; once it is, in any case.
    let ack = room.socket.post(room.conversation, id, "into the ice").await;
    assert_eq!(ack.seq, 2);
    room.close(&[first, id]).await;
}

#[actix_web::test]
async fn a_database_that_is_away_refuses_nothing_that_comes_back_in_time() {
    let mut room = Room::open().await;
    room.proxy.set(Chaos::Cut);
    let ids: Vec<_> = (0..10).map(|_| MessageId::new()).collect();
    let mut references = Vec::new();
    for id in &ids {
        references.push(room.send(*id, "patience").await);
    }
    // Everything is on its way; the frame after it is answered.
    assert_eq!(room.socket.ask(json!({"type": "ping"})).await["type"], "pong");
    room.proxy.heal();
    for (reference, seq) in references.iter().zip(1..) {
        let reply = room.socket.reply_to(reference).await;
        assert_acknowledged(&reply, seq);
    }
    room.close(&ids).await;
}

//! Resuming: whatever a reader missed, and however long ago, what arrives is complete, in order and without overlap.

use crate::support::{PATIENCE, Person, Socket, TestApp};
use parlance::ids::{ConversationId, MessageId};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// A reader who upserts, as the protocol asks, and is strict about what it is sent.
#[derive(Default)]
struct Mirror {
    rev: i64,
    /// A revision that was there when the replay was asked for.
    asked_at: i64,
    /// The latest state of each message, by id.
    messages: HashMap<String, Value>,
    members: HashMap<String, String>,
    title: Value,
}

impl Mirror {
    /// Takes in a replay: rising revisions above what is known, each thing once, `message` for what is new and `updated`
    /// for what is not.
    fn replay(&mut self, frames: &[Value], subscribed: &Value) {
        let (start, mut last, mut things) = (self.rev, self.rev, HashSet::new());
        for frame in frames {
            let rev = frame["rev"].as_i64().unwrap();
            assert!(rev > last, "{rev} after {last}: {frame}");
            last = rev;
            let thing = match frame["type"].as_str().unwrap() {
                "message" | "updated" => frame["id"].to_string(),
                "member" => frame["user"]["id"].to_string(),
                _ => String::new(),
            };
            // What is changed while the replay is under way may have been sent already.
            assert!(things.insert(thing) || rev > self.asked_at, "twice: {frame}");
            if start > 0 {
                let known = self.messages.contains_key(frame["id"].as_str().unwrap_or_default());
                assert!(frame["type"] != "message" || !known, "known already: {frame}");
                assert!(frame["type"] != "updated" || known, "never seen: {frame}");
            }
            self.upsert(frame);
        }
        let rev = subscribed["rev"].as_i64().unwrap();
        assert!(rev >= last);
        self.rev = rev;
    }

    /// Takes in a live frame: the next revision.
    fn live(&mut self, frame: &Value) {
        let Some(rev) = frame["rev"].as_i64() else { return };
        if matches!(
            frame["type"].as_str(),
            Some("message" | "updated" | "member" | "conversation")
        ) {
            assert_eq!(rev, self.rev + 1, "a hole or an overlap: {frame}");
            self.rev = rev;
            self.upsert(frame);
        }
    }

    fn upsert(&mut self, frame: &Value) {
        match frame["type"].as_str().unwrap() {
            "message" | "updated" => {
                let state = json!([
                    frame["seq"],
                    frame["body"],
                    frame["rev"],
                    frame["deleted_at"].is_string(),
                    frame.get("reactions").filter(|list| **list != json!([]))
                ]);
                self.messages.insert(frame["id"].as_str().unwrap().to_owned(), state);
            }
            "member" => {
                let change = if frame["change"] == "removed" {
                    Value::Null
                } else {
                    frame["user"]["role"].clone()
                };
                self.members
                    .insert(frame["user"]["id"].as_str().unwrap().to_owned(), change.to_string());
            }
            _ => self.title = frame["title"].clone(),
        }
    }

    /// Subscribes while nobody changes anything.
    async fn catch_up(&mut self, socket: &mut Socket, conversation: ConversationId) {
        self.asked_at = i64::MAX;
        self.catch_up_among_writers(socket, conversation).await;
    }

    async fn catch_up_among_writers(&mut self, socket: &mut Socket, conversation: ConversationId) {
        let subscribed = socket.subscribe(conversation, Some(self.rev)).await;
        self.replay(&subscribed.frames, &subscribed.subscribed);
        assert_eq!(subscribed.subscribed["complete"], true);
    }

    async fn follow_until(&mut self, socket: &mut Socket, rev: i64) {
        while self.rev < rev {
            self.live(&socket.next_frame(PATIENCE).await.unwrap());
        }
    }

    fn assert_same(&self, other: &Self) {
        assert_eq!(self.rev, other.rev);
        assert_eq!(self.messages.len(), other.messages.len());
        for (id, state) in &self.messages {
            assert_eq!(Some(state), other.messages.get(id), "{id}");
        }
        let seqs: HashSet<_> = self.messages.values().map(|state| state[0].as_i64().unwrap()).collect();
        assert_eq!(
            seqs,
            (1..=self.messages.len() as i64).collect(),
            "numbers have no holes"
        );
    }
}

fn send(conversation: ConversationId, id: MessageId, body: &str) -> Value {
    json!({"type": "send", "conversation": conversation, "id": id, "body": body})
}

/// Posts many in one burst and waits until all are durable.
async fn burst(socket: &mut Socket, conversation: ConversationId, count: usize, bytes: usize) -> Vec<MessageId> {
    let ids: Vec<_> = (0..count).map(|_| MessageId::new()).collect();
    let references: Vec<_> = ids.iter().map(|_| socket.next_reference()).collect();
    for (chunk, references) in ids.chunks(32).zip(references.chunks(32)) {
        for (id, reference) in chunk.iter().zip(references) {
            let mut frame = send(conversation, *id, &"x".repeat(bytes));
            frame["ref"] = json!(reference);
            socket.send_json(&frame).await;
        }
        for reference in references {
            assert_eq!(socket.reply_to(reference).await["type"], "ack");
        }
    }
    ids
}

#[actix_web::test]
async fn a_new_reader_gets_the_newest_fifty() {
    let app = TestApp::start().await;
    let (ann, c) = app.person_with_conversation("Ann").await;
    let mut writer = ann.connect().await;
    let mut reader = ann.connect().await;
    let empty = reader.subscribe(c, None).await;
    assert_eq!((empty.frames.len(), &empty.subscribed["complete"]), (0, &json!(true)));
    let state = &empty.subscribed;
    assert_eq!(
        (&state["title"], &state["last_seq"], &state["read_seq"]),
        (&json!("Test"), &json!(0), &json!(0))
    );
    assert_eq!((&state["member_count"], &state["conversation"]), (&json!(1), &json!(c)));
    let member = json!({"id": ann.id, "name": "Ann", "kind": "person", "role": "owner", "online": true});
    assert_eq!(state["members"], json!([member]));

    let ids = burst(&mut writer, c, 50, 10).await;
    assert_eq!(
        reader.subscribe(c, None).await.subscribed["complete"],
        true,
        "50 are all"
    );
    burst(&mut writer, c, 1, 10).await;
    // A change of an old one moves nothing: the newest by number, in the order of numbers.
    assert_eq!(
        writer
            .ask(json!({"type": "edit", "conversation": c, "id": ids[10], "body": "edited"}))
            .await["type"],
        "ok"
    );
    {
        let newest = ann.connect().await.subscribe(c, None).await;
        let seqs: Vec<_> = newest
            .frames
            .iter()
            .map(|frame| frame["seq"].as_i64().unwrap())
            .collect();
        assert_eq!(seqs, (2..=51).collect::<Vec<_>>());
        assert!(newest.frames.iter().all(|frame| frame["type"] == "message"));
        assert_eq!(newest.frames[9]["body"], "edited");
        assert_eq!(newest.subscribed["complete"], false);
        assert_eq!(
            newest.rev(),
            writer
                .ask(json!({"type": "delete", "conversation": c, "id": ids[0]}))
                .await["rev"]
                .as_i64()
                .unwrap()
                - 1
        );
    }
    app.stop().await;
}

/// More than fits one write: the newest fifty of the largest size, with somebody posting meanwhile.
#[actix_web::test]
async fn a_large_snapshot_has_no_gap_after_it() {
    let app = TestApp::start().await;
    let (ann, c) = app.person_with_conversation("Ann").await;
    let (mut writer, mut reader) = (ann.connect().await, ann.connect().await);
    burst(&mut writer, c, 60, 16_000).await;
    let writing = burst(&mut writer, c, 60, 1_000);
    let (_, subscribed) = tokio::join!(writing, reader.subscribe(c, None));
    let seqs: Vec<_> = subscribed
        .frames
        .iter()
        .map(|frame| frame["seq"].as_i64().unwrap())
        .collect();
    assert!(
        seqs.len() >= 50 && seqs.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{seqs:?}"
    );
    assert_eq!(seqs.last().copied(), subscribed.subscribed["last_seq"].as_i64());
    let mut mirror = Mirror {
        rev: subscribed.rev(),
        ..Mirror::default()
    };
    let end = ann.get(&format!("/api/conversations/{c}")).await.ok()["rev"]
        .as_i64()
        .unwrap();
    mirror.follow_until(&mut reader, end).await;
    app.stop().await;
}

/// From memory (a moment away), from the database (long away), and on another node: always the same.
#[actix_web::test]
async fn whoever_comes_back_has_what_the_others_have() {
    let app = TestApp::start().await;
    let peer = app.peer().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let mut writer = ann.connect().await;
    let (mut live, mut live_socket) = (Mirror::default(), bob.connect().await);
    live.catch_up(&mut live_socket, c).await;
    let mut old = Mirror::default();
    old.catch_up(&mut bob.connect().await, c).await;
    let ids = burst(&mut writer, c, 120, 10).await;
    let mut middle = Mirror::default();
    middle.catch_up(&mut bob.connect().await, c).await;

    let mut rev = 0;
    for (at, id) in ids.iter().enumerate().take(60) {
        let frame = match at % 3 {
            0 => json!({"type": "edit", "conversation": c, "id": id, "body": format!("edited {at}")}),
            1 => json!({"type": "react", "conversation": c, "id": id, "emoji": "👍", "on": true}),
            _ => json!({"type": "delete", "conversation": c, "id": id}),
        };
        rev = writer.ask(frame).await["rev"].as_i64().unwrap();
    }
    // A thing that changes often comes once, with its last state.
    for at in 0..30 {
        let frame = json!({"type": "edit", "conversation": c, "id": ids[100], "body": format!("again {at}")});
        rev = writer.ask(frame).await["rev"].as_i64().unwrap();
    }
    ann.patch(&format!("/api/conversations/{c}"), json!({"title": "Renamed"}))
        .await
        .ok();
    ann.patch(
        &format!("/api/conversations/{c}/members/{}", bob.id),
        json!({"role": "moderator"}),
    )
    .await
    .ok();
    rev += 2;
    live.follow_until(&mut live_socket, rev).await;
    assert_eq!(
        (&live.title, live.members.get(&bob.id.to_string()).map(String::as_str)),
        (&json!("Renamed"), Some("\"moderator\""))
    );
    middle.catch_up(&mut bob.connect().await, c).await;
    middle.assert_same(&live);
    old.catch_up(&mut bob.at(&peer).connect().await, c).await;
    old.assert_same(&live);
    assert_eq!((old.title, &old.members), (live.title.clone(), &live.members));
    let mut fresh = Mirror::default();
    fresh.catch_up(&mut bob.connect().await, c).await;
    fresh.assert_same(&live);

    // After a restart nothing is in memory.
    peer.stop().await;
    let restarted = app.peer().await;
    let mut again = Mirror::default();
    again.catch_up(&mut bob.at(&restarted).connect().await, c).await;
    again.assert_same(&live);
    restarted.stop().await;
    app.stop().await;
}

/// Tens of pages while others write, on both nodes; then the live frames go on without a gap.
#[actix_web::test]
async fn a_long_replay_meets_the_present_without_a_gap() {
    let app = TestApp::start().await;
    let peer = app.peer().await;
    let (ann, c) = app.person_with_conversation("Ann").await;
    let mut writer = ann.connect().await;
    // The history comes in by the back door: it is only there to be long.
    let history = "INSERT INTO messages (conversation_id, seq, tenant_id, id, author_id, kind, body, digest, posted_rev, rev, created_at)
         SELECT $1, n, $2, gen_random_uuid(), $3, 'person', repeat('h', 900), '\\x00', r.rev + n, r.rev + n, now()
         FROM generate_series(1, 6000) n, (SELECT rev FROM conversations WHERE id = $1) r";
    app.database.query(history, &[&c.0, &ann.tenant.0, &ann.id.0]).await;
    app.database
        .query(
            "UPDATE conversations SET last_seq = 6000, rev = rev + 6000 WHERE id = $1",
            &[&c.0],
        )
        .await;

    let readers: Vec<_> = [&app, &peer, &app].into_iter().map(|node| ann.at(node)).collect();
    let mut other = ann.at(&peer).connect().await;
    let reading = futures_util::future::join_all(readers.iter().map(|reader| async move {
        let mut socket = reader.connect().await;
        let mut mirror = Mirror {
            asked_at: 6_000,
            ..Mirror::default()
        };
        mirror.catch_up_among_writers(&mut socket, c).await;
        assert!(mirror.rev >= 6_000, "{}", mirror.rev);
        (socket, mirror)
    }));
    let writing = async {
        let ids = burst(&mut writer, c, 300, 200).await;
        for id in &ids[..100] {
            let frame = json!({"type": "edit", "conversation": c, "id": id, "body": "edited"});
            assert_eq!(writer.ask(frame).await["type"], "ok");
        }
    };
    let (mut mirrors, (), _) = tokio::join!(reading, writing, burst(&mut other, c, 300, 200));
    let end = ann.get(&format!("/api/conversations/{c}")).await.ok();
    let end = end["rev"].as_i64().unwrap();
    let mut truth = Mirror::default();
    truth.catch_up(&mut ann.connect().await, c).await;
    assert_eq!((truth.rev, truth.messages.len()), (end, 6_600));
    for (socket, mirror) in &mut mirrors {
        mirror.follow_until(socket, end).await;
        mirror.assert_same(&truth);
    }
    peer.stop().await;
    app.stop().await;
}

#[actix_web::test]
async fn after_that_is_ahead_is_a_conflict_and_one_that_is_not_is_none() {
    let app = TestApp::start().await;
    let (ann, c) = app.person_with_conversation("Ann").await;
    let mut socket = ann.connect().await;
    let rev = socket.subscribe(c, None).await.rev();
    let exact = socket.subscribe(c, Some(rev)).await;
    assert_eq!((exact.frames.len(), exact.rev()), (0, rev));
    let reply = socket
        .ask(json!({"type": "subscribe", "conversation": c, "after": rev + 1}))
        .await;
    assert_eq!(reply["code"], "conflict");
    // As the table says: without it, then.
    socket.subscribe(c, None).await;
    let ack = socket.post(c, MessageId::new(), "x").await;
    assert_eq!(socket.expect("message").await["rev"], ack.rev);
    // A revision that exists, but not yet on this node.
    let peer = app.peer_without_bus().await;
    let behind = ann.at(&peer).connect().await.subscribe(c, None).await.rev();
    let ack = socket.post(c, MessageId::new(), "y").await;
    let mut on_peer = ann.at(&peer).connect().await;
    assert!(ack.rev > behind);
    assert_eq!(on_peer.subscribe(c, Some(ack.rev)).await.frames.len(), 0);
    peer.stop().await;
    app.stop().await;
}

#[actix_web::test]
async fn again_on_a_subscribed_conversation_starts_anew() {
    let app = TestApp::start().await;
    let (ann, c) = app.person_with_conversation("Ann").await;
    let (mut writer, mut reader) = (ann.connect().await, ann.connect().await);
    let first = reader.subscribe(c, None).await.rev();
    burst(&mut writer, c, 10, 10).await;
    for _ in 0..3 {
        let again = reader.subscribe(c, Some(first)).await;
        assert!(again.frames.len() >= 10);
    }
    let last = burst(&mut writer, c, 1, 10).await;
    reader
        .expect_where("the last", |frame| frame["id"] == json!(last[0]))
        .await;
    // Once, though subscribed four times.
    reader.expect_none("message").await;
    app.stop().await;
}

/// The history of a conversation that is longer than what the kernel holds for a socket.
async fn long_history(app: &TestApp, owner: &Person, c: ConversationId) {
    let history = "INSERT INTO messages (conversation_id, seq, tenant_id, id, author_id, kind, body, digest, posted_rev, rev, created_at)
         SELECT $1, n, $2, gen_random_uuid(), $3, 'person', repeat('h', 8000), '\\x00', r.rev + n, r.rev + n, now()
         FROM generate_series(1, 2500) n, (SELECT rev FROM conversations WHERE id = $1) r";
    app.database.query(history, &[&c.0, &owner.tenant.0, &owner.id.0]).await;
    app.database
        .query(
            "UPDATE conversations SET last_seq = 2500, rev = rev + 2500 WHERE id = $1",
            &[&c.0],
        )
        .await;
}

/// A replay that is under way ends when it is not wanted any more: nothing of it comes after the reply.
#[actix_web::test]
async fn a_replay_that_is_given_up_stops() {
    let app = TestApp::start().await;
    let (ann, c) = app.person_with_conversation("Ann").await;
    long_history(&app, &ann, c).await;
    let end = ann.get(&format!("/api/conversations/{c}")).await.ok()["rev"]
        .as_i64()
        .unwrap();
    let given_up = [
        json!({"type": "unsubscribe", "conversation": c, "ref": "stop"}),
        json!({"type": "subscribe", "conversation": c, "after": end, "ref": "stop"}),
    ];
    for stop in given_up {
        let mut reader = ann.connect().await;
        reader
            .send_json(&json!({"type": "subscribe", "conversation": c, "after": 0, "ref": "start"}))
            .await;
        // It has begun; nobody reads on, so it stands still.
        reader.expect("message").await;
        reader.send_json(&stop).await;
        reader.reply_to("start").await;
        let reply = reader.reply_to("stop").await;
        assert!(
            ["ok", "subscribed"].contains(&reply["type"].as_str().unwrap()),
            "{reply}"
        );
        let before = reader.drain().len();
        assert!(before < 2_500, "the replay did not stop");
        reader.ask(json!({"type": "ping"})).await;
        let late = reader.next_frame(Duration::from_millis(500)).await;
        assert!(late.is_err(), "after {stop}: {}", late.unwrap()["rev"]);
    }
    app.stop().await;
}

/// Removed in the middle of a replay: nothing more comes of it either.
#[actix_web::test]
async fn who_is_removed_in_the_middle_of_a_replay_gets_no_more() {
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    long_history(&app, &ann, c).await;
    let mut reader = bob.connect().await;
    reader
        .send_json(&json!({"type": "subscribe", "conversation": c, "after": 0, "ref": "start"}))
        .await;
    reader.expect("message").await;
    ann.remove_member(c, bob.id).await.ok();
    let reply = reader.reply_to("start").await;
    assert_eq!(reply["code"], "not_found", "{reply}");
    reader.drain();
    let late = reader.next_frame(Duration::from_millis(500)).await;
    assert!(late.is_err(), "{}", late.unwrap()["rev"]);
    app.stop().await;
}

#[actix_web::test]
async fn who_left_and_came_back_has_the_whole_history() {
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let (mut writer, mut bobs) = (ann.connect().await, bob.connect().await);
    let mut mirror = Mirror::default();
    mirror.catch_up(&mut bobs, c).await;
    burst(&mut writer, c, 3, 10).await;
    mirror.follow_until(&mut bobs, mirror.rev + 3).await;
    bob.remove_member(c, bob.id).await.ok();
    let gone = bobs.expect("member").await;
    assert_eq!(
        (&gone["change"], &gone["user"]["id"]),
        (&json!("removed"), &json!(bob.id))
    );
    mirror.live(&gone);
    burst(&mut writer, c, 5, 10).await;
    bobs.refused(
        json!({"type": "subscribe", "conversation": c, "after": mirror.rev}),
        "not_found",
    )
    .await;
    bobs.expect_none("message").await;
    bobs.expect_none("notice").await;
    ann.add_member(c, bob.id, "member").await.ok();
    mirror.catch_up(&mut bobs, c).await;
    assert_eq!(mirror.messages.len(), 8);
    assert_eq!(mirror.members[&bob.id.to_string()], "\"member\"");
    // Somebody who was away all the time learns the net effect: Bob is there, once.
    let mut whole = Mirror::default();
    whole.catch_up(&mut ann.connect().await, c).await;
    whole.assert_same(&mirror);
    app.stop().await;
}

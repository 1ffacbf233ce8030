//! Everything that may change, made on one node and seen on the others over a real Redis: the same frames, in one order.

use crate::support::client::uuid_of;
use crate::support::redis::TestRedis;
use crate::support::{Person, Socket, TestApp, eventually};
use parlance::ids::{ConversationId, MessageId};
use serde_json::{Value, json};

/// Three nodes on one Redis.
struct Three {
    redis: TestRedis,
    nodes: Vec<TestApp>,
}

impl Three {
    async fn start() -> Self {
        let redis = TestRedis::start().await;
        let first = TestApp::over(&redis).await;
        let (second, third) = (first.peer_over(&redis).await, first.peer_over(&redis).await);
        let nodes = vec![first, second, third];
        Self { redis, nodes }
    }

    async fn stop(self) {
        for node in self.nodes.into_iter().rev() {
            node.stop().await;
        }
    }
}

/// The next frame of a conversation that is durable.
async fn change(socket: &mut Socket, conversation: ConversationId) -> Value {
    let conversation = json!(conversation);
    let is_change = |frame: &Value| {
        frame["conversation"] == conversation
            && matches!(
                frame["type"].as_str(),
                Some("message" | "updated" | "member" | "conversation")
            )
    };
    socket.expect_where("a change", is_change).await
}

/// What everybody is told next: all the same, and of this kind.
async fn all_see(sockets: &mut [Socket], conversation: ConversationId, kind: &str) -> Value {
    let first = change(&mut sockets[0], conversation).await;
    assert_eq!(first["type"], kind, "{first}");
    for socket in &mut sockets[1..] {
        assert_eq!(change(socket, conversation).await, first);
    }
    first
}

async fn delete(person: &Person, path: String) {
    assert_eq!(person.delete(&path).await.status, 204, "{path}");
}

/// Each kind of change, made on each node in turn; readers on all of them compare what they see, field by field.
#[actix_web::test]
async fn every_change_is_the_same_frame_on_every_node() {
    let three = Three::start().await;
    let ([ann, bob, carl], c) = three.nodes[0].conversation_of(["Ann", "Bob", "Carl"]).await;
    let dora = three.nodes[1].join("Dora", &ann.invite(c).await).await;
    delete(&ann, format!("/api/conversations/{c}/members/{}", dora.id)).await;
    let (bob, carl) = (bob.at(&three.nodes[1]), carl.at(&three.nodes[2]));
    let mut sockets = vec![ann.connect().await, bob.connect().await, carl.connect().await];
    let mut rev = 0;
    for socket in &mut sockets {
        rev = socket.subscribe(c, None).await.rev();
        socket.drain();
    }
    let path = format!("/api/conversations/{c}");
    let mut follows = |frame: &Value| {
        rev += 1;
        assert_eq!(frame["rev"], rev, "no hole: {frame}");
    };
    for (at, author) in [(0, &ann), (1, &bob), (2, &carl)] {
        let id = MessageId::new();
        sockets[at].post(c, id, "Grüße, \u{1f44b}").await;
        let seen = all_see(&mut sockets, c, "message").await;
        assert_eq!((&seen["id"], &seen["author"]), (&json!(id), &json!(author.id)));
        follows(&seen);
        // By others, on other nodes.
        for emoji in ["\u{1f44d}", "\u{2764}"] {
            for reader in [(at + 1) % 3, (at + 2) % 3] {
                let react = json!({"type": "react", "conversation": c, "id": id, "emoji": emoji, "on": true});
                assert_eq!(sockets[reader].ask(react).await["type"], "ok");
                follows(&all_see(&mut sockets, c, "updated").await);
            }
        }
        let react = json!({"type": "react", "conversation": c, "id": id, "emoji": "\u{2764}", "on": false});
        assert_eq!(sockets[(at + 1) % 3].ask(react).await["type"], "ok");
        let seen = all_see(&mut sockets, c, "updated").await;
        assert_eq!(seen["reactions"].as_array().unwrap().len(), 2, "{seen}");
        assert_eq!(
            (&seen["reactions"][0]["count"], &seen["reactions"][1]["count"]),
            (&json!(2), &json!(1))
        );
        follows(&seen);
        let edit = json!({"type": "edit", "conversation": c, "id": id, "body": "edited"});
        assert_eq!(sockets[at].ask(edit).await["type"], "ok");
        let seen = all_see(&mut sockets, c, "updated").await;
        assert!(seen["body"] == "edited" && seen["edited_at"].is_string(), "{seen}");
        follows(&seen);
        // An answer to it, by REST and on another node; then it is deleted.
        let elsewhere = [&bob, &carl, &ann][at];
        let reply = json!({"id": MessageId::new(), "body": "an answer", "reply_to": id});
        elsewhere.post(&format!("{path}/messages"), reply).await.ok();
        let seen = all_see(&mut sockets, c, "message").await;
        assert_eq!(seen["reply_to"], json!(id));
        follows(&seen);
        let gone = json!({"type": "delete", "conversation": c, "id": id});
        assert_eq!(sockets[at].ask(gone).await["type"], "ok");
        let seen = all_see(&mut sockets, c, "updated").await;
        assert!(seen["body"].is_null() && seen["reactions"] == json!([]), "{seen}");
        follows(&seen);
        // The conversation itself and its members, by its owner on this node.
        let owner = ann.at(&three.nodes[at]);
        owner.patch(&path, json!({"title": format!("Title {at}")})).await.ok();
        let seen = all_see(&mut sockets, c, "conversation").await;
        assert_eq!(seen["title"], format!("Title {at}"));
        follows(&seen);
        owner.add_member(c, dora.id, "member").await.ok();
        let seen = all_see(&mut sockets, c, "member").await;
        assert_eq!(
            (&seen["change"], &seen["user"]["name"]),
            (&json!("added"), &json!("Dora"))
        );
        follows(&seen);
        // She hears of it on a node where she follows nothing, and comes in there.
        let doras = dora.at(&three.nodes[(at + 1) % 3]);
        let mut socket = doras.connect().await;
        eventually("she may come in", async || {
            socket.ask(json!({"type": "subscribe", "conversation": c})).await["type"] == "subscribed"
        })
        .await;
        owner
            .patch(&format!("{path}/members/{}", dora.id), json!({"role": "moderator"}))
            .await
            .ok();
        let seen = all_see(&mut sockets, c, "member").await;
        assert_eq!(
            (&seen["change"], &seen["user"]["role"]),
            (&json!("changed"), &json!("moderator"))
        );
        follows(&seen);
        // What a role allows, it allows on every node: a moderator renames.
        eventually("she may rename", async || {
            doras
                .patch(&path, json!({"title": format!("Dora's {at}")}))
                .await
                .status
                == 200
        })
        .await;
        follows(&all_see(&mut sockets, c, "conversation").await);
        delete(&doras, format!("{path}/members/{}", dora.id)).await;
        let seen = all_see(&mut sockets, c, "member").await;
        assert_eq!(seen["change"], "removed");
        follows(&seen);
        let farewell = |frame: &Value| frame["type"] == "member" && frame["change"] == "removed";
        assert_eq!(socket.expect_where("her farewell", farewell).await, seen);
        socket
            .refused(json!({"type": "subscribe", "conversation": c}), "not_found")
            .await;
        socket.close().await;
    }
    // The end, said on a node where nobody would ask again.
    delete(&ann.at(&three.nodes[2]), path.clone()).await;
    let seen = all_see(&mut sockets, c, "conversation").await;
    assert!(seen["deleted_at"].is_string(), "{seen}");
    follows(&seen);
    for socket in &mut sockets {
        socket
            .refused(json!({"type": "subscribe", "conversation": c}), "not_found")
            .await;
    }
    three.stop().await;
}

/// What is not durable: it is seen at once or not at all, so each is waited for as it happens.
#[actix_web::test]
async fn typing_reading_presence_and_notices_cross_redis() {
    let three = Three::start().await;
    let ([ann, bob], c) = three.nodes[0].conversation_of(["Ann", "Bob"]).await;
    let bob = bob.at(&three.nodes[1]);
    let (mut anns, mut bobs) = (ann.connect().await, bob.connect().await);
    anns.subscribe(c, None).await;
    bobs.subscribe(c, None).await;
    let online = |frame: &Value| frame["type"] == "presence" && frame["online"] == true;
    anns.expect_where("Bob is there", online).await;
    // The channel of the conversation is followed a moment after the subscription.
    eventually("messages cross over", async || {
        bobs.post(c, MessageId::new(), "x").await;
        let started = std::time::Instant::now();
        anns.expect("message").await;
        started.elapsed().as_millis() < 500
    })
    .await;
    bobs.send_json(&json!({"type": "typing", "conversation": c, "on": true}))
        .await;
    let typing = anns.expect("typing").await;
    assert_eq!((&typing["user"], &typing["on"]), (&json!(bob.id), &json!(true)));
    bobs.post(c, MessageId::new(), "what he typed").await;
    let stopped = |frame: &Value| frame["type"] == "typing" && frame["on"] == false;
    assert_eq!(
        anns.expect_where("he has stopped", stopped).await["user"],
        json!(bob.id)
    );
    // A node does not let anybody read what it has not seen; other frames have such a number, too.
    let is_message = |seq: i64| move |frame: &Value| frame["type"] == "message" && frame["seq"] == seq;
    let has_read = |seq: i64| {
        move |frame: &Value| frame["type"] == "read" && frame["user"] == json!(bob.id) && frame["seq"] == seq
    };
    // Bob is on a third node too, where the conversation is not active: a notice, and another one when he reads elsewhere.
    let mut third = bob.at(&three.nodes[2]).connect().await;
    eventually("the nodes know of his third connection", async || {
        let ack = anns.post(c, MessageId::new(), "for the list").await;
        bobs.expect_where("the message", is_message(ack.seq)).await;
        let told = third.ask(json!({"type": "ping"})).await["type"] == "pong"
            && third.drain().iter().any(|frame| frame["type"] == "notice");
        bobs.ask(json!({"type": "read", "conversation": c, "seq": ack.seq}))
            .await;
        // What is unread is counted where a message is written, too, which must know how far he has read.
        anns.expect_where("how far Bob has read", has_read(ack.seq)).await;
        told
    })
    .await;
    let ack = anns.post(c, MessageId::new(), "unread").await;
    let unread = |frame: &Value| frame["type"] == "notice" && frame["last_seq"] == ack.seq && frame["unread"] == 1;
    third.expect_where("one is unread", unread).await;
    bobs.expect_where("the message", is_message(ack.seq)).await;
    bobs.ask(json!({"type": "read", "conversation": c, "seq": ack.seq}))
        .await;
    let read = |frame: &Value| frame["type"] == "notice" && frame["last_seq"] == ack.seq && frame["unread"] == 0;
    third.expect_where("it was read elsewhere", read).await;
    // Two nodes have seen to the message by now; one of them has told the third.
    let again = third.drain().into_iter().filter(|frame| unread(frame) || read(frame));
    assert_eq!(again.collect::<Vec<_>>(), Vec::<Value>::new(), "told twice");
    anns.expect_where("how far Bob has read", has_read(ack.seq)).await;
    three.stop().await;
}

/// A name that a node remembers for a minute, changed on another one.
#[actix_web::test]
async fn what_other_nodes_remember_is_forgotten_over_redis() {
    let three = Three::start().await;
    let (ann, c) = three.nodes[0].person_with_conversation("Ann").await;
    let path = format!("/api/users/{}", ann.id);
    for (at, name) in ["Anna", "Annette", "Anne"].into_iter().enumerate() {
        for node in &three.nodes {
            ann.at(node).get(&path).await.ok();
        }
        ann.at(&three.nodes[at])
            .patch("/api/me", json!({"name": name}))
            .await
            .ok();
        for node in &three.nodes {
            let there = ann.at(node);
            eventually("the new name is there", async || {
                let known = there.get(&path).await.ok()["name"] == name;
                let listed = there.get(&format!("/api/conversations/{c}/members")).await.ok();
                known && listed["items"][0]["name"] == name && uuid_of(&listed["items"][0]["id"]) == ann.id.0
            })
            .await;
        }
    }
    // A workspace, likewise; and with Redis emptied in between, nobody brings an old one back.
    three.redis.flush().await;
    ann.patch("/api/tenant", json!({"name": "Harbour"})).await.ok();
    for node in &three.nodes {
        let there = ann.at(node);
        eventually("the workspace has its new name", async || {
            there.get("/api/tenant").await.ok()["name"] == "Harbour"
        })
        .await;
    }
    three.stop().await;
}

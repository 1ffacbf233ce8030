//! The form of frames: replies and their `ref`, what is refused how, what closes, and the window.

use super::{about, ok, react, send};
use crate::support::chaos::{Chaos, Proxy};
use crate::support::{RawSocket, Socket, TestApp};
use parlance::config::Secret;
use parlance::ids::{ConversationId, MessageId};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

/// The next text frame of a raw socket.
async fn next_text(raw: &mut RawSocket) -> Value {
    loop {
        let (first, payload) = raw.read_frame().await.expect("the connection ended");
        assert_ne!(first & 0x0F, 8, "closed: {payload:?}");
        if first & 0x0F == 1 {
            return serde_json::from_slice(&payload).unwrap();
        }
    }
}

#[actix_web::test]
async fn every_frame_has_exactly_one_reply_with_its_ref() {
    let app = TestApp::start().await;
    let (ann, c) = app.person_with_conversation("Ann").await;
    let mut socket = ann.connect().await;
    let id = MessageId::new();
    let frames = [
        (json!({"type": "subscribe", "conversation": c}), "subscribed"),
        (send(c, id, "one"), "ack"),
        (
            json!({"type": "edit", "conversation": c, "id": id, "body": "two"}),
            "ok",
        ),
        (react(c, id, "👍", true), "ok"),
        (json!({"type": "read", "conversation": c, "seq": 1}), "ok"),
        (json!({"type": "typing", "conversation": c, "on": true}), "ok"),
        (json!({"type": "refresh", "token": ann.token}), "ok"),
        (json!({"type": "ping"}), "pong"),
        (about("delete", c, id), "ok"),
        (json!({"type": "unsubscribe", "conversation": c}), "ok"),
        (
            json!({"type": "unsubscribe", "conversation": ConversationId::new()}),
            "ok",
        ),
        (json!({"type": "dance"}), "error"),
        (json!({"type": "ping", "extra": 1}), "error"),
        (
            json!({"type": "subscribe", "conversation": ConversationId::new()}),
            "error",
        ),
    ];
    let count = frames.len();
    for (at, (mut frame, _)) in frames.clone().into_iter().enumerate() {
        frame["ref"] = json!(format!("r{at}"));
        socket.send_json(&frame).await;
    }
    for (at, (frame, kind)) in frames.iter().enumerate() {
        let reply = socket.reply_to(&format!("r{at}")).await;
        assert_eq!(reply["type"], *kind, "{frame}: {reply}");
    }
    let pong = socket.ask(json!({"type": "ping"})).await;
    assert!(pong["server_time"].is_string());
    let marked: Vec<_> = socket
        .drain()
        .into_iter()
        .filter(|frame| !frame["ref"].is_null())
        .collect();
    assert!(marked.is_empty(), "a second reply to one of {count}: {marked:?}");
    app.stop().await;
}

#[actix_web::test]
async fn a_ref_is_a_string_of_1_to_64_bytes_and_comes_back_as_it_was() {
    let app = TestApp::start().await;
    let mut socket = app.register("Ann").await.connect().await;
    for reference in ["a".to_owned(), "x".repeat(64), "é".repeat(32), "\"\\\n\u{0}".to_owned()] {
        socket.send_json(&json!({"type": "ping", "ref": reference})).await;
        assert_eq!(socket.expect("pong").await["ref"], json!(reference));
    }
    for bad in [
        json!(""),
        json!("x".repeat(65)),
        json!("é".repeat(33)),
        json!(1),
        json!(true),
        json!({"a": 1}),
    ] {
        socket.send_json(&json!({"type": "ping", "ref": bad})).await;
        let error = socket.expect("error").await;
        assert_eq!(
            (&error["code"], error.get("ref")),
            (&json!("bad_request"), None),
            "{bad}"
        );
    }
    // Without one, the reply has none either.
    socket.send_json(&json!({"type": "ping"})).await;
    assert_eq!(socket.expect("pong").await.get("ref"), None);
    app.stop().await;
}

#[actix_web::test]
async fn wrong_frames_are_told_what_is_wrong() {
    let app = TestApp::start().await;
    let (ann, c) = app.person_with_conversation("Ann").await;
    let mut socket = ann.connect().await;
    let (id, other) = (MessageId::new(), ConversationId::new());
    let frames = [
        (json!({"type": "dance"}), "bad_frame"),
        (json!({"type": 5}), "bad_frame"),
        (json!({}), "bad_frame"),
        (json!({"type": "hello"}), "bad_frame"),
        (json!({"type": "subscribe"}), "bad_request"),
        (json!({"type": "subscribe", "conversation": "x"}), "bad_request"),
        (
            json!({"type": "subscribe", "conversation": c, "after": -1}),
            "bad_request",
        ),
        (
            json!({"type": "subscribe", "conversation": c, "after": 1.5}),
            "bad_request",
        ),
        (
            json!({"type": "subscribe", "conversation": c, "after": "1"}),
            "bad_request",
        ),
        (
            json!({"type": "subscribe", "conversation": c, "limit": 1}),
            "bad_request",
        ),
        (json!({"type": "subscribe", "conversation": c, "after": 99}), "conflict"),
        (
            json!({"type": "subscribe", "conversation": c, "after": i64::MAX}),
            "conflict",
        ),
        (json!({"type": "subscribe", "conversation": other}), "not_found"),
        (
            json!({"type": "subscribe", "conversation": other, "after": 1}),
            "not_found",
        ),
        (send(c, id, ""), "bad_request"),
        (send(c, id, " \u{a0}\u{2003}\t\n"), "bad_request"),
        (send(c, id, "a\u{0}b"), "bad_request"),
        (send(c, id, &"x".repeat(16_385)), "too_large"),
        (send(c, id, &"é".repeat(8_193)), "too_large"),
        (send(other, id, "x"), "not_found"),
        (
            json!({"type": "send", "conversation": c, "id": "1", "body": "x"}),
            "bad_request",
        ),
        (json!({"type": "send", "conversation": c, "body": "x"}), "bad_request"),
        (
            json!({"type": "send", "conversation": c, "id": id, "body": 5}),
            "bad_request",
        ),
        (
            json!({"type": "edit", "conversation": c, "id": id, "body": "x"}),
            "not_found",
        ),
        (
            json!({"type": "edit", "conversation": c, "id": id, "body": " "}),
            "bad_request",
        ),
        (
            json!({"type": "edit", "conversation": c, "id": id, "body": "x".repeat(16_385)}),
            "too_large",
        ),
        (about("delete", c, id), "not_found"),
        (react(c, id, "👍", true), "not_found"),
        (react(c, id, "", true), "bad_request"),
        (react(c, id, &"x".repeat(65), true), "bad_request"),
        (
            json!({"type": "react", "conversation": c, "id": id, "emoji": "x"}),
            "bad_request",
        ),
        (json!({"type": "read", "conversation": c, "seq": -1}), "bad_request"),
        (json!({"type": "read", "conversation": other, "seq": 1}), "not_found"),
        (
            json!({"type": "typing", "conversation": other, "on": true}),
            "not_found",
        ),
        (json!({"type": "typing", "conversation": c, "on": "yes"}), "bad_request"),
        (json!({"type": "refresh", "token": "nonsense"}), "unauthenticated"),
        (json!({"type": "refresh"}), "bad_request"),
    ];
    for (frame, code) in frames {
        let error = socket.refused(frame.clone(), code).await;
        assert!(
            error["message"].as_str().is_some_and(|text| !text.is_empty()),
            "{frame}: {error}"
        );
    }
    // Nothing of all this happened, and the connection is as good as new.
    let state = socket.subscribe(c, None).await.subscribed;
    assert_eq!(state["last_seq"], 0);
    // Ids are accepted in any case and answered in lower case.
    let mut frame = send(c, id, "x");
    frame["id"] = json!(id.to_string().to_uppercase());
    frame["conversation"] = json!(c.to_string().to_uppercase());
    let ack = socket.ask(frame).await;
    assert_eq!((&ack["id"], &ack["conversation"]), (&json!(id), &json!(c)));
    app.stop().await;
}

#[actix_web::test]
async fn ten_bad_frames_in_a_row_close() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let mut socket = ann.connect().await;
    let bad = [
        "nonsense",
        "[]",
        "1",
        "null",
        "\"x\"",
        "{",
        "{}",
        "{\"type\":\"dance\"}",
        "{\"type\":null}",
    ];
    for round in 0..3 {
        for text in bad {
            socket.send_raw(Message::text(text)).await;
            assert_eq!(socket.expect("error").await["code"], "bad_frame", "{text}");
        }
        // In a row: anything of a known type starts anew, also a wrong one.
        let (frame, reply) = [
            (json!({"type": "ping"}), "pong"),
            (json!({"type": "ping", "x": 1}), "error"),
        ][round % 2]
            .clone();
        assert_eq!(socket.ask(frame).await["type"], reply);
    }
    for _ in 0..10 {
        socket.send_raw(Message::text("nonsense")).await;
    }
    socket.expect_close(4000).await;
    assert_eq!(socket.drain().len(), 10, "each has its reply, also the tenth");
    app.stop().await;
}

#[actix_web::test]
async fn what_is_no_text_of_64_kib_closes() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let mut socket = ann.connect().await;
    socket.send_raw(Message::binary(b"{\"type\":\"ping\"}".to_vec())).await;
    socket.expect_close(4000).await;

    let half = vec![b' '; 40_000];
    type Frames = Vec<(u8, Vec<u8>)>;
    let cases: [(&str, Frames, u16); 9] = [
        ("too large", vec![(0x81, vec![b' '; 65_537])], 1009),
        ("too large in fragments", vec![(0x01, half.clone()), (0x80, half)], 1009),
        ("not UTF-8", vec![(0x81, vec![b'"', 0xC3, 0x28])], 1007),
        ("a surrogate", vec![(0x81, vec![0xED, 0xA0, 0x80])], 1007),
        (
            "not UTF-8 in a later fragment",
            vec![(0x01, b"{".to_vec()), (0x80, vec![0xFF])],
            1007,
        ),
        (
            "a text in the middle of another",
            vec![(0x01, b"{".to_vec()), (0x81, b"{}".to_vec())],
            1002,
        ),
        ("a reserved bit", vec![(0xC1, b"{}".to_vec())], 1002),
        ("a ping that is too long", vec![(0x89, vec![b'x'; 126])], 1002),
        ("nothing to continue", vec![(0x80, b"{}".to_vec())], 1002),
    ];
    for (what, frames, code) in cases {
        let mut raw = ann.connect_raw().await;
        for (first, payload) in frames {
            // The server may have closed at the first of them.
            let _: std::io::Result<()> = raw
                .stream
                .write_all(&crate::support::client::frame(first, &payload))
                .await;
        }
        assert_eq!(raw.close_code().await, Some(code), "{what}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn the_largest_frames_are_taken() {
    let app = TestApp::start().await;
    let (ann, c) = app.person_with_conversation("Ann").await;
    let mut socket = ann.connect().await;
    // 64 KiB exactly, most of it white space between tokens; the largest body; a body whose JSON is six times as long.
    let mut text = json!({"type": "ping", "ref": "large"}).to_string();
    text.push_str(&" ".repeat(65_536 - text.len()));
    socket.send_raw(Message::text(text)).await;
    assert_eq!(socket.reply_to("large").await["type"], "pong");
    socket.subscribe(c, None).await;
    for body in [
        "x".repeat(16_384),
        "\u{1}".repeat(10_000),
        " é\r\n\u{feff}\u{202e}x ".to_owned(),
    ] {
        socket.post(c, MessageId::new(), &body).await;
        assert_eq!(
            socket.expect("message").await["body"],
            json!(body),
            "kept byte for byte"
        );
    }
    app.stop().await;
}

#[actix_web::test]
async fn fragments_are_joined_and_a_ping_in_their_middle_is_answered() {
    let app = TestApp::start().await;
    let mut raw = app.register("Ann").await.connect_raw().await;
    assert_eq!(next_text(&mut raw).await["type"], "hello");
    let text = json!({"type": "ping", "ref": "é€𝄞"}).to_string().into_bytes();
    for (at, byte) in text.iter().enumerate() {
        let first = if at == 0 {
            0x01
        } else if at + 1 == text.len() {
            0x80
        } else {
            0x00
        };
        if at == text.len() / 2 {
            raw.write_frame(0x89, b"in the middle").await;
            assert_eq!(raw.read_frame().await, Some((0x8A, b"in the middle".to_vec())));
        }
        raw.write_frame(first, &[*byte]).await;
    }
    assert_eq!(next_text(&mut raw).await["ref"], "é€𝄞");
    raw.write_frame(0x88, &1000_u16.to_be_bytes()).await;
    assert_eq!(raw.close_code().await, Some(1000));
    app.stop().await;
}

/// The window: with 32 unanswered the 33rd is not read, nothing is lost, and what was sent is answered in the end.
#[actix_web::test]
async fn the_thirty_third_frame_waits_for_a_reply() {
    let app = TestApp::start().await;
    let proxy = Proxy::start(app.database.url()).await;
    let node = app
        .peer_with(|config| config.database.url = Some(Secret::new(proxy.url())))
        .await;
    let (ann, c) = app.person_with_conversation("Ann").await;
    let mut socket = ann.at(&node).connect().await;
    socket.post(c, MessageId::new(), "the conversation is awake").await;
    // It does not follow the conversation, so it is told of its own message, too.
    socket
        .expect_where("the message", |frame| {
            frame["type"] == "notice" && frame["last_seq"] == 1
        })
        .await;
    // PostgreSQL stands still, so nothing is answered but what needs it not.
    proxy.set(Chaos::Freeze);
    for at in 0..31 {
        socket.send_json(&send(c, MessageId::new(), &format!("{at}"))).await;
    }
    assert_eq!(
        socket.ask(json!({"type": "ping"})).await["type"],
        "pong",
        "31 are unanswered"
    );
    socket.send_json(&send(c, MessageId::new(), "31")).await;
    for at in 0..500 {
        socket
            .send_json(&json!({"type": "ping", "ref": format!("p{at}")}))
            .await;
    }
    assert!(
        socket.next_frame(Duration::from_secs(1)).await.is_err(),
        "more than 32 were read"
    );
    proxy.heal();
    for at in 0..500 {
        let pong = socket.expect("pong").await;
        assert_eq!(pong["ref"], format!("p{at}"), "in order, none lost");
    }
    for seq in 2..=33 {
        assert_eq!(socket.expect("ack").await["seq"], seq);
    }
    node.stop().await;
    app.stop().await;
}

/// Who reads is never cut for their own replies, however fast they ask.
#[actix_web::test]
async fn a_flood_is_answered_to_the_last_frame() {
    const FRAMES: usize = 10_000;
    let app = TestApp::start().await;
    let mut socket = app.register("Ann").await.connect().await;
    for at in 0..FRAMES {
        socket.send_json(&json!({"type": "ping", "ref": format!("{at}")})).await;
    }
    for at in 0..FRAMES {
        assert_eq!(socket.expect("pong").await["ref"], format!("{at}"));
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_connection_has_200_subscriptions_also_when_it_asks_in_a_hurry() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let mut conversations = vec![ann.create_conversation("0").await];
    let make = futures_util::future::join_all((1..235).map(|at| {
        let ann = ann.clone();
        async move { ann.create_conversation(&at.to_string()).await }
    }));
    conversations.extend(make.await);
    let mut socket = ann.connect().await;
    // Those that are refused do not count.
    for _ in 0..210 {
        socket
            .refused(
                json!({"type": "subscribe", "conversation": ConversationId::new()}),
                "not_found",
            )
            .await;
    }
    for (at, c) in conversations.iter().enumerate() {
        let frame = json!({"type": "subscribe", "conversation": c, "ref": format!("s{at}")});
        socket.send_json(&frame).await;
    }
    let mut refused = Vec::new();
    for at in 0..conversations.len() {
        let reply = socket.reply_to(&format!("s{at}")).await;
        if reply["type"] == "error" {
            assert_eq!(reply["code"], "limit_reached");
            refused.push(at);
        }
    }
    assert_eq!(refused, (200..235).collect::<Vec<_>>());
    // Again on one of them is no new one; one less makes room for one more.
    socket.subscribe(conversations[5], None).await;
    ok(
        &mut socket,
        json!({"type": "unsubscribe", "conversation": conversations[0]}),
    )
    .await;
    socket.subscribe(conversations[234], None).await;
    socket
        .refused(
            json!({"type": "subscribe", "conversation": conversations[233]}),
            "limit_reached",
        )
        .await;
    // Unsubscribed is unsubscribed.
    let mut other = ann.connect().await;
    other.post(conversations[0], MessageId::new(), "unheard").await;
    other.post(conversations[5], MessageId::new(), "heard").await;
    assert_eq!(socket.expect("message").await["body"], "heard");
    socket.expect_none("message").await;
    app.stop().await;
}

/// What a client did not ask a reply for still has one, but `typing`.
#[actix_web::test]
async fn typing_without_a_ref_has_no_reply() {
    let app = TestApp::start().await;
    let (ann, c) = app.person_with_conversation("Ann").await;
    let mut socket: Socket = ann.connect().await;
    socket.subscribe(c, None).await;
    for _ in 0..100 {
        socket
            .send_json(&json!({"type": "typing", "conversation": c, "on": true}))
            .await;
    }
    for _ in 0..40 {
        socket
            .send_json(&json!({"type": "typing", "conversation": ConversationId::new(), "on": true}))
            .await;
    }
    socket.expect_none("ok").await;
    socket.expect_none("error").await;
    socket.send_json(&send(c, MessageId::new(), "no ref")).await;
    assert_eq!(socket.expect("ack").await.get("ref"), None);
    app.stop().await;
}

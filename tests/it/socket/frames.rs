//! The form of frames: replies and their `ref`, what is refused how, what closes, and the window.

use super::{about, ok, react, send};
use crate::support::{RawSocket, Socket, TestApp};
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

/// The window: the 33rd frame is not read while replies are not, nothing is lost, and who reads is not cut.
#[actix_web::test]
async fn a_flood_is_slowed_down_and_answered_to_the_last_frame() {
    const FRAMES: usize = 30_000;
    let app = TestApp::start().await;
    let raw = RawSocket::connect(app.address, &app.register("Ann").await.token, Some(4_096)).await;
    let (mut reader, mut writer) = raw.stream.into_split();
    let reference = "x".repeat(50);
    let frames = FRAMES;
    let mut sending = tokio::spawn(async move {
        for at in 0..frames {
            let text = json!({"type": "ping", "ref": format!("{at}{reference}")}).to_string();
            writer
                .write_all(&crate::support::client::frame(0x81, text.as_bytes()))
                .await
                .unwrap();
        }
        writer
    });
    // Nobody reads: the pipes fill, then the server stops reading, so not everything can be sent.
    let stuck = tokio::time::timeout(Duration::from_secs(4), &mut sending).await;
    assert!(stuck.is_err(), "the server reads on while nobody reads its replies");
    let mut replies = 0;
    let read = async {
        use tokio::io::AsyncReadExt;
        while replies < FRAMES {
            let first = reader.read_u8().await.unwrap();
            let length = match reader.read_u8().await.unwrap() {
                126 => usize::from(reader.read_u16().await.unwrap()),
                length => usize::from(length),
            };
            let mut payload = vec![0; length];
            reader.read_exact(&mut payload).await.unwrap();
            if first & 0x0F == 1 {
                let frame: Value = serde_json::from_slice(&payload).unwrap();
                if frame["type"] == "pong" {
                    assert!(
                        frame["ref"].as_str().unwrap().starts_with(&replies.to_string()),
                        "{frame}"
                    );
                    replies += 1;
                }
            } else {
                assert_ne!(first & 0x0F, 8, "cut after {replies} replies: {payload:?}");
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), read)
        .await
        .expect("replies are missing");
    drop(sending.await.unwrap());
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
    for _ in 0..100 {
        socket
            .send_json(&json!({"type": "typing", "conversation": c, "on": true}))
            .await;
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

//! Replies and pages: a connection holds one page, however much it asks for and however slowly it reads.

use crate::support::{Person, RawSocket, ServerProcess};
use parlance::conversations::PAGE_BYTES_MAX;
use parlance::ids::{ConversationId, MessageId};
use serde_json::{Value, json};

/// Of control characters, which JSON writes with six bytes each: the longest that a frame of 64 KiB takes.
fn long_body() -> String {
    "\u{1}".repeat(10_000)
}

async fn write_long(ann: &Person, conversation: ConversationId, messages: usize) {
    let mut socket = ann.connect().await;
    for _ in 0..messages {
        socket.post(conversation, MessageId::new(), &long_body()).await;
    }
    socket.close().await;
}

#[tokio::test]
async fn snapshots_of_a_connection_that_does_not_read_are_one_page() {
    const CONVERSATIONS: usize = 8;
    const MESSAGES: usize = 20;
    const SOCKETS: usize = 6;
    let server = ServerProcess::start(&[]);
    let ann = server.register("Ann").await;
    let mut conversations = Vec::new();
    for _ in 0..CONVERSATIONS {
        let conversation = ann.create_conversation("Long").await;
        write_long(&ann, conversation, MESSAGES).await;
        conversations.push(conversation);
    }
    let subscribe = async |raw: &mut RawSocket| {
        for conversation in &conversations {
            let frame = json!({"type": "subscribe", "conversation": conversation, "ref": conversation});
            raw.write_frame(0x81, frame.to_string().as_bytes()).await;
        }
    };
    let before = server.resident_bytes();
    let mut stuck = Vec::new();
    for _ in 0..SOCKETS {
        let mut raw = RawSocket::connect(server.address, &ann.token, Some(4_096)).await;
        subscribe(&mut raw).await;
        stuck.push(raw);
    }
    // Who comes after them has been served: so have they, as far as they let themselves be served.
    let mut last = ann.connect().await;
    for conversation in &conversations {
        let subscribed = last.subscribe(*conversation, None).await;
        assert_eq!(subscribed.frames.len(), MESSAGES);
        assert_eq!(subscribed.subscribed["complete"], true);
    }
    let grown = server.resident_bytes().saturating_sub(before);
    // All of it: SOCKETS * CONVERSATIONS * MESSAGES * 60 KB = 58 MB.
    assert!(grown < 20 * 1_024 * 1_024, "{grown} bytes more");
    // Nothing is lost for who reads after all.
    let mut raw = stuck.pop().unwrap();
    let (mut messages, mut subscribed) = (0, 0);
    while subscribed < CONVERSATIONS {
        let (first, payload) = raw.read_frame().await.expect("the connection goes on");
        let frame: Value = match first & 0x0F {
            1 => serde_json::from_slice(&payload).unwrap(),
            _ => continue,
        };
        messages += usize::from(frame["type"] == "message");
        subscribed += usize::from(frame["type"] == "subscribed");
    }
    assert_eq!(messages, CONVERSATIONS * MESSAGES);
    server.terminate();
}

#[tokio::test]
async fn a_page_of_long_messages_ends_sooner_and_says_where_it_goes_on() {
    const MESSAGES: usize = 40;
    let server = ServerProcess::start(&[]);
    let (ann, conversation) = server.person_with_conversation("Ann").await;
    write_long(&ann, conversation, MESSAGES).await;
    let all: Vec<i64> = (1..=i64::try_from(MESSAGES).unwrap()).collect();
    for start in ["after=0", ""] {
        let mut query = format!("limit=100&{start}");
        let mut pages = Vec::new();
        loop {
            let page = ann
                .get(&format!("/api/conversations/{conversation}/messages?{query}"))
                .await
                .ok();
            let seqs: Vec<i64> = page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|m| m["seq"].as_i64().unwrap())
                .collect();
            let bytes = page.to_string().len();
            assert!(bytes <= PAGE_BYTES_MAX + 1_024 && seqs.is_sorted(), "{bytes} bytes");
            let next = page["next"].as_str().map(str::to_owned);
            assert!(next.is_none() || bytes > PAGE_BYTES_MAX / 2, "only {bytes} bytes");
            pages.push(seqs);
            match next {
                Some(next) => query = format!("limit=100&cursor={next}"),
                None => break,
            }
        }
        assert!(pages.len() > 2, "{pages:?}");
        if start.is_empty() {
            pages.reverse();
        }
        assert_eq!(pages.concat(), all);
    }
    let around = ann
        .get(&format!(
            "/api/conversations/{conversation}/messages?around=20&limit=100"
        ))
        .await
        .ok();
    let items = around["items"].as_array().unwrap();
    assert!((10..MESSAGES).contains(&items.len()) && around["next"].is_null());
    assert!(items.iter().any(|message| message["seq"] == 20));
    server.terminate();
}

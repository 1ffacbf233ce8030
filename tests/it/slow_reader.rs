//! Readers that do not read: cut in time, at a bounded cost, without anybody else noticing, and whole again afterwards.

use crate::support::{PATIENCE, Person, RawSocket, TestApp, eventually, pace};
use parlance::ids::{ConversationId, MessageId};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;

/// A client with small pipes that follows a conversation and reads no more.
pub(crate) async fn stuck(person: &Person, conversation: ConversationId) -> RawSocket {
    let deadline = Instant::now() + PATIENCE;
    // An earlier connection may hold the only place for a moment after its end.
    let mut raw = loop {
        let mut raw = RawSocket::connect(person.site.address, &person.token, Some(4_096)).await;
        if raw.read_frame().await.is_some_and(|(first, _)| first & 0x0F == 1) {
            break raw;
        }
        assert!(Instant::now() < deadline, "there is no place for the connection");
    };
    let subscribe = json!({"type": "subscribe", "conversation": conversation, "ref": "s"});
    raw.write_frame(0x81, subscribe.to_string().as_bytes()).await;
    loop {
        let (_, payload) = raw.read_frame().await.unwrap();
        if serde_json::from_slice::<Value>(&payload).is_ok_and(|frame| frame["ref"] == "s") {
            return raw;
        }
    }
}

/// Reads to the end and says what came: text frames, and whether a close frame with this code.
async fn read_out(mut raw: RawSocket) -> (Vec<Value>, Option<u16>) {
    let mut frames = Vec::new();
    while let Some((first, payload)) = raw.read_frame().await {
        match first & 0x0F {
            1 => frames.push(serde_json::from_slice(&payload).unwrap()),
            8 => return (frames, payload.first_chunk().map(|code| u16::from_be_bytes(*code))),
            _ => {}
        }
    }
    (frames, None)
}

fn rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Whether a person has room for another connection.
async fn has_room(person: &Person) -> bool {
    let mut raw = person.connect_raw().await;
    raw.read_frame().await.is_some_and(|(first, _)| first & 0x0F == 1)
}

#[actix_web::test]
async fn who_never_reads_is_cut_and_nobody_else_notices() {
    let app = TestApp::with(|config| config.sessions.stall_timeout = Duration::from_secs(4)).await;
    let ([ann, bob, slow], c) = app.conversation_of(["Ann", "Bob", "Slow"]).await;
    let (mut anns, mut bobs) = (ann.connect().await, bob.connect().await);
    bobs.subscribe(c, None).await;
    let raw = stuck(&slow, c).await;
    let start = bobs.subscribe(c, None).await.rev();
    let body = "x".repeat(16_000);
    let (before, mut slowest) = (rss_kib(), Duration::ZERO);
    // 8 MB: more than kernel and outbox hold together.
    for _ in 0..500 {
        let posted = Instant::now();
        anns.post(c, MessageId::new(), &body).await;
        bobs.expect("message").await;
        slowest = slowest.max(posted.elapsed());
    }
    let grown = rss_kib().saturating_sub(before);
    assert!(slowest < Duration::from_secs(2), "another reader waited {slowest:?}");
    assert!(grown < 48 * 1_024, "{grown} KiB more for one who does not read");
    // The connection is over, although nobody reads from it.
    let (frames, code) = tokio::time::timeout(Duration::from_secs(15), read_out(raw))
        .await
        .expect("not cut");
    assert!(code.is_none_or(|code| code == 4201), "{code:?}");
    let messages: Vec<_> = frames.iter().filter(|frame| frame["type"] == "message").collect();
    assert!(messages.len() < 500, "everything was buffered");
    // What did arrive has no holes, and what did not comes by resuming.
    let mut rev = start;
    for message in &messages {
        rev += 1;
        assert_eq!(message["rev"], rev);
    }
    let mut again = slow.connect().await;
    let rest = again.subscribe(c, Some(rev)).await;
    assert_eq!(rest.frames.len(), 500 - messages.len());
    assert_eq!(rest.rev(), start + 500);
    app.stop().await;
}

/// Little is waiting, but it does not move: cut by the clock.
#[actix_web::test]
async fn who_takes_nothing_is_cut_by_the_clock() {
    let app = TestApp::with(|config| {
        config.sessions.connections_per_user = 1;
        config.sessions.stall_timeout = Duration::from_secs(4);
    })
    .await;
    let ([ann, slow], c) = app.conversation_of(["Ann", "Slow"]).await;
    let mut anns = ann.connect().await;
    let body = "x".repeat(16_000);
    // How much the kernel holds: what one gets who is cut because too much waits.
    let raw = stuck(&slow, c).await;
    for _ in 0..500 {
        anns.post(c, MessageId::new(), &body).await;
    }
    let (frames, _) = read_out(raw).await;
    let kernel = frames.iter().filter(|frame| frame["type"] == "message").count();
    eventually("the first is gone", async || has_room(&slow).await).await;
    // As much again, and a third of what an outbox may hold.
    let raw = stuck(&slow, c).await;
    for _ in 0..kernel + 22 {
        anns.post(c, MessageId::new(), &body).await;
    }
    let since = Instant::now();
    assert!(!has_room(&slow).await, "cut for too much, though little waits");
    eventually("it is cut", async || has_room(&slow).await).await;
    let lasted = since.elapsed();
    assert!(
        (Duration::from_secs(1)..Duration::from_secs(10)).contains(&lasted),
        "{lasted:?}"
    );
    drop(raw);
    app.stop().await;
}

/// Somebody who reads a few bytes at a time is cut when too much waits, and never grows.
#[actix_web::test]
async fn who_trickles_is_cut_when_too_much_waits() {
    let app = TestApp::start().await;
    let ([ann, slow], c) = app.conversation_of(["Ann", "Slow"]).await;
    let mut anns = ann.connect().await;
    let start = anns.subscribe(c, None).await.rev();
    anns.ask(json!({"type": "unsubscribe", "conversation": c})).await;
    let mut raw = stuck(&slow, c).await;
    let (all_sent, mut is_all_sent) = oneshot::channel();
    // A message takes more than a second at this pace: far too slow, and yet there is progress all the time.
    let trickling = tokio::spawn(async move {
        let mut received = Vec::new();
        while is_all_sent.try_recv().is_err() {
            let mut piece = [0; 64];
            let Ok(count @ 1..) = raw.stream.read(&mut piece).await else {
                break;
            };
            received.extend_from_slice(&piece[..count]);
            pace(Duration::from_millis(5)).await;
        }
        // What is on its way, at once, to its end; a connection that was reset has one, too.
        drop(raw.stream.read_to_end(&mut received).await);
        received
    });
    let body = "x".repeat(16_000);
    let before = rss_kib();
    for _ in 0..500 {
        anns.post(c, MessageId::new(), &body).await;
    }
    let grown = rss_kib().saturating_sub(before);
    assert!(grown < 48 * 1_024, "{grown} KiB more for one who hardly reads");
    all_sent.send(()).expect("the reader reads on");
    let received = tokio::time::timeout(PATIENCE, trickling)
        .await
        .expect("not cut")
        .unwrap();
    // It was cut: of 8 MB most never came. Before the cut nothing is missing.
    let messages: Vec<i64> = text_frames(&received)
        .filter(|frame| frame["type"] == "message")
        .map(|frame| frame["rev"].as_i64().unwrap())
        .collect();
    assert!(messages.len() < 500, "everything was buffered");
    let whole: Vec<i64> = (start + 1..).take(messages.len()).collect();
    assert_eq!(messages, whole);
    // The same person is served on another connection, from where the first ended.
    let mut again = slow.connect().await;
    let rest = again.subscribe(c, Some(start + messages.len() as i64)).await;
    assert_eq!(rest.frames.len(), 500 - messages.len());
    app.stop().await;
}

/// The whole text frames in what a server has sent; the last may be cut short.
fn text_frames(mut bytes: &[u8]) -> impl Iterator<Item = Value> {
    std::iter::from_fn(move || {
        loop {
            let (first, length, head) = match *bytes {
                [first, 126, a, b, ..] => (first, u64::from(u16::from_be_bytes([a, b])), 4),
                [first, 127, ..] => (first, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
                [first, length, ..] => (first, u64::from(length), 2),
                _ => return None,
            };
            let end = head + usize::try_from(length).ok()?;
            let payload = bytes.get(head..end)?;
            bytes = &bytes[end..];
            if first & 0x0F == 1 {
                return Some(serde_json::from_slice(payload).unwrap());
            }
        }
    })
}

/// At half of what an outbox holds, what only matters now is dropped; what matters is not.
#[actix_web::test]
async fn ephemeral_frames_give_way() {
    let app = TestApp::start().await;
    let ([ann, bob, slow], c) = app.conversation_of(["Ann", "Bob", "Slow"]).await;
    let (mut anns, mut bobs) = (ann.connect().await, bob.connect().await);
    let mut raw = stuck(&slow, c).await;
    let start = anns.subscribe(c, None).await.rev();
    bobs.subscribe(c, None).await;
    // Fill the pipes, then more than half of the outbox, less than all of it: by steps, looking at what is told.
    let body = "x".repeat(16_000);
    let mut sent = 0;
    for _ in 0..250 {
        anns.post(c, MessageId::new(), &body).await;
        sent += 1;
        if sent % 10 == 0 {
            let frame = json!({"type": "typing", "conversation": c, "on": sent % 20 == 0});
            assert_eq!(bobs.ask(frame).await["type"], "ok");
        }
    }
    let mut revs = HashSet::new();
    let (mut cut, mut typing) = (false, 0);
    let deadline = Instant::now() + Duration::from_secs(10);
    while revs.len() < sent && Instant::now() < deadline {
        match tokio::time::timeout(Duration::from_secs(3), raw.read_frame()).await {
            Ok(Some((first, payload))) if first & 0x0F == 1 => {
                let frame: Value = serde_json::from_slice(&payload).unwrap();
                if frame["type"] == "message" {
                    revs.insert(frame["rev"].as_i64().unwrap());
                }
                typing += i32::from(frame["type"] == "typing");
            }
            Ok(Some((first, _))) => cut |= first & 0x0F == 8,
            Ok(None) => {
                cut = true;
                break;
            }
            Err(_) => break,
        }
    }
    // Durable frames: a prefix without holes, whether or not the rest was cut.
    let count = i64::try_from(revs.len()).unwrap();
    assert_eq!(revs, (start + 1..=start + count).collect(), "a hole");
    assert!(
        cut || revs.len() == sent,
        "lost without being cut: {} of {sent}",
        revs.len()
    );
    assert!(typing < 25, "{typing}");
    app.stop().await;
}

/// A client that asks and does not read its answers is not read either, so it costs no more than its window.
#[actix_web::test]
async fn many_stuck_readers_leave_others_alone_and_go_away() {
    let app = TestApp::with(|config| config.sessions.stall_timeout = Duration::from_secs(3)).await;
    let ([ann, bob, slow], c) = app.conversation_of(["Ann", "Bob", "Slow"]).await;
    let mut stuck_ones = Vec::new();
    for _ in 0..15 {
        stuck_ones.push(stuck(&slow, c).await);
    }
    let (mut anns, mut bobs) = (ann.connect().await, bob.connect().await);
    bobs.subscribe(c, None).await;
    let body = "x".repeat(16_000);
    let mut times = Vec::new();
    for _ in 0..300 {
        let posted = Instant::now();
        anns.post(c, MessageId::new(), &body).await;
        bobs.expect("message").await;
        times.push(posted.elapsed());
    }
    times.sort_unstable();
    assert!(
        times[times.len() / 2] < Duration::from_millis(200),
        "{:?}",
        times[times.len() / 2]
    );
    // All are gone, and their places are free: as many connections fit as before.
    eventually("the stuck connections are gone", async || {
        let mut fit = Vec::new();
        for _ in 0..20 {
            let mut raw = slow.connect_raw().await;
            let first = raw.read_frame().await;
            if first.is_none_or(|(first, _)| first & 0x0F != 1) {
                return false;
            }
            fit.push(raw);
        }
        true
    })
    .await;
    app.stop().await;
}

/// Thirty messages of control characters are six times as large in JSON: 2.9 MiB, in one group of commits.
#[actix_web::test]
async fn a_burst_does_not_throw_out_who_reads() {
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let mut reader = bob.connect().await;
    reader.subscribe(c, None).await;
    // The lane is connected.
    assert_eq!(ann.post_message(c, MessageId::new(), "first").await.status, 201);
    let client = crate::support::db::connect(app.database.url()).await;
    client
        .batch_execute("BEGIN; LOCK TABLE messages IN EXCLUSIVE MODE")
        .await
        .unwrap();
    let body = "\u{1}".repeat(16_384);
    let posts = futures_util::future::join_all((0..30).map(|_| ann.post_message(c, MessageId::new(), &body)));
    let release = async {
        // All but those of the group that waits for the lock.
        eventually("they wait for one group", async || {
            let scrape = crate::support::Scrape::of(&app).await;
            scrape.value("actor_mailbox_depth", &[("actor", "persistence_lane")]) >= 20.0
        })
        .await;
        client.batch_execute("COMMIT").await.unwrap();
    };
    let (answers, ()) = tokio::join!(posts, release);
    assert!(answers.iter().all(|answer| answer.status == 201), "{answers:?}");
    for seq in 1..=31 {
        assert_eq!(reader.expect("message").await["seq"], seq);
    }
    drop(client);
    app.stop().await;
}

//! Nodes of one process: what they share, and what a lost publication costs.

use crate::support::chaos::{Chaos, Proxy};
use crate::support::{Person, Socket, TestApp, pace};
use parlance::bus::{Bus, Delivery, Envelope, InProcessBus, Interest, To};
use parlance::config::{Config, Secret};
use parlance::ids::{ConversationId, MessageId, NodeId};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Ann on the first node, Bob on the second, both following.
async fn two_sockets(app: &TestApp, peer: &TestApp) -> (Person, Person, ConversationId, Socket, Socket) {
    let ([ann, bob], conversation) = app.conversation_of(["Ann", "Bob"]).await;
    let (mut anns, mut bobs) = (ann.connect().await, bob.at(peer).connect().await);
    anns.subscribe(conversation, None).await;
    bobs.subscribe(conversation, None).await;
    (ann, bob.at(peer), conversation, anns, bobs)
}

#[actix_web::test]
async fn writers_on_both_nodes_are_one_order_for_all() {
    const POSTS: usize = 100;
    let app = TestApp::start().await;
    let peer = app.peer().await;
    let (ann, bob, conversation, mut anns, mut bobs) = two_sockets(&app, &peer).await;
    let mut writers = Vec::new();
    for person in [ann.clone(), bob.clone(), ann.clone(), bob.clone()] {
        let mut socket = person.connect().await;
        writers.push(actix_web::rt::spawn(async move {
            for n in 0..POSTS {
                socket.post(conversation, MessageId::new(), &format!("{n}")).await;
            }
            socket.close().await;
        }));
    }
    let mut views = [Vec::new(), Vec::new()];
    for (socket, view) in [&mut anns, &mut bobs].into_iter().zip(&mut views) {
        for n in 1..=4 * POSTS as i64 {
            let frame = socket.expect("message").await;
            assert_eq!(frame["seq"].as_i64(), Some(n));
            view.push((frame["rev"].as_i64().unwrap(), frame["id"].clone()));
        }
        assert!(
            view.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1),
            "revisions without holes"
        );
    }
    assert_eq!(views[0], views[1]);
    for writer in writers {
        writer.await.unwrap();
    }
    peer.stop().await;
    app.stop().await;
}

#[actix_web::test]
async fn what_is_not_durable_crosses_over_too() {
    let app = TestApp::with(|config| config.sessions.presence_grace = Duration::from_millis(10)).await;
    let peer = app.peer().await;
    let (_, bob, conversation, mut anns, mut bobs) = two_sockets(&app, &peer).await;
    bobs.send_json(&json!({"type": "typing", "conversation": conversation, "on": true}))
        .await;
    let typing = anns.expect("typing").await;
    assert_eq!((&typing["user"], &typing["on"]), (&json!(bob.id), &json!(true)));
    anns.post(conversation, MessageId::new(), "x").await;
    bobs.expect("message").await;
    bobs.ask(json!({"type": "read", "conversation": conversation, "seq": 1}))
        .await;
    let is_bobs = |frame: &Value| frame["type"] == "read" && frame["user"] == json!(bob.id);
    assert_eq!(anns.expect_where("Bob's read", is_bobs).await["seq"], 1);
    // A second connection of Bob, on the other node, that does not follow.
    let mut elsewhere = bob.at(&app).connect().await;
    anns.post(conversation, MessageId::new(), "y").await;
    let told = |frame: &Value| frame["type"] == "notice" && frame["unread"] == 1;
    assert_eq!(elsewhere.expect_where("a notice", told).await["last_seq"], 2);
    // Bob leaves the second node, but is still on the first: for Ann there, and for all, he stays online.
    bobs.close().await;
    let offline = |frame: &Value| frame["type"] == "presence" && frame["online"] == false;
    let mut reader = bob.connect().await;
    let seen = reader.subscribe(conversation, None).await;
    let bobs_entry = |frame: &Value| {
        let members = frame["members"].as_array().unwrap();
        members.iter().find(|member| member["id"] == json!(bob.id)).unwrap()["online"].clone()
    };
    assert_eq!(bobs_entry(&seen.subscribed), true);
    reader.close().await;
    elsewhere.close().await;
    let gone = anns.expect_where("Bob is offline", offline).await;
    assert_eq!(gone["user"], json!(bob.id));
    peer.stop().await;
    app.stop().await;
}

#[actix_web::test]
async fn who_is_on_two_nodes_and_leaves_one_is_not_offline() {
    let app = TestApp::with(|config| config.sessions.presence_grace = Duration::from_millis(10)).await;
    let peer = app.peer().await;
    let ([ann, bob], conversation) = app.conversation_of(["Ann", "Bob"]).await;
    let (bobs, bobs_second) = (bob.at(&peer).connect().await, bob.connect().await);
    let mut anns = ann.at(&peer).connect().await;
    anns.subscribe(conversation, None).await;
    bobs.close().await;
    let offline = |frame: &Value| frame["type"] == "presence" && frame["online"] == false;
    // The grace ends with the sweep, once a second; a third user, who leaves later, shows that it has.
    let carl = app.join("Carl", &ann.invite(conversation).await).await;
    for _ in 0..2 {
        let carls = carl.at(&peer).connect().await;
        carls.close().await;
        let gone = anns.expect_where("Carl is offline", offline).await;
        assert_eq!(gone["user"], json!(carl.id), "and not Bob");
    }
    bobs_second.close().await;
    let gone = anns.expect_where("Bob is offline", offline).await;
    assert_eq!(gone["user"], json!(bob.id));
    peer.stop().await;
    app.stop().await;
}

#[actix_web::test]
async fn one_id_in_two_conversations_on_two_nodes_is_one_message() {
    let app = TestApp::start().await;
    let peer = app.peer().await;
    let (ann, here) = app.person_with_conversation("Ann").await;
    let there = ann.create_conversation("Other").await;
    let (mut first, mut second) = (ann.connect().await, ann.at(&peer).connect().await);
    for _ in 0..40 {
        let id = MessageId::new();
        let (a, b) = tokio::join!(first.try_post(here, id, "x"), second.try_post(there, id, "x"));
        let refused = match (a, b) {
            (Ok(_), Err(error)) | (Err(error), Ok(_)) => error,
            other => panic!("one is posted, the other refused: {other:?}"),
        };
        assert_eq!(refused["code"], "conflict");
    }
    // The same conversation: both are told of the same message.
    for _ in 0..40 {
        let id = MessageId::new();
        let (a, b) = tokio::join!(first.post(here, id, "x"), second.post(here, id, "x"));
        assert_eq!((a.seq, a.rev), (b.seq, b.rev));
        assert!(a.duplicate != b.duplicate, "one was first");
    }
    peer.stop().await;
    app.stop().await;
}

/// A bus on which what the test says is lost, and counted.
struct Lossy {
    inner: Arc<InProcessBus>,
    loses: AtomicBool,
    lost: AtomicUsize,
}

impl Bus for Lossy {
    fn publish(&self, from: NodeId, to: To, envelope: Envelope) {
        if self.loses.load(Ordering::SeqCst) && matches!(envelope, Envelope::Committed(_)) {
            self.lost.fetch_add(1, Ordering::SeqCst);
        } else {
            self.inner.publish(from, to, envelope);
        }
    }

    fn has_peers(&self, node: NodeId) -> bool {
        self.inner.has_peers(node)
    }

    fn subscribe(&self, node: NodeId, interest: Interest) -> mpsc::Receiver<Delivery> {
        self.inner.subscribe(node, interest)
    }

    fn name(&self) -> &'static str {
        "lossy"
    }
}

#[actix_web::test]
async fn a_lost_publication_costs_seconds_and_nothing_else() {
    let app = TestApp::start().await;
    let lossy = Arc::new(Lossy {
        inner: app.bus.clone(),
        loses: AtomicBool::new(false),
        lost: AtomicUsize::new(0),
    });
    let peer = app.peer_through(lossy.clone()).await;
    let (_, _, conversation, mut anns, mut bobs) = two_sockets(&app, &peer).await;
    // In the middle of a stream: the next publication shows the gap, and it is closed at once.
    for n in 1..=20 {
        lossy.loses.store(n % 5 == 0 && n < 20, Ordering::SeqCst);
        bobs.post(conversation, MessageId::new(), "x").await;
    }
    let mut rev = None;
    for n in 1..=20 {
        let frame = anns.expect("message").await;
        assert_eq!(frame["seq"], n);
        assert!(rev.is_none_or(|rev| frame["rev"] == rev + 1), "no hole");
        rev = frame["rev"].as_i64();
    }
    // At the end of one: nothing shows it but the comparison, within five seconds.
    lossy.loses.store(true, Ordering::SeqCst);
    let posted = Instant::now();
    bobs.post(conversation, MessageId::new(), "the last").await;
    assert_eq!(anns.expect("message").await["body"], "the last");
    let took = posted.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(lossy.lost.load(Ordering::SeqCst) >= 4);
    peer.stop().await;
    app.stop().await;
}

/// A membership, and a role, that another node gave and this one has not heard of.
#[actix_web::test]
async fn nobody_is_refused_for_what_a_node_has_not_heard() {
    let app = TestApp::start().await;
    let deaf = app.peer_through(Arc::new(InProcessBus::default())).await;
    let ([ann, bob, carl], _) = app.conversation_of(["Ann", "Bob", "Carl"]).await;
    let conversation = ann.create_conversation("Later").await;
    let path = format!("/api/conversations/{conversation}");
    let mut anns = ann.at(&deaf).connect().await;
    anns.subscribe(conversation, None).await;
    let mut bobs = bob.at(&deaf).connect().await;
    let mut carls = carl.at(&deaf).connect().await;
    ann.add_member(conversation, bob.id, "member").await.ok();
    // In the order in which they were sent, though the first had to wait.
    let subscribe = json!({"type": "subscribe", "ref": "s", "conversation": conversation});
    bobs.send_json(&subscribe).await;
    bobs.send_json(&json!({"type": "unsubscribe", "ref": "u", "conversation": conversation}))
        .await;
    assert_eq!(bobs.reply_to("s").await["type"], "subscribed");
    assert_eq!(bobs.reply_to("u").await["type"], "ok");
    bobs.subscribe(conversation, None).await;
    bobs.post(conversation, MessageId::new(), "here").await;
    assert_eq!(anns.expect("message").await["body"], "here");
    let rename = |title| json!({"title": title});
    bob.at(&deaf).patch(&path, rename("no")).await.problem(403, "forbidden");
    ann.patch(&format!("{path}/members/{}", bob.id), json!({"role": "moderator"}))
        .await
        .ok();
    bob.at(&deaf).patch(&path, rename("yes")).await.ok();
    assert_eq!(anns.expect("conversation").await["title"], "yes");
    carls.refused(subscribe, "not_found").await;
    deaf.stop().await;
    app.stop().await;
}

/// More than one read brings, and more bytes than may wait for a socket: the readers are brought it piece by piece.
#[actix_web::test]
async fn a_large_gap_is_closed_without_cutting_the_readers() {
    const LARGE: usize = 400;
    const SMALL: usize = 700;
    let app = TestApp::start().await;
    // A node that hears nothing, and for a while cannot look either.
    let proxy = Proxy::start(app.database.url()).await;
    let deaf = Arc::new(InProcessBus::default());
    let look = |config: &mut Config| config.database.url = Some(Secret::new(proxy.url()));
    let peer = app.peer_through_with(deaf, look).await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let mut anns = ann.at(&peer).connect().await;
    anns.subscribe(conversation, None).await;
    proxy.set(Chaos::Freeze);
    let body = "x".repeat(16_000);
    let writing = [(LARGE, body.as_str()), (SMALL, "small")].map(|(count, body)| {
        let (ann, body) = (ann.clone(), body.to_owned());
        actix_web::rt::spawn(async move {
            let mut socket = ann.connect().await;
            // As many at once as the window lets through.
            for round in 0..count.div_ceil(25) {
                let mut references = Vec::new();
                for _ in (round * 25)..count.min((round + 1) * 25) {
                    let reference = socket.next_reference();
                    let frame = json!({"type": "send", "ref": reference, "conversation": conversation,
                        "id": MessageId::new(), "body": body});
                    socket.send_json(&frame).await;
                    references.push(reference);
                }
                for reference in references {
                    assert_eq!(socket.reply_to(&reference).await["type"], "ack");
                }
            }
            socket.close().await;
        })
    });
    for writer in writing {
        writer.await.unwrap();
    }
    proxy.heal();
    let mut rev = None;
    for n in 1..=LARGE + SMALL {
        // It fails when the connection has been closed.
        let frame = anns.expect("message").await;
        assert_eq!(frame["seq"], n);
        assert!(rev.is_none_or(|rev| frame["rev"] == rev + 1), "no hole");
        rev = frame["rev"].as_i64();
    }
    peer.stop().await;
    app.stop().await;
}

#[actix_web::test]
async fn removal_and_revocation_reach_the_other_node() {
    let app = TestApp::start().await;
    let peer = app.peer().await;
    let (ann, bob, conversation, mut anns, mut bobs) = two_sockets(&app, &peer).await;
    ann.remove_member(conversation, bob.id).await.ok();
    let member = bobs.expect("member").await;
    assert_eq!(
        (&member["change"], &member["user"]["id"]),
        (&json!("removed"), &json!(bob.id))
    );
    anns.post(conversation, MessageId::new(), "not for Bob").await;
    anns.expect("message").await;
    bobs.refused(json!({"type": "subscribe", "conversation": conversation}), "not_found")
        .await;
    bobs.expect_none("message").await;
    let logged_out = Instant::now();
    bob.at(&app).post("/auth/logout", json!({})).await.ok();
    bobs.expect_close(4001).await;
    assert!(logged_out.elapsed() < Duration::from_secs(5));
    bob.get("/api/me").await.problem(401, "unauthenticated");
    peer.stop().await;
    app.stop().await;
}

/// A bus that takes its time.
struct Slow(Arc<InProcessBus>);

impl Bus for Slow {
    fn publish(&self, from: NodeId, to: To, envelope: Envelope) {
        let bus = self.0.clone();
        tokio::spawn(async move {
            pace(Duration::from_millis(25)).await;
            bus.publish(from, to, envelope);
        });
    }

    fn has_peers(&self, node: NodeId) -> bool {
        self.0.has_peers(node)
    }

    fn subscribe(&self, node: NodeId, interest: Interest) -> mpsc::Receiver<Delivery> {
        self.0.subscribe(node, interest)
    }

    fn name(&self) -> &'static str {
        "slow"
    }
}

#[actix_web::test]
async fn a_replay_that_is_ahead_of_its_node_ends_when_the_node_hears_the_rest() {
    let app = TestApp::start().await;
    let peer = app.peer_through(Arc::new(Slow(app.bus.clone()))).await;
    let (_, _, conversation, mut anns, mut bobs) = two_sockets(&app, &peer).await;
    for n in 1..=10 {
        // In the database at once, at Ann's node a little later: her replay has what her node does not know yet.
        let rev = bobs.post(conversation, MessageId::new(), "x").await.rev;
        let replay = anns.subscribe(conversation, Some(0)).await;
        assert!(replay.rev() >= rev, "{} of {rev}", replay.rev());
        let messages = replay.frames.iter().filter(|frame| frame["type"] == "message");
        assert_eq!(messages.count(), n);
    }
    peer.stop().await;
    app.stop().await;
}

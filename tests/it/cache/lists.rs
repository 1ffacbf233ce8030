//! The list of a person's conversations: no query while nothing changes, and never what was before one's own change.

use crate::support::{Person, Scrape, TestApp, eventually};
use parlance::bus::{Bus, Delivery, Envelope, InProcessBus, Interest, To};
use parlance::ids::{ConversationId, MessageId, NodeId};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const LIST: &str = "/api/conversations";
/// Statements that run by the clock, or on behalf of nobody.
const BACKGROUND: [&str; 9] = [
    // The counts of analytics, in their transactions.
    "analytics",
    "auth_events.",
    // The index of search, in its transactions.
    "search_index.",
    "search_positions.",
    "messages.list_unindexed",
    "transaction.",
    "conversations.list_newer",
    "conversation_members.move_read",
    "ping",
];

async fn list(person: &Person) -> Vec<Value> {
    let mut page = person.get(LIST).await.ok();
    serde_json::from_value(page["items"].take()).unwrap()
}

async fn find(person: &Person, id: ConversationId) -> Option<Value> {
    list(person).await.into_iter().find(|item| item["id"] == json!(id))
}

/// What the person's list says of a conversation that must be in it.
async fn shown(person: &Person, id: ConversationId) -> Value {
    let found = find(person, id).await;
    found.unwrap_or_else(|| panic!("{} does not see {id}", person.name))
}

/// Statements asked for by somebody, since the start of the process.
async fn statements(app: &TestApp) -> f64 {
    let scrape = Scrape::of(app).await;
    let mut sum = 0.0;
    for (name, labels) in scrape.keys() {
        let query = labels.get("query").map_or("", String::as_str);
        if name == "db_query_duration_seconds_count" && !BACKGROUND.iter().any(|name| query.starts_with(name)) {
            sum += scrape.value(&name, &[("query", query)]);
        }
    }
    sum
}

#[actix_web::test]
async fn a_list_that_is_known_costs_no_query() {
    let app = TestApp::start().await;
    let ([ann, bob], _) = app.conversation_of(["Ann", "Bob"]).await;
    let mine = ann.create_conversation("Mine").await;
    for n in 0..3 {
        ann.post_message(mine, MessageId::new(), &format!("{n}")).await.ok();
    }
    let first = ann.get(LIST).await.ok();
    bob.get(LIST).await.ok();
    let other = bob.create_conversation("Bob's own").await;
    let before = statements(&app).await;
    for _ in 0..100 {
        assert_eq!(ann.get(LIST).await.ok(), first);
    }
    assert_eq!(statements(&app).await - before, 0.0);
    // What does not concern her does not make her list be loaded again; what does, does once.
    bob.post_message(other, MessageId::new(), "x").await.ok();
    let before = statements(&app).await;
    ann.get(LIST).await.ok();
    assert_eq!(statements(&app).await - before, 0.0);
    ann.post_message(mine, MessageId::new(), "y").await.ok();
    let before = statements(&app).await;
    for _ in 0..10 {
        ann.get(LIST).await.ok();
    }
    assert!(
        (1.0..=3.0).contains(&(statements(&app).await - before)),
        "the page, what it depends on, a marker"
    );
    app.stop().await;
}

#[actix_web::test]
async fn everything_a_person_does_shows_in_their_next_list() {
    let app = TestApp::start().await;
    let ([ann, bob], id) = app.conversation_of(["Ann", "Bob"]).await;
    let path = format!("{LIST}/{id}");
    for person in [&ann, &bob] {
        assert_eq!(shown(person, id).await["last_seq"], 0);
    }
    for n in 1..=20 {
        let message = MessageId::new();
        ann.post_message(id, message, &format!("{n}")).await.ok();
        let (mine, theirs) = (shown(&ann, id).await, shown(&bob, id).await);
        assert_eq!((&mine["last_seq"], &mine["unread"]), (&json!(n), &json!(0)));
        assert_eq!((&theirs["last_seq"], &theirs["unread"]), (&json!(n), &json!(n)));
        ann.patch(&format!("{path}/messages/{message}"), json!({"body": "edited"}))
            .await
            .ok();
        assert_eq!(shown(&bob, id).await["last_message"]["body"], "edited");
    }
    let mut socket = bob.connect().await;
    socket.subscribe(id, None).await;
    for seq in 1..=20 {
        socket
            .ask(json!({"type": "read", "conversation": id, "seq": seq}))
            .await;
        let bobs = shown(&bob, id).await;
        assert_eq!((&bobs["read_seq"], &bobs["unread"]), (&json!(seq), &json!(20 - seq)));
    }
    let ack = socket.post(id, MessageId::new(), "by socket").await;
    assert_eq!(shown(&bob, id).await["last_seq"], ack.seq);
    socket.close().await;
    ann.patch(&path, json!({"title": "Renamed"})).await.ok();
    for person in [&ann, &bob] {
        assert_eq!(shown(person, id).await["title"], "Renamed");
    }
    // A conversation that a list cannot know yet; then one that it must not show any more.
    for n in 0..10 {
        let new = ann.create_conversation(&format!("New {n}")).await;
        assert_eq!(list(&ann).await[0]["id"], json!(new), "the newest comes first");
        assert!(find(&bob, new).await.is_none());
        ann.add_member(new, bob.id, "member").await.ok();
        assert_eq!(shown(&bob, new).await["member_count"], 2);
        assert_eq!(shown(&ann, new).await["member_count"], 2);
        if n % 2 == 0 {
            ann.remove_member(new, bob.id).await.ok();
        } else {
            ann.delete(&format!("{LIST}/{new}")).await.ok();
            assert!(find(&ann, new).await.is_none(), "deleted");
        }
        assert!(find(&bob, new).await.is_none(), "removed, or deleted");
    }
    let together = ann.post(LIST, json!({"title": "Both", "members": [bob.id]})).await.ok();
    assert_eq!(list(&bob).await[0]["id"], together["id"]);
    app.stop().await;
}

#[actix_web::test]
async fn pages_of_other_sizes_and_later_ones_are_right_too() {
    let app = TestApp::start().await;
    let (ann, first) = app.person_with_conversation("Ann").await;
    let mut ids = vec![json!(first)];
    for n in 0..4 {
        ids.insert(0, json!(ann.create_conversation(&format!("{n}")).await));
    }
    for _ in 0..2 {
        let mut seen = Vec::new();
        let mut path = format!("{LIST}?limit=2");
        loop {
            let page = ann.get(&path).await.ok();
            seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].clone()));
            let Some(next) = page["next"].as_str() else { break };
            path = format!("{LIST}?limit=2&cursor={next}");
        }
        assert_eq!(seen, ids);
    }
    let invite = ann.invite(first).await;
    let guest = app.guest("Gus", &invite).await;
    for _ in 0..2 {
        assert_eq!(list(&guest).await.len(), 1);
        assert_eq!(list(&ann).await.len(), 5);
    }
    ann.post_message(first, MessageId::new(), "x").await.ok();
    assert_eq!(shown(&guest, first).await["unread"], 1);
    ann.remove_member(first, guest.id).await.ok();
    assert!(list(&guest).await.is_empty());
    app.stop().await;
}

#[actix_web::test]
async fn under_load_nobody_misses_what_they_have_done_themselves() {
    const WRITERS: usize = 6;
    const POSTS: i64 = 40;
    let app = TestApp::start().await;
    let (ann, shared) = app.person_with_conversation("Ann").await;
    let invite = ann.invite(shared).await;
    let mut tasks = Vec::new();
    for n in 0..WRITERS {
        let person = app.join(&format!("P{n}"), &invite).await;
        let own = person.create_conversation("Own").await;
        tasks.push(actix_web::rt::spawn(async move {
            for n in 1..=POSTS {
                let in_shared = person.post_message(shared, MessageId::new(), "x").await.ok();
                let seen = shown(&person, shared).await;
                assert!(seen["last_seq"].as_i64() >= in_shared["seq"].as_i64(), "{seen}");
                person.post_message(own, MessageId::new(), "x").await.ok();
                let seen = shown(&person, own).await;
                assert_eq!((&seen["last_seq"], &seen["unread"]), (&json!(n), &json!(0)));
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    app.stop().await;
}

#[actix_web::test]
async fn the_other_node_shows_it_as_soon_as_it_hears() {
    let app = TestApp::start().await;
    let peer = app.peer().await;
    let ([ann, bob], id) = app.conversation_of(["Ann", "Bob"]).await;
    let there = bob.at(&peer);
    for n in 1..=5 {
        shown(&there, id).await;
        ann.post_message(id, MessageId::new(), "x").await.ok();
        eventually("the message is in the other node's list", async || {
            shown(&there, id).await["last_seq"] == n
        })
        .await;
    }
    let mut socket = bob.connect().await;
    socket.subscribe(id, None).await;
    socket.ask(json!({"type": "read", "conversation": id, "seq": 5})).await;
    eventually("what was read here is read there", async || {
        shown(&there, id).await["unread"] == 0
    })
    .await;
    socket.close().await;
    ann.remove_member(id, bob.id).await.ok();
    eventually("who was removed does not see it there", async || {
        find(&there, id).await.is_none()
    })
    .await;
    let made = ann.post(LIST, json!({"title": "Both", "members": [bob.id]})).await.ok();
    eventually("a new conversation shows there", async || {
        list(&there).await.iter().any(|item| item["id"] == made["id"])
    })
    .await;
    peer.stop().await;
    app.stop().await;
}

/// A bus that knows everybody and says nothing.
struct Mute(Arc<InProcessBus>);

impl Bus for Mute {
    fn publish(&self, _: NodeId, _: To, _: Envelope) {}

    fn has_peers(&self, node: NodeId) -> bool {
        self.0.has_peers(node)
    }

    fn subscribe(&self, node: NodeId, interest: Interest) -> mpsc::Receiver<Delivery> {
        self.0.subscribe(node, interest)
    }

    fn name(&self) -> &'static str {
        "mute"
    }
}

#[actix_web::test]
async fn whatever_the_bus_loses_who_was_removed_sees_it_five_seconds_longer_at_most() {
    let app = TestApp::start().await;
    let peer = app.peer_through(Arc::new(Mute(app.bus.clone()))).await;
    let ([ann, bob], id) = app.conversation_of(["Ann", "Bob"]).await;
    shown(&bob, id).await;
    // Done on the node that is not heard.
    ann.at(&peer).remove_member(id, bob.id).await.ok();
    let removed = Instant::now();
    eventually("the list is loaded again", async || find(&bob, id).await.is_none()).await;
    assert!(
        removed.elapsed() < Duration::from_secs(5),
        "after {:?}",
        removed.elapsed()
    );
    peer.stop().await;
    app.stop().await;
}

//! A list of conversations that was asked for once and is kept by `notice` frames alone is what REST lists, after
//! whatever happens, on whichever node.

use super::{about, ok};
use crate::support::{Person, Socket, TestApp, eventually};
use parlance::ids::{ConversationId, MessageId};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a list shows of each conversation.
type Shown = BTreeMap<String, Value>;

/// Somebody's list, beside the connection that keeps it.
struct List {
    person: Person,
    socket: Socket,
    shown: Shown,
    notices: Vec<Value>,
}

impl List {
    async fn of(person: &Person) -> Self {
        let socket = person.connect().await;
        let mut list = Self {
            person: person.clone(),
            socket,
            shown: listed(person).await,
            notices: Vec::new(),
        };
        list.is_true("it was asked for").await;
        list
    }

    fn take(&mut self, notice: Value) {
        let id = notice["conversation"].as_str().unwrap().to_owned();
        if notice["removed"] == true {
            self.shown.remove(&id);
        } else {
            self.shown.insert(id, shown(&notice));
        }
        self.notices.push(notice);
    }

    /// Waits until the list is what REST lists, by notices alone.
    async fn is_true(&mut self, after: &str) {
        eventually(&format!("the list is true after this: {after}"), async || {
            let _pong = self.socket.ask(json!({"type": "ping"})).await;
            for frame in self.socket.drain() {
                if frame["type"] == "notice" {
                    self.take(frame);
                }
            }
            self.shown == listed(&self.person).await
        })
        .await;
    }
}

/// What REST lists for a person.
async fn listed(person: &Person) -> Shown {
    let page = person.get("/api/conversations").await.ok();
    let items = page["items"].as_array().unwrap().iter();
    items
        .map(|item| (item["id"].as_str().unwrap().to_owned(), shown(item)))
        .collect()
}

/// What is shown of a conversation, by a list's item or a notice.
fn shown(of: &Value) -> Value {
    let last = &of["last_message"];
    let body = last["body"].as_str().map(|body| {
        let end = body.floor_char_boundary(200);
        &body[..end]
    });
    json!({
        "title": of["title"],
        "last_seq": of["last_seq"],
        "unread": of["unread"],
        "last": [last["id"], last["seq"], last["author"], last["kind"], last["created_at"], body],
        "at": of["last_message_at"],
    })
}

/// Everything that changes a list, one after the other: Bob's, who only looks.
async fn everything_happens(ann: &Person, bob: &Person, conversation: ConversationId, lists: &mut [List]) {
    let (mut anns, mut phone) = (ann.connect().await, bob.connect().await);
    let path = format!("/api/conversations/{conversation}");
    let first = MessageId::new();
    let long = "👍ä".repeat(60);
    anns.post(conversation, first, &long).await;
    all(lists, "a post").await;
    let last = MessageId::new();
    anns.post(conversation, last, "second").await;
    all(lists, "another post").await;
    let mut edit = about("edit", conversation, last);
    edit["body"] = json!("second, edited");
    ok(&mut anns, edit).await;
    all(lists, "an edit of the latest message").await;
    phone.subscribe(conversation, None).await;
    ok(
        &mut phone,
        json!({"type": "read", "conversation": conversation, "seq": 1}),
    )
    .await;
    all(lists, "reading elsewhere").await;
    ok(&mut anns, about("delete", conversation, last)).await;
    all(lists, "a deletion of the latest message").await;
    phone.post(conversation, MessageId::new(), "from the phone").await;
    all(lists, "an own message from elsewhere").await;
    ann.patch(&path, json!({"title": "Renamed"})).await.ok();
    all(lists, "another title").await;
    let own = bob.create_conversation("On the phone").await;
    all(lists, "a conversation that was made elsewhere").await;
    let made = json!({"title": "With Bob", "members": [bob.id]});
    ann.post("/api/conversations", made).await.ok();
    all(lists, "a conversation that was made with one").await;
    let other = ann.create_conversation("Other").await;
    anns.post(other, MessageId::new(), "before Bob").await;
    ann.add_member(other, bob.id, "member").await.ok();
    all(lists, "being added").await;
    ann.remove_member(other, bob.id).await.ok();
    all(lists, "being removed").await;
    assert_eq!(bob.delete(&format!("/api/conversations/{own}")).await.status, 204);
    all(lists, "a deletion of a whole conversation").await;
    ann.add_member(other, bob.id, "member").await.ok();
    all(lists, "coming back").await;
    bob.remove_member(other, bob.id).await.ok();
    all(lists, "leaving elsewhere").await;
}

async fn all(lists: &mut [List], after: &str) {
    for list in lists {
        list.is_true(after).await;
    }
}

#[actix_web::test]
async fn a_list_is_kept_true_by_notices() {
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let mut lists = [List::of(&bob).await];
    everything_happens(&ann, &bob, c, &mut lists).await;
    let [list] = lists;
    let named = list.notices.iter().filter(|notice| notice["last_message"].is_object());
    assert!(
        named.clone().count() > 5
            && named
                .clone()
                .all(|notice| notice["last_message"]["author_name"].is_string()),
        "a list shows names"
    );
    let longest = named
        .filter_map(|notice| notice["last_message"]["body"].as_str())
        .map(str::len);
    assert_eq!(longest.max(), Some(198), "cut between two characters");
    let gone = list.notices.iter().filter(|notice| notice["removed"] == true);
    for notice in gone {
        assert_eq!(
            (&notice["last_message"], &notice["unread"]),
            (&json!(null), &json!(0)),
            "{notice}"
        );
    }
    app.stop().await;
}

/// One of Bob's connections is on the node where it happens, one where the conversation is not active, and one where it
/// is because somebody else reads there.
#[actix_web::test]
async fn a_list_is_kept_true_on_other_nodes() {
    let app = TestApp::start().await;
    let (reading, idle) = (app.peer().await, app.peer().await);
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let mut reader = ann.at(&reading).connect().await;
    reader.subscribe(c, None).await;
    let mut lists = Vec::new();
    for node in [&app, &reading, &idle] {
        lists.push(List::of(&bob.at(node)).await);
    }
    eventually("the nodes know of Bob's connections", async || {
        let before: Vec<_> = lists.iter().map(|list| list.notices.len()).collect();
        ann.post_message(c, MessageId::new(), "hello").await.ok();
        all(&mut lists, "a first post").await;
        lists
            .iter()
            .zip(before)
            .all(|(list, before)| list.notices.len() > before)
    })
    .await;
    everything_happens(&ann, &bob, c, &mut lists).await;
    for list in lists {
        list.socket.close().await;
    }
    reader.close().await;
    for node in [idle, reading, app] {
        node.stop().await;
    }
}

#[actix_web::test]
async fn what_a_list_does_not_show_is_no_news() {
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let mut anns = ann.connect().await;
    let (first, last) = (MessageId::new(), MessageId::new());
    // Before the posts: on a slow machine their notice would have gone before anybody listens.
    let mut list = List::of(&bob).await;
    anns.post(c, first, "first").await;
    anns.post(c, last, "last").await;
    list.socket
        .expect_where("of the posts", |frame| {
            frame["type"] == "notice" && frame["last_seq"] == 2
        })
        .await;
    // There may have been one for each.
    list.socket.drain();
    let mut edit = about("edit", c, first);
    edit["body"] = json!("first, edited");
    ok(&mut anns, edit).await;
    ok(&mut anns, super::react(c, last, "x", true)).await;
    anns.post(c, MessageId::new(), "third").await;
    let next = list.socket.expect("notice").await;
    assert_eq!(next["last_seq"], 3, "{next}");
    app.stop().await;
}

/// A guest is confined to one conversation: no notice shows them anything of another.
#[actix_web::test]
async fn a_guest_gets_no_notices_of_what_they_may_not_read() {
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let role = json!({"role": "guest"});
    ann.patch(&format!("/api/users/{}", bob.id), role).await.ok();
    let mut bobs = bob.connect().await;
    let mut own = ann.connect().await;
    ann.post_message(c, MessageId::new(), "not for guests").await.ok();
    own.expect_where("that of Ann herself", |frame| frame["type"] == "notice")
        .await;
    bobs.expect_none("notice").await;
    app.stop().await;
}

//! Reactions: who is told that they reacted, and who caused a change. And changes on a condition.

use super::{ok, react};
use crate::support::TestApp;
use parlance::ids::MessageId;
use serde_json::{Value, json};

/// What the conversation of `$1` has so many reactions by others in its first message that a further
/// one is not listed.
const CROWD: &str = "WITH made AS (INSERT INTO reactions (conversation_id, seq, emoji, user_id, created_at)
                         SELECT $1, 1, '👍', gen_random_uuid(), now() - interval '1 hour' FROM generate_series(1, 20)
                         RETURNING 1)
                     SELECT count(*) FROM made";

#[actix_web::test]
async fn the_twenty_first_is_told_so_too() {
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let (popular, plain) = (MessageId::new(), MessageId::new());
    for (id, body) in [(popular, "popular"), (plain, "plain")] {
        ann.post_message(c, id, body).await.ok();
    }
    app.database.query(CROWD, &[&c.0]).await;
    let mut anns = ann.connect().await;
    ok(&mut anns, react(c, popular, "👍", true)).await;
    ok(&mut anns, react(c, popular, "🎉", true)).await;
    let listed = ann.get(&format!("/api/conversations/{c}/messages")).await.ok()["items"].take();
    let reaction = &listed[0]["reactions"][0];
    assert_eq!((&reaction["emoji"], &reaction["count"]), (&json!("👍"), &json!(21)));
    assert!(!reaction["users"].as_array().unwrap().contains(&json!(ann.id)));

    // Pages and single messages.
    assert_eq!(listed[0]["mine"], json!(["👍", "🎉"]));
    assert_eq!(listed[1].get("mine"), None, "no reactions");
    let path = format!("/api/conversations/{c}/messages");
    assert_eq!(bob.get(&path).await.ok()["items"][0]["mine"], json!([]));
    // Search.
    let found = ann.get("/api/search?q=popular").await.ok();
    assert_eq!(found["items"][0]["message"]["mine"], json!(["👍", "🎉"]));
    // The snapshot of a subscription, and a replay.
    for (person, own) in [(&ann, json!(["👍", "🎉"])), (&bob, json!([]))] {
        for after in [None, Some(0), Some(3)] {
            let mut socket = person.connect().await;
            let subscribed = socket.subscribe(c, after).await;
            let about = |frame: &&Value| frame["id"] == json!(popular);
            let frame = subscribed.frames.iter().find(about).unwrap();
            assert_eq!(frame["mine"], own, "after {after:?}: {frame}");
            assert_eq!(frame.get("by"), None, "nobody just did it: {frame}");
        }
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_change_says_who_caused_it() {
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let id = MessageId::new();
    let (mut anns, mut bobs) = (ann.connect().await, bob.connect().await);
    anns.post(c, id, "hello").await;
    bobs.subscribe(c, None).await;
    for on in [true, false] {
        ok(&mut anns, react(c, id, "👍", on)).await;
        let frame = bobs.expect("updated").await;
        assert_eq!((&frame["by"], &frame["emoji"]), (&json!(ann.id), &json!("👍")));
        assert_eq!(frame["on"], json!(on));
        assert_eq!(frame.get("mine"), None, "it is for everybody: {frame}");
    }
    ok(
        &mut anns,
        json!({"type": "edit", "conversation": c, "id": id, "body": "hello!"}),
    )
    .await;
    let frame = bobs.expect("updated").await;
    assert_eq!((&frame["by"], frame.get("emoji")), (&json!(ann.id), None));
    ann.delete(&format!("/api/conversations/{c}/messages/{id}")).await.ok();
    let frame = bobs.expect("updated").await;
    assert_eq!((&frame["by"], frame.get("on")), (&json!(ann.id), None));
    app.stop().await;
}

#[actix_web::test]
async fn what_was_edited_since_is_left_alone() {
    let app = TestApp::start().await;
    let (ann, c) = app.person_with_conversation("Ann").await;
    let mut socket = ann.connect().await;
    let id = MessageId::new();
    let posted = socket.post(c, id, "one").await.rev;
    let edit =
        |body: &str, if_rev: i64| json!({"type": "edit", "conversation": c, "id": id, "body": body, "if_rev": if_rev});
    let react = |on: bool, if_rev: i64| json!({"type": "react", "conversation": c, "id": id, "emoji": "👍", "on": on, "if_rev": if_rev});
    let delete = |if_rev: i64| json!({"type": "delete", "conversation": c, "id": id, "if_rev": if_rev});

    // Reactions are no other text.
    let reacted = ok(&mut socket, react(true, posted)).await.unwrap();
    let edited = ok(&mut socket, edit("two", posted)).await.unwrap();
    // Repeated, as if the reply had been lost: it is done.
    assert_eq!(ok(&mut socket, edit("two", posted)).await, Some(edited));
    assert_eq!(ok(&mut socket, react(true, posted)).await, Some(edited));
    for late in [edit("three", reacted), react(false, reacted), delete(reacted)] {
        socket.refused(late, "conflict").await;
    }
    for wrong in [edit("x", 0), react(true, -1), delete(0)] {
        socket.refused(wrong, "bad_request").await;
    }
    // The same over REST.
    let path = format!("/api/conversations/{c}/messages/{id}");
    let patch = |if_rev: i64| json!({"body": "four", "if_rev": if_rev});
    ann.patch(&path, patch(posted)).await.problem(409, "conflict");
    ann.patch(&path, patch(0)).await.problem(400, "bad_request");
    ann.delete(&format!("{path}?if_rev={posted}"))
        .await
        .problem(409, "conflict");
    ann.delete(&format!("{path}?if_rev=x"))
        .await
        .problem(400, "bad_request");
    let listed = ann.get(&format!("/api/conversations/{c}/messages")).await.ok();
    let message = &listed["items"][0];
    assert_eq!((&message["body"], &message["mine"]), (&json!("two"), &json!(["👍"])));
    let rev = ann.patch(&path, patch(edited)).await.ok()["rev"].as_i64().unwrap();
    ann.delete(&format!("{path}?if_rev={rev}")).await.ok();
    ann.delete(&format!("{path}?if_rev={rev}")).await.ok();
    socket.refused(react(true, rev), "conflict").await;
    app.stop().await;
}

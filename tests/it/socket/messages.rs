//! What is done to messages: ids, order, and who may change what.

use super::{about, ok, react, send};
use crate::support::TestApp;
use parlance::ids::{ConversationId, MessageId};
use serde_json::{Value, json};

fn edit(conversation: ConversationId, id: MessageId, body: &str) -> Value {
    json!({"type": "edit", "conversation": conversation, "id": id, "body": body})
}

#[actix_web::test]
async fn an_id_is_used_once_for_ever() {
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let elsewhere = ann.create_conversation("Elsewhere").await;
    let (mut one, mut two, mut bobs) = (ann.connect().await, ann.connect().await, bob.connect().await);
    bobs.subscribe(c, None).await;
    let (id, target) = (MessageId::new(), MessageId::new());
    one.post(c, target, "target").await;
    let first = one.ask(send(c, id, "first")).await;
    assert_eq!(first.get("duplicate"), None, "only when true: {first}");

    for at in 0..3 {
        let socket = if at == 1 { &mut two } else { &mut one };
        let again = socket.ask(send(c, id, "first")).await;
        for field in ["conversation", "id", "seq", "rev", "created_at"] {
            assert_eq!(again[field], first[field], "{again}");
        }
        assert_eq!(again["duplicate"], true);
    }
    let rest = ann.post_message(c, id, "first").await;
    assert_eq!((rest.status, &rest.body["duplicate"]), (200, &json!(true)));

    // The same id with anything else.
    let reply = json!({"type": "send", "conversation": c, "id": id, "body": "first", "reply_to": target});
    for frame in [
        send(c, id, "other"),
        send(c, id, "first "),
        reply.clone(),
        send(elsewhere, id, "first"),
    ] {
        two.refused(frame, "conflict").await;
    }
    bobs.refused(send(c, id, "first"), "conflict").await;

    // What was first sent counts, not what became of it.
    ok(&mut one, edit(c, id, "edited")).await;
    two.refused(send(c, id, "edited"), "conflict").await;
    assert_eq!(Some(two.post(c, id, "first").await.rev), first["rev"].as_i64());
    ok(&mut one, about("delete", c, id)).await;
    let again = two.post(c, id, "first").await;
    assert_eq!((Some(again.rev), again.duplicate), (first["rev"].as_i64(), true));
    two.refused(send(c, id, "edited"), "conflict").await;

    // Another tenant does not know of it.
    let (zoe, theirs) = app.person_with_conversation("Zoe").await;
    assert!(!zoe.connect().await.post(theirs, id, "first").await.duplicate);

    // Everybody saw it once.
    bobs.ask(json!({"type": "ping"})).await;
    let seen = bobs.drain();
    let kinds: Vec<_> = seen
        .iter()
        .filter(|frame| frame["id"] == json!(id))
        .map(|frame| &frame["type"])
        .collect();
    assert_eq!(kinds, ["message", "updated", "updated"], "{seen:?}");
    app.stop().await;
}

#[actix_web::test]
async fn two_connections_that_send_the_same_id_at_once_post_one_message() {
    let app = TestApp::start().await;
    let (ann, c) = app.person_with_conversation("Ann").await;
    let (mut one, mut two) = (ann.connect().await, ann.connect().await);
    one.subscribe(c, None).await;
    for round in 0..20 {
        let (id, body) = (MessageId::new(), format!("round {round}"));
        let (a, b) = tokio::join!(one.post(c, id, &body), two.post(c, id, &body));
        assert_eq!((a.seq, a.rev), (b.seq, b.rev));
        assert!(a.duplicate != b.duplicate, "{a:?} {b:?}");
        assert_eq!(a.seq, round + 1, "no number is lost on a duplicate");
    }
    one.expect_none("nothing").await;
    assert_eq!(
        one.drain().iter().filter(|frame| frame["type"] == "message").count(),
        20
    );
    app.stop().await;
}

/// Everything of one burst: order, replies to what is not answered yet, refusals in between, changes of what was just sent.
#[actix_web::test]
async fn a_burst_is_done_in_its_order() {
    const ROUNDS: i64 = 40;
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let (mut anns, mut bobs) = (ann.connect().await, bob.connect().await);
    bobs.subscribe(c, None).await;
    let mut previous: Option<MessageId> = None;
    let mut ids = Vec::new();
    for round in 0..ROUNDS {
        let id = MessageId::new();
        let mut frame = send(c, id, &format!("{round}"));
        frame["reply_to"] = json!(previous);
        frame["ref"] = json!(format!("s{round}"));
        anns.send_json(&frame).await;
        // A refused one holds nothing up: a reply to what does not exist, another body, white space.
        let mut bad = send(c, MessageId::new(), "x");
        bad["reply_to"] = json!(MessageId::new());
        bad["ref"] = json!(format!("b{round}"));
        anns.send_json(&bad).await;
        anns.send_json(&send(c, id, "another body")).await;
        let mut change = if round % 2 == 0 {
            edit(c, id, &format!("{round} edited"))
        } else {
            react(c, id, "👍", true)
        };
        change["ref"] = json!(format!("e{round}"));
        anns.send_json(&change).await;
        previous = Some(id);
        ids.push(id);
    }
    for round in 0..ROUNDS {
        let ack = anns.reply_to(&format!("s{round}")).await;
        assert_eq!(
            (&ack["type"], ack["seq"].as_i64()),
            (&json!("ack"), Some(round + 1)),
            "{ack}"
        );
        let bad = anns.reply_to(&format!("b{round}")).await;
        assert_eq!(bad["code"], "not_found", "{bad}");
        let change = anns.reply_to(&format!("e{round}")).await;
        assert_eq!(
            (&change["type"], change["rev"].as_i64()),
            (&json!("ok"), ack["rev"].as_i64().map(|rev| rev + 1))
        );
    }
    let mut rev = None;
    for (at, id) in ids.iter().enumerate() {
        for kind in ["message", "updated"] {
            let durable = |frame: &Value| frame["type"] == "message" || frame["type"] == "updated";
            let frame = bobs.expect_where("the next change", durable).await;
            assert_eq!((&frame["type"], &frame["id"]), (&json!(kind), &json!(id)), "{frame}");
            assert_eq!(
                frame["reply_to"],
                at.checked_sub(1).map_or(Value::Null, |before| json!(ids[before]))
            );
            let next = frame["rev"].as_i64().unwrap();
            assert!(rev.is_none_or(|rev| next == rev + 1), "{rev:?} {frame}");
            rev = Some(next);
        }
    }
    app.stop().await;
}

#[actix_web::test]
async fn who_was_acknowledged_first_comes_first() {
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let (mut anns, mut bobs) = (ann.connect().await, bob.connect().await);
    for round in 0..15 {
        assert_eq!(anns.post(c, MessageId::new(), "a").await.seq, round * 2 + 1);
        assert_eq!(bobs.post(c, MessageId::new(), "b").await.seq, round * 2 + 2);
    }
    app.stop().await;
}

#[actix_web::test]
async fn messages_are_changed_by_those_who_may() {
    let app = TestApp::start().await;
    let ([ann, bob, mod_], c) = app.conversation_of(["Ann", "Bob", "Mod"]).await;
    let path = format!("/api/conversations/{c}/members/{}", mod_.id);
    ann.patch(&path, json!({"role": "moderator"})).await.ok();
    let (mut anns, mut bobs, mut mods) = (ann.connect().await, bob.connect().await, mod_.connect().await);
    let [by_ann, by_bob, third] = [MessageId::new(), MessageId::new(), MessageId::new()];
    anns.post(c, by_ann, "Ann's").await;
    bobs.post(c, by_bob, "Bob's").await;
    bobs.post(c, third, "Bob's third").await;

    // Only authors edit; members delete only their own.
    for socket in [&mut anns, &mut mods] {
        socket.refused(edit(c, by_bob, "no"), "forbidden").await;
    }
    bobs.refused(edit(c, by_ann, "no"), "forbidden").await;
    bobs.refused(about("delete", c, by_ann), "forbidden").await;

    // The whole state comes with every change.
    anns.subscribe(c, None).await;
    let rev = ok(&mut bobs, edit(c, by_bob, "Bob's, edited")).await;
    let frame = anns.expect("updated").await;
    assert_eq!((&frame["body"], frame["rev"].as_i64()), (&json!("Bob's, edited"), rev));
    assert!(frame["edited_at"].is_string() && frame["deleted_at"].is_null());
    assert_eq!(
        (&frame["author"], &frame["kind"], &frame["seq"]),
        (&json!(bob.id), &json!("person"), &json!(2))
    );
    assert_eq!(frame["reactions"], json!([]));
    ok(&mut bobs, react(c, by_bob, "👍", true)).await;
    ok(&mut mods, react(c, by_bob, "👍", true)).await;
    anns.expect("updated").await;
    let frame = anns.expect("updated").await;
    assert_eq!(
        (&frame["reactions"][0]["emoji"], &frame["reactions"][0]["count"]),
        (&json!("👍"), &json!(2))
    );
    let mut users: Vec<_> = frame["reactions"][0]["users"].as_array().unwrap().clone();
    users.sort_by_key(Value::to_string);
    let mut both = vec![json!(bob.id), json!(mod_.id)];
    both.sort_by_key(Value::to_string);
    assert_eq!(users, both);

    // What changes nothing takes no revision.
    let before = ok(&mut bobs, edit(c, by_bob, "Bob's, edited")).await;
    assert_eq!(ok(&mut bobs, react(c, by_bob, "👍", true)).await, before);
    assert_eq!(ok(&mut bobs, react(c, by_bob, "👎", false)).await, before);

    // Moderators and owners delete others'; the body is gone for good, also from the database.
    let deleted = ok(&mut mods, about("delete", c, by_bob)).await;
    let frame = anns.expect("updated").await;
    assert_eq!(
        (&frame["body"], &frame["reactions"], frame["rev"].as_i64()),
        (&json!(null), &json!([]), deleted)
    );
    assert!(frame["deleted_at"].is_string());
    assert!(ok(&mut anns, about("delete", c, third)).await > deleted);
    assert_eq!(
        ok(&mut bobs, about("delete", c, by_bob)).await,
        deleted,
        "again: the old rev"
    );
    assert_eq!(ok(&mut anns, about("delete", c, by_bob)).await, deleted);
    let rows = app
        .database
        .query("SELECT count(*) FROM messages m WHERE m::text LIKE '%Bob''s%'", &[])
        .await;
    assert_eq!(rows[0].get::<_, i64>(0), 0);
    bobs.refused(edit(c, by_bob, "back"), "conflict").await;
    bobs.refused(react(c, by_bob, "👍", true), "conflict").await;
    // A deleted message may still be replied to, and is still found by its number.
    let mut reply = send(c, MessageId::new(), "to a deleted one");
    reply["reply_to"] = json!(by_bob);
    assert_eq!(bobs.ask(reply).await["seq"], 4);
    app.stop().await;
}

#[actix_web::test]
async fn a_message_has_20_emojis_and_each_lists_20_people() {
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let (mut anns, mut bobs) = (ann.connect().await, bob.connect().await);
    let id = MessageId::new();
    anns.post(c, id, "popular").await;
    for at in 0..20 {
        ok(&mut anns, react(c, id, &format!("e{at}"), true)).await;
    }
    bobs.refused(react(c, id, "one more", true), "conflict").await;
    // One that is there may be joined; one that goes makes room.
    ok(&mut bobs, react(c, id, "e7", true)).await;
    ok(&mut anns, react(c, id, "e7", false)).await;
    bobs.refused(react(c, id, "one more", true), "conflict").await;
    ok(&mut bobs, react(c, id, "e7", false)).await;
    ok(&mut bobs, react(c, id, "one more", true)).await;

    let many = MessageId::new();
    anns.post(c, many, "many").await;
    let invite = ann.invite(c).await;
    for at in 0..23 {
        let guest = app.guest(&format!("Guest {at}"), &invite).await;
        ok(&mut guest.connect().await, react(c, many, "👍", true)).await;
    }
    let frame = bobs.subscribe(c, None).await.frames.pop().unwrap();
    assert_eq!(frame["reactions"][0]["count"], 23);
    assert_eq!(frame["reactions"][0]["users"].as_array().unwrap().len(), 20);
    app.stop().await;
}

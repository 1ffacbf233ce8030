//! The frames of the socket, from people whose socket is good for other conversations, and the handshake itself.

use super::*;
use std::collections::BTreeSet;

/// Every client frame about the conversation, well formed.
fn frames(world: &World) -> Vec<Value> {
    let (c, m) = (world.conversation, world.message);
    vec![
        json!({"type": "subscribe", "conversation": c}),
        json!({"type": "subscribe", "conversation": c, "after": 0}),
        json!({"type": "unsubscribe", "conversation": c}),
        json!({"type": "send", "conversation": c, "id": MessageId::new(), "body": "x"}),
        json!({"type": "send", "conversation": c, "id": m, "body": SECRET}),
        json!({"type": "send", "conversation": c, "id": MessageId::new(), "body": "x", "reply_to": m}),
        json!({"type": "edit", "conversation": c, "id": m, "body": "x"}),
        json!({"type": "delete", "conversation": c, "id": m}),
        json!({"type": "react", "conversation": c, "id": m, "emoji": "👍", "on": true}),
        json!({"type": "read", "conversation": c, "seq": 1}),
        json!({"type": "typing", "conversation": c, "on": true}),
        json!({"type": "refresh", "token": world.person(Who::Moderator).token}),
        json!({"type": "ping"}),
    ]
}

/// What somebody who is not in the conversation is answered.
fn from_outside(kind: &str) -> &'static str {
    match kind {
        // Says nothing about whether there is such a conversation.
        "unsubscribe" => "ok",
        "ping" => "pong",
        "refresh" => "forbidden",
        _ => "not_found",
    }
}

/// The type of the reply, or the code of the error.
fn verdict(reply: &Value) -> &str {
    let kind = reply["type"].as_str().unwrap();
    if kind == "error" {
        reply["code"].as_str().unwrap()
    } else {
        kind
    }
}

/// Sends every frame; also those without a `ref`, which are answered too but for `typing`.
async fn try_all(world: &World, who: Who, socket: &mut Socket) {
    for frame in frames(world) {
        let reply = socket.ask(frame.clone()).await;
        let expected = from_outside(frame["type"].as_str().unwrap());
        assert_eq!(verdict(&reply), expected, "{frame} by {who:?}: {reply}");
    }
    socket
        .send_json(&json!({"type": "typing", "conversation": world.conversation, "on": true}))
        .await;
    // Nothing of the conversation has come, and nothing will for what was sent so far.
    socket.ask(json!({"type": "ping"})).await;
    for frame in socket.drain() {
        assert_ne!(
            frame["conversation"],
            json!(world.conversation),
            "{who:?} was sent {frame}"
        );
    }
}

#[actix_web::test]
async fn every_frame_is_refused_to_who_is_not_in_the_conversation() {
    let world = World::make().await;
    let document = world.app.request(Method::GET, "/asyncapi.json", None, None).await.ok();
    let messages = document["components"]["messages"].as_object().unwrap();
    let documented: BTreeSet<_> = messages.keys().filter_map(|key| key.strip_prefix("client_")).collect();
    let all = frames(&world);
    let tried: BTreeSet<_> = all.iter().map(|frame| frame["type"].as_str().unwrap()).collect();
    assert_eq!(tried, documented, "each client frame has a row");
    let mut owner = world.person(Who::Owner).connect().await;
    owner.subscribe(world.conversation, None).await;
    // Online, before it is looked at what changes.
    let mut sockets = Vec::new();
    for who in [
        Who::Stranger,
        Who::Boss,
        Who::Outsider,
        Who::Removed,
        Who::GuestElsewhere,
        Who::Demoted,
    ] {
        sockets.push((who, world.person(who).connect().await));
    }
    let before = world.digest().await;
    for (who, socket) in &mut sockets {
        try_all(&world, *who, socket).await;
    }
    assert_eq!(world.digest().await, before, "what was refused changed nothing");
    for kind in ["message", "updated", "member", "conversation", "read", "typing"] {
        owner.expect_none(kind).await;
    }
    world.app.stop().await;
}

/// Sockets that were opened by members do not outlive the membership.
#[actix_web::test]
async fn a_socket_from_before_the_removal_is_no_use() {
    let world = World::make().await;
    let c = world.conversation;
    let mut socket = world.other.connect().await;
    socket.subscribe(c, None).await;
    socket.post(c, MessageId::new(), "still in").await;
    world.has_read(&world.other, 2).await;
    world.person(Who::Owner).remove_member(c, world.other.id).await.ok();
    let removal = socket.expect("member").await;
    assert_eq!(
        (&removal["change"], &removal["user"]["id"]),
        (&json!("removed"), &json!(world.other.id))
    );
    // What is said from now on is not for them.
    let plain = world.person(Who::Plain);
    plain.post_message(c, MessageId::new(), "now we are alone").await.ok();
    world.has_read(plain, 3).await;
    socket.ask(json!({"type": "ping"})).await;
    socket.drain();
    let before = world.digest().await;
    try_all(&world, Who::Removed, &mut socket).await;
    assert_eq!(world.digest().await, before);
    world.app.stop().await;
}

/// Members are held to their role, with keys as with tokens.
#[actix_web::test]
async fn every_frame_is_held_to_the_role() {
    let world = World::make().await;
    let (c, m) = (world.conversation, world.message);
    let edit = json!({"type": "edit", "conversation": c, "id": m, "body": "x"});
    let delete = json!({"type": "delete", "conversation": c, "id": m});
    let own_token = |who| json!({"type": "refresh", "token": world.person(who).token});
    let before = world.digest().await;
    for (who, frame, code) in [
        (Who::GuestHere, &edit, "forbidden"),
        (Who::GuestHere, &delete, "forbidden"),
        (Who::Moderator, &edit, "forbidden"),
        (Who::Owner, &edit, "forbidden"),
        (Who::AllKey, &edit, "forbidden"),
        (Who::ChatKey, &edit, "forbidden"),
        (Who::ChatKey, &own_token(Who::Owner), "forbidden"),
        (Who::Owner, &own_token(Who::AllKey), "unauthenticated"),
        (Who::Owner, &own_token(Who::LoggedOut), "unauthenticated"),
        (Who::Owner, &own_token(Who::Stranger), "forbidden"),
        (Who::Plain, &own_token(Who::Suspended), "forbidden"),
    ] {
        let mut socket = world.person(who).connect().await;
        let reply = socket.ask(frame.clone()).await;
        assert_eq!(verdict(&reply), code, "{frame} by {who:?}: {reply}");
        // Still the one it was.
        assert_eq!(socket.ask(json!({"type": "ping"})).await["type"], "pong");
    }
    assert_eq!(world.digest().await, before);
    // And the same is done for who may.
    let mut plain = world.person(Who::Plain).connect().await;
    assert_eq!(verdict(&plain.ask(edit).await), "ok");
    let mut moderator = world.person(Who::Moderator).connect().await;
    assert_eq!(verdict(&moderator.ask(delete).await), "ok");
    world.app.stop().await;
}

/// Who is refused at the handshake has no socket at all; who loses the right while connected is closed.
#[actix_web::test]
async fn the_door_is_shut() {
    let world = World::make().await;
    for who in [
        Who::LoggedOut,
        Who::DeletedKey,
        Who::ExpiredKey,
        Who::Suspended,
        Who::SuspendedKey,
        Who::DemotedKey,
        Who::AdminKey,
    ] {
        let opened = Socket::try_connect(&world.app, &world.person(who).token).await;
        assert!(opened.is_err(), "{who:?} has a socket");
    }
    for token in GARBAGE {
        assert!(Socket::try_connect(&world.app, token).await.is_err(), "{token}");
    }
    let (boss, plain) = (world.person(Who::Boss), world.person(Who::Plain));
    let mut socket = plain.connect().await;
    let mut key = key_of(plain, &["chat"]).await.0.connect().await;
    boss.patch(&format!("/api/users/{}", plain.id), json!({"role": "guest"}))
        .await
        .ok();
    socket.expect_close(4205).await;
    key.expect_close(4001).await;
    eventually("the old token finds nothing", async || {
        let path = format!("/api/conversations/{}", world.conversation);
        plain.get(&path).await.status == 404
    })
    .await;
    world.app.stop().await;
}

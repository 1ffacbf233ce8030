//! What is not kept: read markers as they move, typing, presence, notices.

use super::ok;
use crate::support::{PATIENCE, Socket, TestApp, pace};
use parlance::ids::{ConversationId, MessageId};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn read(conversation: ConversationId, seq: i64) -> Value {
    json!({"type": "read", "conversation": conversation, "seq": seq})
}

fn typing(conversation: ConversationId, on: bool) -> Value {
    json!({"type": "typing", "conversation": conversation, "on": on})
}

/// How far the caller has read.
async fn read_seq(socket: &mut Socket, conversation: ConversationId) -> i64 {
    socket.subscribe(conversation, None).await.subscribed["read_seq"]
        .as_i64()
        .unwrap()
}

/// Waits for the first frame of a kind and says when it came.
async fn when(socket: &mut Socket, kind: &str) -> (Instant, Value) {
    let frame = socket.expect(kind).await;
    (Instant::now(), frame)
}

#[actix_web::test]
async fn read_markers_go_forward_and_not_past_the_end() {
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let (mut anns, mut bobs) = (ann.connect().await, bob.connect().await);
    for _ in 0..5 {
        anns.post(c, MessageId::new(), "x").await;
    }
    assert_eq!(read_seq(&mut anns, c).await, 5, "sending moves it too");
    assert_eq!(read_seq(&mut bobs, c).await, 0);
    for (to, stands) in [(2, 2), (1, 2), (0, 2), (1_000, 5), (3, 5)] {
        ok(&mut bobs, read(c, to)).await;
        assert_eq!(read_seq(&mut bobs, c).await, stands);
    }
    // Not beyond what was there: the next message is unread.
    anns.post(c, MessageId::new(), "x").await;
    assert_eq!(read_seq(&mut bobs, c).await, 5);
    // It is written, within about a second.
    crate::support::eventually("the marker is in the database", async || {
        let sql = "SELECT read_seq FROM conversation_members WHERE user_id = $1 AND conversation_id = $2";
        app.database.query(sql, &[&bob.id.0, &c.0]).await[0].get::<_, i64>(0) == 5
    })
    .await;
    app.stop().await;
}

#[actix_web::test]
async fn read_frames_are_gathered() {
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let (mut anns, mut bobs) = (ann.connect().await, bob.connect().await);
    for _ in 0..60 {
        anns.post(c, MessageId::new(), "x").await;
    }
    anns.subscribe(c, None).await;
    bobs.subscribe(c, None).await;
    let started = Instant::now();
    for seq in 1..=60 {
        ok(&mut bobs, read(c, seq)).await;
    }
    let mut seen = vec![];
    while seen.last() != Some(&60) {
        let frame = anns.expect("read").await;
        assert_eq!((&frame["conversation"], &frame["user"]), (&json!(c), &json!(bob.id)));
        seen.push(frame["seq"].as_i64().unwrap());
    }
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    assert!(
        seen.len() as u64 <= 2 + started.elapsed().as_secs(),
        "at most one per second: {seen:?}"
    );
    app.stop().await;
}

#[actix_web::test]
async fn typing_is_passed_on_rarely_and_ends_by_itself() {
    let app = TestApp::start().await;
    let ([ann, bob, zoe], c) = app.conversation_of(["Ann", "Bob", "Zoe"]).await;
    let (mut anns, mut other, mut bobs) = (ann.connect().await, ann.connect().await, bob.connect().await);
    let mut zoes = zoe.connect().await;
    for socket in [&mut anns, &mut other, &mut bobs, &mut zoes] {
        socket.subscribe(c, None).await;
    }
    for _ in 0..20 {
        ok(&mut anns, typing(c, true)).await;
    }
    let (first, frame) = when(&mut bobs, "typing").await;
    assert_eq!(
        (&frame["user"], &frame["on"], &frame["conversation"]),
        (&json!(ann.id), &json!(true), &json!(c))
    );
    bobs.expect_none("typing").await;
    // Not to the typist, on no connection of theirs.
    anns.expect_none("typing").await;
    other.expect_none("typing").await;
    // A message ends it at once.
    ok(&mut bobs, typing(c, true)).await;
    bobs.post(c, MessageId::new(), "there").await;
    assert_eq!(anns.expect("typing").await["on"], true);
    assert_eq!(anns.expect("typing").await["on"], false);
    // Saying so ends it, once.
    ok(&mut zoes, typing(c, false)).await;
    ok(&mut zoes, typing(c, true)).await;
    ok(&mut zoes, typing(c, false)).await;
    ok(&mut zoes, typing(c, false)).await;
    let mut of_zoe = Vec::new();
    for _ in 0..2 {
        let mine = |frame: &Value| frame["type"] == "typing" && frame["user"] == json!(zoe.id);
        of_zoe.push(anns.expect_where("Zoe's typing", mine).await["on"].clone());
    }
    assert_eq!(of_zoe, [json!(true), json!(false)]);
    // Silence ends it after 12 s.
    let end = |frame: &Value| frame["type"] == "typing" && frame["user"] == json!(ann.id) && frame["on"] == false;
    bobs.expect_where("the end of Ann's typing", end).await;
    let lasted = first.elapsed();
    assert!(
        (Duration::from_millis(11_500)..Duration::from_millis(14_500)).contains(&lasted),
        "{lasted:?}"
    );
    app.stop().await;
}

#[actix_web::test]
async fn typing_goes_on_after_three_seconds() {
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let (mut anns, mut bobs) = (ann.connect().await, bob.connect().await);
    anns.subscribe(c, None).await;
    bobs.subscribe(c, None).await;
    let typist = async {
        loop {
            ok(&mut anns, typing(c, true)).await;
            pace(Duration::from_millis(100)).await;
        }
    };
    let reader = async {
        let (first, _) = when(&mut bobs, "typing").await;
        let (second, frame) = when(&mut bobs, "typing").await;
        assert_eq!(frame["on"], true);
        let between = second - first;
        assert!(
            (Duration::from_millis(2_900)..Duration::from_millis(4_500)).contains(&between),
            "{between:?}"
        );
    };
    tokio::select! { () = typist => {}, () = reader => {} }
    app.stop().await;
}

#[actix_web::test]
async fn presence_counts_all_connections_and_has_a_grace() {
    let app = TestApp::with(|config| config.sessions.presence_grace = Duration::from_secs(1)).await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let mut bobs = bob.connect().await;
    let online = |subscribed: &Value, person: &crate::support::Person| {
        let members = subscribed["members"].as_array().unwrap();
        members.iter().find(|member| member["id"] == json!(person.id)).unwrap()["online"].clone()
    };
    let state = bobs.subscribe(c, None).await.subscribed;
    assert_eq!(
        (online(&state, &ann), online(&state, &bob)),
        (json!(false), json!(true))
    );
    bobs.drain();
    let (one, mut two) = (ann.connect().await, ann.connect().await);
    let frame = bobs.expect("presence").await;
    assert_eq!((&frame["user"], &frame["online"]), (&json!(ann.id), &json!(true)));
    two.subscribe(c, None).await;
    assert_eq!(online(&bobs.subscribe(c, None).await.subscribed, &ann), true);
    // One of two connections goes, then both, but one is back in time: nobody hears of it.
    one.close().await;
    two.close().await;
    let two = ann.connect().await;
    // Longer than the grace and the second after which its end is noticed.
    bobs.expect_none_for("presence", Duration::from_millis(2_300)).await;
    let left = Instant::now();
    two.close().await;
    let (at, frame) = when(&mut bobs, "presence").await;
    assert_eq!((&frame["user"], &frame["online"]), (&json!(ann.id), &json!(false)));
    assert!(at - left >= Duration::from_millis(900), "{:?}", at - left);
    assert_eq!(online(&bobs.subscribe(c, None).await.subscribed, &ann), false);
    // Not to the person.
    let mut again = ann.connect().await;
    again.subscribe(c, None).await;
    bobs.expect("presence").await;
    let _third = ann.connect().await;
    assert!(
        !again
            .drain()
            .iter()
            .any(|frame| frame["type"] == "presence" && frame["user"] == json!(ann.id))
    );
    app.stop().await;
}

#[actix_web::test]
async fn notices_tell_of_what_one_does_not_follow() {
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let (mut anns, mut bobs) = (ann.connect().await, bob.connect().await);
    // Joining was a reason for a notice; let it pass.
    while let Ok(frame) = bobs.next_frame(Duration::from_millis(1_500)).await {
        assert_eq!(frame["type"], "notice", "{frame}");
    }
    let (mut own, mut following) = (ann.connect().await, bob.connect().await);
    following.subscribe(c, None).await;
    let started = Instant::now();
    for _ in 0..50 {
        anns.post(c, MessageId::new(), "x").await;
    }
    let mut notices = Vec::new();
    while notices.last().is_none_or(|last: &Value| last["last_seq"] != 50) {
        notices.push(bobs.expect("notice").await);
    }
    let last = notices.last().unwrap();
    assert_eq!((&last["conversation"], &last["unread"]), (&json!(c), &json!(50)));
    assert!(
        notices.len() as u64 <= 2 + started.elapsed().as_secs(),
        "at most one per second: {notices:?}"
    );
    following.expect_none("notice").await;
    // The author's other connections: nothing is unread there, but the list shows another message.
    let own = own.expect_where("the last", |frame| frame["last_seq"] == 50).await;
    assert_eq!((&own["type"], &own["unread"]), (&json!("notice"), &json!(0)));
    // Read elsewhere.
    ok(&mut following, read(c, 40)).await;
    assert_eq!(bobs.expect("notice").await["unread"], 10);
    // Posting reads everything, so this is read elsewhere as well.
    following.post(c, MessageId::new(), "mine").await;
    let notice = bobs.expect("notice").await;
    assert_eq!((&notice["unread"], &notice["last_seq"]), (&json!(0), &json!(51)));
    // Being added, and a conversation that is made with one.
    let other = ann.create_conversation("Other").await;
    ann.add_member(other, bob.id, "member").await.ok();
    assert_eq!(bobs.expect("notice").await["conversation"], json!(other));
    let made = ann
        .post("/api/conversations", json!({"title": "New", "members": [bob.id]}))
        .await
        .ok();
    assert_eq!(bobs.expect("notice").await["conversation"], made["id"]);
    app.stop().await;
}

#[actix_web::test]
async fn a_large_conversation_has_no_small_talk() {
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let many =
        "INSERT INTO users (id, tenant_id, name, role, tier) SELECT gen_random_uuid(), $1, 'Many ' || n, 'member',
                'regular' FROM generate_series(1, 199) n RETURNING id";
    let users = app.database.query(many, &[&ann.tenant.0]).await;
    for chunk in users.chunks(50) {
        let ids: Vec<_> = chunk.iter().map(|row| json!(row.get::<_, uuid::Uuid>(0))).collect();
        let add = ids.into_iter().map(|id| {
            let ann = ann.clone();
            async move {
                ann.post(&format!("/api/conversations/{c}/members"), json!({"user_id": id}))
                    .await
                    .ok()
            }
        });
        futures_util::future::join_all(add).await;
    }
    let (mut anns, mut bobs) = (ann.connect().await, bob.connect().await);
    let state = anns.subscribe(c, None).await.subscribed;
    assert_eq!((&state["member_count"], state.get("members")), (&json!(201), None));
    bobs.subscribe(c, None).await;
    anns.post(c, MessageId::new(), "x").await;
    bobs.expect("message").await;
    ok(&mut bobs, read(c, 1)).await;
    ok(&mut bobs, typing(c, true)).await;
    // There are no `read` frames, so a notice says on every connection that one has read, subscribed or not.
    let mut third = bob.connect().await;
    third.subscribe(c, None).await;
    anns.post(c, MessageId::new(), "y").await;
    ok(&mut bobs, read(c, 2)).await;
    let has_read = |frame: &Value| frame["type"] == "notice" && frame["last_seq"] == 2 && frame["unread"] == 0;
    third.expect_where("that Bob has read", has_read).await;
    while let Ok(frame) = anns.next_frame(Duration::from_millis(1_300)).await {
        assert!(
            !["read", "typing", "presence"].contains(&frame["type"].as_str().unwrap()),
            "{frame}"
        );
    }
    // One less, and they are back.
    ann.remove_member(c, parlance::ids::UserId(users[0].get(0))).await.ok();
    assert_eq!(anns.expect("member").await["change"], "removed");
    assert_eq!(
        anns.subscribe(c, None).await.subscribed["members"]
            .as_array()
            .unwrap()
            .len(),
        200
    );
    ok(&mut bobs, typing(c, true)).await;
    let frame = tokio::time::timeout(PATIENCE, anns.expect("typing")).await.unwrap();
    assert_eq!(frame["user"], json!(bob.id));
    app.stop().await;
}

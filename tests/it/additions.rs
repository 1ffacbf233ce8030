//! Being put into conversations by others: who does not want it, how many people one adds a day, and the way out of many
//! rooms at once.

use crate::support::{Person, TestApp};
use futures_util::future::join_all;
use parlance::conversations::{ADDITIONS_PER_DAY, LEAVES_MAX};
use parlance::ids::ConversationId;
use serde_json::{Value, json};

async fn members(person: &Person, c: ConversationId) -> usize {
    let page = person.get(&format!("/api/conversations/{c}/members")).await.ok();
    page["items"].as_array().unwrap().len()
}

async fn leave(person: &Person, ids: &[ConversationId], decline: bool) -> Vec<Value> {
    let body = json!({"conversations": ids, "decline": decline});
    let left = person.post("/api/conversations/leave", body).await.ok();
    left["items"].as_array().unwrap().clone()
}

#[actix_web::test]
async fn who_is_blocked_adds_one_to_nothing() {
    let app = TestApp::start().await;
    let ([ann, bob, eve], c) = app.conversation_of(["Ann", "Bob", "Eve"]).await;
    let stranger = app.register("Stranger").await;
    let block = async |whom: &Person| bob.post("/api/me/blocks", json!({"user_id": whom.id})).await;
    block(&eve).await.ok();
    assert_eq!(block(&eve).await.ok()["name"], "Eve", "again is fine");
    block(&stranger).await.problem(404, "not_found");
    block(&bob).await.problem(409, "conflict");
    let listed = bob.get("/api/me/blocks").await.ok();
    assert_eq!(listed["items"][0]["id"], json!(eve.id));
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        eve.get("/api/me/blocks").await.ok()["items"],
        json!([]),
        "they are not told"
    );
    let room = eve.create_conversation("Eve's").await;
    eve.add_member(room, bob.id, "member").await.problem(403, "forbidden");
    let with = |members: &[&Person]| {
        let members: Vec<_> = members.iter().map(|person| person.id).collect();
        json!({"title": "Eve's", "members": members})
    };
    eve.post("/api/conversations", with(&[&ann, &bob]))
        .await
        .problem(404, "not_found");
    eve.post("/api/conversations", with(&[&ann])).await.ok();
    // Others add him as before, and by a link he comes himself.
    let other = ann.create_conversation("Ann's").await;
    ann.add_member(other, bob.id, "member").await.ok();
    bob.accept(&eve.invite(room).await).await.ok();
    assert_eq!(members(&eve, room).await, 2);
    bob.remove_member(room, bob.id).await.ok();
    eve.add_member(room, bob.id, "member").await.problem(403, "forbidden");
    bob.delete(&format!("/api/me/blocks/{}", eve.id)).await.ok();
    bob.delete(&format!("/api/me/blocks/{}", eve.id)).await.ok();
    eve.add_member(room, bob.id, "member").await.ok();
    assert_eq!(members(&ann, c).await, 3);
    app.stop().await;
}

#[actix_web::test]
async fn as_many_are_blocked_as_can_be_and_no_more() {
    let app = TestApp::start().await;
    let ([_, bob, eve, zoe, ida], _) = app.conversation_of(["Ann", "Bob", "Eve", "Zoe", "Ida"]).await;
    let sql = "WITH people AS (INSERT INTO users (id, tenant_id, name, role, tier)
                   SELECT gen_random_uuid(), $1, 'x', 'member', 'regular' FROM generate_series(1, 999) RETURNING id)
               INSERT INTO user_blocks (tenant_id, user_id, blocked_id) SELECT $1, $2, id FROM people RETURNING 1";
    app.database.query(sql, &[&bob.tenant.0, &bob.id.0]).await;
    let bodies = [&eve, &zoe, &ida].map(|whom| json!({"user_id": whom.id}));
    let answers = join_all(bodies.map(|body| bob.post("/api/me/blocks", body))).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409]);
    assert_eq!(
        answers
            .into_iter()
            .filter(|answer| answer.body["code"] == "limit_reached")
            .count(),
        2
    );
    app.stop().await;
}

#[actix_web::test]
async fn many_rooms_are_left_with_one_request() {
    let app = TestApp::start().await;
    let there = app.peer().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let mut rooms = Vec::new();
    for n in 0..12 {
        let room = ann.create_conversation(&format!("Room {n}")).await;
        ann.add_member(room, bob.id, "member").await.ok();
        rooms.push(room);
    }
    let own = bob.create_conversation("Bob's").await;
    let foreign = ann.create_conversation("Not Bob's").await;
    // Most of them sleep on this node: nothing is started to leave them.
    let fresh = app.peer().await;
    let mut devices = [bob.at(&fresh).connect().await, bob.at(&there).connect().await];
    devices[0].subscribe(rooms[0], None).await;
    let mut ids = rooms.clone();
    ids.extend([own, foreign]);
    let left = leave(&bob.at(&fresh), &ids, false).await;
    let error = |n: usize| left[n]["error"]["code"].clone();
    assert!((0..12).all(|n| error(n).is_null()), "{left:?}");
    assert_eq!((error(12), error(13)), (json!("conflict"), json!("not_found")));
    assert_eq!(left[13]["conversation"], json!(foreign), "in the order of the request");
    // Every device of his hears of each: by a notice, or where it was subscribed by the change itself.
    let removed = devices[0].expect("member").await;
    assert_eq!(
        (&removed["change"], &removed["conversation"]),
        (&json!("removed"), &json!(rooms[0]))
    );
    for (device, told) in devices.iter_mut().zip([&rooms[1..], &rooms[..]]) {
        let mut missing: Vec<_> = told.iter().map(|room| json!(room)).collect();
        while !missing.is_empty() {
            let notice = device.expect("notice").await;
            if notice["removed"] == true {
                missing.retain(|room| *room != notice["conversation"]);
            }
        }
    }
    let list = bob.get("/api/conversations").await.ok();
    assert_eq!(list["items"].as_array().unwrap().len(), 2, "{list}");
    for room in &rooms {
        assert_eq!(members(&ann, *room).await, 1);
    }
    // Again: not a member any more. And there is a bound, and something to leave.
    assert_eq!(leave(&bob, &[rooms[0]], false).await[0]["error"]["code"], "not_found");
    for wrong in [vec![], vec![c; LEAVES_MAX + 1]] {
        let answer = bob
            .post("/api/conversations/leave", json!({"conversations": wrong}))
            .await;
        assert_eq!(
            answer.problem(400, "bad_request")["errors"][0]["field"],
            "conversations"
        );
    }
    fresh.stop().await;
    there.stop().await;
    app.stop().await;
}

#[actix_web::test]
async fn who_declined_a_room_is_not_put_back_into_it() {
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let other = ann.create_conversation("Other").await;
    ann.add_member(other, bob.id, "member").await.ok();
    // Whoever only left may be asked back.
    assert!(leave(&bob, &[c], false).await[0]["error"].is_null());
    ann.add_member(c, bob.id, "member").await.ok();
    let left = leave(&bob, &[c, other], true).await;
    assert!(left.iter().all(|item| item["error"].is_null()), "{left:?}");
    for room in [c, other] {
        ann.add_member(room, bob.id, "member").await.problem(403, "forbidden");
    }
    // By a link they come themselves; then it is as before.
    bob.accept(&ann.invite(c).await).await.ok();
    assert!(leave(&bob, &[c], false).await[0]["error"].is_null());
    ann.add_member(c, bob.id, "member").await.ok();
    ann.add_member(other, bob.id, "member").await.problem(403, "forbidden");
    app.stop().await;
}

#[actix_web::test]
async fn one_user_adds_so_many_a_day() {
    let app = TestApp::start().await;
    let ([ann, bob, eve], c) = app.conversation_of(["Ann", "Bob", "Eve"]).await;
    let ids = join_all((0..12).map(|_| ann.create_conversation("Room"))).await;
    ann.add_member(ids[0], bob.id, "member").await.ok();
    let set = async |day: &str, n: i32| {
        let sql = format!("UPDATE member_additions SET day = {day}, n = $2 WHERE user_id = $1 RETURNING 1");
        assert_eq!(app.database.query(&sql, &[&ann.id.0, &n]).await.len(), 1);
    };
    let today = "(now() AT TIME ZONE 'UTC')::date";
    set(today, ADDITIONS_PER_DAY - 5).await;
    // Many at once do not get past it.
    let answers = join_all(ids[1..].iter().map(|room| ann.add_member(*room, bob.id, "member"))).await;
    let added = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(added, 5);
    for answer in answers.into_iter().filter(|answer| answer.status != 201) {
        answer.problem(409, "limit_reached");
    }
    // Who is there already costs nothing; making a conversation with others costs; alone it does not; others are others.
    ann.add_member(ids[0], bob.id, "member").await.ok();
    let with_eve = json!({"title": "x", "members": [eve.id]});
    ann.post("/api/conversations", with_eve.clone())
        .await
        .problem(409, "limit_reached");
    ann.create_conversation("Alone").await;
    bob.post("/api/conversations", with_eve.clone()).await.ok();
    ann.post(&format!("/api/conversations/{c}/invites"), json!({}))
        .await
        .ok();
    // The next day.
    set(&format!("{today} - 1"), ADDITIONS_PER_DAY).await;
    ann.post("/api/conversations", with_eve).await.ok();
    let sql = "SELECT n FROM member_additions WHERE user_id = $1";
    assert_eq!(app.database.query(sql, &[&ann.id.0]).await[0].get::<_, i32>(0), 1);
    app.stop().await;
}

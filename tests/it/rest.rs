//! Conversations, messages, members and invites over REST.

use crate::support::{Answer, Person, TestApp};
use parlance::ids::{ConversationId, MessageId, UserId};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn items(page: &Value) -> &Vec<Value> {
    page["items"].as_array().unwrap()
}

fn titles(page: &Value) -> Vec<&str> {
    items(page).iter().map(|item| item["title"].as_str().unwrap()).collect()
}

/// Posts messages `1`, `2`, … and returns their ids.
pub async fn post_some(person: &Person, conversation: ConversationId, n: usize) -> Vec<MessageId> {
    let mut ids = Vec::new();
    for number in 1..=n {
        let id = MessageId::new();
        person.post_message(conversation, id, &number.to_string()).await.ok();
        ids.push(id);
    }
    ids
}

#[actix_web::test]
async fn the_list_is_ordered_by_activity_and_counts_what_is_unread() {
    let app = TestApp::start().await;
    let ([ann, bob], first) = app.conversation_of(["Ann", "Bob"]).await;
    let second = ann
        .post(
            "/api/conversations",
            json!({"title": " Second ", "members": [bob.id, bob.id]}),
        )
        .await
        .ok();
    assert_eq!(
        (&second["title"], &second["member_count"], &second["role"]),
        (&json!("Second"), &json!(2), &json!("owner"))
    );
    assert_eq!(titles(&bob.get("/api/conversations").await.ok()), ["Second", "Test"]);
    post_some(&ann, first, 3).await;
    let list = bob.get("/api/conversations").await.ok();
    assert_eq!(titles(&list), ["Test", "Second"]);
    let test = &items(&list)[0];
    assert_eq!(
        (&test["last_seq"], &test["read_seq"], &test["unread"]),
        (&json!(3), &json!(0), &json!(3))
    );
    assert_eq!(
        (&test["last_message"]["body"], &test["role"]),
        (&json!("3"), &json!("member"))
    );
    assert_eq!(test["last_message_at"], test["last_message"]["created_at"]);
    assert_eq!(
        (&items(&list)[1]["last_message"], &items(&list)[1]["last_message_at"]),
        (&Value::Null, &Value::Null)
    );
    // One's own messages are read, also in the second before the marker is written.
    let own = ann.get(&format!("/api/conversations/{first}")).await.ok();
    assert_eq!((&own["read_seq"], &own["unread"]), (&json!(3), &json!(0)));
    app.stop().await;
}

#[actix_web::test]
async fn lists_come_in_pages_that_hold_still() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    for n in 0..5 {
        ann.create_conversation(&n.to_string()).await;
    }
    let first = ann.get("/api/conversations?limit=2").await.ok();
    ann.create_conversation("new").await;
    let mut seen: Vec<String> = titles(&first).into_iter().map(str::to_owned).collect();
    let mut next = first["next"].as_str().map(str::to_owned);
    while let Some(cursor) = next {
        let page = ann
            .get(&format!("/api/conversations?limit=2&cursor={cursor}"))
            .await
            .ok();
        seen.extend(titles(&page).into_iter().map(str::to_owned));
        next = page["next"].as_str().map(str::to_owned);
    }
    assert_eq!(seen, ["4", "3", "2", "1", "0"]);
    app.stop().await;
}

#[actix_web::test]
async fn history_is_read_in_both_directions_and_around() {
    let app = TestApp::start().await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    post_some(&ann, conversation, 7).await;
    let cases: [(&str, &[i64], Option<&str>); 9] = [
        ("", &[1, 2, 3, 4, 5, 6, 7], None),
        ("?limit=3", &[5, 6, 7], Some("before.5")),
        ("?limit=3&cursor=before.5", &[2, 3, 4], Some("before.2")),
        ("?limit=3&before=2", &[1], None),
        ("?limit=3&after=0", &[1, 2, 3], Some("after.3")),
        ("?limit=3&cursor=after.3", &[4, 5, 6], Some("after.6")),
        ("?after=7", &[], None),
        ("?limit=3&around=4", &[3, 4, 5], None),
        ("?limit=4&around=1", &[1, 2, 3], None),
    ];
    let path = format!("/api/conversations/{conversation}/messages");
    for (query, expected, next) in cases {
        let page = ann.get(&format!("{path}{query}")).await.ok();
        let seqs: Vec<i64> = items(&page)
            .iter()
            .map(|message| message["seq"].as_i64().unwrap())
            .collect();
        assert_eq!(
            (&*seqs, page["next"].as_str(), page["rev"].as_i64()),
            (expected, next, Some(8)),
            "{query}"
        );
    }
    let rev = ann.get(&path).await.ok()["rev"].as_i64();
    let mut socket = ann.connect().await;
    assert_eq!(
        socket.subscribe(conversation, rev).await.frames.len(),
        0,
        "the page's revision resumes without a gap"
    );
    for query in [
        "limit=0",
        "limit=101",
        "before=-1",
        "before=x",
        "before=1&after=1",
        "cursor=x",
        "cursor=sideways.1",
        "q=1",
    ] {
        ann.get(&format!("{path}?{query}")).await.problem(400, "bad_request");
    }
    app.stop().await;
}

#[actix_web::test]
async fn messages_go_the_same_way_as_on_the_socket() {
    let app = TestApp::start().await;
    let ([ann, bob, mod_], conversation) = app.conversation_of(["Ann", "Bob", "Mod"]).await;
    let mut socket = ann.connect().await;
    socket.subscribe(conversation, None).await;
    let id = MessageId::new();
    let posted = bob.post_message(conversation, id, "hello").await;
    assert_eq!(posted.status, 201);
    assert_eq!(socket.expect("message").await["rev"], posted.body["rev"]);
    let again = bob.post_message(conversation, id, "hello").await;
    assert_eq!(
        (again.status, &again.body["duplicate"], &again.body["seq"]),
        (200, &json!(true), &posted.body["seq"])
    );
    bob.post_message(conversation, id, "something else")
        .await
        .problem(409, "conflict");
    let messages = format!("/api/conversations/{conversation}/messages");
    let reply = json!({"id": MessageId::new(), "body": "yes", "reply_to": id});
    bob.post(&messages, reply).await.ok();
    for body in ["", " \n ", "a\u{0}b"] {
        bob.post_message(conversation, MessageId::new(), body)
            .await
            .problem(400, "bad_request");
    }
    bob.post_message(conversation, MessageId::new(), &"x".repeat(16_385))
        .await
        .problem(413, "too_large");
    bob.post_message(conversation, MessageId::new(), &"\u{1}".repeat(16_384))
        .await
        .ok();
    let path = format!("{messages}/{id}");
    ann.patch(&path, json!({"body": "not hers"}))
        .await
        .problem(403, "forbidden");
    let edited = bob.patch(&path, json!({"body": "hello!"})).await.ok();
    assert_eq!(
        (&edited["body"], edited["edited_at"].is_string()),
        (&json!("hello!"), true)
    );
    assert_eq!(socket.expect("updated").await["body"], "hello!");
    mod_.delete(&path).await.problem(403, "forbidden");
    let promote = format!("/api/conversations/{conversation}/members/{}", mod_.id);
    ann.patch(&promote, json!({"role": "moderator"})).await.ok();
    for _ in 0..2 {
        assert_eq!(mod_.delete(&path).await.status, 204);
    }
    bob.patch(&path, json!({"body": "back"})).await.problem(409, "conflict");
    let list = bob.get(&messages).await.ok();
    assert_eq!(
        (&items(&list)[0]["body"], items(&list)[0]["deleted_at"].is_string()),
        (&Value::Null, true)
    );
    bob.delete(&format!("{messages}/{}", MessageId::new()))
        .await
        .problem(404, "not_found");
    app.stop().await;
}

#[actix_web::test]
async fn members_come_and_go_by_their_roles() {
    let app = TestApp::start().await;
    let ([ann, bob, cid], conversation) = app.conversation_of(["Ann", "Bob", "Cid"]).await;
    let path = format!("/api/conversations/{conversation}/members");
    let of = |person: &Person| format!("{path}/{}", person.id);
    let first = bob.get(&format!("{path}?limit=2")).await.ok();
    let rest = bob
        .get(&format!("{path}?limit=2&cursor={}", first["next"].as_str().unwrap()))
        .await
        .ok();
    assert_eq!(
        (items(&first).len(), items(&rest).len(), &rest["next"]),
        (2, 1, &Value::Null)
    );
    bob.delete(&of(&cid)).await.problem(403, "forbidden");
    bob.patch(&of(&bob), json!({"role": "owner"}))
        .await
        .problem(403, "forbidden");
    bob.patch(&format!("/api/conversations/{conversation}"), json!({"title": "Bob's"}))
        .await
        .problem(403, "forbidden");
    ann.delete(&of(&ann)).await.problem(409, "conflict");
    ann.patch(&of(&ann), json!({"role": "member"}))
        .await
        .problem(409, "conflict");
    assert_eq!(
        ann.patch(&of(&bob), json!({"role": "moderator"})).await.ok()["role"],
        "moderator"
    );
    let renamed = bob
        .patch(&format!("/api/conversations/{conversation}"), json!({"title": "Bob's"}))
        .await
        .ok();
    assert_eq!(renamed["title"], "Bob's");
    assert_eq!(bob.delete(&of(&cid)).await.status, 204);
    for path in ["", "/messages", "/members", "/invites"] {
        cid.get(&format!("/api/conversations/{conversation}{path}"))
            .await
            .problem(404, "not_found");
    }
    cid.post_message(conversation, MessageId::new(), "still here?")
        .await
        .problem(404, "not_found");
    assert_eq!(items(&cid.get("/api/conversations").await.ok()).len(), 0);
    bob.add_member(conversation, cid.id, "moderator")
        .await
        .problem(403, "forbidden");
    assert_eq!(bob.add_member(conversation, cid.id, "member").await.status, 201);
    bob.add_member(conversation, UserId::new(), "member")
        .await
        .problem(404, "not_found");
    cid.get(&format!("/api/conversations/{conversation}/messages"))
        .await
        .ok();
    bob.delete(&format!("/api/conversations/{conversation}"))
        .await
        .problem(403, "forbidden");
    assert_eq!(
        ann.delete(&format!("/api/conversations/{conversation}")).await.status,
        204
    );
    for path in ["", "/messages", "/members", "/invites"] {
        ann.get(&format!("/api/conversations/{conversation}{path}"))
            .await
            .problem(404, "not_found");
    }
    app.stop().await;
}

#[actix_web::test]
async fn invites_are_counted_expire_and_are_withdrawn() {
    let app = TestApp::start().await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let path = format!("/api/conversations/{conversation}/invites");
    let limited = ann.post(&path, json!({"max_uses": 3})).await.ok();
    let code = limited["code"].as_str().unwrap();
    assert!(code.len() >= 22, "128 bits");
    // Ten at once, three places.
    let body = |n: usize| json!({"name": format!("Guest {n}"), "invite": code});
    let guests = (0..10).map(|n| app.request(Method::POST, "/auth/guest", None, Some(body(n))));
    let mut statuses: Vec<u16> = futures_util::future::join_all(guests)
        .await
        .iter()
        .map(|answer| answer.status)
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 201, 201, 404, 404, 404, 404, 404, 404, 404]);
    let sql = "SELECT count(*) FROM users WHERE role = 'guest'";
    assert_eq!(
        app.database.query(sql, &[]).await[0].get::<_, i64>(0),
        3,
        "who could not join is not left behind"
    );
    assert_eq!(items(&ann.get(&path).await.ok())[0]["uses"], 3);

    let open = ann.invite(conversation).await;
    let bob = app.join("Bob", &open).await;
    bob.get(&path).await.problem(403, "forbidden");
    bob.post(&path, json!({})).await.problem(403, "forbidden");
    assert_eq!(bob.accept(&open).await.ok()["id"], json!(conversation));
    let sql = "SELECT uses FROM invites WHERE code = $1";
    assert_eq!(
        app.database.query(sql, &[&open]).await[0].get::<_, i32>(0),
        1,
        "accepting twice costs one use"
    );
    let eve = app.register("Eve").await;
    eve.accept(&open).await.problem(404, "not_found");
    bob.accept("nonsense").await.problem(404, "not_found");

    let expiring = ann
        .post(
            &path,
            json!({"expires_at": chrono::Utc::now() + chrono::TimeDelta::hours(1)}),
        )
        .await
        .ok();
    app.database
        .query(
            "UPDATE invites SET expires_at = now() WHERE expires_at IS NOT NULL",
            &[],
        )
        .await;
    let body = json!({"name": "Gus", "invite": expiring["code"]});
    app.request(Method::POST, "/auth/guest", None, Some(body))
        .await
        .problem(404, "not_found");

    let listed = ann.get(&path).await.ok();
    let id = items(&listed).iter().find(|invite| invite["code"] == open).unwrap()["id"]
        .as_str()
        .unwrap();
    assert_eq!(ann.delete(&format!("{path}/{id}")).await.status, 204);
    ann.delete(&format!("{path}/{id}")).await.problem(404, "not_found");
    let body = json!({"name": "Gus", "invite": open});
    app.request(Method::POST, "/auth/guest", None, Some(body))
        .await
        .problem(404, "not_found");
    for (field, value) in [
        ("max_uses", json!(0)),
        ("max_uses", json!("x")),
        ("expires_at", json!("2020-01-01T00:00:00Z")),
        ("expires_at", json!("soon")),
        ("uses", json!(1)),
    ] {
        let problem = ann.post(&path, json!({field: value})).await.problem(400, "bad_request");
        assert_eq!(problem["errors"][0]["field"], field);
    }
    app.stop().await;
}

#[actix_web::test]
async fn another_tenants_conversation_does_not_exist() {
    let app = TestApp::start().await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let id = post_some(&ann, conversation, 1).await[0];
    let eve = app.register("Eve").await;
    let missing = ConversationId::new();
    for conversation in [conversation, missing] {
        let path = format!("/api/conversations/{conversation}");
        let mut details = BTreeSet::new();
        let mut refused = |answer: Answer| {
            details.insert(answer.problem(404, "not_found")["detail"].to_string());
        };
        for below in ["", "/messages", "/members", "/invites"] {
            refused(eve.get(&format!("{path}{below}")).await);
        }
        refused(eve.patch(&path, json!({"title": "Mine"})).await);
        refused(eve.delete(&path).await);
        refused(eve.post_message(conversation, MessageId::new(), "hi").await);
        refused(eve.post_message(conversation, id, "1").await);
        refused(eve.patch(&format!("{path}/messages/{id}"), json!({"body": "x"})).await);
        refused(eve.delete(&format!("{path}/messages/{id}")).await);
        refused(eve.add_member(conversation, eve.id, "owner").await);
        refused(eve.post(&format!("{path}/invites"), json!({})).await);
        assert_eq!(details.len(), 1, "nothing tells one from the other: {details:?}");
    }
    ann.add_member(conversation, eve.id, "member")
        .await
        .problem(404, "not_found");
    let with_eve = json!({"title": "Us", "members": [eve.id]});
    ann.post("/api/conversations", with_eve).await.problem(404, "not_found");
    // Message ids are unique in a tenant, not beyond it.
    let own = eve.create_conversation("Own").await;
    assert_eq!(eve.post_message(own, id, "hi").await.status, 201);
    app.stop().await;
}

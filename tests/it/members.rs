//! Who may do what in a conversation, what members hear of it, and what strangers do not.

use crate::support::{Answer, Person, TestApp};
use parlance::ids::{ConversationId, MessageId};
use reqwest::Method;
use serde_json::{Value, json};

fn members(c: ConversationId) -> String {
    format!("/api/conversations/{c}/members")
}

fn member(c: ConversationId, person: &Person) -> String {
    format!("/api/conversations/{c}/members/{}", person.id)
}

async fn role(owner: &Person, c: ConversationId, person: &Person, role: &str) -> Answer {
    owner.patch(&member(c, person), json!({"role": role})).await
}

/// A conversation with one of each role, and somebody of the tenant who is not in it.
struct Cast {
    owner: Person,
    moderator: Person,
    plain: Person,
    outsider: Person,
    conversation: ConversationId,
}

impl Cast {
    async fn of(app: &TestApp) -> Self {
        let names = ["Owner", "Moderator", "Plain", "Outsider"];
        let ([owner, moderator, plain, outsider], c) = app.conversation_of(names).await;
        role(&owner, c, &moderator, "moderator").await.ok();
        outsider.remove_member(c, outsider.id).await.ok();
        Self {
            owner,
            moderator,
            plain,
            outsider,
            conversation: c,
        }
    }

    /// Demands the same request of everybody: who may not is `forbidden`, who is not in it finds nothing.
    async fn demand(&self, method: Method, path: &str, body: Value, allowed: [bool; 3]) {
        let body = (!body.is_null()).then_some(body);
        // The least first, so that a success does not change what is asked of the others.
        let site = &self.owner.site;
        let answer = site
            .request(method.clone(), path, Some(&self.outsider.token), body.clone())
            .await;
        answer.problem(404, "not_found");
        for (person, allowed) in [&self.plain, &self.moderator, &self.owner].into_iter().zip(allowed) {
            let answer = site
                .request(method.clone(), path, Some(&person.token), body.clone())
                .await;
            if allowed {
                answer.ok();
                return;
            }
            answer.problem(403, "forbidden");
        }
    }
}

#[actix_web::test]
async fn the_roles_allow_what_the_table_says() {
    let app = TestApp::start().await;
    let cast = Cast::of(&app).await;
    let c = cast.conversation;
    let path = format!("/api/conversations/{c}");
    let [all, moderators, owners] = [[true; 3], [false, true, true], [false, false, true]];
    cast.demand(Method::GET, &path, Value::Null, all).await;
    cast.demand(Method::GET, &format!("{path}/messages"), Value::Null, all)
        .await;
    cast.demand(Method::GET, &members(c), Value::Null, all).await;
    let post = json!({"id": MessageId::new(), "body": "x"});
    cast.demand(Method::POST, &format!("{path}/messages"), post, all).await;
    cast.demand(Method::PATCH, &path, json!({"title": "Renamed"}), moderators)
        .await;
    cast.demand(Method::GET, &format!("{path}/invites"), Value::Null, moderators)
        .await;
    cast.demand(Method::POST, &format!("{path}/invites"), json!({}), moderators)
        .await;
    // Others' messages.
    let id = MessageId::new();
    cast.owner.post_message(c, id, "the owner's").await.ok();
    cast.demand(
        Method::PATCH,
        &format!("{path}/messages/{id}"),
        json!({"body": "mine"}),
        owners,
    )
    .await;
    cast.demand(
        Method::DELETE,
        &format!("{path}/messages/{id}"),
        Value::Null,
        moderators,
    )
    .await;
    // Adding and removing.
    let other = app.join("Other", &cast.owner.invite(c).await).await;
    cast.demand(Method::DELETE, &member(c, &other), Value::Null, moderators)
        .await;
    cast.demand(Method::POST, &members(c), json!({"user_id": other.id}), moderators)
        .await;
    // Roles, and what only owners may do to those who have one.
    cast.demand(Method::PATCH, &member(c, &other), json!({"role": "moderator"}), owners)
        .await;
    cast.demand(Method::DELETE, &member(c, &other), Value::Null, owners)
        .await;
    let with_role = json!({"user_id": other.id, "role": "moderator"});
    cast.demand(Method::POST, &members(c), with_role, owners).await;
    cast.moderator
        .remove_member(c, cast.owner.id)
        .await
        .problem(403, "forbidden");
    cast.demand(Method::DELETE, &path, Value::Null, owners).await;
    app.stop().await;
}

/// Only owners of a conversation: a tenant's admins and owners are no more than members there.
#[actix_web::test]
async fn an_admin_reads_only_what_they_are_a_member_of() {
    let app = TestApp::start().await;
    let ([boss, bob], c) = app.conversation_of(["Boss", "Bob"]).await;
    let private = bob.create_conversation("Private").await;
    let id = MessageId::new();
    bob.post_message(private, id, "between us").await.ok();
    let path = format!("/api/conversations/{private}");
    for path in [
        path.clone(),
        format!("{path}/messages"),
        members(private),
        format!("{path}/invites"),
    ] {
        boss.get(&path).await.problem(404, "not_found");
    }
    boss.delete(&path).await.problem(404, "not_found");
    boss.add_member(private, boss.id, "member")
        .await
        .problem(404, "not_found");
    let mut socket = boss.connect().await;
    socket
        .refused(json!({"type": "subscribe", "conversation": private}), "not_found")
        .await;
    // Bob asks them in, as a plain member: the role in the tenant counts nothing here.
    bob.add_member(private, boss.id, "member").await.ok();
    boss.delete(&format!("{path}/messages/{id}"))
        .await
        .problem(403, "forbidden");
    boss.patch(&path, json!({"title": "Mine"}))
        .await
        .problem(403, "forbidden");
    assert_eq!(boss.get(&format!("/api/conversations/{c}")).await.status, 200);
    app.stop().await;
}

#[actix_web::test]
async fn the_last_owner_stays() {
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    ann.remove_member(c, ann.id).await.problem(409, "conflict");
    role(&ann, c, &ann, "member").await.problem(409, "conflict");
    role(&ann, c, &bob, "owner").await.ok();
    // Both at once: one goes, one stays.
    let (one, two) = tokio::join!(ann.remove_member(c, ann.id), bob.remove_member(c, bob.id));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 409]);
    let sql = "SELECT count(*) FROM conversation_members WHERE conversation_id = $1 AND role = 'owner' AND removed_at IS NULL";
    assert_eq!(app.database.query(sql, &[&c.0]).await[0].get::<_, i64>(0), 1);
    app.stop().await;
}

#[actix_web::test]
async fn members_hear_of_members() {
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let (mut anns, mut bobs) = (ann.connect().await, bob.connect().await);
    let mut rev = anns.subscribe(c, None).await.rev();
    bobs.subscribe(c, None).await;
    let zoe = app
        .join("Zoe", &ann.invite(ann.create_conversation("Elsewhere").await).await)
        .await;
    let mut expect = async |change: &str, person: &Person, role: &str| {
        rev += 1;
        let user = json!({"id": person.id, "name": person.name, "kind": "person", "role": role});
        for socket in [&mut anns, &mut bobs] {
            let frame = socket.expect("member").await;
            let wanted = json!({"type": "member", "conversation": c, "rev": rev, "user": user, "change": change});
            assert_eq!(frame, wanted);
        }
    };
    ann.add_member(c, zoe.id, "member").await.ok();
    expect("added", &zoe, "member").await;
    // Again changes nothing, takes no revision and shows nothing; with another role it is a conflict.
    ann.add_member(c, zoe.id, "member").await.ok();
    ann.add_member(c, zoe.id, "moderator").await.problem(409, "conflict");
    role(&ann, c, &zoe, "member").await.ok();
    role(&ann, c, &zoe, "moderator").await.ok();
    expect("changed", &zoe, "moderator").await;
    ann.remove_member(c, zoe.id).await.ok();
    expect("removed", &zoe, "moderator").await;
    ann.add_member(c, zoe.id, "member").await.ok();
    expect("added", &zoe, "member").await;
    zoe.remove_member(c, zoe.id).await.ok();
    expect("removed", &zoe, "member").await;
    ann.patch(&format!("/api/conversations/{c}"), json!({"title": "Renamed"}))
        .await
        .ok();
    let frame = bobs.expect("conversation").await;
    assert_eq!(
        (&frame["title"], &frame["deleted_at"]),
        (&json!("Renamed"), &Value::Null)
    );
    // The removed one gets the frame that says so on every connection, and then nothing more.
    let mut other = bob.connect().await;
    other.subscribe(c, None).await;
    ann.remove_member(c, bob.id).await.ok();
    for socket in [&mut bobs, &mut other] {
        let frame = socket
            .expect_where("the removal", |frame| frame["user"]["id"] == json!(bob.id))
            .await;
        assert_eq!(frame["change"], "removed");
        socket.drain();
    }
    anns.post(c, MessageId::new(), "without Bob").await;
    ann.add_member(c, zoe.id, "member").await.ok();
    anns.subscribe(c, None).await;
    anns.ask(json!({"type": "typing", "conversation": c, "on": true})).await;
    for socket in [&mut bobs, &mut other] {
        for kind in ["read", "typing", "send", "edit"] {
            let mut frame = json!({"type": kind, "conversation": c});
            match kind {
                "read" => frame["seq"] = json!(1),
                "typing" => frame["on"] = json!(true),
                _ => (frame["id"], frame["body"]) = (json!(MessageId::new()), json!("x")),
            }
            socket.refused(frame, "not_found").await;
        }
        assert_eq!(
            socket.next_frame(std::time::Duration::from_millis(1_200)).await,
            Err(crate::support::client::Ended::TimedOut)
        );
    }
    app.stop().await;
}

#[actix_web::test]
async fn guests_are_confined_to_what_they_were_invited_to() {
    let app = TestApp::start().await;
    let (ann, c) = app.person_with_conversation("Ann").await;
    let other = ann.create_conversation("Other").await;
    let guest = app.guest("Gus", &ann.invite(c).await).await;
    let mut socket = guest.connect().await;
    socket.subscribe(c, None).await;
    socket.post(c, MessageId::new(), "hello").await;
    guest.get(&format!("/api/conversations/{c}/messages")).await.ok();
    // Nothing else: not by asking, not by being added, not by an invite, not by making one.
    ann.add_member(other, guest.id, "member")
        .await
        .problem(403, "forbidden");
    let accepted = guest.accept(&ann.invite(other).await).await;
    assert!([403, 404].contains(&accepted.status), "{accepted:?}");
    guest
        .get(&format!("/api/conversations/{other}"))
        .await
        .problem(404, "not_found");
    guest
        .post_message(other, MessageId::new(), "x")
        .await
        .problem(404, "not_found");
    socket
        .refused(json!({"type": "subscribe", "conversation": other}), "not_found")
        .await;
    guest
        .post("/api/conversations", json!({"title": "Mine"}))
        .await
        .problem(403, "forbidden");
    let list = guest.get("/api/conversations").await.ok();
    let ids: Vec<_> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["id"].clone())
        .collect();
    assert_eq!(ids, [json!(c)]);
    guest
        .post(&format!("/api/conversations/{c}/invites"), json!({}))
        .await
        .problem(403, "forbidden");
    // Removed, there is nothing left for them.
    ann.remove_member(c, guest.id).await.ok();
    assert_eq!(
        socket
            .expect_where("the removal", |frame| frame["change"] == "removed")
            .await["user"]["id"],
        json!(guest.id)
    );
    socket
        .refused(json!({"type": "subscribe", "conversation": c}), "not_found")
        .await;
    app.stop().await;
}

/// Tenants do not see each other: whatever is asked about what is another's does not exist.
#[actix_web::test]
async fn tenants_are_alone_in_the_world() {
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let id = MessageId::new();
    ann.post_message(c, id, "ours").await.ok();
    let invite = ann.invite(c).await;
    let invites = ann.get(&format!("/api/conversations/{c}/invites")).await.ok();
    let invite_id = invites["items"][0]["id"].as_str().unwrap().to_owned();
    let (zoe, theirs) = app.person_with_conversation("Zoe").await;
    let path = format!("/api/conversations/{c}");
    let (message, user) = (format!("{path}/messages/{id}"), format!("/api/users/{}", bob.id));
    let requests = [
        (Method::GET, path.clone(), Value::Null),
        (Method::PATCH, path.clone(), json!({"title": "Zoe's"})),
        (Method::DELETE, path.clone(), Value::Null),
        (Method::GET, format!("{path}/messages"), Value::Null),
        (
            Method::POST,
            format!("{path}/messages"),
            json!({"id": MessageId::new(), "body": "x"}),
        ),
        (Method::PATCH, message.clone(), json!({"body": "x"})),
        (Method::DELETE, message, Value::Null),
        (Method::GET, members(c), Value::Null),
        (Method::POST, members(c), json!({"user_id": zoe.id})),
        (Method::PATCH, member(c, &bob), json!({"role": "owner"})),
        (Method::DELETE, member(c, &bob), Value::Null),
        (Method::GET, format!("{path}/invites"), Value::Null),
        (Method::POST, format!("{path}/invites"), json!({})),
        (Method::DELETE, format!("{path}/invites/{invite_id}"), Value::Null),
        (Method::POST, format!("/api/invites/{invite}/accept"), Value::Null),
        (Method::GET, user.clone(), Value::Null),
        (Method::PATCH, user, json!({"status": "suspended"})),
        (Method::POST, members(theirs), json!({"user_id": bob.id})),
        (
            Method::POST,
            "/api/conversations".to_owned(),
            json!({"title": "x", "members": [bob.id]}),
        ),
    ];
    for (method, path, body) in requests {
        let body = (!body.is_null()).then_some(body);
        let answer = app.request(method.clone(), &path, Some(&zoe.token), body).await;
        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.body);
        answer.problem(404, "not_found");
    }
    let mut socket = zoe.connect().await;
    let frames = [
        json!({"type": "subscribe", "conversation": c}),
        json!({"type": "subscribe", "conversation": c, "after": 1}),
        json!({"type": "send", "conversation": c, "id": MessageId::new(), "body": "x"}),
        json!({"type": "send", "conversation": theirs, "id": MessageId::new(), "body": "x", "reply_to": id}),
        json!({"type": "edit", "conversation": c, "id": id, "body": "x"}),
        json!({"type": "edit", "conversation": theirs, "id": id, "body": "x"}),
        json!({"type": "delete", "conversation": c, "id": id}),
        json!({"type": "delete", "conversation": theirs, "id": id}),
        json!({"type": "react", "conversation": c, "id": id, "emoji": "x", "on": true}),
        json!({"type": "react", "conversation": theirs, "id": id, "emoji": "x", "on": true}),
        json!({"type": "read", "conversation": c, "seq": 1}),
        json!({"type": "typing", "conversation": c, "on": true}),
    ];
    for frame in frames {
        socket.refused(frame, "not_found").await;
    }
    // Nothing of it left a trace, and neither list mixes them.
    let state = ann.get(&path).await.ok();
    assert_eq!((&state["last_seq"], &state["title"]), (&json!(1), &json!("Test")));
    let users = zoe.get("/api/users").await.ok();
    assert_eq!(users["items"].as_array().unwrap().len(), 1);
    app.stop().await;
}

#[actix_web::test]
async fn a_deleted_conversation_says_so_and_is_gone() {
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let (mut anns, mut bobs) = (ann.connect().await, bob.connect().await);
    let rev = bobs.subscribe(c, None).await.rev();
    anns.post(c, MessageId::new(), "last words").await;
    bobs.expect("message").await;
    let path = format!("/api/conversations/{c}");
    bob.delete(&path).await.problem(403, "forbidden");
    assert_eq!(ann.delete(&path).await.status, 204);
    let end = bobs.expect("conversation").await;
    assert!(
        end["deleted_at"].is_string() && end["rev"] == rev + 2 && end["conversation"] == json!(c),
        "{end}"
    );
    for person in [&ann, &bob] {
        person.get(&path).await.problem(404, "not_found");
        person.get(&format!("{path}/messages")).await.problem(404, "not_found");
        let mut socket = person.connect().await;
        for after in [None, Some(0), Some(rev + 2), Some(rev + 99)] {
            socket
                .refused(
                    json!({"type": "subscribe", "conversation": c, "after": after}),
                    "not_found",
                )
                .await;
        }
        socket
            .refused(
                json!({"type": "send", "conversation": c, "id": MessageId::new(), "body": "x"}),
                "not_found",
            )
            .await;
        socket
            .refused(json!({"type": "read", "conversation": c, "seq": 1}), "not_found")
            .await;
        socket
            .refused(json!({"type": "typing", "conversation": c, "on": true}), "not_found")
            .await;
    }
    bobs.expect_none("notice").await;
    app.stop().await;
}

#[actix_web::test]
async fn who_was_removed_does_not_come_back_by_an_old_link() {
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let open = ann.invite(c).await;
    let guest = app.guest("Gus", &open).await;
    // Who leaves may follow the link again.
    bob.remove_member(c, bob.id).await.ok();
    bob.accept(&open).await.ok();
    for person in [&bob, &guest] {
        ann.remove_member(c, person.id).await.ok();
        let rev = ann.get(&format!("/api/conversations/{c}")).await.ok()["rev"].clone();
        person.accept(&open).await.problem(404, "not_found");
        // To leave now changes nothing about who ended it.
        person.remove_member(c, person.id).await;
        person.accept(&open).await.problem(404, "not_found");
        let after = ann.get(&format!("/api/conversations/{c}")).await.ok()["rev"].clone();
        assert_eq!(after, rev, "nothing was changed");
    }
    let sql = "SELECT uses FROM invites WHERE code = $1";
    assert_eq!(app.database.query(sql, &[&open]).await[0].get::<_, i32>(0), 2);
    // For others it goes on working, and a newer one is for everybody.
    app.join("Cyd", &open).await;
    let fresh = ann.invite(c).await;
    bob.accept(&fresh).await.ok();
    guest.accept(&fresh).await.ok();
    // Added by hand: as if nothing had been.
    ann.remove_member(c, bob.id).await.ok();
    ann.add_member(c, bob.id, "member").await.ok();
    bob.remove_member(c, bob.id).await.ok();
    bob.accept(&open).await.ok();
    app.stop().await;
}

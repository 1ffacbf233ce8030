//! How much one user, and one link, may leave behind. Each limit is met by many at the same moment.

use crate::auth::{cookie, refresh};
use crate::support::client::PASSWORD;
use crate::support::{Answer, TestApp, eventually};
use futures_util::future::join_all;
use parlance::conversations::{USER_CONVERSATIONS_MAX, USER_INVITES_MAX};
use parlance::ids::MessageId;
use reqwest::Method;
use serde_json::json;

/// How many of these have succeeded. The others were refused for the limit, and say which.
fn made(answers: Vec<Answer>, which: &str) -> usize {
    let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status < 300);
    for answer in refused {
        let problem = answer.problem(409, "limit_reached");
        assert!(problem["detail"].as_str().unwrap().contains(which), "{problem}");
    }
    done.len()
}

#[actix_web::test]
async fn a_user_makes_so_many_conversations() {
    let app = TestApp::start().await;
    let (ann, c) = app.person_with_conversation("Ann").await;
    let sql = "WITH made AS (INSERT INTO conversations (tenant_id, id, user_id, title)
                   SELECT $1, gen_random_uuid(), $2, 'x' FROM generate_series(1, $3) RETURNING 1)
               SELECT count(*) FROM made";
    let rows = i32::try_from(USER_CONVERSATIONS_MAX).unwrap() - 3;
    app.database.query(sql, &[&ann.tenant.0, &ann.id.0, &rows]).await;
    let make = || ann.post("/api/conversations", json!({"title": "x"}));
    let answers = join_all((0..8).map(|_| make())).await;
    assert_eq!(made(answers, "conversations"), 2);
    ann.delete(&format!("/api/conversations/{c}")).await.ok();
    make().await.ok();
    make().await.problem(409, "limit_reached");
    app.stop().await;
}

#[actix_web::test]
async fn a_user_has_so_many_open_links() {
    let app = TestApp::start().await;
    let (ann, c) = app.person_with_conversation("Ann").await;
    let other = ann.create_conversation("Other").await;
    let sql = "WITH made AS (INSERT INTO invites (tenant_id, conversation_id, id, code, created_by)
                   SELECT $1, $2, gen_random_uuid(), gen_random_uuid()::text, $3 FROM generate_series(1, $4) RETURNING 1)
               SELECT count(*) FROM made";
    // To places of their own, so that it is not the limit of a conversation that is met.
    for n in 0..5 {
        let place = ann.create_conversation("Place").await;
        let rows = if n == 0 { 97 } else { 100 };
        app.database
            .query(sql, &[&ann.tenant.0, &place.0, &ann.id.0, &rows])
            .await;
    }
    assert_eq!(USER_INVITES_MAX, 500);
    let paths = [c, other].map(|c| format!("/api/conversations/{c}/invites"));
    let answers = join_all((0..10).map(|n| ann.post(&paths[n % 2], json!({})))).await;
    assert_eq!(made(answers, "one user"), 3);
    ann.delete("/api/tenant/invites").await.ok();
    ann.post(&paths[0], json!({})).await.ok();
    app.stop().await;
}

#[actix_web::test]
async fn a_link_lets_so_many_guests_in() {
    let app = TestApp::start().await;
    let (ann, c) = app.person_with_conversation("Ann").await;
    let code = ann.invite(c).await;
    app.guest("First", &code).await;
    let sql = "UPDATE invites SET guests = guests + 997 WHERE code = $1 RETURNING guests";
    assert_eq!(app.database.query(sql, &[&code]).await[0].get::<_, i32>(0), 998);
    let enter = |n: usize| {
        let body = json!({"name": format!("Gus {n}"), "invite": code});
        app.request(Method::POST, "/auth/guest", None, Some(body))
    };
    let statuses: Vec<_> = join_all((0..8).map(enter)).await.iter().map(|a| a.status).collect();
    assert_eq!(
        statuses.iter().filter(|status| **status == 201).count(),
        2,
        "{statuses:?}"
    );
    assert_eq!(made(vec![enter(9).await], "guests"), 0);
    let sql = "SELECT count(*) FROM users WHERE role = 'guest'";
    assert_eq!(app.database.query(sql, &[]).await[0].get::<_, i64>(0), 3);
    // Those who sign up are no guests, and another link is another.
    app.join("Bob", &code).await;
    app.guest("Gil", &ann.invite(c).await).await;
    app.stop().await;
}

/// A guest whom the conversation does not take has not used up a place of the link.
#[actix_web::test]
async fn a_guest_who_cannot_join_gives_the_place_back() {
    let app = TestApp::start().await;
    let (ann, c) = app.person_with_conversation("Ann").await;
    let code = ann.invite(c).await;
    let enter = || {
        let body = json!({"name": "Gus", "invite": code});
        app.request(Method::POST, "/auth/guest", None, Some(body))
    };
    let guests = async || {
        let sql = "SELECT guests FROM invites WHERE code = $1";
        app.database.query(sql, &[&code]).await[0].get::<_, i32>(0)
    };
    let members = async |n: i32| {
        let sql = "UPDATE conversations SET member_count = $2 WHERE id = $1 RETURNING id";
        app.database.query(sql, &[&c.0, &n]).await;
    };
    members(10_000).await;
    enter().await.problem(409, "limit_reached");
    assert_eq!(guests().await, 0);
    members(1).await;
    assert_eq!(enter().await.status, 201);
    assert_eq!(guests().await, 1);
    app.stop().await;
}

/// One more ends the oldest: nobody is locked out, and nothing grows.
#[actix_web::test]
async fn a_user_has_so_many_logins_and_the_oldest_ends() {
    let app = TestApp::start().await;
    let there = app.peer_without_bus().await;
    let ann = app.register("Ann").await;
    let sql = "WITH made AS (INSERT INTO sessions (tenant_id, user_id, id, created_at, expires_at)
                   SELECT $1, $2, gen_random_uuid(), now() + n * interval '1 millisecond', now() + interval '1 day'
                   FROM generate_series(1, 97) AS n RETURNING 1)
               SELECT count(*) FROM made";
    app.database.query(sql, &[&ann.tenant.0, &ann.id.0]).await;
    let login = || {
        let body = json!({"email": ann.email, "password": PASSWORD});
        app.request(Method::POST, "/auth/login", None, Some(body))
    };
    for _ in 0..2 {
        login().await.ok();
    }
    ann.get("/api/me").await.ok();
    let answers = join_all((0..5).map(|_| login())).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    let sql = "SELECT count(*) FROM sessions WHERE user_id = $1 AND revoked_at IS NULL";
    assert_eq!(app.database.query(sql, &[&ann.id.0]).await[0].get::<_, i64>(0), 100);
    // The first one is over, here at once and elsewhere within seconds.
    ann.get("/api/me").await.problem(401, "unauthenticated");
    eventually("the other node has heard of it", async || {
        ann.at(&there).get("/api/me").await.status == 401
    })
    .await;
    there.stop().await;
    app.stop().await;
}

#[actix_web::test]
async fn a_message_has_so_many_reactions() {
    let app = TestApp::start().await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let id = MessageId::new();
    ann.post_message(c, id, "popular").await.ok();
    let sql = "WITH made AS (INSERT INTO reactions (conversation_id, seq, emoji, user_id)
                   SELECT $1, 1, '👍', gen_random_uuid() FROM generate_series(1, 9999) RETURNING 1)
               SELECT count(*) FROM made";
    app.database.query(sql, &[&c.0]).await;
    let react = |on: bool| json!({"type": "react", "conversation": c, "id": id, "emoji": "🎉", "on": on});
    let (mut anns, mut bobs) = (ann.connect().await, bob.connect().await);
    let (one, two) = tokio::join!(anns.ask(react(true)), bobs.ask(react(true)));
    let mut replies = [&one, &two].map(|reply| reply["code"].as_str().unwrap_or("ok").to_owned());
    replies.sort_unstable();
    assert_eq!(replies, ["limit_reached", "ok"], "{one} {two}");
    // Whoever reacted takes it back, and then there is room for another.
    let (mut first, mut second) = match one["type"] == "ok" {
        true => (anns, bobs),
        false => (bobs, anns),
    };
    assert_eq!(first.ask(react(false)).await["type"], "ok");
    assert_eq!(second.ask(react(true)).await["type"], "ok");
    // It can be read, and the room deleted.
    let page = ann.get(&format!("/api/conversations/{c}/messages")).await.ok();
    assert_eq!(page["items"][0]["reactions"][0]["count"], 9_999);
    ann.delete(&format!("/api/conversations/{c}")).await.ok();
    app.stop().await;
}

#[actix_web::test]
async fn a_login_keeps_so_many_tokens() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let body = json!({"email": ann.email, "password": PASSWORD});
    let answer = app.request(Method::POST, "/auth/login", None, Some(body)).await;
    let token = cookie(&answer, "parlance_refresh").value;
    let sql = "WITH made AS (INSERT INTO refresh_tokens (session_id, hash, created_at, used_at)
                   SELECT s.id, sha256(n::text::bytea), s.created_at - n * interval '1 s', s.created_at
                   FROM sessions s, generate_series(1, 4100) AS n
                   WHERE s.id = (SELECT id FROM sessions WHERE user_id = $1 ORDER BY created_at DESC LIMIT 1)
                   RETURNING 1)
               SELECT count(*) FROM made";
    app.database.query(sql, &[&ann.id.0]).await;
    let renewed = refresh(&app, &token).await;
    assert_eq!(renewed.status, 200);
    // Of the login the newest: the one that was exchanged and its successor among them.
    let sql = "SELECT max(n) FROM (SELECT count(*) AS n FROM refresh_tokens GROUP BY session_id) logins";
    assert_eq!(app.database.query(sql, &[]).await[0].get::<_, i64>(0), 4_000);
    let token = cookie(&renewed, "parlance_refresh").value;
    assert_eq!(refresh(&app, &token).await.status, 200);
    app.stop().await;
}

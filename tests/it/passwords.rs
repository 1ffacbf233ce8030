//! Changing a password, and what ends with it; that a login does not last for ever.

use crate::auth::{browse, cookie, email_of, login, me, refresh};
use crate::support::client::PASSWORD;
use crate::support::{Answer, Person, TestApp};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use std::time::Duration;

const NEW: &str = "canary-password of a lighthouse";

async fn change(person: &Person, present: &str, new: &str) -> Answer {
    let body = json!({"password": present, "new_password": new});
    person.post("/api/me/password", body).await
}

fn token(answer: &Answer) -> &str {
    answer.body["access_token"].as_str().unwrap()
}

#[actix_web::test]
async fn another_password_ends_all_other_logins() {
    let app = TestApp::start().await;
    let (ann, _) = app.person_with_conversation("Ann").await;
    let elsewhere = login(&app, email_of(&ann), PASSWORD).await;
    let there = Person {
        token: token(&elsewhere).to_owned(),
        ..ann.clone()
    };
    let key = ann.post("/api/keys", json!({"name": "bot", "scopes": ["chat"]})).await;
    let key = key.ok()["secret"].as_str().unwrap().to_owned();
    let (mut here, mut stays) = (there.connect().await, ann.connect().await);
    assert_eq!(change(&ann, PASSWORD, NEW).await.status, 204);
    here.expect_close(4001).await;
    me(&app, &there.token).await.problem(401, "unauthenticated");
    let refreshed = refresh(&app, &cookie(&elsewhere, "parlance_refresh").value).await;
    refreshed.problem(401, "unauthenticated");
    // This login and keys stay.
    me(&app, &ann.token).await.ok();
    me(&app, &key).await.ok();
    assert_eq!(stays.ask(json!({"type": "ping"})).await["type"], "pong");
    login(&app, email_of(&ann), PASSWORD)
        .await
        .problem(401, "unauthenticated");
    login(&app, email_of(&ann), NEW).await.ok();
    app.stop().await;
}

#[actix_web::test]
async fn only_who_knows_the_present_password_changes_it() {
    let app = TestApp::with(crate::limits::with_quota(10_000)).await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    for (present, new, field) in [
        ("wrong password", NEW, "password"),
        (PASSWORD, "short", "new_password"),
        (PASSWORD, "password", "new_password"),
    ] {
        let refused = change(&ann, present, new).await.problem(400, "bad_request");
        assert_eq!(refused["errors"][0]["field"], field, "{refused}");
    }
    let key = ann
        .post("/api/keys", json!({"name": "bot", "scopes": ["chat", "admin"]}))
        .await;
    let bot = Person {
        token: key.ok()["secret"].as_str().unwrap().to_owned(),
        ..ann.clone()
    };
    change(&bot, PASSWORD, NEW).await.problem(403, "forbidden");
    let guest = app.guest("Gus", &ann.invite(conversation).await).await;
    change(&guest, PASSWORD, NEW).await.problem(403, "forbidden");
    login(&app, email_of(&ann), PASSWORD).await.ok();
    // A stolen token is no place to guess from.
    let guesses = join_all((0..12).map(|n| change(&ann, if n == 0 { "wrong" } else { "wrong too" }, NEW))).await;
    let slowed = guesses.iter().filter(|answer| answer.status == 429).count();
    assert!(slowed >= 5, "{guesses:?}");
    app.stop().await;
}

/// Logins with the old password that are under way while it is changed are over, or never there.
#[actix_web::test]
async fn no_login_slips_through() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let logins = join_all((0..8).map(|_| login(&app, email_of(&ann), PASSWORD)));
    let (logins, changed) = tokio::join!(logins, change(&ann, PASSWORD, NEW));
    assert_eq!(changed.status, 204);
    for answer in logins {
        if answer.status == 200 {
            me(&app, token(&answer)).await.problem(401, "unauthenticated");
        } else {
            answer.problem(401, "unauthenticated");
        }
    }
    me(&app, &ann.token).await.ok();
    app.stop().await;
}

#[actix_web::test]
async fn logging_out_everywhere_may_end_keys_too() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let email = email_of(&ann);
    let key = ann.post("/api/keys", json!({"name": "bot", "scopes": ["chat"]})).await;
    let key = key.ok()["secret"].as_str().unwrap().to_owned();
    assert_eq!(ann.post("/auth/logout-all", json!({"keys": false})).await.status, 204);
    me(&app, &key).await.ok();
    let again = login(&app, email, PASSWORD).await;
    let out = |body| app.request(Method::POST, "/auth/logout-all", Some(token(&again)), body);
    out(Some(json!({"key": true}))).await.problem(400, "bad_request");
    assert_eq!(out(Some(json!({"keys": true}))).await.status, 204);
    me(&app, &key).await.problem(401, "unauthenticated");
    me(&app, token(&again)).await.problem(401, "unauthenticated");
    app.stop().await;
}

#[actix_web::test]
async fn a_login_has_an_end_however_often_it_is_used() {
    let app = TestApp::with(|config| config.auth.login_ttl_max = Duration::from_secs(3_600)).await;
    let ann = app.register("Ann").await;
    let signed_in = login(&app, email_of(&ann), PASSWORD).await;
    let max_age = |answer: &Answer| {
        let flags = cookie(answer, "parlance_refresh").flags;
        let until = flags
            .split("expires=")
            .nth(1)
            .unwrap()
            .split(';')
            .next()
            .unwrap()
            .to_owned();
        chrono::DateTime::parse_from_rfc2822(&until).unwrap().timestamp() - chrono::Utc::now().timestamp()
    };
    assert!((3_500..=3_601).contains(&max_age(&signed_in)));
    let token = cookie(&signed_in, "parlance_refresh").value;
    let age = async |seconds: i64| {
        let sql = "UPDATE sessions SET created_at = now() - $1::bigint * interval '1 second'";
        app.database.query(sql, &[&seconds]).await
    };
    age(3_000).await;
    let renewed = refresh(&app, &token).await;
    assert_eq!(renewed.status, 200, "{renewed:?}");
    assert!((500..=601).contains(&max_age(&renewed)), "{}", max_age(&renewed));
    age(3_700).await;
    let token = cookie(&renewed, "parlance_refresh").value;
    refresh(&app, &token).await.problem(401, "unauthenticated");
    let cookies = format!("parlance_refresh={token}");
    browse(&app, Method::POST, "/auth/refresh", &[("cookie", &cookies)], None)
        .await
        .problem(401, "unauthenticated");
    app.stop().await;
}

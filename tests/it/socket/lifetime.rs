//! How long a socket lasts: its token, its heartbeat.

use super::ok;
use crate::support::{RawSocket, TestApp, wait_out};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Signs the person in again, for a token of the same session's user.
async fn token_of(app: &TestApp, person: &crate::support::Person) -> String {
    let body = json!({"email": person.email, "password": crate::support::client::PASSWORD});
    let answer = app
        .request(reqwest::Method::POST, "/auth/login", None, Some(body))
        .await
        .ok();
    answer["access_token"].as_str().unwrap().to_owned()
}

#[actix_web::test]
async fn a_token_that_runs_out_closes_and_refresh_renews() {
    let app = TestApp::with(|config| config.auth.access_token_ttl = Duration::from_secs(3)).await;
    let (ann, bob) = (app.register("Ann").await, app.register("Bob").await);
    let bobs = bob.token.clone();
    let (mut lets_it, mut renews) = (ann.connect().await, ann.connect().await);
    let expires = |value: &Value| chrono::DateTime::parse_from_rfc3339(value.as_str().unwrap()).unwrap();
    let until = expires(&lets_it.hello()["token_expires_at"]);
    renews
        .refused(json!({"type": "refresh", "token": bobs}), "forbidden")
        .await;
    wait_out(Duration::from_millis(1_500)).await;
    let fresh = token_of(&app, &ann).await;
    let reply = renews.ask(json!({"type": "refresh", "token": fresh})).await;
    assert_eq!(reply["type"], "ok");
    let renewed = expires(&reply["token_expires_at"]);
    assert!(renewed > until, "{renewed} {until}");
    lets_it.expect_close(4103).await;
    let late = chrono::Utc::now().signed_duration_since(until).num_milliseconds();
    assert!((0..5_000).contains(&late), "closed {late} ms after the token ran out");
    // The other lives, and ends with its new token.
    ok(
        &mut renews,
        json!({"type": "unsubscribe", "conversation": parlance::ids::ConversationId::new()}),
    )
    .await;
    renews.expect_close(4103).await;
    let late = chrono::Utc::now().signed_duration_since(renewed).num_milliseconds();
    assert!((0..5_000).contains(&late), "{late}");
    app.stop().await;
}

#[actix_web::test]
async fn who_does_not_answer_pings_is_given_up() {
    let app = TestApp::with(|config| {
        config.sessions.heartbeat = Duration::from_secs(1);
        config.sessions.heartbeat_timeout = Duration::from_secs(3);
    })
    .await;
    let ann = app.register("Ann").await;
    let mut answers = ann.connect().await;
    assert_eq!(answers.hello()["heartbeat_ms"], 1_000);
    let mut silent = RawSocket::connect(app.address, &ann.token, None).await;
    let started = Instant::now();
    // The library answers pings while it is read.
    let reading = async {
        let ended = answers.next_frame(Duration::from_secs(6)).await;
        assert_eq!(ended, Err(crate::support::client::Ended::TimedOut));
        answers
    };
    let being_silent = async {
        let mut pings = 0;
        loop {
            let (first, payload) = silent.read_frame().await.unwrap();
            match first & 0x0F {
                9 => pings += 1,
                8 => break assert_eq!(payload[..2], 4202_u16.to_be_bytes()),
                _ => {}
            }
        }
        assert!(pings >= 1, "{pings} pings in {:?}", started.elapsed());
        assert!((3..6).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
        // Nobody waits for the close frame of one who is gone.
        assert_eq!(
            tokio::time::timeout(Duration::from_secs(6), silent.read_frame()).await,
            Ok(None)
        );
    };
    let (mut answers, ()) = tokio::join!(reading, being_silent);
    assert_eq!(answers.ask(json!({"type": "ping"})).await["type"], "pong");
    app.stop().await;
}

//! What becomes of logins: refreshing, ending, suspension, and how soon every node and socket knows.

use crate::auth::{browse, cookie, cookies, email_of, login, me, refresh};
use crate::support::chaos::{Chaos, Proxy};
use crate::support::client::PASSWORD;
use crate::support::{Person, Site, Socket, TestApp, eventually};
use parlance::config::Secret;
use reqwest::Method;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;

/// How soon every node refuses what was revoked.
const PROMISE: Duration = Duration::from_secs(5);

/// Waits until a node refuses a token with this status; within the promise.
async fn refused_within_the_promise(site: &Site, token: &str, status: u16) {
    let started = Instant::now();
    eventually("the node refuses the token", async || {
        me(site, token).await.status == status
    })
    .await;
    assert!(started.elapsed() < PROMISE, "{:?}", started.elapsed());
}

#[actix_web::test]
async fn refresh_tokens_rotate_and_a_reused_one_revokes_its_family() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let first = login(&app, email_of(&ann), PASSWORD).await;
    let first = cookie(&first, "refresh").value;
    let second = refresh(&app, &first).await;
    let (token, second) = (
        second.body["access_token"].as_str().unwrap().to_owned(),
        cookie(&second, "refresh").value,
    );
    assert_ne!(first, second);
    me(&app, &token).await.ok();
    refresh(&app, &first).await.problem(401, "unauthenticated");
    me(&app, &token).await.problem(401, "unauthenticated");
    refresh(&app, &second).await.problem(401, "unauthenticated");
    me(&app, &ann.token).await.ok();
    for bad in ["", "x", &"x".repeat(5_000)] {
        refresh(&app, bad).await.problem(401, "unauthenticated");
    }
    browse(&app, Method::POST, "/auth/refresh", &[], None)
        .await
        .problem(401, "unauthenticated");
    app.stop().await;
}

#[actix_web::test]
async fn of_two_refreshes_at_once_one_wins_and_the_family_ends() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let token = cookie(&login(&app, email_of(&ann), PASSWORD).await, "refresh").value;
    let (a, b) = futures_util::join!(refresh(&app, &token), refresh(&app, &token));
    let mut statuses = [a.status, b.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401]);
    let winner = if a.status == 200 { a } else { b };
    eventually("the family is revoked", async || {
        me(&app, winner.body["access_token"].as_str().unwrap()).await.status == 401
    })
    .await;
    app.stop().await;
}

#[actix_web::test]
async fn logging_out_reaches_other_nodes_and_their_sockets() {
    let app = TestApp::start().await;
    let peer = app.peer_without_bus().await;
    let ann = app.register("Ann").await;
    let other = login(&app, email_of(&ann), PASSWORD).await.ok();
    let other = Person {
        token: other["access_token"].as_str().unwrap().to_owned(),
        ..ann.clone()
    };
    let mut here = ann.connect().await;
    let mut there = ann.at(&peer).connect().await;
    let mut stays = other.at(&peer).connect().await;
    let answer = ann
        .site
        .request(Method::POST, "/auth/logout", Some(&ann.token), None)
        .await;
    assert_eq!(answer.status, 204);
    assert!(
        cookies(&answer)
            .iter()
            .all(|cookie| cookie.value.is_empty() && cookie.flags.contains("max-age=0"))
    );
    let started = Instant::now();
    me(&app, &ann.token).await.problem(401, "unauthenticated");
    refused_within_the_promise(&peer, &ann.token, 401).await;
    here.expect_close(4001).await;
    there.expect_close(4001).await;
    assert!(started.elapsed() < PROMISE, "{:?}", started.elapsed());
    me(&peer, &other.token).await.ok();
    stays.expect_none("goodbye").await;
    assert_eq!(
        app.request(Method::POST, "/auth/logout-all", Some(&other.token), None)
            .await
            .status,
        204
    );
    refused_within_the_promise(&peer, &other.token, 401).await;
    stays.expect_close(4001).await;
    peer.stop().await;
    app.stop().await;
}

#[actix_web::test]
async fn logging_out_needs_only_the_refresh_cookie() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let answer = login(&app, email_of(&ann), PASSWORD).await;
    let token = cookie(&answer, "refresh").value;
    let cookie = format!("session=run-out; refresh={token}");
    let foreign = [("cookie", &*cookie), ("origin", "https://evil.example")];
    browse(&app, Method::POST, "/auth/logout", &foreign, None)
        .await
        .problem(403, "forbidden");
    let own = [("cookie", &*cookie), ("sec-fetch-site", "same-origin")];
    assert_eq!(browse(&app, Method::POST, "/auth/logout", &own, None).await.status, 204);
    me(&app, answer.body["access_token"].as_str().unwrap())
        .await
        .problem(401, "unauthenticated");
    browse(&app, Method::POST, "/auth/logout", &[], None)
        .await
        .problem(401, "unauthenticated");
    app.stop().await;
}

#[actix_web::test]
async fn a_ticket_opens_one_socket_of_its_login() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let issue = async || {
        let answer = ann
            .site
            .request(Method::POST, "/auth/ticket", Some(&ann.token), None)
            .await
            .ok();
        assert_eq!(answer["expires_in"], 30);
        answer["ticket"].as_str().unwrap().to_owned()
    };
    let open = async |ticket: &str| {
        let uri = format!("ws://{}/ws?ticket={ticket}", app.address).parse().unwrap();
        let request = ClientRequestBuilder::new(uri).with_sub_protocol("parlance.v1");
        Socket::handshake(app.address, request).await
    };
    let ticket = issue().await;
    let socket = open(&ticket).await.unwrap();
    assert_eq!(socket.hello()["user"]["id"], json!(ann.id));
    assert!(socket.hello()["token_expires_at"].is_string());
    assert!(open(&ticket).await.is_err(), "single use");
    assert!(open("nonsense").await.is_err());
    let late = issue().await;
    app.database
        .query(
            "UPDATE socket_tickets SET expires_at = now() - interval '1 second'",
            &[],
        )
        .await;
    assert!(open(&late).await.is_err(), "it has run out");
    let unused = issue().await;
    assert_eq!(
        app.request(Method::POST, "/auth/logout", Some(&ann.token), None)
            .await
            .status,
        204
    );
    assert!(open(&unused).await.is_err(), "bound to the login");
    app.request(Method::POST, "/auth/ticket", None, None)
        .await
        .problem(401, "unauthenticated");
    app.stop().await;
}

#[actix_web::test]
async fn a_suspended_user_is_refused_everywhere_and_let_in_again() {
    let app = TestApp::start().await;
    let peer = app.peer_without_bus().await;
    let ([ann, bob], _) = app.conversation_of(["Ann", "Bob"]).await;
    let token = cookie(&login(&app, email_of(&bob), PASSWORD).await, "refresh").value;
    let mut here = bob.connect().await;
    let mut there = bob.at(&peer).connect().await;
    let path = format!("/api/users/{}", bob.id);
    let started = Instant::now();
    ann.patch(&path, json!({"status": "suspended"})).await.ok();
    me(&app, &bob.token).await.problem(403, "forbidden");
    refused_within_the_promise(&peer, &bob.token, 403).await;
    here.expect_close(4003).await;
    there.expect_close(4003).await;
    assert!(started.elapsed() < PROMISE, "{:?}", started.elapsed());
    login(&app, email_of(&bob), PASSWORD).await.problem(403, "forbidden");
    login(&app, email_of(&bob), "not his password")
        .await
        .problem(401, "unauthenticated");
    refresh(&app, &token).await.problem(403, "forbidden");
    assert!(Socket::try_connect(&app, &bob.token).await.is_err());
    ann.patch(&path, json!({"status": "active"})).await.ok();
    me(&app, &bob.token).await.ok();
    refresh(&app, &token).await.ok();
    eventually("the other node lets him in again", async || {
        me(&peer, &bob.token).await.status == 200
    })
    .await;
    peer.stop().await;
    app.stop().await;
}

#[actix_web::test]
async fn a_node_started_later_knows_what_was_revoked_before() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.register("Ann").await, app.register("Bob").await);
    assert_eq!(
        app.request(Method::POST, "/auth/logout", Some(&ann.token), None)
            .await
            .status,
        204
    );
    let peer = app.peer_without_bus().await;
    me(&peer, &ann.token).await.problem(401, "unauthenticated");
    me(&peer, &bob.token).await.ok();
    peer.stop().await;
    app.stop().await;
}

#[actix_web::test]
async fn what_was_revoked_during_an_outage_is_seen_after_it() {
    let app = TestApp::start().await;
    let proxy = Proxy::start(app.database.url()).await;
    let peer = app
        .peer_with(|config| config.database.url = Some(Secret::new(proxy.url())))
        .await;
    let (ann, bob) = (app.register("Ann").await, app.register("Bob").await);
    proxy.set(Chaos::Cut);
    assert_eq!(
        app.request(Method::POST, "/auth/logout", Some(&ann.token), None)
            .await
            .status,
        204
    );
    // Signing in needs the database, being signed in does not.
    peer.request(Method::GET, "/health/live", None, None).await.ok();
    me(&peer, &ann.token).await.problem(503, "unavailable");
    assert_eq!(peer.request(Method::GET, "/health/ready", None, None).await.status, 503);
    proxy.heal();
    refused_within_the_promise(&peer, &ann.token, 401).await;
    eventually("the other node is ready", async || {
        peer.request(Method::GET, "/health/ready", None, None).await.status == 200
    })
    .await;
    me(&peer, &bob.token).await.ok();
    peer.stop().await;
    app.stop().await;
}

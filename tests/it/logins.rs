//! What becomes of logins: refreshing, ending, suspension, and how soon every node and socket knows.

use crate::auth::{browse, cookie, cookies, email_of, login, me, refresh};
use crate::support::chaos::{Chaos, Proxy};
use crate::support::client::PASSWORD;
use crate::support::{Answer, Person, Site, Socket, TestApp, eventually};
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

/// The refresh token that an answer gave.
fn refresh_token(answer: &Answer) -> String {
    cookie(answer, "parlance_refresh").value
}

fn access_token(answer: &Answer) -> &str {
    answer.body["access_token"].as_str().unwrap()
}

#[actix_web::test]
async fn refresh_tokens_rotate_and_a_reused_one_revokes_its_family() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let first = refresh_token(&login(&app, email_of(&ann), PASSWORD).await);
    let second = refresh_token(&refresh(&app, &first).await);
    assert_ne!(first, second);
    let third = refresh(&app, &second).await;
    me(&app, access_token(&third)).await.ok();
    // The successor of the first was used, so nobody has lost an answer.
    refresh(&app, &first).await.problem(401, "unauthenticated");
    me(&app, access_token(&third)).await.problem(401, "unauthenticated");
    refresh(&app, &refresh_token(&third))
        .await
        .problem(401, "unauthenticated");
    me(&app, &ann.token).await.ok();
    for bad in ["", "x", &"x".repeat(5_000)] {
        refresh(&app, bad).await.problem(401, "unauthenticated");
    }
    browse(&app, Method::POST, "/auth/refresh", &[], None)
        .await
        .problem(401, "unauthenticated");
    app.stop().await;
}

/// The answer did not arrive, so the client has only the old token.
#[actix_web::test]
async fn a_refresh_whose_answer_was_lost_can_be_repeated_once() {
    let app = TestApp::start().await;
    let peer = app.peer_without_bus().await;
    let ann = app.register("Ann").await;
    let first = refresh_token(&login(&app, email_of(&ann), PASSWORD).await);
    let lost = refresh(&app, &first).await;
    assert_eq!(lost.status, 200);
    let again = refresh(&peer, &first).await;
    me(&app, access_token(&again)).await.ok();
    let next = refresh(&app, &refresh_token(&again)).await;
    me(&app, access_token(&next)).await.ok();
    // The one that was lost is found by somebody: both successors have been used.
    refresh(&app, &refresh_token(&lost))
        .await
        .problem(401, "unauthenticated");
    me(&app, access_token(&next)).await.problem(401, "unauthenticated");
    peer.stop().await;
    app.stop().await;
}

#[actix_web::test]
async fn after_a_minute_or_a_second_repetition_it_is_reuse() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    for late in [false, true] {
        let first = refresh_token(&login(&app, email_of(&ann), PASSWORD).await);
        let answer = refresh(&app, &first).await;
        if late {
            let age = "UPDATE refresh_tokens SET used_at = used_at - interval '61 seconds' WHERE used_at IS NOT NULL";
            app.database.query(age, &[]).await;
        } else {
            assert_eq!(refresh(&app, &first).await.status, 200);
        }
        refresh(&app, &first).await.problem(401, "unauthenticated");
        me(&app, access_token(&answer)).await.problem(401, "unauthenticated");
    }
    app.stop().await;
}

/// Two tabs at the same moment; the browser keeps one of the cookies. A third is somebody else.
#[actix_web::test]
async fn of_three_refreshes_at_once_two_win_and_the_family_ends() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let token = refresh_token(&login(&app, email_of(&ann), PASSWORD).await);
    let (a, b) = futures_util::join!(refresh(&app, &token), refresh(&app, &token));
    assert_eq!([a.status, b.status], [200, 200]);
    assert_ne!(refresh_token(&a), refresh_token(&b));
    // Whichever the browser keeps is good.
    let next = refresh(&app, &refresh_token(&a)).await;
    assert_eq!(next.status, 200);

    let token = refresh_token(&login(&app, email_of(&ann), PASSWORD).await);
    let (a, b, c) = futures_util::join!(refresh(&app, &token), refresh(&app, &token), refresh(&app, &token));
    let mut statuses = [a.status, b.status, c.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 401]);
    let winner = if a.status == 200 { a } else { b };
    eventually("the family is revoked", async || {
        me(&app, access_token(&winner)).await.status == 401
    })
    .await;
    me(&app, access_token(&next)).await.ok();
    app.stop().await;
}

/// What a version before has exchanged has no successor that is known.
#[actix_web::test]
async fn a_token_that_an_older_node_exchanged_is_not_repeated() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let first = refresh_token(&login(&app, email_of(&ann), PASSWORD).await);
    refresh(&app, &first).await.ok();
    app.database.query("UPDATE refresh_tokens SET parent = NULL", &[]).await;
    refresh(&app, &first).await.problem(401, "unauthenticated");
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
    let token = cookie(&answer, "parlance_refresh").value;
    let cookie = format!("parlance_session=run-out; parlance_refresh={token}");
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
    let token = cookie(&login(&app, email_of(&bob), PASSWORD).await, "parlance_refresh").value;
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

/// What is right is not refused for its address, so the user has a budget of it.
#[actix_web::test]
async fn nobody_renews_a_login_without_end() {
    let app = TestApp::with(|config| config.limits.enabled = true).await;
    let ann = app.register("Ann").await;
    let mut token = refresh_token(&login(&app, email_of(&ann), PASSWORD).await);
    let refused = loop {
        let renewed = refresh(&app, &token).await;
        if renewed.status != 200 {
            break renewed;
        }
        token = refresh_token(&renewed);
    };
    assert_eq!(refused.header("retry-after"), Some("1"));
    refused.problem(429, "rate_limited");
    // The token was not spent.
    eventually("it is renewed a moment later", async || {
        refresh(&app, &token).await.status == 200
    })
    .await;
    app.stop().await;
}

//! Quotas over the wire: what REST and the socket say, who pays, what is free, and that it is never more than the quota.
//!
//! Windows are short where a test has to see one pass. All people of a test are at one address, so that what is counted by
//! address is told apart with `X-Forwarded-For` from a trusted proxy: the test itself.

use crate::support::app::TestApp;
use crate::support::client::{Answer, PASSWORD, Site, Socket};
use crate::support::scrape::Scrape;
use crate::support::{PATIENCE, back_off, pace, wait_out};
use futures_util::future::join_all;
use parlance::config::{Config, QuotaConfig};
use parlance::ids::MessageId;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A flood guard that no test meets by chance.
const NO_FLOOD: parlance::config::FloodConfig = parlance::config::FloodConfig {
    per_second: 1_000_000,
    burst: 1_000_000,
};

const fn quota(per_minute: usize) -> QuotaConfig {
    QuotaConfig {
        per_minute,
        per_hour: 100_000,
    }
}

/// Limits on, with so many requests in the minute for users, any number for addresses, and no flood guard.
pub fn with_quota(per_minute: usize) -> impl FnOnce(&mut Config) {
    move |config| {
        config.limits.enabled = true;
        config.limits.regular = quota(per_minute);
        (config.limits.premium, config.limits.anonymous) = (quota(per_minute * 2), quota(100_000));
        (config.limits.flood, config.limits.flood_auth) = (NO_FLOOD, NO_FLOOD);
    }
}

fn number(answer: &Answer, header: &str) -> i64 {
    let text = answer
        .header(header)
        .unwrap_or_else(|| panic!("no {header}: {answer:?}"));
    text.parse().unwrap()
}

/// A request from another address.
async fn from(site: &Site, address: &str, path: &str) -> Answer {
    let request = site.http().get(site.url(path)).header("x-forwarded-for", address);
    Site::read(request.send().await.unwrap()).await.unwrap()
}

fn unix_now() -> i64 {
    chrono::Utc::now().timestamp()
}

#[actix_web::test]
async fn every_limited_answer_says_what_is_left_and_the_refusal_when_to_come_back() {
    let app = TestApp::with(with_quota(4)).await;
    let ann = app.register("Ann").await;
    let first = ann.get("/api/me").await;
    assert_eq!(
        (
            first.status,
            number(&first, "x-ratelimit-limit"),
            number(&first, "x-ratelimit-remaining")
        ),
        (200, 4, 3)
    );
    let reset = number(&first, "x-ratelimit-reset");
    assert!((unix_now() + 55..=unix_now() + 62).contains(&reset), "{reset}");
    // Whatever it answers: what is not found, what is refused by the framework, what is wrong.
    let missing = ann.get("/api/conversations/0192f0c1-2345-7abc-8def-0123456789ab").await;
    assert_eq!((missing.status, number(&missing, "x-ratelimit-remaining")), (404, 2));
    assert_eq!(number(&ann.delete("/api/me").await, "x-ratelimit-remaining"), 1);
    assert_eq!(
        number(&ann.patch("/api/me", json!({"nmae": 1})).await, "x-ratelimit-remaining"),
        0
    );
    let refused = ann.patch("/api/me", json!({"name": "Other"})).await;
    assert_eq!(
        (
            number(&refused, "x-ratelimit-limit"),
            number(&refused, "x-ratelimit-remaining")
        ),
        (4, 0)
    );
    let wait = number(&refused, "retry-after");
    assert!((55..=61).contains(&wait), "{wait}");
    assert_eq!(
        number(&refused, "x-ratelimit-reset"),
        reset,
        "the oldest request is the same"
    );
    refused.problem(429, "rate_limited");
    // Nothing was done, and nobody else is concerned.
    let bob = app.register("Bob").await;
    assert_eq!(bob.get("/api/me").await.status, 200);
    app.stop().await;
}

#[actix_web::test]
async fn a_user_pays_for_all_connections_and_an_address_for_who_shows_nothing() {
    let app = TestApp::with(|config| {
        with_quota(6)(config);
        config.limits.anonymous = quota(3);
        config.limits.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let (ann, conversation) = app.person_with_conversation("Ann").await; // One request is hers, one the address's.
    let (mut one, mut two) = (ann.connect().await, ann.connect().await);
    for n in 0..2 {
        one.post(conversation, MessageId::new(), &format!("a{n}")).await;
        two.post(conversation, MessageId::new(), &format!("b{n}")).await;
    }
    assert_eq!(ann.get("/api/me").await.status, 200);
    one.try_post(conversation, MessageId::new(), "x").await.unwrap_err();
    ann.get("/api/me").await.problem(429, "rate_limited");
    // Credentials that are wrong are none: the address pays, and is known only by a proxy that is trusted.
    let stranger = |address: &'static str| from(&app, address, "/api/me");
    for n in 0..3 {
        let answer = stranger("203.0.113.7, 198.51.100.1").await;
        assert_eq!((answer.status, number(&answer, "x-ratelimit-remaining")), (401, 2 - n));
    }
    stranger("203.0.113.99, 198.51.100.1")
        .await
        .problem(429, "rate_limited");
    assert_eq!(stranger("198.51.100.2").await.status, 401);
    for n in 0..3 {
        assert_eq!(stranger("2001:db8::1").await.status, 401, "{n}");
    }
    assert_eq!(stranger("2001:db8::2:3:4:5").await.status, 429, "the same /64");
    assert_eq!(stranger("2001:db8:0:1::1").await.status, 401);
    app.stop().await;
}

#[actix_web::test]
async fn an_address_is_not_believed_from_just_anybody() {
    let app = TestApp::with(|config| {
        with_quota(100)(config);
        config.limits.anonymous = quota(2);
    })
    .await;
    for (n, address) in ["198.51.100.1", "198.51.100.2", "198.51.100.3"].into_iter().enumerate() {
        assert_eq!(
            from(&app, address, "/api/me").await.status,
            if n < 2 { 401 } else { 429 }
        );
    }
    app.stop().await;
}

#[actix_web::test]
async fn operations_and_the_page_are_free() {
    let app = TestApp::with(|config| {
        with_quota(1)(config);
        config.limits.anonymous = quota(1);
        config.limits.flood = parlance::config::FloodConfig {
            per_second: 1,
            burst: 1,
        };
    })
    .await;
    for path in [
        "/health",
        "/health/live",
        "/health/ready",
        "/openapi.json",
        "/asyncapi.json",
        "/",
        "/i/abc",
    ] {
        for _ in 0..3 {
            let answer = app.request(Method::GET, path, None, None).await;
            assert_eq!(
                (answer.status, answer.header("x-ratelimit-limit")),
                (200, None),
                "{path}"
            );
        }
    }
    app.stop().await;
}

/// What quotas do not count has a wide guard of its own; only health has none.
#[actix_web::test]
async fn a_flood_of_what_is_free_is_refused_but_for_health() {
    let app = TestApp::with(|config| {
        with_quota(1)(config);
        config.limits.flood = parlance::config::FloodConfig {
            per_second: 1,
            burst: 1,
        };
    })
    .await;
    let ask = async |path: &'static str| {
        let answers = join_all((0..120).map(|_| app.request(Method::GET, path, None, None))).await;
        answers.into_iter().map(|answer| answer.status).collect::<Vec<_>>()
    };
    let statuses = ask("/openapi.json").await;
    let refused = statuses.iter().filter(|status| **status == 429).count();
    assert!(statuses[..].contains(&200) && refused > 20, "{statuses:?}");
    assert!(ask("/health/live").await.iter().all(|status| *status == 200));
    app.stop().await;
}

#[actix_web::test]
async fn the_socket_refuses_before_anything_is_done_and_warns_before_that() {
    let app = TestApp::with(|config| {
        with_quota(11)(config);
        config.limits.minute = Duration::from_secs(3);
    })
    .await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let mut socket = ann.connect().await;
    socket.subscribe(conversation, None).await;
    let started = Instant::now();
    let send = |id| json!({"type": "send", "conversation": conversation, "id": id, "body": "x"});
    let mut ids = Vec::new();
    // One of eleven went into making the conversation.
    for left in (0..10).rev() {
        ids.push(MessageId::new());
        let ack = socket.ask(send(ids[ids.len() - 1])).await;
        assert_eq!(ack["type"], "ack", "{ack}");
        if left < 3 {
            assert_eq!(
                (&ack["budget"]["limit"], &ack["budget"]["remaining"]),
                (&json!(11), &json!(left)),
                "{ack}"
            );
            let reset = ack["budget"]["reset_ms"].as_u64().unwrap();
            assert!(reset <= 3_001, "{ack}");
        } else {
            assert_eq!(ack["budget"], Value::Null, "{ack}");
        }
    }
    let id = MessageId::new();
    let mut retry_after_ms = 0;
    for frame in [
        send(id),
        json!({"type": "edit", "conversation": conversation, "id": ids[0], "body": "y"}),
        json!({"type": "delete", "conversation": conversation, "id": ids[0]}),
        json!({"type": "react", "conversation": conversation, "id": ids[0], "emoji": "x", "on": true}),
    ] {
        let refused = socket.refused(frame, "rate_limited").await;
        retry_after_ms = refused["retry_after_ms"].as_u64().unwrap();
        assert!(retry_after_ms > 0 && retry_after_ms <= 3_001, "{refused}");
    }
    assert!(started.elapsed() < Duration::from_secs(3), "too slow to say anything");
    // What costs nothing goes on.
    socket
        .ask(json!({"type": "read", "conversation": conversation, "seq": 3}))
        .await;
    assert_eq!(socket.ask(json!({"type": "ping"})).await["type"], "pong");
    // It was honest: after the wait, and no sooner, the same id is taken.
    wait_out(Duration::from_millis(retry_after_ms)).await;
    let ack = socket.post(conversation, id, "x").await;
    assert_eq!((ack.seq, ack.duplicate), (11, false), "none of the refused was done");
    app.stop().await;
}

#[actix_web::test]
async fn the_hour_binds_where_less_of_it_is_left() {
    let app = TestApp::with(|config| {
        with_quota(3)(config);
        config.limits.regular.per_hour = 5;
        (config.limits.minute, config.limits.hour) = (Duration::from_secs(1), Duration::from_secs(6));
    })
    .await;
    let ann = app.register("Ann").await;
    for (limit, left) in [(3, 2), (3, 1), (3, 0), (5, 1), (5, 0)] {
        if (limit, left) == (5, 1) {
            // The minute is over, the hour is not.
            wait_out(Duration::from_millis(1_002)).await;
        }
        let answer = ann.get("/api/me").await;
        let (of, remaining) = (
            number(&answer, "x-ratelimit-limit"),
            number(&answer, "x-ratelimit-remaining"),
        );
        assert_eq!((answer.status, of, remaining), (200, limit, left));
    }
    wait_out(Duration::from_millis(1_002)).await;
    let refused = ann.get("/api/me").await;
    assert_eq!(number(&refused, "x-ratelimit-limit"), 5, "the minute has room again");
    let wait = number(&refused, "retry-after");
    assert!((2..=5).contains(&wait), "{wait}");
    refused.problem(429, "rate_limited");
    wait_out(Duration::from_secs(wait.unsigned_abs())).await;
    assert_eq!(ann.get("/api/me").await.status, 200, "it was honest");
    app.stop().await;
}

#[actix_web::test]
async fn who_floods_on_is_cut_with_4101() {
    let app = TestApp::with(with_quota(2)).await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let mut socket = ann.connect().await;
    socket.post(conversation, MessageId::new(), "x").await;
    for n in 0..50 {
        let refused = socket.try_post(conversation, MessageId::new(), "x").await.unwrap_err();
        assert_eq!(refused["code"], "rate_limited", "{n}");
    }
    socket.try_post(conversation, MessageId::new(), "x").await.unwrap_err();
    socket.expect_close(4101).await;
    ann.get("/api/me").await.problem(429, "rate_limited");
    let scrape = Scrape::of(&app).await;
    for (surface, refusals) in [("socket", 51.0), ("rest", 1.0)] {
        let labels = [("tier", "regular"), ("surface", surface)];
        assert_eq!(scrape.value("rate_limited_total", &labels), refusals, "{surface}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_changed_tier_counts_at_once_also_on_live_sockets_of_another_node() {
    let app = TestApp::with(with_quota(5)).await;
    let peer = app.peer_without_bus().await;
    let ([ann, bob], conversation) = app.conversation_of(["Ann", "Bob"]).await;
    app.give_premium(&ann).await;
    let bob = bob.at(&peer);
    let mut socket = bob.connect().await;
    for _ in 0..5 {
        socket.post(conversation, MessageId::new(), "x").await;
    }
    socket.try_post(conversation, MessageId::new(), "x").await.unwrap_err();
    let changed = ann
        .patch(&format!("/api/users/{}", bob.id), json!({"tier": "premium"}))
        .await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let since = Instant::now();
    loop {
        let sent = socket.try_post(conversation, MessageId::new(), "x").await;
        if sent.is_ok() {
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(5), "the new tier took too long");
        pace(Duration::from_millis(200)).await;
    }
    let left = number(&bob.get("/api/me").await, "x-ratelimit-limit");
    assert_eq!(left, 10);
    peer.stop().await;
    app.stop().await;
}

#[actix_web::test]
async fn the_flood_guard_answers_like_everybody_else() {
    let app = TestApp::with(|config| {
        with_quota(10_000)(config);
        config.limits.flood = parlance::config::FloodConfig {
            per_second: 5,
            burst: 20,
        };
        config.limits.flood_auth = parlance::config::FloodConfig {
            per_second: 1,
            burst: 3,
        };
        config.limits.trusted_proxies = vec!["127.0.0.1".parse::<std::net::IpAddr>().unwrap().into()];
    })
    .await;
    let ask = |address: &'static str, path: &'static str| from(&app, address, path);
    // Signing in has a guard of its own, however its path is written.
    for path in ["/auth/login", "/%61uth/login", "/auth/refresh"] {
        assert_ne!(ask("192.0.2.1", path).await.status, 429);
    }
    let refused = ask("192.0.2.1", "/%61uth/login").await;
    let wait = number(&refused, "retry-after");
    assert!((1..=2).contains(&wait), "{wait}");
    assert!(refused.header("x-request-id").is_some());
    refused.problem(429, "rate_limited");
    assert_eq!(ask("192.0.2.1", "/api/me").await.status, 401, "only signing in");
    assert_ne!(ask("192.0.2.2", "/auth/login").await.status, 429, "another address");
    // Everything together; pages are free.
    let answers = join_all((0..60).map(|_| ask("192.0.2.3", "/api/me"))).await;
    let refused = answers.iter().filter(|answer| answer.status == 429).count();
    assert!((20..=40).contains(&refused), "{refused}");
    assert_eq!(ask("192.0.2.3", "/health/live").await.status, 200);
    // It was honest.
    wait_out(Duration::from_secs(u64::try_from(wait).unwrap())).await;
    assert_ne!(ask("192.0.2.1", "/auth/login").await.status, 429);
    app.stop().await;
}

#[actix_web::test]
async fn caps_on_connections_stay_when_limits_are_off() {
    let app = TestApp::with(|config| config.sessions.connections_per_address = 2).await;
    let (ann, bob) = (app.register("Ann").await, app.register("Bob").await);
    let (one, _two) = (ann.connect().await, bob.connect().await);
    assert_eq!(ann.connect_raw().await.close_code().await, Some(4104));
    one.close().await;
    // Its place is free again, for anybody.
    let since = Instant::now();
    while Socket::try_connect(&app, &bob.token).await.is_err() {
        assert!(since.elapsed() < PATIENCE, "the place was not given back");
        back_off().await;
    }
    app.stop().await;
}

/// Tries to sign in from an address; the status, and the seconds to wait.
async fn sign_in(site: &Site, address: &str, email: &str, password: &str) -> (u16, Option<i64>) {
    let request = site
        .http()
        .post(site.url("/auth/login"))
        .header("x-forwarded-for", address);
    let answer = request
        .json(&json!({"email": email, "password": password}))
        .send()
        .await
        .unwrap();
    let answer = Site::read(answer).await.unwrap();
    let wait = answer.header("retry-after").map(|wait| wait.parse().unwrap());
    if answer.status == 429 {
        answer.problem(429, "rate_limited");
        return (429, wait);
    }
    (answer.status, wait)
}

#[actix_web::test]
async fn guessing_a_password_slows_down_and_does_not_lock_the_owner_out() {
    let app = TestApp::with(|config| {
        with_quota(100_000)(config);
        config.limits.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let ann = app.register("Ann").await;
    let email = ann.email.as_deref().unwrap();
    // At the same time, so that no guess has failed when the next begins; an account that does not exist is like any other.
    for account in [email, "nobody@example.org"] {
        let guesses = join_all((0..12).map(|_| sign_in(&app, "192.0.2.1", account, "wrong"))).await;
        let taken = guesses.iter().filter(|(status, _)| *status == 401).count();
        // Six, where the machine was so busy that the first second passed meanwhile.
        assert!((5..=6).contains(&taken), "{guesses:?}");
        assert!(
            guesses.iter().all(|(status, wait)| *status == 401 || *wait <= Some(2)),
            "{guesses:?}"
        );
    }
    // The waits are honest: after each there is one more guess, and then a longer one.
    let mut longest = 0;
    while longest < 8 {
        if let (429, Some(wait)) = sign_in(&app, "192.0.2.1", email, "wrong").await {
            longest = longest.max(wait);
            if wait < 8 {
                wait_out(Duration::from_secs(wait.unsigned_abs())).await;
                let (status, _) = sign_in(&app, "192.0.2.1", email, "wrong").await;
                assert_eq!(status, 401, "after {wait} s");
            }
        }
    }
    let (status, _) = sign_in(&app, "192.0.2.1", email, PASSWORD).await;
    assert_eq!(status, 429, "also with the right one");
    // From many addresses: the account is under attack, and each has one guess.
    for n in 2..20 {
        let address = format!("192.0.2.{n}");
        let guesses = join_all((0..2).map(|_| sign_in(&app, &address, email, "wrong"))).await;
        let is_attacked = guesses.iter().any(|(status, _)| *status == 429);
        assert!(n < 12 || is_attacked, "{n} {guesses:?}");
    }
    assert_eq!(
        sign_in(&app, "198.51.100.9", email, PASSWORD).await.0,
        200,
        "the owner, from anywhere else"
    );
    app.stop().await;
}

#[actix_web::test]
async fn signing_up_slows_down() {
    let app = TestApp::with(with_quota(100_000)).await;
    let sign_up = |n: usize| {
        let body = json!({"email": format!("user{n}@example.org"), "password": PASSWORD, "name": "User"});
        app.request(Method::POST, "/auth/register", None, Some(body))
    };
    for n in 0..20 {
        assert_eq!(sign_up(n).await.status, 201, "{n}");
    }
    // On a busy machine the first waits may have passed already; they double.
    let mut refused = false;
    for n in 20..60 {
        let answer = sign_up(n).await;
        refused = refused || answer.status == 429;
        if answer.status == 429 {
            answer.problem(429, "rate_limited");
            break;
        }
    }
    assert!(refused);
    app.stop().await;
}

#[actix_web::test]
async fn refused_frames_of_any_kind_are_a_flood() {
    let app = TestApp::with(with_quota(100)).await;
    let ann = app.register("Ann").await;
    let wrong = json!({"type": "ping", "x": 1});
    let mut socket = ann.connect().await;
    for _ in 0..51 {
        socket.refused(wrong.clone(), "bad_request").await;
    }
    socket.expect_close(4101).await;
    app.stop().await;
    // Without limits nobody counts.
    let app = TestApp::start().await;
    let mut socket = app.register("Ann").await.connect().await;
    for _ in 0..60 {
        socket.refused(wrong.clone(), "bad_request").await;
    }
    assert_eq!(socket.ask(json!({"type": "ping"})).await["type"], "pong");
    app.stop().await;
}

#[actix_web::test]
async fn subscribing_is_free_two_hundred_times_in_ten_seconds() {
    let app = TestApp::with(with_quota(100)).await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let mut socket = ann.connect().await;
    let started = Instant::now();
    for _ in 0..200 {
        socket.subscribe(conversation, None).await;
    }
    let frame = json!({"type": "subscribe", "conversation": conversation});
    if started.elapsed() < Duration::from_secs(9) {
        let refused = socket.refused(frame.clone(), "rate_limited").await;
        let wait = refused["retry_after_ms"].as_u64().unwrap();
        assert!((1..=10_001).contains(&wait), "{refused}");
    }
    // Another socket has its own.
    ann.connect().await.subscribe(conversation, None).await;
    app.stop().await;
}

/// Whoever makes up credentials pays for it with the address, and then no longer with the database.
#[actix_web::test]
async fn made_up_keys_and_tickets_cost_no_query_beyond_the_quota() {
    let app = TestApp::with(|config| {
        with_quota(1_000)(config);
        config.limits.anonymous = quota(6);
        config.limits.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let ann = app.register("Ann").await;
    let key = ann
        .post("/api/keys", json!({"name": "bot", "scopes": ["chat"]}))
        .await
        .ok();
    let key = key["secret"].as_str().unwrap();
    let ask = async |path: &str, token: Option<&str>| {
        let request = app.http().get(app.url(path)).header("x-forwarded-for", "198.51.100.1");
        let request = request
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let request = token.into_iter().fold(request, reqwest::RequestBuilder::bearer_auth);
        Site::read(request.send().await.unwrap()).await.unwrap()
    };
    assert_eq!(ask("/api/me", Some(key)).await.status, 200, "it is known from now on");
    let made_up = |n: usize| format!("pk_{n:043}");
    let ticket = |n: usize| format!("/ws?ticket={n:043}");
    for n in 0..2 {
        assert_eq!(ask("/api/me", Some(&made_up(n))).await.status, 401);
        assert_eq!(ask("/ws", Some(&made_up(10 + n))).await.status, 401);
        assert_eq!(ask(&ticket(n), None).await.status, 401);
    }
    let looked_up = async || {
        let scrape = Scrape::of(&app).await;
        ["api_keys.find", "socket_tickets.take"]
            .map(|query| scrape.value("db_query_duration_seconds_count", &[("query", query)]))
    };
    let before = looked_up().await;
    assert_eq!(before, [5.0, 2.0]);
    for n in 100..110 {
        let refused = ask("/api/me", Some(&made_up(n))).await;
        assert_eq!(number(&refused, "x-ratelimit-remaining"), 0);
        refused.problem(429, "rate_limited");
        for (path, token) in [("/ws".to_owned(), Some(made_up(n))), (ticket(n), None)] {
            let refused = ask(&path, token.as_deref()).await;
            assert!(number(&refused, "retry-after") > 0);
            refused.problem(429, "rate_limited");
        }
    }
    assert_eq!(looked_up().await, before);
    assert_eq!(
        ask("/api/me", Some(key)).await.status,
        200,
        "who is known is not concerned"
    );
    app.stop().await;
}

#[actix_web::test]
async fn an_answer_that_comes_too_late_was_counted_and_says_so() {
    let app = TestApp::with(|config| {
        with_quota(10)(config);
        config.http.request_deadline = Duration::from_secs(3);
    })
    .await;
    let ann = app.register("Ann").await;
    let (client, connection) = tokio_postgres::connect(app.database.url(), tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let lock = "BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE";
    client.batch_execute(lock).await.unwrap();
    let late = ann.patch("/api/me", json!({"name": "Anna"})).await;
    client.batch_execute("ROLLBACK").await.unwrap();
    drop(client);
    assert_eq!(
        (
            number(&late, "x-ratelimit-limit"),
            number(&late, "x-ratelimit-remaining")
        ),
        (10, 9)
    );
    late.problem(503, "unavailable");
    app.stop().await;
}

#[actix_web::test]
async fn what_costs_much_has_a_quota_besides() {
    let app = TestApp::with(with_quota(100)).await;
    let ann = app.register("Ann").await;
    for n in 0..10 {
        let made = ann
            .post("/api/keys", json!({"name": format!("{n}"), "scopes": ["chat"]}))
            .await;
        assert_eq!(
            (made.status, number(&made, "x-ratelimit-limit")),
            (201, 100),
            "{made:?}"
        );
    }
    let refused = ann
        .post("/api/keys", json!({"name": "one more", "scopes": ["chat"]}))
        .await;
    assert_eq!(
        (
            number(&refused, "x-ratelimit-limit"),
            number(&refused, "x-ratelimit-remaining")
        ),
        (10, 0)
    );
    assert!((50..=61).contains(&number(&refused, "retry-after")));
    refused.problem(429, "rate_limited");
    assert_eq!(
        ann.get("/api/keys").await.ok()["items"].as_array().unwrap().len(),
        10,
        "reading costs little"
    );
    app.stop().await;
}

#[actix_web::test]
async fn a_key_is_its_users() {
    let app = TestApp::with(with_quota(10)).await;
    let ann = app.register("Ann").await;
    let key = ann
        .post("/api/keys", json!({"name": "bot", "scopes": ["chat"]}))
        .await
        .ok();
    let bot = crate::support::Person {
        token: key["secret"].as_str().unwrap().to_owned(),
        ..ann.clone()
    };
    for left in (0..9).rev() {
        let who = if left % 2 == 0 { &ann } else { &bot };
        assert_eq!(number(&who.get("/api/me").await, "x-ratelimit-remaining"), left);
    }
    for who in [&ann, &bot] {
        who.get("/api/me").await.problem(429, "rate_limited");
    }
    app.stop().await;
}

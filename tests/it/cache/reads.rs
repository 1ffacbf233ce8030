//! What REST reads through the cache: no query for what is known, and never what was before one's own change.

use crate::support::chaos::Chaos;
use crate::support::redis::{TestRedis, timed};
use crate::support::{Scrape, TestApp, eventually};
use parlance::ids::{MessageId, UserId};
use serde_json::json;
use std::time::Duration;

/// What no request may lose to Redis.
const LOSS_MAX: Duration = Duration::from_millis(250);

#[actix_web::test]
async fn a_cached_user_and_tenant_cost_no_query() {
    let (app, proxy) = TestApp::behind_proxy().await;
    let (ann, _) = app.person_with_conversation("Ann").await;
    let paths = [
        "/api/me".to_owned(),
        "/api/tenant".to_owned(),
        format!("/api/users/{}", ann.id),
    ];
    for path in &paths {
        ann.get(path).await.ok();
    }
    // No query can be answered now, so none is needed.
    proxy.set(Chaos::Freeze);
    for path in &paths {
        ann.get(path).await.ok();
    }
    proxy.set(Chaos::None);
    app.stop().await;
}

#[actix_web::test]
async fn changes_show_at_once_here_and_soon_elsewhere() {
    let app = TestApp::start().await;
    let (ann, _) = app.person_with_conversation("Ann").await;
    let there = app.peer().await;
    let elsewhere = ann.at(&there);
    for person in [&ann, &elsewhere] {
        assert_eq!(person.get("/api/me").await.ok()["name"], "Ann");
        person.get("/api/tenant").await.ok();
    }
    for name in ["Bea", "Cleo"] {
        let changed = ann.patch("/api/me", json!({"name": name})).await.ok();
        assert_eq!(changed["name"], name);
        assert_eq!(ann.get("/api/me").await.ok()["name"], name);
        let tenant = ann.patch("/api/tenant", json!({"name": name})).await.ok();
        assert_eq!(ann.get("/api/tenant").await.ok(), tenant);
        eventually("the other node shows it", async || {
            let (me, theirs) = (elsewhere.get("/api/me").await, elsewhere.get("/api/tenant").await);
            me.ok()["name"] == name && theirs.ok() == tenant
        })
        .await;
    }
    there.stop().await;
    app.stop().await;
}

#[actix_web::test]
async fn requests_go_on_whatever_becomes_of_redis() {
    let mut redis = TestRedis::start().await;
    let config = redis.config();
    let app = TestApp::with(|settings| settings.redis = config).await;
    let ([ann, bob], id) = app.conversation_of(["Ann", "Bob"]).await;
    let paths = [
        "/api/me",
        "/api/tenant",
        "/api/conversations",
        &format!("/api/users/{}", bob.id),
    ]
    .map(str::to_owned);
    // How long it takes anyway, on a machine that does other things too.
    let mut usual = Duration::ZERO;
    let visit = async |fault: &str, usual: Duration| {
        let mut longest = Duration::ZERO;
        // Changed each time, so that each has to be looked up: the first level alone would prove nothing.
        let name = format!("Ann {fault}");
        ann.patch("/api/me", json!({"name": name})).await.ok();
        ann.patch("/api/tenant", json!({"name": name})).await.ok();
        ann.post_message(id, MessageId::new(), fault).await.ok();
        let (unknown, took) = timed(ann.get(&format!("/api/users/{}", UserId::new()))).await;
        unknown.problem(404, "not_found");
        assert!(took < usual + LOSS_MAX, "Redis {fault}: {took:?}");
        for path in &paths {
            let (answer, took) = timed(ann.get(path)).await;
            answer.ok();
            assert!(took < usual + LOSS_MAX, "{path}, Redis {fault}: {took:?}");
            longest = longest.max(took);
        }
        assert_eq!(ann.get("/api/me").await.ok()["name"], name);
        assert_eq!(ann.get("/api/tenant").await.ok()["name"], name);
        longest
    };
    let redis_is = async || ann.get("/health/ready").await.ok()["parts"]["redis"]["status"].clone();
    for n in 0..5 {
        usual = usual.max(visit(&format!("well {n}"), usual).await);
    }
    assert_eq!(redis_is().await, "ok");
    redis.freeze();
    for n in 0..5 {
        visit(&format!("frozen {n}"), usual).await;
    }
    // The node is ready meanwhile; what it has said is repeated for a second.
    eventually("Redis is missed", async || redis_is().await == "degraded").await;
    redis.thaw();
    eventually("Redis is well again", async || redis_is().await == "ok").await;
    visit("thawed", usual).await;
    redis.kill_9();
    for n in 0..5 {
        visit(&format!("dead {n}"), usual).await;
    }
    eventually("Redis is missed again", async || redis_is().await == "degraded").await;
    redis.restart().await;
    eventually("Redis is well again", async || redis_is().await == "ok").await;
    visit("restarted", usual).await;
    redis.flush().await;
    visit("emptied", usual).await;
    let scrape = Scrape::of(&app).await;
    assert!(scrape.sum("cache_l2_breaker_openings_total") >= 1.0);
    assert!(scrape.sum("cache_l2_errors_total") >= 4.0);
    app.stop().await;
}

#[actix_web::test]
async fn what_one_node_has_loaded_another_finds_in_redis() {
    let redis = TestRedis::start().await;
    let config = redis.config();
    let app = TestApp::with(|settings| settings.redis = config).await;
    let peer = app.peer().await;
    let (ann, _) = app.person_with_conversation("Ann").await;
    ann.get("/api/me").await.ok();
    for pattern in ["parlance:cache:user:*", "parlance:cache:tenant:*"] {
        eventually("it is in Redis", async || redis.keys(pattern).await.len() == 1).await;
    }
    let hits = async |level| {
        let labels = |kind| [("cache_type", kind), ("level", level)];
        let scrape = Scrape::of(&app).await;
        ["user", "tenant"].map(|kind| scrape.value("cache_hits_total", &labels(kind)))
    };
    let (first, second) = (hits("l1").await, hits("l2").await);
    let there = ann.at(&peer);
    for _ in 0..3 {
        assert_eq!(there.get("/api/me").await.ok()["name"], "Ann");
    }
    assert_eq!(hits("l2").await, second.map(|n| n + 1.0));
    assert_eq!(hits("l1").await, first.map(|n| n + 2.0));
    // Nothing in it that its owner would not be shown.
    let value: Vec<u8> = redis.ask(&["GET", &redis.keys("parlance:cache:user:*").await[0]]).await;
    assert!(
        value.len() < 150 && !value.windows(7).any(|part| part == b"argon2i"),
        "{value:?}"
    );
    peer.stop().await;
    app.stop().await;
}

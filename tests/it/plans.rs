//! What the operator gives a tenant: the tiers that its admins may give, and how much all of its people together may ask
//! for.

use crate::keys::key_of;
use crate::limits::with_quota;
use crate::program::parlance;
use crate::support::client::PASSWORD;
use crate::support::redis::TestRedis;
use crate::support::{Person, TestApp, eventually};
use parlance::config::QuotaConfig;
use parlance::ids::{MessageId, Plan, TenantId};
use parlance::tenants::{self, list_plans, set_plan};
use reqwest::Method;
use serde_json::json;
use std::time::Duration;

/// How many of so many requests of a person are admitted.
async fn admitted(person: &Person, requests: usize) -> usize {
    let mut n = 0;
    for _ in 0..requests {
        let answer = person.get("/api/me").await;
        match answer.status {
            200 => n += 1,
            _ => drop(answer.problem(429, "rate_limited")),
        }
    }
    n
}

async fn tier(by: &Person, whom: &Person, tier: &str) -> crate::support::Answer {
    by.patch(&format!("/api/users/{}", whom.id), json!({"tier": tier}))
        .await
}

#[actix_web::test]
async fn admins_give_the_tiers_of_their_plan_and_the_plan_is_the_operators() {
    let app = TestApp::start().await;
    let there = app.peer_without_bus().await;
    let ([ann, bob, cid], _) = app.conversation_of(["Ann", "Bob", "Cid"]).await;
    let neighbour = app.register("Neighbour").await;
    let plan = async |person: &Person| person.get("/api/me").await.ok()["tenant"]["plan"].clone();
    assert_eq!(plan(&ann).await, "regular");
    for whom in [&ann, &bob] {
        let refused = tier(&ann, whom, "premium").await.problem(403, "forbidden");
        assert!(refused["detail"].as_str().unwrap().contains("plan"), "{refused}");
    }
    tier(&ann, &bob, "anonymous").await.ok();
    tier(&ann, &bob, "regular").await.ok();
    // Nothing over HTTP changes the plan.
    for body in [json!({"plan": "premium"}), json!({"name": "Ours", "plan": "premium"})] {
        ann.patch("/api/tenant", body).await.problem(400, "bad_request");
    }
    let operators = app.open_database().await;
    let elsewhere = ann.at(&there);
    let plan_elsewhere = async || elsewhere.get("/api/tenant").await.ok()["plan"].clone();
    assert_eq!(plan_elsewhere().await, "regular");
    let changed = set_plan(&operators, ann.tenant, Plan::Premium).await.unwrap();
    assert_eq!((&*changed.name, changed.lowered), ("Test", 0));
    eventually("a node that had read the plan hears of it", async || {
        plan_elsewhere().await == "premium"
    })
    .await;
    tier(&ann, &bob, "premium").await.ok();
    tier(&ann, &cid, "premium").await.ok();
    tier(&neighbour, &neighbour, "premium").await.problem(403, "forbidden");
    // Taken away again: with it what its admins have given, on every node, and for who is connected.
    eventually("the other node knows of the tier", async || {
        bob.at(&there).get("/api/me").await.ok()["tier"] == "premium"
    })
    .await;
    let changed = set_plan(&operators, ann.tenant, Plan::Regular).await.unwrap();
    assert_eq!(changed.lowered, 2);
    for site in [&app, &there] {
        eventually("the tier is taken down everywhere", async || {
            bob.at(site).get("/api/me").await.ok()["tier"] == "regular"
        })
        .await;
    }
    tier(&ann, &bob, "premium").await.problem(403, "forbidden");
    let unknown = set_plan(&operators, TenantId::new(), Plan::Premium).await;
    assert!(matches!(unknown, Err(tenants::Error::TenantNotFound)));
    let mut plans = Vec::new();
    list_plans(&operators, |tenant| plans.push((tenant.id, tenant.plan, tenant.people)))
        .await
        .unwrap();
    plans.sort_unstable_by_key(|(id, ..)| *id);
    let mut expected = [(ann.tenant, Plan::Regular, 3), (neighbour.tenant, Plan::Regular, 1)];
    expected.sort_unstable_by_key(|(id, ..)| *id);
    assert_eq!(plans, expected);
    operators.close().await;
    there.stop().await;
    app.stop().await;
}

#[actix_web::test]
async fn the_program_shows_and_sets_plans() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let environment = [("DATABASE_URL", app.database.url())];
    let run = |arguments: &[&str]| {
        let output = parlance(arguments, &environment);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let id = ann.tenant.to_string();
    let (code, listed, _) = run(&["tenants", "list"]);
    assert_eq!(code, Some(0));
    assert_eq!(listed, format!("{id}  regular       1  Test\n"));
    let (code, said, _) = run(&["tenants", "set-plan", &id, "premium"]);
    assert_eq!(code, Some(0));
    assert!(said.contains("Test has the plan premium"), "{said}");
    tier(&ann, &ann, "premium").await.ok();
    let (code, said, _) = run(&["tenants", "set-plan", &id, "regular"]);
    assert_eq!(code, Some(0));
    assert!(said.contains("1 of its people"), "{said}");
    // Wrong words, and a tenant that is not there.
    assert_eq!(run(&["tenants", "set-plan", &id, "golden"]).0, Some(2));
    assert_eq!(run(&["tenants", "set-plan", "Test", "premium"]).0, Some(2));
    let (code, _, error) = run(&["tenants", "set-plan", &TenantId::new().to_string(), "premium"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("no such tenant"), "{error}");
    app.stop().await;
}

#[actix_web::test]
async fn all_people_of_a_tenant_share_its_quota() {
    let app = TestApp::with(|config| {
        with_quota(1_000)(config);
        let quota = |per_minute| QuotaConfig {
            per_minute,
            per_hour: 1_000,
        };
        config.limits.tenant_regular = quota(30);
        config.limits.tenant_premium = quota(1_000);
    })
    .await;
    let ([ann, bob], c) = app.conversation_of(["Ann", "Bob"]).await;
    let program = key_of(&bob, &["chat"]).await.0;
    let neighbour = app.register("Neighbour").await;
    let mut socket = bob.connect().await;
    // Making the conversation, the invitation and the key has cost three. Over REST, by a program, and on the socket.
    assert_eq!(admitted(&ann, 10).await + admitted(&program, 10).await, 20);
    for _ in 0..7 {
        socket.post(c, MessageId::new(), "x").await;
    }
    let refused = socket.try_post(c, MessageId::new(), "x").await.unwrap_err();
    assert_eq!(refused["code"], "rate_limited");
    assert_eq!(admitted(&ann, 3).await + admitted(&program, 3).await, 0);
    let answer = ann.get("/api/me").await;
    assert_eq!(
        answer.header("x-ratelimit-limit"),
        Some("30"),
        "the numbers are those of what refused"
    );
    // Others do not share it, and with another plan there is more.
    assert_eq!(admitted(&neighbour, 20).await, 20);
    app.give_premium(&ann).await;
    let body = json!({"email": ann.email, "password": PASSWORD});
    let login = app.request(Method::POST, "/auth/login", None, Some(body)).await.ok();
    let token = login["access_token"].as_str().unwrap().to_owned();
    assert_eq!(admitted(&Person { token, ..ann }, 20).await, 20);
    app.stop().await;
}

/// Each node has half of the requests, and Redis counts both.
#[actix_web::test]
async fn the_quota_of_a_tenant_holds_over_all_nodes() {
    let redis = TestRedis::start().await;
    let app = TestApp::with(|config| {
        with_quota(1_000)(config);
        config.limits.tenant_regular = QuotaConfig {
            per_minute: 60,
            per_hour: 1_000,
        };
        config.redis = redis.config();
        // On a busy machine an answer may take its time; that is not what this is about.
        config.redis.timeout = Duration::from_secs(2);
    })
    .await;
    let peer = app.peer().await;
    let ([ann, bob], _) = app.conversation_of(["Ann", "Bob"]).await;
    let there = bob.at(&peer);
    let (here, elsewhere) = tokio::join!(admitted(&ann, 60), admitted(&there, 60));
    // Making the conversation and the invitation has cost two. A node may hold a few that the other would have needed.
    let sum = here + elsewhere;
    assert!((40..60).contains(&sum), "{here} and {elsewhere}");
    peer.stop().await;
    app.stop().await;
}

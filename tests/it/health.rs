//! Health by part, and metrics on an address of their own.

use crate::support::{Scrape, TestApp, eventually};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

#[actix_web::test]
async fn readiness_names_its_parts_and_shows_the_pool_to_admins_only() {
    let app = TestApp::start().await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let bob = app.join("Bob", &ann.invite(conversation).await).await;
    let ready = async |token: Option<&str>| app.request(Method::GET, "/health/ready", token, None).await.ok();

    let answer = ready(None).await;
    assert_eq!(answer["status"], "ok");
    assert_eq!(answer["version"], env!("CARGO_PKG_VERSION"));
    assert!(answer["uptime_seconds"].is_u64(), "{answer}");
    let parts = json!({
        "database": {"status": "ok"},
        "migrations": {"status": "ok"},
        "bus": {"status": "ok", "kind": "in_process"},
        "node": {"status": "ok"},
    });
    assert_eq!(answer["parts"], parts);
    for nobody in [None, Some("nonsense"), Some(&*bob.token)] {
        assert_eq!(ready(nobody).await["pool"], Value::Null, "{nobody:?}");
    }
    let pool = &ready(Some(&ann.token)).await["pool"];
    assert!(
        pool["size"].as_u64().is_some_and(|size| (1..=10).contains(&size)),
        "{pool}"
    );
    assert_eq!(
        (&pool["max"], &pool["waiting"], &pool["overflow"]),
        (&10.into(), &0.into(), &0.into())
    );

    let live = app
        .request(Method::GET, "/health/live", Some(&ann.token), None)
        .await
        .ok();
    assert_eq!(
        (&live["parts"], &live["pool"], &live["status"]),
        (&json!({}), &Value::Null, &"ok".into())
    );
    app.stop().await;
}

#[actix_web::test]
async fn asking_costs_the_database_nothing_however_often() {
    let app = TestApp::start().await;
    let (ann, key) = {
        let ann = app.register("Ann").await;
        let key = ann.post("/api/keys", json!({"name": "bot", "scopes": ["admin"]})).await;
        (ann, key.ok()["secret"].as_str().unwrap().to_owned())
    };
    let statements = async || Scrape::of(&app).await.sum("db_query_duration_seconds_count");
    let before = statements().await;
    let random = format!("pk_{}", "x".repeat(43));
    let ask = |n: usize| {
        let path = if n.is_multiple_of(2) {
            "/health"
        } else {
            "/health/ready"
        };
        let token = [None, Some(&*ann.token), Some(&*key), Some(&*random)][n / 2 % 4];
        app.request(Method::GET, path, token, None)
    };
    let started = Instant::now();
    for answer in join_all((0..200).map(ask)).await {
        assert_eq!(answer.ok()["parts"]["database"]["status"], "ok");
    }
    // Two parts ask the database, and a poll of the background may come between.
    let (cost, seconds) = (statements().await - before, started.elapsed().as_secs_f64().ceil());
    assert!(cost <= 5.0 * (seconds + 1.0), "{cost} in {seconds} s");
    app.stop().await;
}

#[actix_web::test]
async fn a_database_behind_the_program_is_not_ready() {
    let app = TestApp::start().await;
    app.database
        .query(
            "UPDATE refinery_schema_history SET version = version - 100 RETURNING 1",
            &[],
        )
        .await;
    let answer = app.request(Method::GET, "/health/ready", None, None).await;
    assert_eq!((answer.status, &answer.body["status"]), (503, &"unavailable".into()));
    let part = &answer.body["parts"]["migrations"];
    assert_eq!(part["status"], "failing");
    assert!(
        part["detail"]
            .as_str()
            .is_some_and(|detail| detail.starts_with("the schema is ")),
        "{part}"
    );
    assert_eq!(answer.body["parts"]["database"]["status"], "ok");
    // For people it is said, but always with 200.
    let answer = app.request(Method::GET, "/health", None, None).await;
    assert_eq!((answer.status, &answer.body["status"]), (200, &"unavailable".into()));
    app.stop().await;
}

#[actix_web::test]
async fn metrics_with_an_address_of_their_own_are_only_there_and_stay_to_the_end() {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let app = TestApp::with(|config| config.metrics.bind = Some(loopback)).await;
    let metrics = app.metrics.clone().unwrap();
    assert_ne!(metrics.address, app.address);
    assert!(Scrape::of(&metrics).await.value("process_open_fds", &[]) > 0.0);
    app.request(Method::GET, "/metrics", None, None)
        .await
        .problem(404, "not_found");
    for path in ["/health", "/health/live", "/health/ready"] {
        let answer = metrics.request(Method::GET, path, None, None).await;
        assert_eq!(answer.status, 200, "{path}: whatever happens to the main listener");
    }
    for path in ["/", "/openapi.json", "/api/me"] {
        metrics
            .request(Method::GET, path, None, None)
            .await
            .problem(404, "not_found");
    }
    app.stop().await;
    eventually("its listener has ended", async || {
        metrics.try_request(Method::GET, "/metrics", None, None).await.is_err()
    })
    .await;
}

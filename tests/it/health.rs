//! Health by part, and metrics on an address of their own.

use crate::support::{Scrape, TestApp, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};

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
    for path in ["/", "/health", "/api/me"] {
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

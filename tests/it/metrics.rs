//! What the server counts: that it counts what happened, under the promised names, and nothing that a client invents.
//!
//! The counters are the process's, so whoever compares numbers does so in a process of its own.

use crate::support::{Scrape, ServerProcess, TestApp, eventually};
use parlance::ids::MessageId;
use reqwest::Method;
use std::collections::BTreeSet;
use std::time::Duration;

const REQUESTS: &str = "http_requests_total";

/// The names of the table in `docs/operations.md`.
fn documented() -> BTreeSet<String> {
    let page = include_str!("../../docs/operations.md");
    let table = page.split_once("| metric |").unwrap().1;
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let name = |row: &str| row.split('`').nth(1).unwrap().split('{').next().unwrap().to_owned();
    rows.map(name).collect()
}

#[test]
fn the_page_for_operators_names_every_metric_and_no_other() {
    let declared: Vec<String> = parlance::metrics::metrics().names();
    let unique: BTreeSet<String> = declared.iter().cloned().collect();
    assert_eq!(unique.len(), declared.len(), "a name is declared twice");
    assert_eq!(documented(), unique);
}

#[tokio::test]
async fn requests_are_counted_by_route_and_clients_make_no_series() {
    let server = ServerProcess::start(&[("LOG_FORMAT", "json")]);
    let ann = server.register("Ann").await;
    let conversation = ann.create_conversation("x").await;
    let labels = [
        ("method", "GET"),
        ("path", "/api/conversations/{id}"),
        ("status_code", "200"),
    ];
    let before = Scrape::of(&server).await;
    for _ in 0..7 {
        ann.get(&format!("/api/conversations/{conversation}")).await.ok();
    }
    let after = Scrape::of(&server).await;
    assert_eq!(after.value(REQUESTS, &labels) - before.value(REQUESTS, &labels), 7.0);
    let route = &labels[..2];
    assert_eq!(after.value("http_request_duration_seconds_count", route), 7.0);

    // One of each first, so that what they share is there.
    let nowhere = async |n: usize| {
        let path = format!("/api/{n}/{}", uuid::Uuid::new_v4());
        assert_eq!(server.request(Method::GET, &path, None, None).await.status, 404);
        let method = Method::from_bytes(format!("BREW{n}").as_bytes()).unwrap();
        server.request(method, &path, None, None).await;
    };
    nowhere(0).await;
    let before = Scrape::of(&server).await;
    for n in 1..=1_000 {
        nowhere(n).await;
    }
    let after = Scrape::of(&server).await;
    assert_eq!(before.keys(), after.keys(), "a client has made a series");
    let lost = [("method", "GET"), ("path", "(none)"), ("status_code", "404")];
    assert_eq!(after.value(REQUESTS, &lost) - before.value(REQUESTS, &lost), 1_000.0);
    let invented = [("method", "OTHER"), ("path", "(none)"), ("status_code", "404")];
    assert_eq!(
        after.value(REQUESTS, &invented) - before.value(REQUESTS, &invented),
        1_000.0
    );
    server.terminate();
}

/// `increase` over a series that appears with its first events does not see them, nor does an alert.
#[tokio::test]
async fn restarts_and_refusals_are_counted_from_zero() {
    let server = ServerProcess::start(&[("RATE_LIMIT_ENABLED", "true")]);
    let actors = [
        "analytics_counts",
        "auth_upkeep",
        "cache",
        "cached_users",
        "conversation",
        "latencies",
        "persistence_lane",
        "presence",
        "presences",
        "rate_limit",
        "read_markers",
        "registry",
        "revocations",
        "search_index",
        "session_sweep",
    ];
    let said = |scrape: &Scrape, name: &str, label: &str| -> BTreeSet<String> {
        let series = scrape.keys().into_iter().filter(|(known, _)| known == name);
        series.map(|(_, labels)| labels[label].clone()).collect()
    };
    eventually("every actor has its series", async || {
        let scrape = Scrape::of(&server).await;
        said(&scrape, "actor_restarts_total", "actor").iter().eq(&actors)
    })
    .await;
    let scrape = Scrape::of(&server).await;
    assert_eq!(scrape.sum("actor_restarts_total"), 0.0);
    let surfaces = said(&scrape, "rate_limited_total", "surface");
    let all = ["connections", "expensive", "flood", "login", "rest", "socket"];
    assert!(surfaces.iter().eq(&all), "{surfaces:?}");
    server.terminate();
}

#[tokio::test]
async fn the_road_of_a_message_is_counted() {
    let server = ServerProcess::start(&[]);
    let ([ann, bob], conversation) = server.conversation_of(["Ann", "Bob"]).await;
    let (mut anns, mut bobs) = (ann.connect().await, bob.connect().await);
    anns.subscribe(conversation, None).await;
    bobs.subscribe(conversation, None).await;
    let before = Scrape::of(&server).await;
    let mut acks = Vec::new();
    for n in 0..5 {
        acks.push(anns.post(conversation, MessageId::new(), &format!("{n}")).await);
        bobs.expect("message").await;
    }
    let mut late = bob.connect().await;
    assert_eq!(late.subscribe(conversation, Some(acks[2].rev)).await.frames.len(), 2);
    let after = Scrape::of(&server).await;
    let moved = |name: &str, labels: &[(&str, &str)]| after.value(name, labels) - before.value(name, labels);
    assert_eq!(moved("append_to_ack_seconds_count", &[]), 5.0);
    assert_eq!(moved("append_to_delivery_seconds_count", &[]), 5.0);
    assert_eq!(moved("deliveries_total", &[]), 10.0, "five frames for two readers");
    assert_eq!(moved("commit_batch_size_sum", &[]), 5.0);
    assert_eq!(
        moved("commit_duration_seconds_count", &[]),
        moved("commit_batch_size_count", &[])
    );
    assert_eq!(moved("resume_changes_sum", &[]), 2.0);
    assert!(moved("resume_bytes_sum", &[]) > 200.0);
    let append = [("query", "messages.append_new")];
    assert!(moved("db_query_duration_seconds_count", &append) >= 1.0);
    assert!(moved("append_to_ack_seconds_sum", &[]) >= moved("commit_duration_seconds_sum", &[]));
    assert_eq!(
        (
            after.value("sockets_open", &[]),
            after.value("sockets_opened_total", &[])
        ),
        (3.0, 3.0)
    );
    assert_eq!(after.value("conversations_active", &[]), 1.0);
    assert_eq!(after.value("actor_mailbox_depth", &[("actor", "conversation")]), 0.0);
    assert!(after.value("db_connection_pool_size", &[]) >= 1.0);
    assert!(after.value("process_resident_memory_bytes", &[]) > 1e6);

    late.close().await;
    eventually("the end of a socket is counted", async || {
        let scrape = Scrape::of(&server).await;
        scrape.value("sockets_closed_total", &[("code", "1000")]) == 1.0 && scrape.value("sockets_open", &[]) == 2.0
    })
    .await;
    server.terminate();
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_counted() {
    let server = ServerProcess::start(&[("PARLANCE_STALL_TIMEOUT", "1s")]);
    let ([ann, bob], conversation) = server.conversation_of(["Ann", "Bob"]).await;
    let mut anns = ann.connect().await;
    let raw = crate::slow_reader::stuck(&bob, conversation).await;
    let body = "x".repeat(16_000);
    let evicted = async || Scrape::of(&server).await.sum("outbox_evictions_total");
    while evicted().await == 0.0 {
        for _ in 0..20 {
            anns.post(conversation, MessageId::new(), &body).await;
        }
    }
    drop(raw);
    eventually("its socket has ended with 4201", async || {
        Scrape::of(&server)
            .await
            .value("sockets_closed_total", &[("code", "4201")])
            == 1.0
    })
    .await;
    server.terminate();
}

#[actix_web::test]
async fn a_request_that_runs_out_of_time_is_counted_with_its_route() {
    let app = TestApp::with(|config| config.http.request_deadline = Duration::from_secs(3)).await;
    let ann = app.register("Ann").await;
    let (client, connection) = tokio_postgres::connect(app.database.url(), tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    client
        .batch_execute("BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let labels = [("method", "PATCH"), ("path", "/api/me"), ("status_code", "503")];
    let before = Scrape::of(&app).await.value(REQUESTS, &labels);
    ann.patch("/api/me", serde_json::json!({"name": "Anna"}))
        .await
        .problem(503, "unavailable");
    client.batch_execute("ROLLBACK").await.unwrap();
    drop(client);
    assert_eq!(Scrape::of(&app).await.value(REQUESTS, &labels) - before, 1.0);
    app.stop().await;
}

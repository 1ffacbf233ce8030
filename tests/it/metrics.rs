//! What the server counts: that it counts what happened, under the promised names, and nothing that a client invents.
//!
//! The counters are the process's, so whoever compares numbers does so in a process of its own.

use crate::support::{Scrape, ServerProcess};
use reqwest::Method;
use std::collections::BTreeSet;

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
    assert!(after.value("db_query_duration_seconds_sum", &[("query", "conversations.find")]) >= 0.0);

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

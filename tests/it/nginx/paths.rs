//! Paths that are written oddly: nginx chooses limits by one reading, a node answers by another, so there may only be one.

use super::Front;
use crate::support::eventually;
use crate::support::raw::{Exchange, exchange};
use std::net::SocketAddr;

async fn ask(address: SocketAddr, method: &str, path: &str) -> Exchange {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    exchange(address, request.as_bytes()).await
}

#[track_caller]
fn assert_refused(answer: &Exchange, what: &str) {
    assert_eq!(answer.statuses, [400], "{what}: {}", answer.text);
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json"),
        "{what}"
    );
    assert!(answer.header("x-frame-options").is_some(), "{what}");
    assert!(
        answer.text.contains(r#""code":"bad_request""#),
        "{what}: {}",
        answer.text
    );
}

#[actix_web::test]
async fn a_path_that_could_be_two_is_refused_before_any_node() {
    let front = Front::with(&[("NGINX_LIMITS", "on"), ("NGINX_API_BURST", "1")], |_| ()).await;
    let odd = [
        // For nginx somewhere without a limit, for a node an id below /api/.
        "/api/conversations/..%2f..%2fx",
        "/api/users/..%2F..%2Fhealth",
        "/api/invites/%2e%2e%2f%2E%2E%2fx/accept",
        "/api/users/x%2fy",
        "/api/../x",
        "/x/./y",
        "/x/%2e%2E/y",
        "/x/.%2e",
        "/x/..",
        "/x/.?a=b",
        "//api/me",
        "/api//me",
        "/auth/login//",
    ];
    for path in odd {
        assert_refused(&ask(front.nginx.address, "GET", path).await, path);
    }
    // As the nodes have them, and what only looks like it.
    for (path, status) in [
        ("/docs?next=/x/../y//z%2f", 200),
        ("/a..b/.c/d./...", 404),
        ("/static/0/%2e.js", 404),
        ("/%64ocs", 200),
        ("/%252f", 404),
    ] {
        let answer = ask(front.nginx.address, "GET", path).await;
        assert_eq!(answer.statuses, [status], "{path}: {}", answer.text);
    }
    // Each worker of nginx writes its own lines, when it comes to it.
    let refused = || {
        let log = front.nginx.access_log();
        let lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let lines = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter(|line| line["status"] == 400).collect::<Vec<_>>()
    };
    eventually("every refusal is logged", async || refused().len() >= odd.len()).await;
    let refused = refused();
    assert_eq!(refused.len(), odd.len());
    for line in refused {
        assert_eq!((&line["path"], &line["upstream"]), (&"{odd}".into(), &"".into()));
    }
    front.stop().await;
}

/// Whoever sends nonsense has made the mistake, not we: 400 and never 500, which would wake somebody.
#[actix_web::test]
async fn what_has_no_path_is_a_bad_request() {
    let front = Front::start().await;
    for path in ["/..", "/a/../../b", "/%2e%2e/", "/%zz", "/%00", "/%", "*", "x:443"] {
        for method in ["GET", "POST", "OPTIONS", "CONNECT"] {
            assert_refused(
                &ask(front.nginx.address, method, path).await,
                &format!("{method} {path}"),
            );
        }
    }
    let garbage = exchange(front.nginx.address, b"\x16\x03\x01 no TLS here\r\n\r\n").await;
    assert_refused(&garbage, "garbage");
    // The way there is nothing that can be asked for.
    let answer = ask(front.nginx.address, "GET", "/.unreadable").await;
    assert_eq!(answer.statuses, [404], "{}", answer.text);
    assert!(answer.text.contains(r#""code":"not_found""#), "{}", answer.text);
    front.stop().await;
}

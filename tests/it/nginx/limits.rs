//! nginx's own limits, with the shipped numbers, and that the nodes' limits see the real client behind it.

use super::Front;
use crate::support::raw::RawConnection;
use crate::support::{Answer, Nginx, Site, Socket, TestApp, eventually, pace, wait_out};
use futures_util::future::join_all;
use parlance::config::{FloodConfig, QuotaConfig};
use reqwest::Method;
use serde_json::json;
use std::time::{Duration, Instant};

const ON: (&str, &str) = ("NGINX_LIMITS", "on");

/// Many requests at the same time; how many were let through, and a refusal.
async fn storm(site: &Site, method: Method, path: &str, count: usize) -> (usize, Option<Answer>) {
    let request = || site.request(method.clone(), path, None, None);
    let answers = join_all((0..count).map(|_| request())).await;
    let (refused, passed): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 429);
    (passed.len(), refused.into_iter().next())
}

#[actix_web::test]
async fn a_flood_from_one_address_is_told_when_to_come_back() {
    let front = Front::with(&[ON], |_| ()).await;
    for (method, path, at_once, a_second) in [
        (Method::GET, "/api/me", 121, 60),
        (Method::POST, "/auth/logout", 21, 10),
    ] {
        let started = Instant::now();
        let (passed, refused) = storm(&front.nginx, method.clone(), path, 4 * at_once).await;
        let late = usize::try_from(started.elapsed().as_secs()).unwrap() + 1;
        assert!(
            (at_once..=at_once + late * a_second).contains(&passed),
            "{path}: {passed} were let through"
        );
        let refused = refused.unwrap_or_else(|| panic!("{path}: nobody was refused"));
        super::answers::security(&refused.headers, path);
        assert_eq!(refused.header("retry-after"), Some("1"), "{path}");
        refused.problem(429, "rate_limited");
        // The advice is true.
        wait_out(Duration::from_secs(1)).await;
        assert_eq!(
            front.nginx.request(method, path, None, None).await.status,
            401,
            "{path}"
        );
    }
    // Free are the page, its files and health, as on the nodes.
    for path in ["/", "/health/live", "/static/0/x"] {
        let (passed, refused) = storm(&front.nginx, Method::GET, path, 50).await;
        assert_eq!((passed, refused.is_none()), (50, true), "{path}");
    }
    front.stop().await;
}

#[actix_web::test]
async fn limits_can_be_turned_off_and_be_others() {
    let front = Front::start().await;
    assert_eq!(storm(&front.nginx, Method::GET, "/api/me", 200).await.0, 200);
    front.stop().await;
    let front = Front::with(&[ON, ("NGINX_API_RATE", "1r/m"), ("NGINX_API_BURST", "2")], |_| ()).await;
    assert_eq!(storm(&front.nginx, Method::GET, "/api/me", 10).await.0, 3);
    front.stop().await;
}

#[actix_web::test]
async fn one_address_has_so_many_sockets_and_no_more() {
    let front = Front::with(&[ON, ("NGINX_CONNECTIONS_PER_ADDRESS", "3")], |_| ()).await;
    let ann = front.app.register("Ann").await.at(&front.nginx);
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(ann.connect().await);
    }
    // The files, too, which have error pages of their own.
    for path in ["/health/live", "/api/me", "/static/0/app.js"] {
        let refused = ann.get(path).await;
        super::answers::security(&refused.headers, path);
        assert_eq!(refused.header("retry-after"), Some("1"), "{path}");
        refused.problem(429, "rate_limited");
    }
    assert!(Socket::try_connect(&front.nginx, &ann.token).await.is_err());
    sockets.pop().unwrap().close().await;
    eventually("there is room again", async || {
        ann.get("/health/live").await.status == 200
    })
    .await;
    front.stop().await;
}

/// Nodes with limits that count addresses: five requests a minute without credentials.
async fn limited_by_address(settings: &[(&str, &str)]) -> Front {
    Front::with(settings, |config| {
        config.limits.enabled = true;
        let five = QuotaConfig {
            per_minute: 5,
            per_hour: 1_000,
        };
        config.limits.anonymous = five;
        let none = FloodConfig {
            per_second: 1_000_000,
            burst: 1_000_000,
        };
        (config.limits.flood, config.limits.flood_auth) = (none, none);
    })
    .await
}

async fn from(site: &Site, address: &str) -> Answer {
    let request = site.http().get(site.url("/api/me")).header("x-forwarded-for", address);
    let request = request
        .header("forwarded", format!("for={address}"))
        .header("x-real-ip", address);
    Site::read(request.send().await.unwrap()).await.unwrap()
}

#[actix_web::test]
async fn nobody_chooses_their_address() {
    let front = limited_by_address(&[]).await;
    for n in 0..5 {
        from(&front.nginx, &format!("10.0.0.{n}"))
            .await
            .problem(401, "unauthenticated");
    }
    let refused = from(&front.nginx, "10.0.0.99").await;
    assert_eq!(
        refused.header("x-ratelimit-remaining"),
        Some("0"),
        "the node counts, not nginx"
    );
    refused.problem(429, "rate_limited");
    front.stop().await;
}

#[actix_web::test]
async fn behind_a_balancer_that_is_trusted_the_client_is_who_it_says() {
    let balancer = [
        ("NGINX_TRUSTED_PROXIES", "127.0.0.1"),
        ON,
        ("NGINX_API_RATE", "1r/m"),
        ("NGINX_API_BURST", "1"),
    ];
    let front = limited_by_address(&balancer).await;
    // Each its own, to nginx as to the node. What a client itself has written to the left does not count.
    for n in 0..10 {
        from(&front.nginx, &format!("10.9.9.9, 192.0.2.{n}"))
            .await
            .problem(401, "unauthenticated");
    }
    // Of IPv6 a /64 is one.
    let addresses = [
        "2001:db8:0:1::1",
        "2001:db8:0:1:ffff::2",
        "2001:db8:0:1::3",
        "2001:db8:0:2::1",
    ];
    let mut statuses = Vec::new();
    for address in addresses {
        statuses.push(from(&front.nginx, address).await.status);
    }
    assert_eq!(statuses, [401, 401, 429, 401]);
    let line = |line: &serde_json::Value| line["client"] == "2001:db8:0:1::3";
    assert_eq!(front.nginx.logged("the refusal", line).await["limited"], "REJECTED");
    front.stop().await;
}

/// A head byte by byte, a body that never ends, an answer that nobody takes: 12 s and 10 s, here 1 s.
#[actix_web::test]
async fn slow_clients_are_cut() {
    let app = TestApp::start().await;
    let nginx = Nginx::with(&[&app], &[("NGINX_CLIENT_TIMEOUT", "1s")]);
    let post = "POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let silent = "GET / HTTP/1.1\r\nHost: x\r\nX: ".to_owned();
    for (start, dribbles) in [
        (silent, true),
        (format!("{post}Content-Length: 100\r\n\r\n{{"), false),
        (format!("{post}Transfer-Encoding: chunked\r\n\r\n64\r\n{{"), false),
    ] {
        let mut connection = RawConnection::open(nginx.address).await;
        connection.send(start.as_bytes()).await;
        let started = Instant::now();
        // A head has all of its time once; the time of a body begins anew with each piece.
        while dribbles && connection.send(b"y").await {
            assert!(
                started.elapsed() < crate::support::PATIENCE,
                "the head was waited for: {start}"
            );
            pace(Duration::from_millis(100)).await;
        }
        let exchange = connection.read_to_end().await;
        assert!(
            exchange.statuses.iter().all(|status| *status == 408),
            "{}",
            exchange.text
        );
    }
    // No node was asked.
    let line = |line: &serde_json::Value| line["status"] == 408 && line["path"] == "/auth/login";
    assert_eq!(nginx.logged("the slow body", line).await["upstream"], "");
    drop(nginx);
    app.stop().await;
}

/// A body that comes slowly holds nginx only; the node gets it when it is whole.
#[actix_web::test]
async fn a_slow_body_costs_the_node_nothing() {
    let app = TestApp::with(|config| config.http.request_deadline = Duration::from_secs(2)).await;
    let nginx = Nginx::before(&[&app]);
    let body = json!({"name": "x", "invite": "nonsense"}).to_string();
    let mut connection = RawConnection::open(nginx.address).await;
    let head = "POST /auth/guest HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n";
    connection
        .send(format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes())
        .await;
    let started = Instant::now();
    for byte in body.as_bytes() {
        connection.send(&[*byte]).await;
        pace(Duration::from_millis(100)).await;
    }
    // Longer than the node would wait, and it has been asked only now.
    assert!(started.elapsed() > Duration::from_secs(3));
    assert_eq!(connection.read_to_end().await.statuses, [404]);
    drop(nginx);
    app.stop().await;
}

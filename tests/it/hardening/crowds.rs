//! Connections that do nothing, so many that there is no place for anybody else: the longest idle give way.

use crate::support::TestApp;
use crate::support::raw::RawConnection;
use parlance::config::Config;
use reqwest::Method;
use std::net::Ipv4Addr;

const HEALTH: &[u8] = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";

/// A node with 104 places.
fn small(config: &mut Config) {
    config.sessions.connections_max = 20;
}

async fn is_well(app: &TestApp) {
    for _ in 0..3 {
        // Each on a connection of its own.
        let answer = crate::support::Site::new(app.address)
            .request(Method::GET, "/health/live", None, None)
            .await;
        assert_eq!(answer.status, 200);
    }
}

async fn idle(source: Ipv4Addr, app: &TestApp) -> RawConnection {
    let mut connection = RawConnection::open_from(source, app.address).await;
    connection.send(HEALTH).await;
    let answer = connection.read_piece().await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    connection
}

#[actix_web::test]
async fn idle_connections_of_one_address_shut_nobody_out() {
    let app = TestApp::with(small).await;
    let mut held = Vec::new();
    for _ in 0..300 {
        held.push(idle(Ipv4Addr::new(127, 0, 0, 2), &app).await);
    }
    is_well(&app).await;
    // The first had to go.
    assert_eq!(held[0].read_to_end().await.text, "");
    app.stop().await;
}

#[actix_web::test]
async fn idle_connections_of_many_addresses_shut_nobody_out() {
    let app = TestApp::with(small).await;
    let mut held = Vec::new();
    for n in 0..300_u16 {
        let source = Ipv4Addr::new(127, 0, 1, u8::try_from(n % 100).unwrap() + 1);
        held.push(idle(source, &app).await);
    }
    is_well(&app).await;
    assert_eq!(held[0].read_to_end().await.text, "");
    app.stop().await;
}

/// Proxies have no share: everybody comes by them.
#[actix_web::test]
async fn a_trusted_proxy_keeps_its_connections() {
    let app = TestApp::with(|config| {
        small(config);
        config.limits.trusted_proxies = vec!["127.0.0.2".parse::<std::net::IpAddr>().unwrap().into()];
    })
    .await;
    let proxy = Ipv4Addr::new(127, 0, 0, 2);
    let mut held = Vec::new();
    for _ in 0..60 {
        held.push(idle(proxy, &app).await);
    }
    for _ in 0..100 {
        held.push(idle(Ipv4Addr::new(127, 0, 0, 3), &app).await);
    }
    is_well(&app).await;
    let last = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for connection in &mut held[..60] {
        assert!(connection.send(last).await);
        assert_eq!(connection.read_to_end().await.statuses, [200]);
    }
    app.stop().await;
}

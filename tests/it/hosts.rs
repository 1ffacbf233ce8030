//! Under which names a node answers, and which pages are its own where people come by TLS.

use crate::auth::browse;
use crate::support::{Answer, Site, Socket, TestApp};
use parlance::config::Config;
use reqwest::Method;
use serde_json::json;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;

async fn under(site: &Site, host: &str, path: &str) -> Answer {
    browse(site, Method::GET, path, &[("host", host)], None).await
}

#[actix_web::test]
async fn a_name_that_is_not_ours_is_refused() {
    let app = TestApp::with(|config| config.http.public_hosts = Config::default().http.public_hosts).await;
    for host in ["localhost:8080", "app.localhost", "127.0.0.1:1", "192.0.2.1", "[::1]"] {
        assert_eq!(under(&app, host, "/api/me").await.status, 401, "{host}");
        assert_eq!(under(&app, host, "/").await.status, 200, "{host}");
    }
    // A page of another site whose name points here.
    for host in ["rebound.example", "127.0.0.1.rebound.example:8080"] {
        for path in ["/api/me", "/", "/metrics", "/openapi.json", "/nothing"] {
            under(&app, host, path).await.problem(421, "bad_request");
        }
        for path in ["/health", "/health/live", "/health/ready"] {
            assert_eq!(under(&app, host, path).await.status, 200, "{path}");
        }
    }
    app.stop().await;
    let app = TestApp::with(|config| config.http.public_hosts = vec!["chat.example.org".to_owned()]).await;
    for (host, status) in [
        ("chat.example.org", 401),
        ("CHAT.example.org.:443", 401),
        ("localhost", 401),
        ("127.0.0.1:8080", 401),
        ("example.org", 421),
        ("192.0.2.1", 421),
    ] {
        assert_eq!(under(&app, host, "/api/me").await.status, status, "{host}");
    }
    app.stop().await;
}

/// Who is on the line can answer for `http://` of any name, and so write a page of that origin.
#[actix_web::test]
async fn with_tls_a_page_without_is_a_foreign_one() {
    let app = TestApp::with(|config| {
        config.http.secure_cookies = true;
        config.http.allowed_origins = vec!["http://listed.example".to_owned()];
    })
    .await;
    let ann = app.register("Ann").await;
    let session = format!("__Host-parlance_session={}", ann.token);
    let rename = async |origin: &str| {
        let headers = [("host", "chat.example.org"), ("origin", origin), ("cookie", &*session)];
        let body = json!({"name": "Anna"});
        browse(&app, Method::PATCH, "/api/me", &headers, Some(body)).await
    };
    assert_eq!(rename("https://chat.example.org").await.status, 200);
    for origin in [
        "http://chat.example.org",
        "http://chat.example.org:443",
        "http://listed.example",
    ] {
        rename(origin).await.problem(403, "forbidden");
    }
    let open = async |origin: &str| {
        let request = ClientRequestBuilder::new(format!("ws://{}/ws", app.address).parse().unwrap())
            .with_header("Authorization", format!("Bearer {}", ann.token))
            .with_header("Origin", origin);
        Socket::handshake(app.address, request).await
    };
    let own = format!("https://{}", app.address);
    open(&own).await.unwrap().close().await;
    open("http://listed.example").await.unwrap().close().await;
    assert!(open(&own.replace("https", "http")).await.is_err());
    app.stop().await;
    // Without TLS, as far as the node knows, a proxy in front may speak it.
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    for scheme in ["http", "https"] {
        let request = ClientRequestBuilder::new(format!("ws://{}/ws", app.address).parse().unwrap())
            .with_header("Authorization", format!("Bearer {}", ann.token))
            .with_header("Origin", format!("{scheme}://{}", app.address));
        Socket::handshake(app.address, request).await.unwrap().close().await;
    }
    app.stop().await;
}

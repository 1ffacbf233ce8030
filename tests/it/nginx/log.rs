//! The access log: what operators need of each request, and nothing that lets its reader in anywhere.

use super::Front;
use crate::support::raw::exchange;
use crate::support::{Nginx, Site, Socket, TestApp, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;

#[actix_web::test]
async fn a_request_and_a_socket_leave_a_line_each() {
    let front = Front::start().await;
    let ann = front.nginx.register("Ann").await;
    let request = front.nginx.http().get(front.nginx.url("/api/users?limit=7"));
    let request = request.bearer_auth(&ann.token).header("x-request-id", "trace-1");
    assert_eq!(request.send().await.unwrap().status(), 200);
    let line = front
        .nginx
        .logged("a request", |line| line["request_id"] == "trace-1")
        .await;
    assert_eq!(
        (&line["method"], &line["path"], &line["status"]),
        (&json!("GET"), &json!("/api/users"), &json!(200))
    );
    assert_eq!(
        (&line["client"], &line["upstream_status"]),
        (&json!("127.0.0.1"), &json!("200"))
    );
    let addresses = [front.app.address.to_string(), front.peer.address.to_string()];
    assert!(
        addresses.iter().any(|address| line["upstream"] == json!(address)),
        "{line}"
    );
    for seconds in [
        "upstream_connect_seconds",
        "upstream_header_seconds",
        "upstream_seconds",
    ] {
        assert!(line[seconds].as_str().unwrap().parse::<f64>().is_ok(), "{line}");
    }
    assert!(
        line["seconds"].is_number() && line["bytes"].as_u64().unwrap() > 100,
        "{line}"
    );
    ann.connect().await.close().await;
    let line = front.nginx.logged("a socket", |line| line["path"] == "/ws").await;
    assert_eq!(
        (&line["status"], &line["upstream_status"]),
        (&json!(101), &json!("101"))
    );
    front.stop().await;
}

/// Everything that is secret goes through once, with nodes and without: then both logs are searched for it.
#[actix_web::test]
async fn no_credential_is_in_any_log() {
    let front = Front::start().await;
    let (ann, conversation) = front.nginx.person_with_conversation("Ann").await;
    let invite = ann.invite(conversation).await;
    let key = ann
        .post("/api/keys", json!({"name": "bot", "scopes": ["chat"]}))
        .await
        .ok();
    let key = key["secret"].as_str().unwrap().to_owned();
    let mut secrets = vec![ann.token.clone(), invite.clone(), key.clone()];
    let requests = async |site: &Site| {
        let cookie = format!("parlance_session={}", ann.token);
        let page = format!("{}?from=mail", site.url(&format!("/i/{invite}")));
        // Whether they are answered or not.
        let _: Result<_, _> = site.http().get(&page).header("cookie", &cookie).send().await;
        let me = site.http().get(site.url("/api/me")).header("referer", &page);
        let _: Result<_, _> = me.header("cookie", &cookie).send().await;
        let keyed = site.http().get(site.url(&format!("/api/me?token={}", ann.token)));
        let _: Result<_, _> = keyed.bearer_auth(&key).send().await;
        let _: Result<_, _> = site
            .try_request(Method::POST, &format!("/api/invites/{invite}/accept?a"), None, None)
            .await;
        // Too much of it: nginx answers by itself.
        let large = site
            .http()
            .post(site.url(&format!("/api/invites/{invite}/accept")))
            .body(vec![0; 2_000_000]);
        let _: Result<_, _> = large.header("referer", &page).send().await;
        // There is more than one way to write a path, and no library sends these.
        for path in [
            format!("/%69/{invite}"),
            format!("/I/{invite}"),
            format!("//i/{invite}"),
            format!("/x/../i/{invite}"),
            format!("/i%2f{invite}"),
            format!("/i/{invite}/%2E."),
            format!("/i/{invite}/../../x"),
            format!("/i/{invite}/..%2f..%2fx"),
            format!("/i/{invite}#/../../x"),
            format!("/../i/{invite}"),
            format!("/%zz/i/{invite}"),
            format!("http://x/i/{invite}"),
            format!("/api/%69nvites/{invite}/accept"),
            format!("/api/invites/{invite}/more"),
        ] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            exchange(site.address, request.as_bytes()).await;
        }
    };
    requests(&front.nginx).await;
    let open = async |nginx: &Nginx, ticket: &str| {
        let uri = format!("ws://{}/ws?ticket={ticket}", nginx.address).parse().unwrap();
        Socket::handshake(nginx.address, ClientRequestBuilder::new(uri)).await
    };
    for _ in 0..2 {
        let ticket = ann.post("/auth/ticket", Value::Null).await.ok();
        secrets.push(ticket["ticket"].as_str().unwrap().to_owned());
    }
    open(&front.nginx, &secrets[3]).await.unwrap().close().await;
    front.peer.stop().await;
    front.app.stop().await;
    requests(&front.nginx).await;
    assert!(open(&front.nginx, &secrets[4]).await.is_err());
    front
        .nginx
        .logged("the last", |line| line["path"] == "/ws" && line["status"] == 502)
        .await;
    let accepted = front
        .nginx
        .logged("an invitation", |line| line["path"] == "/api/invites/{code}/accept")
        .await;
    assert_eq!(accepted["method"], "POST");
    front.nginx.logged("its page", |line| line["path"] == "/i/{code}").await;
    // Each worker of nginx writes its own lines, when it comes to it.
    let written = || front.nginx.access_log() + &front.nginx.error_log();
    eventually("most of it is written", async || written().lines().count() > 15).await;
    let written = written();
    for secret in &secrets {
        assert!(!written.contains(secret), "{secret} is in a log: {written}");
    }
    assert!(!written.contains('?'), "a query string: {written}");
}

#[actix_web::test]
async fn health_checks_and_metrics_do_not_fill_it() {
    let app = TestApp::start().await;
    let nginx = Nginx::before(&[&app]);
    for path in ["/health/live", "/health/ready", "/health", "/healthy"] {
        nginx.request(Method::GET, path, None, None).await;
    }
    // What is none of these is in it.
    nginx.logged("the last", |line| line["path"] == "/healthy").await;
    assert_eq!(nginx.access_log().matches("/health").count(), 1);
    drop(nginx);
    app.stop().await;
}

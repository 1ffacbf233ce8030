//! What answers look like that come through nginx, and those that it makes itself: a client sees no difference.

use super::Front;
use crate::support::raw::exchange;
use crate::support::{Answer, Nginx, Site, TestApp};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The headers that every answer has exactly once, and the same.
const SECURITY: [&str; 8] = [
    "content-security-policy",
    "x-content-type-options",
    "x-frame-options",
    "referrer-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "permissions-policy",
    "x-permitted-cross-domain-policies",
];

/// Those of one connection, one moment or one server.
const OWN: [&str; 9] = [
    "date",
    "server",
    "connection",
    "keep-alive",
    "transfer-encoding",
    "content-length",
    "x-request-id",
    "x-process-time",
    "last-modified",
];

pub fn comparable(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in headers {
        if !OWN.contains(&name.as_str()) {
            let values = found.entry(name.as_str().to_owned()).or_default();
            values.push(value.to_str().unwrap().to_owned());
        }
    }
    found
}

/// The security headers of an answer, each of which must be there once.
#[track_caller]
pub fn security(headers: &HeaderMap, what: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for name in SECURITY {
        let values: Vec<_> = headers.get_all(name).iter().collect();
        assert_eq!(values.len(), 1, "{what}: {name}: {values:?}");
        found.insert(name.to_owned(), values[0].to_str().unwrap().to_owned());
    }
    for name in ["x-request-id", "x-process-time", "cache-control"] {
        assert_eq!(headers.get_all(name).iter().count(), 1, "{what}: {name}");
    }
    found
}

#[actix_web::test]
async fn what_a_node_answers_comes_through_unchanged() {
    let front = Front::start().await;
    let ann = front.app.register("Ann").await;
    let login = json!({"email": ann.email, "password": "wrong wrong wrong"});
    for (method, path, is_signed_in, body, status) in [
        (Method::GET, "/", false, None, 200),
        (Method::HEAD, "/", false, None, 200),
        (Method::GET, "/i/code", false, None, 200),
        (Method::GET, "/docs", false, None, 200),
        (Method::GET, "/health/live", false, None, 200),
        (Method::GET, "/openapi.json", false, None, 200),
        (Method::GET, "/api/me", true, None, 200),
        (Method::GET, "/api/me", false, None, 401),
        (Method::POST, "/auth/login", false, Some(login), 401),
        (Method::GET, "/nothing", false, None, 404),
        (Method::DELETE, "/api/me", true, None, 405),
        (Method::OPTIONS, "/api/me", false, None, 405),
        (Method::GET, "/api/users?limit=x", true, None, 400),
        (
            Method::POST,
            "/api/conversations",
            true,
            Some(json!({"title": ""})),
            400,
        ),
        (Method::GET, "/ws", false, None, 401),
        (Method::GET, "/static/0/app.js", false, None, 404),
    ] {
        let token = is_signed_in.then_some(&*ann.token);
        let direct = front.app.request(method.clone(), path, token, body.clone()).await;
        let through = front.nginx.request(method.clone(), path, token, body).await;
        assert_eq!(
            (direct.status, through.status),
            (status, status),
            "{method} {path}: {}",
            through.body
        );
        assert_eq!(
            comparable(&through.headers),
            comparable(&direct.headers),
            "{method} {path}"
        );
        assert_eq!(
            security(&through.headers, path),
            security(&direct.headers, path),
            "{method} {path}"
        );
        let server = through.header("server").unwrap_or_default();
        assert_eq!(server, "nginx", "no version: whoever looks for holes has to try");
    }
    front.stop().await;
}

/// The answers that no node has seen: their shape, their codes and their headers are those of the nodes.
#[actix_web::test]
async fn what_nginx_refuses_itself_it_refuses_as_the_nodes_do() {
    let settings = [("NGINX_REFUSE_AGENTS", "on"), ("NGINX_CONNECTIONS_PER_ADDRESS", "100")];
    let front = Front::with(&settings, |_| ()).await;
    let ann = front.app.register("Ann").await;
    let expected = security(
        &front.app.request(Method::GET, "/nothing", None, None).await.headers,
        "a node",
    );
    let check = |answer: Answer, status: u16, code: &str, what: &str| {
        assert_eq!(security(&answer.headers, what), expected, "{what}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
        let id = answer.header("x-request-id").unwrap().to_owned();
        let advice = answer.header("retry-after").map(str::to_owned);
        let problem = answer.problem(status, code);
        assert_eq!(problem["request_id"], id, "{what}");
        assert_eq!(problem["type"], "about:blank", "{what}");
        (problem, advice)
    };
    let request = async |method: Method, path: &str, body: Option<Vec<u8>>| {
        let mut request = front
            .nginx
            .http()
            .request(method, front.nginx.url(path))
            .bearer_auth(&ann.token);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        Site::read(request.send().await.unwrap()).await.unwrap()
    };
    check(
        request(Method::GET, "/metrics", None).await,
        404,
        "not_found",
        "metrics",
    );
    let put = request(Method::PUT, "/api/me", None).await;
    assert_eq!(put.header("allow"), Some("GET, HEAD, POST, PATCH, DELETE, OPTIONS"));
    check(put, 405, "bad_request", "PUT");
    check(request(Method::TRACE, "/", None).await, 405, "bad_request", "TRACE");
    for path in ["/api/conversations", "/auth/login", "/static/0/app.js"] {
        let large = vec![b' '; 1_024 * 1_024 + 1];
        check(request(Method::POST, path, Some(large)).await, 413, "too_large", path);
    }
    // A line that does not even fit has no path for which there could be a document.
    let long = format!("/{}", "x".repeat(41_000));
    assert_eq!(request(Method::GET, &long, None).await.status, 414);
    let headers = front
        .nginx
        .http()
        .get(front.nginx.url("/"))
        .header("x", "y".repeat(41_000));
    let answer = Site::read(headers.send().await.unwrap()).await.unwrap();
    check(answer, 431, "too_large", "a long header");
    let agent = front
        .nginx
        .http()
        .get(front.nginx.url("/"))
        .header("user-agent", "Scrapy/2.11");
    let answer = Site::read(agent.send().await.unwrap()).await.unwrap();
    check(answer, 403, "forbidden", "an agent");
    let odd = "GET / HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n";
    let answer = exchange(front.nginx.address, odd.as_bytes()).await;
    assert_eq!(answer.statuses, [400], "{}", answer.text);
    // The caller's own id of the request is taken where the nodes take it, and nothing else gets into the document.
    for (given, is_taken) in [("trace-1:a", true), ("a\"b", false)] {
        let request = front
            .nginx
            .http()
            .put(front.nginx.url("/"))
            .header("x-request-id", given);
        let answer = Site::read(request.send().await.unwrap()).await.unwrap();
        let (problem, _) = check(answer, 405, "bad_request", given);
        assert_eq!(problem["request_id"] == given, is_taken, "{problem}");
    }
    front.stop().await;
}

/// As large as a node takes it, and no larger: no client meets another limit because nginx is there.
#[actix_web::test]
async fn the_largest_request_of_a_node_is_the_largest_of_nginx() {
    let front = Front::start().await;
    let ann = front.app.register("Ann").await;
    let padded = |bytes: usize| {
        let mut body = serde_json::to_vec(&json!({"title": "Large"})).unwrap();
        body.resize(bytes, b' ');
        body
    };
    let path = |bytes: usize| format!("/api/users?limit={}", "1".repeat(bytes - "/api/users?limit=".len()));
    for site in [&front.app as &Site, &front.nginx] {
        for (bytes, status) in [(1_024 * 1_024, 201), (1_024 * 1_024 + 1, 413)] {
            let request = site.http().post(site.url("/api/conversations")).bearer_auth(&ann.token);
            let request = request.header("content-type", "application/json").body(padded(bytes));
            assert_eq!(request.send().await.unwrap().status().as_u16(), status, "{bytes} bytes");
        }
        for (bytes, status) in [(8_192, 400), (8_193, 414)] {
            let answer = site.request(Method::GET, &path(bytes), Some(&ann.token), None).await;
            assert_eq!(answer.status, status, "{bytes} bytes of path");
        }
        for (bytes, status) in [(30_000, 200), (33_000, 431)] {
            let request = site.http().get(site.url("/api/me")).bearer_auth(&ann.token);
            let answer = request.header("x-large", "y".repeat(bytes)).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{bytes} bytes of headers");
        }
    }
    front.stop().await;
}

async fn encoding(site: &Site, path: &str, token: &str) -> (String, usize) {
    let request = site.http().get(site.url(path)).bearer_auth(token);
    let answer = request.header("accept-encoding", "gzip, br").send().await.unwrap();
    assert!(answer.status().is_success(), "{path}");
    let header = answer.headers().get("content-encoding");
    let encoding = header
        .map(|value| value.to_str().unwrap().to_owned())
        .unwrap_or_default();
    (encoding, answer.bytes().await.unwrap().len())
}

/// nginx would compress credentials too, if it compressed what nodes answer.
#[actix_web::test]
async fn nodes_decide_what_of_theirs_is_compressed() {
    let front = Front::start().await;
    let (ann, conversation) = front.app.person_with_conversation("Ann").await;
    for _ in 0..20 {
        ann.invite(conversation).await;
    }
    let invites = format!("/api/conversations/{conversation}/invites");
    let (found, size) = encoding(&front.nginx, &invites, &ann.token).await;
    assert_eq!(found, "", "credentials were compressed");
    assert!(size > 1_024, "too small to say anything");
    assert_eq!(encoding(&front.nginx, "/openapi.json", &ann.token).await.0, "br");
    front.stop().await;
}

#[actix_web::test]
async fn the_origin_that_counts_is_the_one_people_see() {
    let front = Front::start().await;
    let ann = front.app.register("Ann").await;
    let patch = async |origin: String, host: Option<&str>| {
        let request = front.nginx.http().patch(front.nginx.url("/api/me"));
        let request = request
            .header("cookie", format!("parlance_session={}", ann.token))
            .header("origin", origin);
        let request = match host {
            Some(host) => request.header("host", host),
            None => request,
        };
        let answer = request.json(&json!({"name": "Anna"})).send().await.unwrap();
        answer.status().as_u16()
    };
    let here = front.nginx.address;
    assert_eq!(patch(format!("http://{here}"), None).await, 200);
    assert_eq!(
        patch("https://chat.example.org".into(), Some("chat.example.org")).await,
        200
    );
    assert_eq!(
        patch("https://chat.example.org:8443".into(), Some("Chat.example.org:8443")).await,
        200
    );
    for (origin, host) in [
        (format!("http://{}:1", here.ip()), None),
        ("https://evil.example".into(), None),
        ("https://chat.example.org:8443".into(), Some("chat.example.org")),
        ("https://chat.example.org".into(), Some("chat.example.org.evil.example")),
    ] {
        assert_eq!(patch(origin.clone(), host).await, 403, "{origin} at {host:?}");
    }
    front.stop().await;
}

/// Health and readiness are for balancers; what nginx counts is for its exporter alone.
#[actix_web::test]
async fn the_exporter_has_a_listener_of_its_own() {
    let app = TestApp::start().await;
    let nginx = Nginx::before(&[&app]);
    let status = nginx.status.request(Method::GET, "/stub_status", None, None).await;
    let Value::String(text) = status.body else {
        panic!("{status:?}")
    };
    assert!(text.starts_with("Active connections: "), "{text}");
    for path in ["/", "/metrics", "/health"] {
        assert_eq!(nginx.status.request(Method::GET, path, None, None).await.status, 404);
    }
    for (path, status) in [
        ("/stub_status", 404),
        ("/metrics", 404),
        ("/%6detrics", 404),
        ("//metrics", 400),
        ("/x/../metrics", 400),
        ("/metrics/", 404),
        ("/metrics?a=b", 404),
    ] {
        let answer = exchange(
            nginx.address,
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .await;
        assert_eq!(answer.statuses, [status], "{path}");
    }
    assert_eq!(app.request(Method::GET, "/metrics", None, None).await.status, 200);
    drop(nginx);
    app.stop().await;
}

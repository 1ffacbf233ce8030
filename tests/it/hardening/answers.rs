//! What answers carry for browsers and caches: security headers on every one, CORS for listed origins, compression where it
//! is worth it and gives nothing away.

use crate::support::raw::exchange;
use crate::support::{Site, TestApp};
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::json;

const LISTED: &str = "https://app.example.org";

fn get<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let mut values = headers.get_all(name).iter();
    let value = values.next().map_or("", |value| value.to_str().unwrap());
    assert!(values.next().is_none(), "{name} comes twice");
    value
}

fn vary(headers: &HeaderMap) -> String {
    let values = headers.get_all("vary").iter().map(|value| value.to_str().unwrap());
    values.collect::<Vec<_>>().join(", ").to_lowercase()
}

fn check_security_headers(headers: &HeaderMap, what: &str) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "strict-origin-when-cross-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(get(headers, name), value, "{what}");
    }
    let policy = get(headers, "content-security-policy");
    assert!(
        policy.starts_with("default-src 'self';") && !policy.contains("unsafe"),
        "{what}: {policy}"
    );
    assert!(
        policy.contains("frame-ancestors 'none'") && policy.contains("object-src 'none'"),
        "{policy}"
    );
    for feature in ["camera=()", "microphone=()", "geolocation=()"] {
        assert!(get(headers, "permissions-policy").contains(feature), "{what}");
    }
    assert!(
        !get(headers, "x-request-id").is_empty() && !get(headers, "x-process-time").is_empty(),
        "{what}"
    );
    assert!(
        !headers.contains_key("server") && !headers.contains_key("x-powered-by"),
        "{what}"
    );
}

#[actix_web::test]
async fn every_answer_has_the_security_headers() {
    let app = TestApp::with(|config| config.http.secure_cookies = true).await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let login = json!({"email": ann.email, "password": "wrong wrong wrong"});
    let nul = json!({"title": "a\0b"});
    for (method, path, token, body, status) in [
        (Method::GET, "/".to_owned(), false, None, 200),
        (Method::HEAD, "/".to_owned(), false, None, 200),
        (Method::GET, "/i/code".to_owned(), false, None, 200),
        (Method::GET, "/health".to_owned(), false, None, 200),
        (Method::GET, "/openapi.json".to_owned(), false, None, 200),
        (Method::GET, "/api/me".to_owned(), true, None, 200),
        (Method::GET, "/api/me".to_owned(), false, None, 401),
        (Method::POST, "/auth/login".to_owned(), false, Some(login), 401),
        (Method::POST, "/auth/logout".to_owned(), false, None, 401),
        (Method::GET, "/nothing".to_owned(), false, None, 404),
        (Method::DELETE, "/api/me".to_owned(), true, None, 405),
        (Method::OPTIONS, "/api/me".to_owned(), false, None, 405),
        (Method::GET, "/api/users?limit=x".to_owned(), true, None, 400),
        (Method::POST, "/api/conversations".to_owned(), true, Some(nul), 400),
        (Method::GET, "/ws".to_owned(), false, None, 401),
        (Method::GET, format!("/{}", "x".repeat(9_000)), false, None, 414),
        (
            Method::DELETE,
            format!("/api/conversations/{conversation}"),
            true,
            None,
            204,
        ),
    ] {
        let token = token.then_some(&*ann.token);
        let answer = app.request(method.clone(), &path, token, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        check_security_headers(&answer.headers, &path);
        assert_eq!(get(&answer.headers, "strict-transport-security"), "max-age=31536000");
    }
    app.stop().await;
}

#[actix_web::test]
async fn so_has_the_beginning_of_a_socket() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {}\r\n\r\n\u{88}\u{0}",
        app.address, ann.token
    );
    // What follows the head is no frame, so the server closes.
    let answer = exchange(app.address, request.as_bytes()).await;
    assert!(answer.text.starts_with("HTTP/1.1 101 "), "{}", answer.text);
    for name in ["content-security-policy", "x-content-type-options", "x-request-id"] {
        assert!(answer.header(name).is_some(), "{name}: {}", answer.text);
    }
    assert_eq!(
        answer.header("strict-transport-security"),
        None,
        "nothing here says that people come by TLS"
    );
    assert_eq!(answer.header("content-encoding"), None);
    app.stop().await;
}

#[actix_web::test]
async fn browsers_are_told_to_stay_with_tls_where_a_trusted_proxy_says_so() {
    let app = TestApp::with(|config| config.limits.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()]).await;
    for (said, told) in [("https", true), ("http", false)] {
        let (_, headers) = ask(&app, Method::GET, "/", &[("x-forwarded-proto", said)]).await;
        assert_eq!(headers.contains_key("strict-transport-security"), told, "{said}");
    }
    app.stop().await;
    let app = TestApp::start().await;
    let (_, headers) = ask(&app, Method::GET, "/", &[("x-forwarded-proto", "https")]).await;
    assert!(
        !headers.contains_key("strict-transport-security"),
        "anybody may write that"
    );
    app.stop().await;
}

async fn ask(app: &TestApp, method: Method, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap) {
    let request = app.http().request(method, app.url(path));
    let request = headers
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = request.send().await.unwrap();
    (answer.status(), answer.headers().clone())
}

#[actix_web::test]
async fn pages_of_listed_origins_may_read_answers_and_no_others() {
    let app = TestApp::with(|config| config.http.allowed_origins = vec![LISTED.to_owned()]).await;
    let ann = app.register("Ann").await;
    let bearer = format!("Bearer {}", ann.token);
    for (path, token, status) in [
        ("/api/me", true, 200),
        ("/api/me", false, 401),
        ("/nothing", true, 404),
        ("/health", false, 200),
    ] {
        let credentials = token.then_some(("authorization", &*bearer));
        let headers: Vec<_> = credentials.into_iter().chain([("origin", LISTED)]).collect();
        let (found, headers) = ask(&app, Method::GET, path, &headers).await;
        assert_eq!(found, status);
        assert_eq!(get(&headers, "access-control-allow-origin"), LISTED);
        assert_eq!(get(&headers, "access-control-allow-credentials"), "true");
        let exposed = get(&headers, "access-control-expose-headers").to_lowercase();
        for name in [
            "x-request-id",
            "x-ratelimit-limit",
            "x-ratelimit-remaining",
            "x-ratelimit-reset",
            "retry-after",
        ] {
            assert!(exposed.contains(name), "{exposed}");
        }
        assert!(vary(&headers).contains("origin"));
    }
    let own = app.url("");
    for origin in [
        "https://evil.example",
        "null",
        "https://app.example.org.evil.example",
        "http://app.example.org",
        &own,
    ] {
        for (method, more) in [
            (Method::GET, None),
            (Method::OPTIONS, Some(("access-control-request-method", "GET"))),
        ] {
            let headers: Vec<_> = more.into_iter().chain([("origin", origin)]).collect();
            let (_, headers) = ask(&app, method, "/api/me", &headers).await;
            let granted = headers.keys().find(|name| name.as_str().starts_with("access-control-"));
            assert_eq!(granted, None, "{origin}");
            assert!(vary(&headers).contains("origin"), "a cache must not give it to others");
        }
    }
    app.stop().await;
}

#[actix_web::test]
async fn preflights_are_answered_to_listed_origins() {
    let app = TestApp::with(|config| config.http.allowed_origins = vec![LISTED.to_owned()]).await;
    let asks = [
        ("origin", LISTED),
        ("access-control-request-method", "PATCH"),
        ("access-control-request-headers", "authorization,content-type"),
    ];
    for path in ["/api/me", "/auth/login", "/nothing"] {
        let (status, headers) = ask(&app, Method::OPTIONS, path, &asks).await;
        assert_eq!(status, 204);
        assert_eq!(get(&headers, "access-control-allow-origin"), LISTED);
        assert_eq!(
            get(&headers, "access-control-allow-methods"),
            "GET, POST, PATCH, DELETE"
        );
        let allowed = get(&headers, "access-control-allow-headers").to_lowercase();
        assert!(
            allowed.contains("authorization") && allowed.contains("content-type"),
            "{allowed}"
        );
        assert!(get(&headers, "access-control-max-age").parse::<u32>().unwrap() <= 600);
        let vary = vary(&headers);
        for name in [
            "origin",
            "access-control-request-method",
            "access-control-request-headers",
        ] {
            assert!(vary.contains(name), "{vary}");
        }
        check_security_headers(&headers, path);
    }
    // An `OPTIONS` that asks for nothing is one like any other.
    assert_eq!(
        ask(&app, Method::OPTIONS, "/api/me", &[("origin", LISTED)]).await.0,
        405
    );
    app.stop().await;
}

#[actix_web::test]
async fn without_listed_origins_there_is_no_cors_at_all() {
    let app = TestApp::start().await;
    let asks = [("origin", LISTED), ("access-control-request-method", "GET")];
    let (status, headers) = ask(&app, Method::OPTIONS, "/api/me", &asks).await;
    assert_eq!(status, 405);
    assert!(!headers.keys().any(|name| name.as_str().starts_with("access-control-")));
    assert!(!vary(&headers).contains("origin"));
    app.stop().await;
}

/// A page of a listed origin may read with the cookie, but what changes something it does with a token.
#[actix_web::test]
async fn a_listed_origin_does_not_make_the_cookie_good_for_changes() {
    let app = TestApp::with(|config| config.http.allowed_origins = vec![LISTED.to_owned()]).await;
    let ann = app.register("Ann").await;
    let cookie = format!("parlance_session={}", ann.token);
    let patch = |credentials: (&'static str, String)| {
        let request = app.http().patch(app.url("/api/me")).header("origin", LISTED);
        let request = request
            .header(credentials.0, credentials.1)
            .json(&json!({"name": "Anna"}));
        async move { Site::read(request.send().await.unwrap()).await.unwrap() }
    };
    patch(("cookie", cookie.clone())).await.problem(403, "forbidden");
    patch(("authorization", format!("Bearer {}", ann.token))).await.ok();
    assert_eq!(
        ask(&app, Method::GET, "/api/me", &[("cookie", &cookie), ("origin", LISTED)])
            .await
            .0,
        200
    );
    app.stop().await;
}

/// The body as it comes, and its headers.
async fn encoded(app: &TestApp, method: Method, path: &str, token: &str, wish: &str) -> (HeaderMap, usize) {
    let request = app.http().request(method, app.url(path)).bearer_auth(token);
    let answer = request.header("accept-encoding", wish).send().await.unwrap();
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    let headers = answer.headers().clone();
    (headers, answer.bytes().await.unwrap().len())
}

#[actix_web::test]
async fn large_text_is_compressed_for_who_takes_it() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    for n in 0..30 {
        ann.create_conversation(&format!("Conversation number {n}")).await;
    }
    for path in ["/", "/openapi.json", "/asyncapi.json", "/api/conversations"] {
        let (plain, full) = encoded(&app, Method::GET, path, &ann.token, "identity").await;
        assert!(full >= 1_024 && get(&plain, "content-encoding").is_empty(), "{path}");
        assert!(
            vary(&plain).contains("accept-encoding"),
            "{path}: a cache would give it to everybody"
        );
        for (wish, encoding) in [
            ("gzip", "gzip"),
            ("gzip, deflate, br, zstd", "br"),
            ("br;q=0, gzip", "gzip"),
        ] {
            let (headers, size) = encoded(&app, Method::GET, path, &ann.token, wish).await;
            assert_eq!(get(&headers, "content-encoding"), encoding, "{path}");
            assert!(size < full / 2, "{path}: {size} of {full} bytes");
            assert!(vary(&headers).contains("accept-encoding"));
            check_security_headers(&headers, path);
            let (head, none) = encoded(&app, Method::HEAD, path, &ann.token, wish).await;
            assert_eq!((get(&head, "content-encoding"), none), (encoding, 0), "{path}");
        }
    }
    for (path, wish) in [
        ("/api/me", "gzip"),
        ("/health/live", "br"),
        ("/", "zstd"),
        ("/", "*;q=0"),
    ] {
        let (headers, _) = encoded(&app, Method::GET, path, &ann.token, wish).await;
        assert_eq!(get(&headers, "content-encoding"), "", "{path}, {wish}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn answers_with_credentials_are_not_compressed() {
    let app = TestApp::start().await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    for _ in 0..20 {
        ann.invite(conversation).await;
    }
    let invites = format!("/api/conversations/{conversation}/invites");
    let (headers, size) = encoded(&app, Method::GET, &invites, &ann.token, "gzip, br").await;
    assert!(size > 1_024, "too small to say anything");
    assert_eq!(get(&headers, "content-encoding"), "");
    app.stop().await;
}

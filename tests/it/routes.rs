//! What holds for every route: problems, unknown fields, methods, the page.

use crate::rest::post_some;
use crate::support::client::PASSWORD;
use crate::support::{Site, TestApp};
use parlance::ids::MessageId;
use reqwest::Method;
use serde_json::json;

#[actix_web::test]
async fn unknown_fields_are_refused_everywhere() {
    let app = TestApp::start().await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let id = post_some(&ann, conversation, 1).await[0];
    let place = format!("/api/conversations/{conversation}");
    let routes = [
        (
            Method::POST,
            "/auth/register".to_owned(),
            json!({"email": "x@y", "password": PASSWORD, "name": "X"}),
        ),
        (
            Method::POST,
            "/auth/login".to_owned(),
            json!({"email": ann.email, "password": PASSWORD}),
        ),
        (
            Method::POST,
            "/auth/guest".to_owned(),
            json!({"name": "X", "invite": "x"}),
        ),
        (
            Method::POST,
            "/api/keys".to_owned(),
            json!({"name": "bot", "scopes": ["chat"]}),
        ),
        (Method::PATCH, "/api/me".to_owned(), json!({"name": "Anna"})),
        (Method::PATCH, "/api/tenant".to_owned(), json!({"name": "Ours"})),
        (
            Method::PATCH,
            format!("/api/users/{}", ann.id),
            json!({"tier": "premium"}),
        ),
        (Method::POST, "/api/conversations".to_owned(), json!({"title": "x"})),
        (Method::PATCH, place.clone(), json!({"title": "x"})),
        (
            Method::POST,
            format!("{place}/messages"),
            json!({"id": MessageId::new(), "body": "x"}),
        ),
        (Method::PATCH, format!("{place}/messages/{id}"), json!({"body": "x"})),
        (Method::POST, format!("{place}/members"), json!({"user_id": ann.id})),
        (
            Method::PATCH,
            format!("{place}/members/{}", ann.id),
            json!({"role": "owner"}),
        ),
        (Method::POST, format!("{place}/invites"), json!({})),
    ];
    for (method, path, mut body) in routes {
        body["colour"] = json!("red");
        let answer = app.request(method.clone(), &path, Some(&ann.token), Some(body)).await;
        assert_eq!(
            answer.problem(400, "bad_request")["errors"][0]["field"],
            "colour",
            "{method} {path}"
        );
        for wrong in [json!([]), json!("x"), json!(null)] {
            app.request(method.clone(), &path, Some(&ann.token), Some(wrong))
                .await
                .problem(400, "bad_request");
        }
        let request = app
            .http()
            .request(method.clone(), app.url(&path))
            .bearer_auth(&ann.token);
        let broken = request
            .header("content-type", "application/json")
            .body("{")
            .send()
            .await
            .unwrap();
        Site::read(broken).await.unwrap().problem(400, "bad_request");
        let request = app
            .http()
            .request(method.clone(), app.url(&path))
            .bearer_auth(&ann.token);
        let form = request
            .header("content-type", "text/plain")
            .body("{}")
            .send()
            .await
            .unwrap();
        Site::read(form).await.unwrap().problem(400, "bad_request");
        let huge = json!({"name": "x".repeat(1_100_000)});
        app.request(method, &path, Some(&ann.token), Some(huge))
            .await
            .problem(413, "too_large");
    }
    app.stop().await;
}

#[actix_web::test]
async fn what_is_not_offered_is_a_problem_too() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    for path in [
        "/nothing",
        "/api",
        "/api/nothing",
        "/static/x/app.js",
        "/auth",
        "/api/conversations/",
    ] {
        ann.get(path).await.problem(404, "not_found");
    }
    for (method, path, allow) in [
        (Method::DELETE, "/api/me", "GET, PATCH"),
        (Method::PUT, "/api/conversations", "GET, POST"),
        (Method::GET, "/auth/login", "POST"),
        (Method::POST, "/health", "GET"),
    ] {
        let answer = app.request(method, path, Some(&ann.token), None).await;
        assert_eq!(answer.header("allow"), Some(allow), "{path}");
        answer.problem(405, "bad_request");
    }
    let head = app.http().head(app.url("/health/live")).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.text().await.unwrap().len()), (200, 0));
    for (given, kept) in [("abc-1", true), ("has space", false), (&*"x".repeat(129), false)] {
        let request = app
            .http()
            .get(app.url("/nothing"))
            .header("x-request-id", given)
            .send()
            .await
            .unwrap();
        let answer = Site::read(request).await.unwrap();
        let id = answer.header("x-request-id").unwrap().to_owned();
        assert_eq!(id == given, kept, "{given}");
        assert_eq!(answer.problem(404, "not_found")["request_id"], id);
    }
    app.stop().await;
}

#[actix_web::test]
async fn the_page_is_served_with_a_strict_policy_and_cached_by_content() {
    let app = TestApp::start().await;
    let get = async |path: &str, tag: Option<&str>| {
        let request = app.http().get(app.url(path));
        let request = tag
            .into_iter()
            .fold(request, |request, tag| request.header("if-none-match", tag));
        request.send().await.unwrap()
    };
    let header = |answer: &reqwest::Response, name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    let page = get("/", None).await;
    assert_eq!(header(&page, "cache-control"), "no-cache");
    let policy = header(&page, "content-security-policy");
    assert!(
        policy.contains("default-src 'self'") && !policy.contains("unsafe"),
        "{policy}"
    );
    let tag = header(&page, "etag");
    let text = page.text().await.unwrap();
    assert!(!text.contains("__STATIC__"));
    let script = text.split("src=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(script.starts_with("/static/"), "{script}");
    assert_eq!(get("/", Some(&tag)).await.status(), 304);
    for document in ["/openapi.json", "/asyncapi.json", "/docs"] {
        let tag = header(&get(document, None).await, "etag");
        assert_eq!(get(document, Some(&tag)).await.status(), 304, "{document}");
        assert_eq!(get(document, Some("\"other\"")).await.status(), 200, "{document}");
    }
    for link in [
        "/analytics",
        "/analytics?range=30d&tz=Europe/Berlin",
        "/i/some-code",
        "/i/some-code/",
        "/i/some-code.",
        "/i/some-code/)?utm_source=x",
        "/i/some-code%0A",
    ] {
        assert_eq!(get(link, None).await.text().await.unwrap(), text, "{link}");
    }
    let file = get(script, None).await;
    assert_eq!(header(&file, "content-type"), "text/javascript; charset=utf-8");
    assert!(header(&file, "cache-control").contains("immutable"));
    let tag = header(&file, "etag");
    assert_eq!(get(script, Some(&tag)).await.status(), 304);
    let hash = script.split('/').nth(2).unwrap();
    assert_eq!(get(&script.replace(hash, "0000000000000000"), None).await.status(), 404);
    app.stop().await;
}

//! What a browser sends along: our cookies among those of neighbours, and headers that are no text.

use crate::auth::{cookie, cookies, email_of, login, me};
use crate::support::client::PASSWORD;
use crate::support::raw::{Exchange, exchange};
use crate::support::{Person, Site, TestApp};
use reqwest::Method;
use serde_json::json;

/// A request with header lines of any bytes, on a connection of its own.
async fn ask(site: &Site, line: &str, headers: &[&[u8]]) -> Exchange {
    let head = format!("{line} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", site.address);
    let mut bytes = head.into_bytes();
    for header in headers {
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    exchange(site.address, &bytes).await
}

/// What `GET /api/me` answers to these `Cookie` headers.
async fn by_cookies(site: &Site, lines: &[Vec<u8>]) -> u16 {
    let headers: Vec<_> = lines
        .iter()
        .map(|line| [b"Cookie: ".as_slice(), line].concat())
        .collect();
    let headers: Vec<&[u8]> = headers.iter().map(Vec::as_slice).collect();
    ask(site, "GET /api/me", &headers).await.statuses[0]
}

fn session(person: &Person) -> String {
    format!("parlance_session={}", person.token)
}

#[actix_web::test]
async fn cookies_of_neighbours_do_not_matter() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let own = session(&ann);
    for line in [
        format!("session=a-neighbours; refresh=a-neighbours; {own}").into_bytes(),
        format!("{own}; session={}", ann.token).into_bytes(),
        [b"name=\xe9\xff\x80; ".as_slice(), own.as_bytes()].concat(),
        [own.as_bytes(), b"; \xff=\xff;;=; x"].concat(),
        [b"parlance_session=\xff; ".as_slice(), own.as_bytes()].concat(),
        format!("parlance_session=nonsense; {own}; parlance_session=").into_bytes(),
        format!("{own}; {own}").into_bytes(),
    ] {
        let shown = String::from_utf8_lossy(&line).into_owned();
        assert_eq!(by_cookies(&app, &[line]).await, 200, "{shown}");
    }
    let two_lines = [b"a=\xff".to_vec(), own.clone().into_bytes()];
    assert_eq!(by_cookies(&app, &two_lines).await, 200);
    // The name of before is anybody's.
    let before = format!("session={}", ann.token).into_bytes();
    assert_eq!(by_cookies(&app, &[before]).await, 401);
    app.stop().await;
}

#[actix_web::test]
async fn of_two_different_logins_in_the_cookies_none_is_guessed() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.register("Ann").await, app.register("Bob").await);
    let both = format!("{}; {}", session(&ann), session(&bob)).into_bytes();
    assert_eq!(by_cookies(&app, std::slice::from_ref(&both)).await, 401);
    // Once one of them has ended, it is the other.
    ann.post("/auth/logout", json!(null)).await;
    assert_eq!(by_cookies(&app, &[both]).await, 200);

    let refresh_of = async |person: &Person| {
        let answer = login(&app, email_of(person), PASSWORD).await;
        cookie(&answer, "parlance_refresh").value
    };
    let (anns, bobs) = (refresh_of(&ann).await, refresh_of(&bob).await);
    let refresh = async |tokens: &[&str]| {
        let cookies: Vec<_> = tokens.iter().map(|token| format!("parlance_refresh={token}")).collect();
        let header = [b"Cookie: x=\xff; ".as_slice(), cookies.join("; ").as_bytes()].concat();
        ask(&app, "POST /auth/refresh", &[&header]).await.statuses[0]
    };
    assert_eq!(refresh(&[&anns, &bobs]).await, 401);
    assert_eq!(
        refresh(&["nonsense", &anns, "", &anns]).await,
        200,
        "neither was used up"
    );
    // A token that was used long ago beside a good one revokes nothing.
    app.database
        .query(
            "UPDATE refresh_tokens SET used_at = now() - interval '1 hour' WHERE used_at IS NOT NULL",
            &[],
        )
        .await;
    assert_eq!(refresh(&[&anns, &bobs]).await, 200);
    app.stop().await;
}

#[actix_web::test]
async fn with_tls_the_names_are_those_that_no_neighbour_can_set() {
    let app = TestApp::with(|config| config.http.secure_cookies = true).await;
    let ann = app.register("Ann").await;
    let answer = login(&app, email_of(&ann), PASSWORD).await;
    let names: Vec<_> = cookies(&answer).into_iter().map(|cookie| cookie.name).collect();
    assert_eq!(names, ["__Host-parlance_session", "__Secure-parlance_refresh"]);
    let session = cookie(&answer, "__Host-parlance_session");
    assert!(
        session.flags.contains("secure") && !session.flags.contains("domain"),
        "{session:?}"
    );
    assert!(format!("{};", session.flags).contains("path=/;"), "{session:?}");
    let with = |name: &str| format!("{name}={}", session.value).into_bytes();
    assert_eq!(by_cookies(&app, &[with("__Host-parlance_session")]).await, 200);
    assert_eq!(by_cookies(&app, &[with("parlance_session")]).await, 401);
    let document = app.request(Method::GET, "/openapi.json", None, None).await.ok();
    let scheme = &document["components"]["securitySchemes"];
    assert_eq!(scheme["session"]["name"], "__Host-parlance_session");
    assert_eq!(scheme["refresh"]["name"], "__Secure-parlance_refresh");
    me(&app, &ann.token).await.ok();
    app.stop().await;
}

/// Bytes that are no text are refused where the header decides something, and ignored where it does not.
#[actix_web::test]
async fn headers_that_are_no_text_have_their_usual_answer() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let bearer = format!("Authorization: Bearer {}", ann.token).into_bytes();
    for ignored in [
        b"User-Agent: \xff\xfe".as_slice(),
        b"Accept-Language: \xff",
        b"Accept: \xff",
        b"Accept-Encoding: \xff",
        b"X-Request-Id: \xff",
        b"X-Forwarded-For: \xff",
        b"X-Forwarded-Proto: \xff",
        b"Referer: http://\xff/",
        b"If-None-Match: \xff",
        b"Origin: http://\xff",
        b"Sec-Fetch-Site: \xff",
        b"Cookie: \xff",
        b"X-Of-Ones-Own: \xff",
    ] {
        let shown = String::from_utf8_lossy(ignored).into_owned();
        let answer = ask(&app, "GET /api/me", &[&bearer, ignored]).await;
        assert_eq!(answer.statuses, [200], "{shown}: {}", answer.text);
        let page = ask(&app, "GET /", &[ignored]).await;
        assert_eq!(page.statuses, [200], "{shown}");
        assert!(
            answer.header("x-request-id").is_some_and(|id| id.len() == 36),
            "{shown}"
        );
    }
    let garbled = ask(&app, "GET /api/me", &[b"Authorization: Bearer \xff"]).await;
    assert_eq!(garbled.statuses, [401]);
    // A cookie is good for changes only from a page that can be read as our own.
    let cookie = format!("Cookie: {}", session(&ann)).into_bytes();
    for unreadable in [b"Origin: http://\xff".as_slice(), b"Sec-Fetch-Site: \xff"] {
        let answer = ask(&app, "POST /auth/ticket", &[&cookie, unreadable]).await;
        assert_eq!(answer.statuses, [403], "{}", answer.text);
    }
    app.stop().await;
}

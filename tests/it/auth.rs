//! Signing up, in and out: what is answered, what is refused, and how soon every node and socket knows.

use crate::support::chaos::{Chaos, Proxy};
use crate::support::client::PASSWORD;
use crate::support::{Answer, Person, Site, Socket, TestApp, eventually};
use parlance::config::Secret;
use parlance::ids::MessageId;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;

/// How soon every node refuses what was revoked.
const PROMISE: Duration = Duration::from_secs(5);

/// A cookie, as a browser would keep it.
#[derive(Clone, Debug)]
struct Cookie {
    name: String,
    value: String,
    /// `HttpOnly; Path=/` and so on, in lower case.
    flags: String,
}

fn cookies(answer: &Answer) -> Vec<Cookie> {
    let parse = |text: &str| {
        let (pair, flags) = text.split_once(';').unwrap();
        let (name, value) = pair.split_once('=').unwrap();
        Cookie {
            name: name.to_owned(),
            value: value.to_owned(),
            flags: flags.to_lowercase(),
        }
    };
    answer
        .headers
        .get_all("set-cookie")
        .iter()
        .map(|value| parse(value.to_str().unwrap()))
        .collect()
}

fn cookie(answer: &Answer, name: &str) -> Cookie {
    cookies(answer)
        .into_iter()
        .find(|cookie| cookie.name == name)
        .unwrap_or_else(|| panic!("no cookie {name}"))
}

/// A request as a browser makes it: with cookies and whatever other headers.
async fn browse(site: &Site, method: Method, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
    let mut request = site.http().request(method, site.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    Site::read(request.send().await.unwrap()).await.unwrap()
}

async fn refresh(site: &Site, token: &str) -> Answer {
    browse(
        site,
        Method::POST,
        "/auth/refresh",
        &[("cookie", &format!("refresh={token}"))],
        None,
    )
    .await
}

async fn login(site: &Site, email: &str, password: &str) -> Answer {
    let body = json!({"email": email, "password": password});
    site.request(Method::POST, "/auth/login", None, Some(body)).await
}

async fn me(site: &Site, token: &str) -> Answer {
    site.request(Method::GET, "/api/me", Some(token), None).await
}

fn email_of(person: &Person) -> &str {
    person.email.as_deref().unwrap()
}

/// Waits until a node refuses a token with this status; within the promise.
async fn refused_within_the_promise(site: &Site, token: &str, status: u16) {
    let started = Instant::now();
    eventually("the node refuses the token", async || {
        me(site, token).await.status == status
    })
    .await;
    assert!(started.elapsed() < PROMISE, "{:?}", started.elapsed());
}

#[actix_web::test]
async fn registering_answers_with_an_account_and_two_cookies() {
    let app = TestApp::start().await;
    let body = json!({"email": "Ann@Example.org", "password": PASSWORD, "name": " Ann ", "workspace": "Works"});
    let answer = app.request(Method::POST, "/auth/register", None, Some(body)).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert!(answer.header("x-request-id").is_some_and(|id| !id.is_empty()));
    assert!(
        answer
            .header("x-process-time")
            .is_some_and(|time| time.parse::<f64>().is_ok())
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let (session, refresh) = (cookie(&answer, "session"), cookie(&answer, "refresh"));
    for flag in ["httponly", "samesite=lax", "path=/;"] {
        assert!(format!("{};", session.flags).contains(flag), "{session:?}");
    }
    for flag in ["httponly", "samesite=strict", "path=/auth"] {
        assert!(refresh.flags.contains(flag), "{refresh:?}");
    }
    assert!(
        !session.flags.contains("secure") && !refresh.flags.contains("secure"),
        "bound to loopback"
    );
    let body = answer.body;
    assert_eq!(session.value, body["access_token"].as_str().unwrap());
    assert_eq!(
        (&body["user"]["name"], &body["user"]["email"]),
        (&json!("Ann"), &json!("Ann@Example.org"))
    );
    assert_eq!(
        (&body["user"]["role"], &body["user"]["tier"]),
        (&json!("owner"), &json!("regular"))
    );
    assert_eq!(body["tenant"]["name"], "Works");
    let expires_at = chrono::DateTime::parse_from_rfc3339(body["expires_at"].as_str().unwrap()).unwrap();
    let ttl = (expires_at.to_utc() - chrono::Utc::now()).num_seconds();
    assert!((890..=900).contains(&ttl), "{ttl}");
    // What is kept is neither the password nor the tokens.
    let rows = app
        .database
        .query("SELECT u.password_hash, r.hash FROM users u, refresh_tokens r", &[])
        .await;
    assert!(
        rows[0]
            .get::<_, String>(0)
            .starts_with("$argon2id$v=19$m=19456,t=2,p=1$")
    );
    assert_eq!(rows[0].get::<_, Vec<u8>>(1).len(), 32);
    app.stop().await;
}

#[actix_web::test]
async fn cookies_are_for_tls_only_where_the_server_is_not_on_loopback() {
    let app = TestApp::with(|config| config.http.secure_cookies = true).await;
    let body = json!({"email": "ann@example.org", "password": PASSWORD, "name": "Ann"});
    let answer = app.request(Method::POST, "/auth/register", None, Some(body)).await;
    assert!(
        cookies(&answer).iter().all(|cookie| cookie.flags.contains("secure")),
        "{:?}",
        cookies(&answer)
    );
    assert_eq!(answer.ok()["tenant"]["name"], "Ann's workspace");
    app.stop().await;
}

#[actix_web::test]
async fn bad_registrations_name_the_field() {
    let app = TestApp::start().await;
    let good = json!({"email": "ann@example.org", "password": PASSWORD, "name": "Ann"});
    let cases = [
        ("email", json!("not an address")),
        ("email", json!(5)),
        ("password", json!("short")),
        ("password", json!("x".repeat(257))),
        ("password", json!("password1")),
        ("name", json!("  ")),
        ("name", json!("a\u{0}b")),
        ("name", json!("x".repeat(201))),
        ("workspace", json!("")),
        ("colour", json!("red")),
    ];
    for (field, value) in cases {
        let mut body = good.clone();
        body[field] = value;
        let answer = app
            .request(Method::POST, "/auth/register", None, Some(body.clone()))
            .await;
        let problem = answer.problem(400, "bad_request");
        assert_eq!(problem["errors"][0]["field"], field, "{body}: {problem}");
    }
    for field in ["email", "password", "name"] {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(field);
        let answer = app.request(Method::POST, "/auth/register", None, Some(body)).await;
        assert_eq!(answer.problem(400, "bad_request")["errors"][0]["field"], field);
    }
    let mut body = good.clone();
    body["invite"] = json!("nonsense");
    app.request(Method::POST, "/auth/register", None, Some(body))
        .await
        .problem(404, "not_found");
    let users = app.database.query("SELECT count(*) FROM users", &[]).await;
    assert_eq!(users[0].get::<_, i64>(0), 0, "nobody was made on the way");
    app.request(Method::POST, "/auth/register", None, Some(good.clone()))
        .await
        .ok();
    let mut again = good;
    again["email"] = json!("ANN@example.ORG");
    let taken = app
        .request(Method::POST, "/auth/register", None, Some(again))
        .await
        .problem(409, "conflict");
    assert_eq!(taken["errors"][0]["field"], "email");
    app.stop().await;
}

#[actix_web::test]
async fn an_unknown_address_is_answered_like_a_wrong_password() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let mut wrong = login(&app, email_of(&ann), "not her password")
        .await
        .problem(401, "unauthenticated");
    let mut unknown = login(&app, "nobody@example.org", "not her password")
        .await
        .problem(401, "unauthenticated");
    for problem in [&mut wrong, &mut unknown] {
        problem.as_object_mut().unwrap().remove("request_id");
    }
    assert_eq!(wrong, unknown);
    // The same work is done; medians, because the machine is busy.
    let (mut known_times, mut unknown_times) = (Vec::new(), Vec::new());
    for _ in 0..7 {
        let started = Instant::now();
        login(&app, email_of(&ann), "not her password").await;
        known_times.push(started.elapsed());
        let started = Instant::now();
        login(&app, "nobody@example.org", "not her password").await;
        unknown_times.push(started.elapsed());
    }
    known_times.sort_unstable();
    unknown_times.sort_unstable();
    let ratio = known_times[3].as_secs_f64() / unknown_times[3].as_secs_f64();
    assert!((0.4..2.5).contains(&ratio), "{known_times:?} {unknown_times:?}");
    let signed_in = login(&app, &email_of(&ann).to_uppercase(), PASSWORD).await.ok();
    assert_eq!(signed_in["user"]["id"], json!(ann.id));
    app.stop().await;
}

#[actix_web::test]
async fn only_our_tokens_are_accepted() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    me(&app, &ann.token).await.ok();
    let (head, signature) = ann.token.rsplit_once('.').unwrap();
    let flipped = if signature.starts_with('A') { 'B' } else { 'A' };
    let forged = format!("{head}.{flipped}{}", &signature[1..]);
    for bad in ["", "x", "a.b.c", &forged, &format!("{head}."), &"x".repeat(5_000)] {
        let problem = me(&app, bad).await;
        assert_eq!(problem.header("www-authenticate"), Some("Bearer"));
        problem.problem(401, "unauthenticated");
    }
    app.request(Method::GET, "/api/me", None, None)
        .await
        .problem(401, "unauthenticated");
    let basic = [("authorization", "Basic YW5uOnB3")];
    browse(&app, Method::GET, "/api/me", &basic, None)
        .await
        .problem(401, "unauthenticated");
    // A wrong header is not made good by a cookie.
    let both = [
        ("authorization", "Bearer x"),
        ("cookie", &*format!("session={}", ann.token)),
    ];
    browse(&app, Method::GET, "/api/me", &both, None)
        .await
        .problem(401, "unauthenticated");
    let other = TestApp::start().await;
    me(&other, &ann.token).await.problem(401, "unauthenticated");
    other.stop().await;
    app.stop().await;
}

#[actix_web::test]
async fn refresh_tokens_rotate_and_a_reused_one_revokes_its_family() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let first = login(&app, email_of(&ann), PASSWORD).await;
    let first = cookie(&first, "refresh").value;
    let second = refresh(&app, &first).await;
    let (token, second) = (
        second.body["access_token"].as_str().unwrap().to_owned(),
        cookie(&second, "refresh").value,
    );
    assert_ne!(first, second);
    me(&app, &token).await.ok();
    refresh(&app, &first).await.problem(401, "unauthenticated");
    me(&app, &token).await.problem(401, "unauthenticated");
    refresh(&app, &second).await.problem(401, "unauthenticated");
    me(&app, &ann.token).await.ok();
    for bad in ["", "x", &"x".repeat(5_000)] {
        refresh(&app, bad).await.problem(401, "unauthenticated");
    }
    browse(&app, Method::POST, "/auth/refresh", &[], None)
        .await
        .problem(401, "unauthenticated");
    app.stop().await;
}

#[actix_web::test]
async fn of_two_refreshes_at_once_one_wins_and_the_family_ends() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let token = cookie(&login(&app, email_of(&ann), PASSWORD).await, "refresh").value;
    let (a, b) = futures_util::join!(refresh(&app, &token), refresh(&app, &token));
    let mut statuses = [a.status, b.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401]);
    let winner = if a.status == 200 { a } else { b };
    eventually("the family is revoked", async || {
        me(&app, winner.body["access_token"].as_str().unwrap()).await.status == 401
    })
    .await;
    app.stop().await;
}

#[actix_web::test]
async fn logging_out_reaches_other_nodes_and_their_sockets() {
    let app = TestApp::start().await;
    let peer = app.peer_without_bus().await;
    let ann = app.register("Ann").await;
    let other = login(&app, email_of(&ann), PASSWORD).await.ok();
    let other = Person {
        token: other["access_token"].as_str().unwrap().to_owned(),
        ..ann.clone()
    };
    let mut here = ann.connect().await;
    let mut there = ann.at(&peer).connect().await;
    let mut stays = other.at(&peer).connect().await;
    let answer = ann
        .site
        .request(Method::POST, "/auth/logout", Some(&ann.token), None)
        .await;
    assert_eq!(answer.status, 204);
    assert!(
        cookies(&answer)
            .iter()
            .all(|cookie| cookie.value.is_empty() && cookie.flags.contains("max-age=0"))
    );
    let started = Instant::now();
    me(&app, &ann.token).await.problem(401, "unauthenticated");
    refused_within_the_promise(&peer, &ann.token, 401).await;
    here.expect_close(4001).await;
    there.expect_close(4001).await;
    assert!(started.elapsed() < PROMISE, "{:?}", started.elapsed());
    me(&peer, &other.token).await.ok();
    stays.expect_none("goodbye").await;
    assert_eq!(
        app.request(Method::POST, "/auth/logout-all", Some(&other.token), None)
            .await
            .status,
        204
    );
    refused_within_the_promise(&peer, &other.token, 401).await;
    stays.expect_close(4001).await;
    peer.stop().await;
    app.stop().await;
}

#[actix_web::test]
async fn logging_out_needs_only_the_refresh_cookie() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let answer = login(&app, email_of(&ann), PASSWORD).await;
    let token = cookie(&answer, "refresh").value;
    let cookie = format!("session=run-out; refresh={token}");
    let foreign = [("cookie", &*cookie), ("origin", "https://evil.example")];
    browse(&app, Method::POST, "/auth/logout", &foreign, None)
        .await
        .problem(403, "forbidden");
    let own = [("cookie", &*cookie), ("sec-fetch-site", "same-origin")];
    assert_eq!(browse(&app, Method::POST, "/auth/logout", &own, None).await.status, 204);
    me(&app, answer.body["access_token"].as_str().unwrap())
        .await
        .problem(401, "unauthenticated");
    browse(&app, Method::POST, "/auth/logout", &[], None)
        .await
        .problem(401, "unauthenticated");
    app.stop().await;
}

#[actix_web::test]
async fn with_a_cookie_unsafe_methods_must_come_from_our_own_page() {
    let app = TestApp::with(|config| config.http.allowed_origins = vec!["https://app.example".to_owned()]).await;
    let ann = app.register("Ann").await;
    let cookie = format!("session={}", ann.token);
    let own = app.url("");
    let patch = |headers: Vec<(&'static str, String)>| {
        let (site, cookie) = (app.http().patch(app.url("/api/me")), cookie.clone());
        let request = headers
            .into_iter()
            .fold(site.header("cookie", cookie), |r, (name, value)| r.header(name, value));
        async move {
            Site::read(request.json(&json!({"name": "Anna"})).send().await.unwrap())
                .await
                .unwrap()
        }
    };
    browse(&app, Method::GET, "/api/me", &[("cookie", &cookie)], None)
        .await
        .ok();
    patch(vec![("origin", own.clone())]).await.ok();
    patch(vec![("sec-fetch-site", "same-origin".into())]).await.ok();
    patch(vec![("origin", "https://app.example".into())]).await.ok();
    for refused in [
        vec![],
        vec![("origin", "https://evil.example".to_owned())],
        vec![("origin", "null".to_owned())],
        vec![("origin", format!("{own}.evil.example"))],
        vec![("sec-fetch-site", "cross-site".to_owned())],
        vec![("sec-fetch-site", "same-site".to_owned())],
        vec![
            ("origin", "https://evil.example".to_owned()),
            ("sec-fetch-site", "same-origin".to_owned()),
        ],
    ] {
        patch(refused).await.problem(403, "forbidden");
    }
    // A header is no cookie: nobody else's page can send it.
    ann.patch("/api/me", json!({"name": "Ann"})).await.ok();
    app.stop().await;
}

#[actix_web::test]
async fn a_guest_is_confined_to_the_conversation_of_the_invite() {
    let app = TestApp::start().await;
    let (ann, open) = app.person_with_conversation("Ann").await;
    let closed = ann.create_conversation("Closed").await;
    let (invite, other) = (ann.invite(open).await, ann.invite(closed).await);
    let body = json!({"name": "Gus", "invite": invite});
    let entered = app.request(Method::POST, "/auth/guest", None, Some(body)).await;
    let token = cookie(&entered, "refresh").value;
    let gus = app.guest("Gus", &invite).await;
    let renewed = refresh(&app, &token).await.ok();
    let renewed = Person {
        token: renewed["access_token"].as_str().unwrap().to_owned(),
        ..gus.clone()
    };
    for guest in [&gus, &renewed] {
        let account = guest.get("/api/me").await.ok();
        assert_eq!(
            (&account["role"], &account["tier"]),
            (&json!("guest"), &json!("anonymous"))
        );
        assert_eq!(account["email"], Value::Null);
        guest.post_message(open, MessageId::new(), "hello").await.ok();
        let list = guest.get("/api/conversations").await.ok();
        assert_eq!(list["items"].as_array().unwrap().len(), 1);
        guest
            .post_message(closed, MessageId::new(), "hello")
            .await
            .problem(404, "not_found");
        for path in ["", "/messages", "/members", "/invites"] {
            guest
                .get(&format!("/api/conversations/{closed}{path}"))
                .await
                .problem(404, "not_found");
        }
        guest.accept(&other).await.problem(404, "not_found");
        guest
            .post("/api/conversations", json!({"title": "Own"}))
            .await
            .problem(403, "forbidden");
        guest.get("/api/users").await.problem(403, "forbidden");
        let seen = guest.get(&format!("/api/users/{}", ann.id)).await.ok();
        assert_eq!(seen, json!({"id": ann.id, "name": "Ann", "kind": "person"}));
    }
    let stranger = app.join("Sue", &other).await;
    gus.get(&format!("/api/users/{}", stranger.id))
        .await
        .problem(404, "not_found");
    for bad in ["", "nonsense", &"x".repeat(500)] {
        let body = json!({"name": "Gil", "invite": bad});
        app.request(Method::POST, "/auth/guest", None, Some(body))
            .await
            .problem(404, "not_found");
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_ticket_opens_one_socket_of_its_log_in() {
    let app = TestApp::start().await;
    let ann = app.register("Ann").await;
    let issue = async || {
        let answer = ann
            .site
            .request(Method::POST, "/auth/ticket", Some(&ann.token), None)
            .await
            .ok();
        assert_eq!(answer["expires_in"], 30);
        answer["ticket"].as_str().unwrap().to_owned()
    };
    let open = async |ticket: &str| {
        let uri = format!("ws://{}/ws?ticket={ticket}", app.address).parse().unwrap();
        let request = ClientRequestBuilder::new(uri).with_sub_protocol("parlance.v1");
        Socket::handshake(app.address, request).await
    };
    let ticket = issue().await;
    let socket = open(&ticket).await.unwrap();
    assert_eq!(socket.hello()["user"]["id"], json!(ann.id));
    assert!(socket.hello()["token_expires_at"].is_string());
    assert!(open(&ticket).await.is_err(), "single use");
    assert!(open("nonsense").await.is_err());
    let late = issue().await;
    app.database
        .query(
            "UPDATE socket_tickets SET expires_at = now() - interval '1 second'",
            &[],
        )
        .await;
    assert!(open(&late).await.is_err(), "it has run out");
    let unused = issue().await;
    assert_eq!(
        app.request(Method::POST, "/auth/logout", Some(&ann.token), None)
            .await
            .status,
        204
    );
    assert!(open(&unused).await.is_err(), "bound to the log-in");
    app.request(Method::POST, "/auth/ticket", None, None)
        .await
        .problem(401, "unauthenticated");
    app.stop().await;
}

#[actix_web::test]
async fn a_suspended_user_is_refused_everywhere_and_let_in_again() {
    let app = TestApp::start().await;
    let peer = app.peer_without_bus().await;
    let ([ann, bob], _) = app.conversation_of(["Ann", "Bob"]).await;
    let token = cookie(&login(&app, email_of(&bob), PASSWORD).await, "refresh").value;
    let mut here = bob.connect().await;
    let mut there = bob.at(&peer).connect().await;
    let path = format!("/api/users/{}", bob.id);
    let started = Instant::now();
    ann.patch(&path, json!({"status": "suspended"})).await.ok();
    me(&app, &bob.token).await.problem(403, "forbidden");
    refused_within_the_promise(&peer, &bob.token, 403).await;
    here.expect_close(4003).await;
    there.expect_close(4003).await;
    assert!(started.elapsed() < PROMISE, "{:?}", started.elapsed());
    login(&app, email_of(&bob), PASSWORD).await.problem(403, "forbidden");
    login(&app, email_of(&bob), "not his password")
        .await
        .problem(401, "unauthenticated");
    refresh(&app, &token).await.problem(403, "forbidden");
    assert!(Socket::try_connect(&app, &bob.token).await.is_err());
    ann.patch(&path, json!({"status": "active"})).await.ok();
    me(&app, &bob.token).await.ok();
    refresh(&app, &token).await.ok();
    eventually("the other node lets him in again", async || {
        me(&peer, &bob.token).await.status == 200
    })
    .await;
    peer.stop().await;
    app.stop().await;
}

#[actix_web::test]
async fn a_node_started_later_knows_what_was_revoked_before() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.register("Ann").await, app.register("Bob").await);
    assert_eq!(
        app.request(Method::POST, "/auth/logout", Some(&ann.token), None)
            .await
            .status,
        204
    );
    let peer = app.peer_without_bus().await;
    me(&peer, &ann.token).await.problem(401, "unauthenticated");
    me(&peer, &bob.token).await.ok();
    peer.stop().await;
    app.stop().await;
}

#[actix_web::test]
async fn what_was_revoked_during_an_outage_is_seen_after_it() {
    let app = TestApp::start().await;
    let proxy = Proxy::start(app.database.url()).await;
    let peer = app
        .peer_with(|config| config.database.url = Some(Secret::new(proxy.url())))
        .await;
    let (ann, bob) = (app.register("Ann").await, app.register("Bob").await);
    proxy.set(Chaos::Cut);
    assert_eq!(
        app.request(Method::POST, "/auth/logout", Some(&ann.token), None)
            .await
            .status,
        204
    );
    // Signing in needs the database, being signed in does not.
    peer.request(Method::GET, "/health/live", None, None).await.ok();
    me(&peer, &ann.token).await.problem(503, "unavailable");
    assert_eq!(peer.request(Method::GET, "/health/ready", None, None).await.status, 503);
    proxy.heal();
    refused_within_the_promise(&peer, &ann.token, 401).await;
    eventually("the other node is ready", async || {
        peer.request(Method::GET, "/health/ready", None, None).await.status == 200
    })
    .await;
    me(&peer, &bob.token).await.ok();
    peer.stop().await;
    app.stop().await;
}

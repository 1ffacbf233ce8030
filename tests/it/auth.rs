//! Signing up and in: what is answered, what is refused, and the cookies of browsers.

use crate::support::client::PASSWORD;
use crate::support::{Answer, Person, Site, TestApp};
use parlance::ids::MessageId;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Instant;

/// A cookie, as a browser would keep it.
#[derive(Clone, Debug)]
pub struct Cookie {
    pub name: String,
    pub value: String,
    /// `HttpOnly; Path=/` and so on, in lower case.
    pub flags: String,
}

pub fn cookies(answer: &Answer) -> Vec<Cookie> {
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

pub fn cookie(answer: &Answer, name: &str) -> Cookie {
    cookies(answer)
        .into_iter()
        .find(|cookie| cookie.name == name)
        .unwrap_or_else(|| panic!("no cookie {name}"))
}

/// A request as a browser makes it: with cookies and whatever other headers.
pub async fn browse(site: &Site, method: Method, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
    let mut request = site.http().request(method, site.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    Site::read(request.send().await.unwrap()).await.unwrap()
}

pub async fn refresh(site: &Site, token: &str) -> Answer {
    browse(
        site,
        Method::POST,
        "/auth/refresh",
        &[("cookie", &format!("parlance_refresh={token}"))],
        None,
    )
    .await
}

pub async fn login(site: &Site, email: &str, password: &str) -> Answer {
    let body = json!({"email": email, "password": password});
    site.request(Method::POST, "/auth/login", None, Some(body)).await
}

pub async fn me(site: &Site, token: &str) -> Answer {
    site.request(Method::GET, "/api/me", Some(token), None).await
}

pub fn email_of(person: &Person) -> &str {
    person.email.as_deref().unwrap()
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
    let (session, refresh) = (cookie(&answer, "parlance_session"), cookie(&answer, "parlance_refresh"));
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

/// Keyboards differ in how they write what is the same to the eye.
#[actix_web::test]
async fn a_password_signs_in_however_its_characters_are_written() {
    let app = TestApp::start().await;
    let (composed, decomposed) = ("caf\u{e9} au lait \u{1f44d}", "cafe\u{301} au lait \u{1f44d}");
    let account = |name: &str, password: &str| json!({"email": format!("{name}@example.org"), "password": password, "name": name});
    for (name, set) in [("Ann", composed), ("Bob", decomposed)] {
        let account = account(name, set);
        app.request(Method::POST, "/auth/register", None, Some(account))
            .await
            .ok();
        for typed in [composed, decomposed, "caf\u{e9}\u{a0}au\u{3000}lait \u{1f44d}"] {
            login(&app, &format!("{name}@example.org"), typed).await.ok();
        }
        for wrong in ["cafe au lait \u{1f44d}", "CAF\u{c9} au lait \u{1f44d}"] {
            login(&app, &format!("{name}@example.org"), wrong)
                .await
                .problem(401, "unauthenticated");
        }
    }
    // An account of before: hashed as it was typed, here by a Mac.
    let argon2 = argon2_of(decomposed);
    app.database
        .query(
            "UPDATE users SET password_hash = $1 WHERE email = 'Ann@example.org'",
            &[&argon2],
        )
        .await;
    let hash = async || {
        let rows = app
            .database
            .query("SELECT password_hash FROM users WHERE email = 'Ann@example.org'", &[])
            .await;
        rows[0].get::<_, String>(0)
    };
    login(&app, "Ann@example.org", "cafe au lait")
        .await
        .problem(401, "unauthenticated");
    assert_eq!(hash().await, argon2);
    login(&app, "Ann@example.org", composed).await.ok();
    let renewed = hash().await;
    assert_ne!(renewed, argon2, "from now on it is the one form");
    for typed in [composed, decomposed] {
        login(&app, "Ann@example.org", typed).await.ok();
    }
    assert_eq!(hash().await, renewed);
    app.stop().await;
}

/// What a version before would have stored.
fn argon2_of(password: &str) -> String {
    use argon2::password_hash::PasswordHasher as _;
    argon2::Argon2::default()
        .hash_password(password.as_bytes())
        .unwrap()
        .to_string()
}

/// The key is right and the user is not there, as after a backup was restored.
#[actix_web::test]
async fn a_token_of_nobody_is_refused_everywhere() {
    let app = TestApp::start().await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let peer = app.peer_without_bus().await;
    // A node that has not seen her looks, and finds her.
    me(&peer, &ann.token).await.ok();
    let key = ann
        .post("/api/keys", json!({"name": "bot", "scopes": ["chat"]}))
        .await
        .ok();
    let key = key["secret"].as_str().unwrap().to_owned();
    let gone = app.register("Gil").await;
    for table in ["refresh_tokens", "sessions", "users"] {
        let column = if table == "users" { "id" } else { "user_id" };
        let sql = match table {
            "refresh_tokens" => {
                "DELETE FROM refresh_tokens r USING sessions s WHERE s.id = r.session_id AND s.user_id = $1".to_owned()
            }
            _ => format!("DELETE FROM {table} WHERE {column} = $1"),
        };
        app.database.query(&sql, &[&gone.id.0]).await;
    }
    let late = app.peer_without_bus().await;
    let gone = gone.at(&late);
    for path in [
        "/api/me".to_owned(),
        "/api/conversations".to_owned(),
        "/api/users".to_owned(),
        "/api/keys".to_owned(),
        format!("/api/conversations/{conversation}/messages"),
        "/api/search?q=x".to_owned(),
    ] {
        gone.get(&path).await.problem(401, "unauthenticated");
    }
    gone.post("/api/conversations", json!({"title": "x"}))
        .await
        .problem(401, "unauthenticated");
    gone.post("/auth/ticket", Value::Null)
        .await
        .problem(401, "unauthenticated");
    let cookie = format!("parlance_session={}", gone.token);
    browse(&late, Method::GET, "/api/me", &[("cookie", &cookie)], None)
        .await
        .problem(401, "unauthenticated");
    assert!(crate::support::Socket::try_connect(&late, &gone.token).await.is_err());
    me(&late, &ann.token).await.ok();
    me(&late, &key).await.ok();
    late.stop().await;
    peer.stop().await;
    app.stop().await;
}

#[actix_web::test]
async fn names_and_titles_have_something_to_see_and_turn_nothing() {
    let app = TestApp::start().await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let invite = ann.invite(conversation).await;
    let at = format!("/api/conversations/{conversation}");
    for bad in [
        "\u{200b}",
        "\u{3164}\u{2060}",
        "photo\u{202e}gpj.exe",
        "\u{2066}x",
        "a\u{2028}b",
    ] {
        let account = json!({"email": "x@example.org", "password": PASSWORD, "name": bad});
        let workspace = json!({"email": "x@example.org", "password": PASSWORD, "name": "X", "workspace": bad});
        let answers = [
            app.request(Method::POST, "/auth/register", None, Some(account)).await,
            app.request(Method::POST, "/auth/register", None, Some(workspace)).await,
            app.request(
                Method::POST,
                "/auth/guest",
                None,
                Some(json!({"name": bad, "invite": invite})),
            )
            .await,
            ann.patch("/api/me", json!({"name": bad})).await,
            ann.patch("/api/tenant", json!({"name": bad})).await,
            ann.post("/api/conversations", json!({"title": bad})).await,
            ann.patch(&at, json!({"title": bad})).await,
            ann.post("/api/keys", json!({"name": bad, "scopes": ["chat"]})).await,
        ];
        for answer in answers {
            let problem = answer.problem(400, "bad_request");
            assert!(problem["errors"][0]["field"].is_string(), "{bad:?}: {problem}");
        }
    }
    for good in ["👩\u{200d}🚀", "می\u{200c}خواهم", "שלום\u{200f}", "Zoë"] {
        assert_eq!(ann.patch("/api/me", json!({"name": good})).await.ok()["name"], good);
    }
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
        ("cookie", &*format!("parlance_session={}", ann.token)),
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
async fn with_a_cookie_unsafe_methods_must_come_from_our_own_page() {
    let app = TestApp::with(|config| config.http.allowed_origins = vec!["https://app.example".to_owned()]).await;
    let ann = app.register("Ann").await;
    let cookie = format!("parlance_session={}", ann.token);
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
    // That its page may open sockets and read answers does not make its requests ours.
    patch(vec![("origin", "https://app.example".into())])
        .await
        .problem(403, "forbidden");
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
    let token = cookie(&entered, "parlance_refresh").value;
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

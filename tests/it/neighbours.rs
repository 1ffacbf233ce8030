//! Many people share an address. What one of them does with nothing or with made-up credentials does not lock the others out.

use crate::auth::{browse, cookie, email_of, login, me, refresh};
use crate::limits::with_quota;
use crate::support::client::PASSWORD;
use crate::support::scrape::Scrape;
use crate::support::{Answer, Person, Site, Socket, TestApp};
use parlance::config::{Config, FloodConfig};
use reqwest::Method;
use serde_json::json;

/// Limits as delivered, and the flood guard, so that what refuses a neighbour is found whichever it is.
fn as_delivered(config: &mut Config) {
    config.limits.enabled = true;
}

/// What is good behind an address: a login, an API key, a ticket.
struct Insider {
    person: Person,
    refresh_token: String,
    key: String,
    ticket: String,
}

async fn insider(app: &TestApp) -> Insider {
    let person = app.register("Ann").await;
    let signed_in = login(app, email_of(&person), PASSWORD).await;
    let key = person
        .post("/api/keys", json!({"name": "bot", "scopes": ["chat"]}))
        .await;
    let ticket = person.post("/auth/ticket", json!(null)).await.ok();
    Insider {
        refresh_token: cookie(&signed_in, "parlance_refresh").value,
        key: key.ok()["secret"].as_str().unwrap().to_owned(),
        ticket: ticket["ticket"].as_str().unwrap().to_owned(),
        person,
    }
}

/// Whatever is right goes through: to log in, refresh, log out, take and redeem a ticket, use a key.
async fn everything_works(app: &TestApp, insider: &Insider) {
    let person = &insider.person;
    login(app, email_of(person), PASSWORD).await.ok();
    let renewed = refresh(app, &insider.refresh_token).await;
    assert_eq!(renewed.status, 200, "{renewed:?}");
    let token = cookie(&renewed, "parlance_refresh").value;
    person.post("/auth/ticket", json!(null)).await.ok();
    // A node that has never seen the key.
    let peer = app.peer().await;
    me(&peer, &insider.key).await.ok();
    me(app, &insider.key).await.ok();
    peer.stop().await;
    let request = format!("ws://{}/ws?ticket={}", app.address, insider.ticket);
    let request = tokio_tungstenite::tungstenite::client::ClientRequestBuilder::new(request.parse().unwrap());
    Socket::handshake(app.address, request).await.unwrap().close().await;
    // The session cookie has run out, the login has not.
    let cookies = format!("parlance_refresh={token}");
    let out = browse(app, Method::POST, "/auth/logout", &[("cookie", &cookies)], None).await;
    assert_eq!(out.status, 204, "{out:?}");
}

async fn is_refused_soon(what: &str, ask: impl AsyncFn(usize) -> Answer) {
    for n in 0..400 {
        let answer = ask(n).await;
        if answer.status == 429 {
            return;
        }
        assert_eq!(answer.status, 401, "{what}");
    }
    panic!("{what}: nobody is refused");
}

#[actix_web::test]
async fn requests_without_credentials_lock_nobody_out() {
    let app = TestApp::with(as_delivered).await;
    let insider = insider(&app).await;
    is_refused_soon("nothing shown", async |_| {
        app.request(Method::GET, "/api/me", None, None).await
    })
    .await;
    for _ in 0..20 {
        browse(&app, Method::POST, "/auth/refresh", &[], None).await;
        browse(&app, Method::POST, "/auth/logout", &[], None).await;
    }
    everything_works(&app, &insider).await;
    app.stop().await;
}

#[actix_web::test]
async fn made_up_credentials_lock_nobody_out_and_cost_no_query() {
    let app = TestApp::with(as_delivered).await;
    let insider = insider(&app).await;
    let made_up = |n: usize| format!("{n:043}");
    is_refused_soon("made-up keys", async |n| me(&app, &format!("pk_{}", made_up(n))).await).await;
    is_refused_soon("made-up refresh tokens", async |n| refresh(&app, &made_up(n)).await).await;
    let looked_up = async || {
        let scrape = Scrape::of(&app).await;
        let count = |query| scrape.value("db_query_duration_seconds_count", &[("query", query)]);
        [count("api_keys.find"), count("refresh_tokens.find")]
    };
    let before = looked_up().await;
    assert!(before[0] <= 51.0, "{before:?}");
    for n in 1_000..1_010 {
        assert_eq!(me(&app, &format!("pk_{}", made_up(n))).await.status, 429);
        assert_eq!(refresh(&app, &made_up(n)).await.status, 429);
    }
    assert_eq!(looked_up().await, before);
    everything_works(&app, &insider).await;
    app.stop().await;
}

/// Spent credentials had a mark once; they are not looked up for ever.
#[actix_web::test]
async fn a_spent_credential_has_no_privilege() {
    let app = TestApp::with(|config| {
        with_quota(1_000)(config);
        config.limits.anonymous.per_minute = 5;
    })
    .await;
    let insider = insider(&app).await;
    let keys = insider.person.get("/api/keys").await.ok();
    let id = keys["items"][0]["id"].as_str().unwrap();
    assert_eq!(insider.person.delete(&format!("/api/keys/{id}")).await.status, 204);
    is_refused_soon("a deleted key", async |_| me(&app, &insider.key).await).await;
    let finds = async || {
        let scrape = Scrape::of(&app).await;
        scrape.value("db_query_duration_seconds_count", &[("query", "refresh_tokens.find")])
    };
    let out = login(&app, email_of(&insider.person), PASSWORD).await;
    let token = cookie(&out, "parlance_refresh").value;
    let cookies = format!("parlance_refresh={token}");
    let ended = browse(&app, Method::POST, "/auth/logout", &[("cookie", &cookies)], None).await;
    assert_eq!(ended.status, 204);
    let before = finds().await;
    for _ in 0..10 {
        refresh(&app, &token).await;
    }
    assert!(finds().await <= before + 1.0, "looked up once and not again");
    app.stop().await;
}

#[actix_web::test]
async fn failed_logins_of_a_neighbour_lock_nobody_out() {
    let app = TestApp::with(|config| {
        as_delivered(config);
        // Few hashes are enough to be refused.
        config.limits.flood_auth = FloodConfig {
            per_second: 1,
            burst: 3,
        };
    })
    .await;
    let insider = insider(&app).await;
    is_refused_soon("guesses", async |n| {
        login(&app, &format!("user{n}@example.org"), "wrong password").await
    })
    .await;
    login(&app, email_of(&insider.person), PASSWORD).await.ok();
    app.stop().await;
}

/// What a page of another site embeds: the person who looks at it has not asked for it.
#[actix_web::test]
async fn a_foreign_page_costs_its_visitor_nothing() {
    let app = TestApp::with(|config| {
        with_quota(3)(config);
        config.limits.anonymous.per_minute = 3;
        config.limits.flood = FloodConfig {
            per_second: 1,
            burst: 8,
        };
    })
    .await;
    let ann = app.register("Ann").await;
    let session = format!("parlance_session={}", ann.token);
    let image = |site: &'static str, cookies: Option<&str>| {
        let mut headers = vec![
            ("sec-fetch-site", site),
            ("sec-fetch-mode", "no-cors"),
            ("sec-fetch-dest", "image"),
        ];
        headers.extend(cookies.map(|cookies| ("cookie", cookies)));
        let request = headers
            .iter()
            .fold(app.http().get(app.url("/api/me")), |request, (name, value)| {
                request.header(*name, *value)
            });
        async move { Site::read(request.send().await.unwrap()).await.unwrap() }
    };
    let mut flooded = 0;
    for n in 0..20 {
        let site = if n % 2 == 0 { "cross-site" } else { "same-site" };
        let answer = image(site, (n % 3 == 0).then_some(&session)).await;
        if answer.status == 429 {
            flooded += 1;
        } else {
            answer.problem(403, "forbidden");
        }
    }
    assert!(flooded > 0, "they have a guard of their own");
    let own = ann.get("/api/me").await;
    assert_eq!((own.status, own.header("x-ratelimit-remaining")), (200, Some("2")));
    let stranger = app.request(Method::GET, "/api/me", None, None).await;
    assert_eq!(
        (stranger.status, stranger.header("x-ratelimit-remaining")),
        (401, Some("2"))
    );
    // Who has followed a link is a visitor like any other.
    let visit = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
        ("cookie", session.as_str()),
    ];
    assert_eq!(browse(&app, Method::GET, "/api/me", &visit, None).await.status, 200);
    app.stop().await;
}

#[actix_web::test]
async fn five_guests_do_not_take_all_sockets_of_an_address() {
    let app = TestApp::with(|config| {
        let delivered = Config::default().sessions;
        config.sessions.connections_per_user = delivered.connections_per_user;
        config.sessions.connections_per_address = delivered.connections_per_address;
    })
    .await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    let invite = ann.invite(conversation).await;
    let mut held = Vec::new();
    for n in 0..5 {
        let guest = app.guest(&format!("Guest {n}"), &invite).await;
        for _ in 0..20 {
            held.push(guest.connect().await);
        }
        assert_eq!(guest.connect_raw().await.close_code().await, Some(4005));
    }
    ann.connect().await.close().await;
    for socket in held {
        socket.close().await;
    }
    app.stop().await;
}

//! What is revoked is revoked everywhere, on live sockets too, within five seconds.

use crate::support::client::{Ended, PASSWORD};
use crate::support::{Answer, Person, Socket, TestApp};
use parlance::ids::MessageId;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Revocation reaches everywhere within this.
const WITHIN: Duration = Duration::from_secs(5);

/// Signs the person in once more: another session.
async fn another_session(person: &Person) -> (Person, String) {
    let body = json!({"email": person.email, "password": PASSWORD});
    let answer = person
        .site
        .request(reqwest::Method::POST, "/auth/login", None, Some(body))
        .await;
    let refresh = refresh_cookie(&answer);
    let token = answer.ok()["access_token"].as_str().unwrap().to_owned();
    (
        Person {
            token,
            ..person.clone()
        },
        refresh,
    )
}

/// The refresh token, which is only in a cookie.
fn refresh_cookie(answer: &Answer) -> String {
    let cookies = answer
        .headers
        .get_all("set-cookie")
        .iter()
        .filter_map(|value| value.to_str().ok());
    let cookie = cookies
        .filter_map(|cookie| cookie.strip_prefix("parlance_refresh="))
        .next()
        .unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

async fn refresh(person: &Person, refresh: &str) -> Answer {
    let request = person
        .site
        .http()
        .post(person.site.url("/auth/refresh"))
        .header("Cookie", format!("parlance_refresh={refresh}"))
        .header("Origin", format!("http://{}", person.site.address));
    crate::support::Site::read(request.send().await.unwrap()).await.unwrap()
}

/// All are closed with this code in time.
async fn all_closed(sockets: Vec<Socket>, code: u16, since: Instant) {
    for mut socket in sockets {
        assert_eq!(socket.until_end().await, Ended::Closed(code));
        assert!(since.elapsed() < WITHIN, "{:?}", since.elapsed());
    }
}

async fn alive(socket: &mut Socket) {
    assert_eq!(socket.ask(json!({"type": "ping"})).await["type"], "pong");
}

/// A node, a second one, and a third that hears nothing of the others but through the database.
struct Nodes {
    first: TestApp,
    second: TestApp,
    deaf: TestApp,
}

impl Nodes {
    async fn start() -> Self {
        let first = TestApp::start().await;
        let (second, deaf) = (first.peer().await, first.peer_without_bus().await);
        Self { first, second, deaf }
    }

    /// A socket on each.
    async fn connect(&self, person: &Person) -> Vec<Socket> {
        let mut sockets = Vec::new();
        for node in [&self.first, &self.second, &self.deaf] {
            sockets.push(person.at(node).connect().await);
        }
        sockets
    }

    /// The credential is refused everywhere, by REST and at the handshake.
    async fn refuse(&self, person: &Person, status: u16, code: &str) {
        for node in [&self.first, &self.second, &self.deaf] {
            person.at(node).get("/api/me").await.problem(status, code);
            assert!(Socket::try_connect(node, &person.token).await.is_err());
        }
    }

    async fn stop(self) {
        self.deaf.stop().await;
        self.second.stop().await;
        self.first.stop().await;
    }
}

#[actix_web::test]
async fn logging_out_ends_that_session_everywhere() {
    let nodes = Nodes::start().await;
    let ann = nodes.first.register("Ann").await;
    let (other, _) = another_session(&ann).await;
    let sockets = nodes.connect(&ann).await;
    let mut others = nodes.connect(&other).await;
    let since = Instant::now();
    ann.post("/auth/logout", Value::Null).await.ok();
    ann.get("/api/me").await.problem(401, "unauthenticated");
    all_closed(sockets, 4001, since).await;
    nodes.refuse(&ann, 401, "unauthenticated").await;
    // Another session of the same person goes on; a token that was revoked does not renew it.
    for socket in &mut others {
        alive(socket).await;
        socket
            .refused(json!({"type": "refresh", "token": ann.token}), "unauthenticated")
            .await;
        alive(socket).await;
    }
    nodes.stop().await;
}

#[actix_web::test]
async fn logging_out_everywhere_ends_all_sessions() {
    let nodes = Nodes::start().await;
    let (ann, bob) = (nodes.first.register("Ann").await, nodes.first.register("Bob").await);
    let (other, _) = another_session(&ann).await;
    let mut sockets = nodes.connect(&ann).await;
    sockets.extend(nodes.connect(&other).await);
    let mut bobs = nodes.connect(&bob).await;
    let since = Instant::now();
    ann.at(&nodes.second).post("/auth/logout-all", Value::Null).await.ok();
    all_closed(sockets, 4001, since).await;
    nodes.refuse(&ann, 401, "unauthenticated").await;
    nodes.refuse(&other, 401, "unauthenticated").await;
    for socket in &mut bobs {
        alive(socket).await;
    }
    // The password is still good for a login.
    let (fresh, _) = another_session(&ann).await;
    alive(&mut fresh.connect().await).await;
    nodes.stop().await;
}

#[actix_web::test]
async fn a_suspended_person_is_out_everywhere() {
    let nodes = Nodes::start().await;
    let ([ann, bob], c) = nodes.first.conversation_of(["Ann", "Bob"]).await;
    let sockets = nodes.connect(&bob).await;
    let mut anns = ann.at(&nodes.deaf).connect().await;
    let since = Instant::now();
    ann.patch(&format!("/api/users/{}", bob.id), json!({"status": "suspended"}))
        .await
        .ok();
    all_closed(sockets, 4003, since).await;
    nodes.refuse(&bob, 403, "forbidden").await;
    let body = json!({"email": bob.email, "password": PASSWORD});
    let login = nodes
        .second
        .request(reqwest::Method::POST, "/auth/login", None, Some(body.clone()))
        .await;
    assert!((400..500).contains(&login.status), "{login:?}");
    // Back again.
    ann.patch(&format!("/api/users/{}", bob.id), json!({"status": "active"}))
        .await
        .ok();
    let (fresh, _) = another_session(&bob).await;
    fresh.connect().await.post(c, MessageId::new(), "back").await;
    alive(&mut anns).await;
    nodes.stop().await;
}

#[actix_web::test]
async fn a_refresh_token_that_is_used_twice_ends_its_family() {
    let nodes = Nodes::start().await;
    let ann = nodes.first.register("Ann").await;
    let (thief, first) = another_session(&ann).await;
    let second = refresh_cookie(&refresh(&thief, &first).await);
    // Who has the second does not need the first any more.
    let renewed = refresh(&thief, &second).await;
    let third = refresh_cookie(&renewed);
    let renewed = Person {
        token: renewed.ok()["access_token"].as_str().unwrap().to_owned(),
        ..ann.clone()
    };
    let mut untouched = nodes.connect(&ann).await;
    let mut sockets = nodes.connect(&thief).await;
    sockets.extend(nodes.connect(&renewed).await);
    let since = Instant::now();
    refresh(&thief.at(&nodes.second), &first)
        .await
        .problem(401, "unauthenticated");
    all_closed(sockets, 4001, since).await;
    nodes.refuse(&renewed, 401, "unauthenticated").await;
    refresh(&thief, &third).await.problem(401, "unauthenticated");
    for socket in &mut untouched {
        alive(socket).await;
    }
    nodes.stop().await;
}

/// A role is not in the token only: what it allows changes on live sockets and for tokens that were given out before.
#[actix_web::test]
async fn a_role_changes_at_once() {
    let nodes = Nodes::start().await;
    let ([ann, bob], c) = nodes.first.conversation_of(["Ann", "Bob"]).await;
    let users = format!("/api/users/{}", bob.id);
    let rename = |name: &str| json!({"name": name});
    bob.patch("/api/tenant", rename("Bob's"))
        .await
        .problem(403, "forbidden");
    ann.patch(&users, json!({"role": "admin"})).await.ok();
    let since = Instant::now();
    for node in [&nodes.first, &nodes.second, &nodes.deaf] {
        let there = bob.at(node);
        crate::support::eventually("Bob is an admin", async || {
            there.patch("/api/tenant", rename("Bob's")).await.status == 200
        })
        .await;
    }
    assert!(since.elapsed() < WITHIN);
    let mut sockets = nodes.connect(&bob).await;
    ann.patch(&users, json!({"role": "member"})).await.ok();
    let since = Instant::now();
    for node in [&nodes.first, &nodes.second, &nodes.deaf] {
        let there = bob.at(node);
        crate::support::eventually("Bob is no admin", async || {
            there.patch("/api/tenant", rename("Bob's")).await.status == 403
        })
        .await;
    }
    assert!(since.elapsed() < WITHIN);
    for socket in &mut sockets {
        socket.post(c, MessageId::new(), "still here").await;
    }
    nodes.stop().await;
}

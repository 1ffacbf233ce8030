//! Clients that take their time: each thing a client owes is waited for so long and no longer, and then the connection is
//! gone.

use crate::support::chaos::Chaos;
use crate::support::raw::{RawConnection, exchange};
use crate::support::{TestApp, pace, wait_out};
use parlance::ids::MessageId;
use std::time::{Duration, Instant};

const POST: &str = "POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";

async fn app() -> TestApp {
    TestApp::with(|config| {
        config.http.keep_alive = Duration::from_millis(500);
        config.http.request_timeout = Duration::from_millis(500);
        config.http.request_deadline = Duration::from_millis(800);
    })
    .await
}

/// Sends a byte every 100 ms for as long as the server takes them.
async fn dribble(connection: &mut RawConnection, byte: &[u8]) -> Duration {
    let started = Instant::now();
    while connection.send(byte).await {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "the server went on taking bytes"
        );
        pace(Duration::from_millis(100)).await;
    }
    started.elapsed()
}

#[actix_web::test]
async fn a_head_is_waited_for_only_so_long() {
    let app = app().await;
    let mut silent = RawConnection::open(app.address).await;
    assert_eq!(silent.read_to_end().await.statuses, [408], "nothing was said");
    let mut slow = RawConnection::open(app.address).await;
    slow.send(b"GET / HTTP/1.1\r\nHost: x\r\nX: ").await;
    dribble(&mut slow, b"y").await;
    app.stop().await;
}

/// The server's own timer is for the first head of a connection only; the fence is for all.
#[actix_web::test]
async fn so_is_the_head_of_a_second_request() {
    let app = app().await;
    let mut slow = RawConnection::open(app.address).await;
    slow.send(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nX: ")
        .await;
    let held = dribble(&mut slow, b"y").await;
    assert!(
        held > Duration::from_secs(1),
        "{held:?}: an honest client was not given its time"
    );
    // Of the first request, unless the reset was faster.
    assert!(slow.read_to_end().await.statuses.len() <= 1);
    app.stop().await;
}

#[actix_web::test]
async fn a_body_is_waited_for_only_so_long_and_the_client_is_told() {
    let app = app().await;
    for (length, start) in [
        ("Content-Length: 1000", "{"),
        ("Transfer-Encoding: chunked", "3e8\r\n{"),
    ] {
        let mut slow = RawConnection::open(app.address).await;
        slow.send(format!("{POST}{length}\r\n\r\n{start}").as_bytes()).await;
        let started = Instant::now();
        let answer = slow.read_to_end().await;
        assert_eq!(answer.statuses, [408], "{}", answer.text);
        assert!(answer.text.contains("\"code\":\"bad_request\""), "{}", answer.text);
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
        // One that goes on sending is not listened to either.
        let mut stubborn = RawConnection::open(app.address).await;
        stubborn.send(format!("{POST}{length}\r\n\r\n{start}").as_bytes()).await;
        dribble(&mut stubborn, b" ").await;
    }
    app.stop().await;
}

#[actix_web::test]
async fn who_does_not_read_an_answer_is_cut() {
    let app = TestApp::with(|config| config.http.request_deadline = Duration::from_secs(4)).await;
    let (ann, conversation) = app.person_with_conversation("Ann").await;
    for _ in 0..100 {
        let answer = ann
            .post_message(conversation, MessageId::new(), &"x".repeat(16_000))
            .await;
        assert_eq!(answer.status, 201);
    }
    let path = format!("/api/conversations/{conversation}/messages?limit=100");
    let request = |connection: &str| {
        let token = &ann.token;
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: {connection}\r\n\r\n")
    };
    let whole = exchange(app.address, request("close").as_bytes()).await.text.len();
    assert!(whole > 1_000_000);
    // More than the kernel takes for the server.
    let many = request("keep-alive").repeat(16);
    let mut idle = RawConnection::open_narrow(app.address).await;
    idle.send(many.as_bytes()).await;
    wait_out(Duration::from_secs(9)).await;
    let got = idle.read_to_end().await.text.len();
    assert!(
        got < 10 * whole,
        "{got} bytes were kept for somebody who did not read them"
    );
    // Who reads slowly, but reads, gets everything.
    let mut slow = RawConnection::open(app.address).await;
    slow.send([many, request("close")].concat().as_bytes()).await;
    assert_eq!(
        slow.read_to_end_slowly(Duration::from_secs(4)).await.statuses,
        [200; 17]
    );
    app.stop().await;
}

/// The database does not answer: that is our fault, and said as such.
#[actix_web::test]
async fn an_answer_of_ours_that_takes_too_long_is_unavailable() {
    let (app, proxy) = TestApp::behind_proxy_with(|config| config.http.request_deadline = Duration::from_secs(3)).await;
    let ann = app.register("Ann").await;
    proxy.set(Chaos::Freeze);
    let answer = ann.get("/api/tenant").await;
    proxy.heal();
    answer.problem(503, "unavailable");
    app.stop().await;
}

//! Requests that no client should send, byte by byte: each is answered or refused, none is taken for two, none makes the
//! server fail or hang.
//!
//! What is not even a request is answered by the HTTP parser, with an empty body and without our headers (`bare` below);
//! a test here says which, so that an upgrade of the framework that changes it is noticed.

use crate::support::TestApp;
use crate::support::raw::{RawConnection, exchange};
use futures_util::future::join_all;
use std::time::Duration;

/// What is expected of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    /// The parser's own: a status and nothing else, then the connection is closed.
    Bare(u16),
    /// Ours, with everything that an answer of ours has.
    Ours(u16),
    /// Ours, and then that of the well-formed request that was sent behind it.
    OursAndNext(u16),
}
use Answer::{Bare, Ours, OursAndNext};

const NEXT: &str = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
const GET: &str = "GET /health/live HTTP/1.1\r\nHost: x\r\n";
const POST: &str = "POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";

/// A short keep-alive, so that every connection ends soon by itself. A head has its time: on a busy machine it may take some.
async fn app() -> TestApp {
    TestApp::with(|config| {
        config.http.keep_alive = Duration::from_secs(1);
        config.http.request_timeout = Duration::from_secs(5);
    })
    .await
}

async fn check(cases: Vec<(&str, Vec<u8>, Answer)>) {
    let app = app().await;
    let mut wrong = Vec::new();
    let ask = |(name, bytes, expected): (_, Vec<u8>, _)| {
        let address = app.address;
        async move { (name, exchange(address, &bytes).await, expected) }
    };
    for (name, answer, expected) in join_all(cases.into_iter().map(ask)).await {
        let ours = answer
            .text
            .matches("content-security-policy: default-src 'self'")
            .count();
        let ids = answer.text.matches("x-request-id: ").count();
        let found = match (answer.statuses[..].as_ref(), ours) {
            ([status], 0) => Some(Bare(*status)),
            ([status], 1) => Some(Ours(*status)),
            ([status, 200], 2) => Some(OursAndNext(*status)),
            _ => None,
        };
        if found != Some(expected) || ids != ours {
            wrong.push(format!("{name}: {found:?}, expected {expected:?}: {}", answer.text));
        }
    }
    // Whatever came: others are served.
    assert_eq!(exchange(app.address, NEXT.as_bytes()).await.statuses, [200]);
    app.stop().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n---\n"));
}

fn with_next(start: &str) -> Vec<u8> {
    format!("{start}{NEXT}").into_bytes()
}

#[actix_web::test]
async fn request_lines() {
    let line = |line: &str| format!("{line}\r\nHost: x\r\n\r\n").into_bytes();
    check(vec![
        ("not text", b"\x00\x01\x02\r\n\r\n".to_vec(), Bare(400)),
        (
            "TLS",
            [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[120; 100]].concat(),
            Bare(400),
        ),
        ("HTTP/0.9", line("GET / HTTP/0.9"), Bare(400)),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), Bare(400)),
        ("HTTP/3.0", line("GET / HTTP/3.0"), Bare(400)),
        ("no slash", line("GET health/live HTTP/1.1"), Bare(400)),
        ("a blank in the target", line("GET /a b HTTP/1.1"), Bare(400)),
        ("UTF-8 in the target", line("GET /ä HTTP/1.1"), Bare(400)),
        ("not a method", line("G@T / HTTP/1.1"), Bare(400)),
        (
            "a method of one's own",
            with_next("BREW / HTTP/1.1\r\nHost: x\r\n\r\n"),
            OursAndNext(405),
        ),
        (
            "a long method",
            line(&format!("{} / HTTP/1.1", "G".repeat(5_000))),
            Ours(405),
        ),
        (
            "TRACE",
            with_next("TRACE / HTTP/1.1\r\nHost: x\r\n\r\n"),
            OursAndNext(405),
        ),
        (
            "CONNECT",
            with_next("CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n"),
            Ours(400),
        ),
        (
            "OPTIONS *",
            with_next("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"),
            OursAndNext(404),
        ),
        (
            "GET *",
            with_next("GET * HTTP/1.1\r\nHost: x\r\n\r\n"),
            OursAndNext(404),
        ),
        (
            "the host in the target",
            with_next("GET http://x/health/live HTTP/1.1\r\nHost: x\r\n\r\n"),
            OursAndNext(200),
        ),
        (
            "another host in the target",
            with_next("GET http://y/ HTTP/1.1\r\nHost: x\r\n\r\n"),
            OursAndNext(400),
        ),
        (
            "a path upwards",
            with_next("GET /static/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n"),
            OursAndNext(404),
        ),
        (
            "NUL in a page's path",
            with_next("GET /i/%00 HTTP/1.1\r\nHost: x\r\n\r\n"),
            OursAndNext(200),
        ),
        (
            "broken escapes",
            with_next("GET /api/users/%zz%ff HTTP/1.1\r\nHost: x\r\n\r\n"),
            OursAndNext(401),
        ),
        (
            "8 KiB and more",
            line(&format!("GET /{} HTTP/1.1", "x".repeat(8_192))),
            Ours(414),
        ),
        (
            "64 KiB and more",
            line(&format!("GET /{} HTTP/1.1", "x".repeat(65_536))),
            Bare(400),
        ),
        (
            "128 KiB and more",
            line(&format!("GET /{} HTTP/1.1", "x".repeat(150_000))),
            Bare(431),
        ),
    ])
    .await;
}

#[actix_web::test]
async fn headers() {
    let head = |more: &str| format!("{GET}{more}\r\n").into_bytes();
    let many = |count: usize| (0..count).map(|n| format!("X{n}: y\r\n")).collect::<String>();
    check(vec![
        ("no host", b"GET /health/live HTTP/1.1\r\n\r\n".to_vec(), Bare(400)),
        ("two hosts", head("Host: y\r\n"), Bare(400)),
        (
            "no host at all",
            b"GET /health/live HTTP/1.1\r\nHost: a b/c\r\n\r\n".to_vec(),
            Ours(400),
        ),
        ("NUL", head("X: a\0b\r\n"), Bare(400)),
        ("a bare CR", head("X: a\rb\r\n"), Bare(400)),
        ("a folded line", head("X: a\r\n b\r\n"), Bare(400)),
        ("a blank before the colon", head("X : a\r\n"), Bare(400)),
        ("no colon", head("nonsense\r\n"), Bare(400)),
        ("no name", head(": x\r\n"), Bare(400)),
        ("bytes that are not ASCII", head("X: \u{e4}\r\n"), Ours(200)),
        ("96", head(&many(95)), Ours(200)),
        ("97", head(&many(96)), Bare(431)),
        (
            "32 KiB and more",
            head(&format!("X: {}\r\n", "y".repeat(32_768))),
            Ours(431),
        ),
        (
            "128 KiB and more",
            head(&format!("X: {}\r\n", "y".repeat(140_000))),
            Bare(431),
        ),
        ("an id of two lines", head("X-Request-Id: a\r\n\tb\r\n"), Bare(400)),
        (
            "another protocol",
            head("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"),
            Ours(200),
        ),
    ])
    .await;
}

/// Where a proxy and the server could disagree on where a request ends.
#[actix_web::test]
async fn the_ends_of_bodies() {
    let body = |headers: &str, body: &str| format!("{POST}{headers}\r\n{body}{NEXT}").into_bytes();
    let chunked = |text: &str| body("Transfer-Encoding: chunked\r\n", text);
    let end = "0\r\n\r\n";
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    check(vec![
        (
            "both lengths",
            body("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", end),
            Bare(400),
        ),
        (
            "both, the other way",
            body("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", end),
            Bare(400),
        ),
        (
            "two lengths",
            body("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"),
            Bare(400),
        ),
        (
            "a list of lengths",
            body("Content-Length: 5, 5\r\n", "hello"),
            Bare(400),
        ),
        ("+5", body("Content-Length: +5\r\n", "hello"), Bare(400)),
        ("-1", body("Content-Length: -1\r\n", "hello"), Bare(400)),
        ("0x5", body("Content-Length: 0x5\r\n", "hello"), Bare(400)),
        ("nothing", body("Content-Length:\r\n", "hello"), Bare(400)),
        (
            "more than fits",
            body("Content-Length: 99999999999999999999\r\n", "hello"),
            Bare(400),
        ),
        (
            "more than allowed",
            body("Content-Length: 1048577\r\n", "hello"),
            Ours(413),
        ),
        (
            "a blank before the colon",
            body("Content-Length : 5\r\n", "hello"),
            Bare(400),
        ),
        ("xchunked", body("Transfer-Encoding: xchunked\r\n", end), Bare(400)),
        ("identity", body("Transfer-Encoding: identity\r\n", end), Bare(400)),
        (
            "two codings",
            body("Transfer-Encoding: gzip, chunked\r\n", end),
            Bare(400),
        ),
        (
            "two headers",
            body("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", end),
            Bare(400),
        ),
        (
            "chunks in 1.0",
            b"POST /auth/login HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
            Bare(400),
        ),
        ("a chunk of zz", chunked("zz\r\nhello\r\n0\r\n\r\n"), Ours(400)),
        ("a chunk of -5", chunked("-5\r\nhello\r\n0\r\n\r\n"), Ours(400)),
        (
            "a chunk of 2^68",
            chunked("fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
            Ours(400),
        ),
        (
            "a chunk longer than said",
            chunked("5\r\nhelloX\r\n0\r\n\r\n"),
            Ours(400),
        ),
        ("chunks by bare LF", chunked("5\nhello\n0\n\n"), Ours(400)),
        (
            "chunks that are no JSON",
            chunked("5\r\nhello\r\n0\r\n\r\n"),
            OursAndNext(400),
        ),
        ("trailers", chunked("2\r\n{}\r\n0\r\nX: y\r\n\r\n"), OursAndNext(400)),
        (
            "a body of a GET",
            format!("{GET}Content-Length: 5\r\n\r\nhello{NEXT}").into_bytes(),
            OursAndNext(200),
        ),
        (
            "an encoded body",
            format!("{POST}Content-Length: 2\r\nContent-Encoding: gzip\r\n\r\n{{}}").into_bytes(),
            Ours(415),
        ),
        (
            "a socket by POST",
            body(&format!("{upgrade}Content-Length: 2\r\n"), "{}"),
            Ours(400),
        ),
        (
            "an expectation",
            body("Content-Length: 2\r\nExpect: 100-continue\r\n", "{}"),
            OursAndNext(400),
        ),
    ])
    .await;
}

#[actix_web::test]
async fn many_at_once_are_answered_in_order() {
    let app = app().await;
    let pipeline = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\nGET /nothing HTTP/1.1\r\nHost: x\r\n\r\n".repeat(50);
    let answers = exchange(app.address, pipeline.as_bytes()).await;
    assert_eq!(answers.statuses, [200, 404].repeat(50));
    app.stop().await;
}

/// The head of a handshake, but for its end.
async fn handshake(app: &TestApp) -> String {
    let token = app.register("Ann").await.token;
    format!(
        "GET /ws HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: cGFybGFuY2UtdGVzdC0wMA==\r\n"
    )
}

/// The server lets go of the connection then, and must not take what it has not yet written along.
#[actix_web::test]
async fn what_was_asked_before_a_handshake_is_answered_before_it() {
    let app = app().await;
    let upgrade = handshake(&app).await + "Upgrade: websocket\r\n\r\n";
    let mut connection = RawConnection::open(app.address).await;
    connection.send(format!("{NEXT}{NEXT}{upgrade}").as_bytes()).await;
    connection.end().await;
    let answers = connection.read_to_end().await;
    assert_eq!(answers.statuses, [200, 200]);
    let places = ["HTTP/1.1 200", "HTTP/1.1 101", "\"type\":\"hello\""].map(|text| answers.text.find(text));
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{}",
        answers.text
    );
    // And where it is refused.
    let refused = exchange(
        app.address,
        format!("{NEXT}{}", upgrade.replace("Bearer ", "Bearer x")).as_bytes(),
    )
    .await;
    assert_eq!(refused.statuses, [200, 401]);
    app.stop().await;
}

/// The server would not let go of the connection, and nobody would look after it.
#[actix_web::test]
async fn a_handshake_with_a_body_or_a_choice_is_none() {
    let app = app().await;
    let handshake = handshake(&app).await;
    for rest in [
        "Upgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Upgrade: h2c, websocket\r\n\r\n",
    ] {
        let mut connection = RawConnection::open(app.address).await;
        connection.send(format!("{handshake}{rest}").as_bytes()).await;
        connection.end().await;
        assert_eq!(connection.read_to_end().await.statuses, [400], "{rest}");
    }
    app.stop().await;
}

#[actix_web::test]
async fn a_body_that_breaks_off_is_over() {
    let app = app().await;
    for half in [
        format!("{POST}Content-Length: 50\r\n\r\nhello"),
        format!("{POST}Transfer-Encoding: chunked\r\n\r\n5\r\nhe"),
    ] {
        let mut connection = RawConnection::open(app.address).await;
        connection.send(half.as_bytes()).await;
        connection.end().await;
        assert_eq!(connection.read_to_end().await.statuses, [400], "{half}");
    }
    let mut connection = RawConnection::open(app.address).await;
    connection.send(GET.as_bytes()).await;
    connection.end().await;
    assert!(
        connection.read_to_end().await.statuses.is_empty(),
        "half a head is no request"
    );
    app.stop().await;
}

#[actix_web::test]
async fn more_than_a_body_may_have_is_not_taken() {
    let app = app().await;
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let start = format!("{POST}Transfer-Encoding: chunked\r\n\r\n");
    let bytes = [start.as_str(), &chunk.repeat(17), "0\r\n\r\n"].concat();
    let answer = exchange(app.address, bytes.as_bytes()).await;
    assert_eq!(answer.statuses, [413]);
    assert!(answer.text.contains("\"code\":\"too_large\""), "{}", answer.text);
    assert_eq!(answer.header("connection"), Some("close"));
    app.stop().await;
}

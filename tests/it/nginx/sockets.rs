//! Sockets through nginx: every way in, refusals as they are, frames of every size, and a reload that nobody notices.

use super::Front;
use crate::support::{PATIENCE, Site, Socket, eventually};
use futures_util::future::join_all;
use parlance::ids::MessageId;
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;

fn request(site: &Site, query: &str) -> ClientRequestBuilder {
    ClientRequestBuilder::new(format!("ws://{}/ws{query}", site.address).parse().unwrap())
}

/// What a handshake is answered that comes to nothing.
async fn refusal(site: &Site, query: &str, headers: &[(&'static str, &str)]) -> crate::support::Answer {
    let usual = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "cGFybGFuY2UtdGVzdC0wMA=="),
    ];
    let mut request = site.http().get(site.url(&format!("/ws{query}")));
    for (name, value) in usual.iter().chain(headers) {
        request = request.header(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    Site::read(request.send().await.unwrap()).await.unwrap()
}

#[actix_web::test]
async fn every_credential_opens_a_socket_and_sockets_are_spread() {
    let front = Front::start().await;
    let ann = front.nginx.register("Ann").await;
    let ticket = ann.post("/auth/ticket", Value::Null).await.ok();
    let own_page = format!("http://{}", front.nginx.address);
    let by_ticket = request(&front.nginx, &format!("?ticket={}", ticket["ticket"].as_str().unwrap()));
    let by_cookie = request(&front.nginx, "")
        .with_header("Cookie", format!("parlance_session={}", ann.token))
        .with_header("Origin", &own_page);
    let by_bearer = request(&front.nginx, "")
        .with_header("Authorization", format!("Bearer {}", ann.token))
        .with_sub_protocol("parlance.v1");
    let mut nodes = Vec::new();
    let mut sockets = Vec::new();
    for request in [by_ticket, by_cookie, by_bearer] {
        let mut socket = Socket::handshake(front.nginx.address, request).await.unwrap();
        assert_eq!(socket.hello()["user"]["id"], json!(ann.id));
        assert_eq!(socket.ask(json!({"type": "ping"})).await["type"], "pong");
        nodes.push(socket.hello()["node"].to_string());
        sockets.push(socket);
    }
    let different: HashSet<_> = nodes.iter().collect();
    assert_eq!(
        different.len(),
        2,
        "the node with fewer sockets gets the next: {nodes:?}"
    );
    for socket in sockets {
        socket.close().await;
    }
    front.stop().await;
}

#[actix_web::test]
async fn refusals_come_through_as_the_node_writes_them() {
    let front = Front::start().await;
    let ann = front.nginx.register("Ann").await;
    let bearer = format!("Bearer {}", ann.token);
    let site = &*front.nginx;
    refusal(site, "", &[]).await.problem(401, "unauthenticated");
    let foreign = [("authorization", &*bearer), ("origin", "https://evil.example")];
    refusal(site, "", &foreign).await.problem(403, "forbidden");
    // The same host at another port is another origin.
    let neighbour = [("authorization", &*bearer), ("origin", "http://127.0.0.1:1")];
    refusal(site, "", &neighbour).await.problem(403, "forbidden");
    let protocol = [("authorization", &*bearer), ("sec-websocket-protocol", "chat")];
    refusal(site, "", &protocol).await.problem(400, "bad_request");
    let ticket = ann.post("/auth/ticket", Value::Null).await.ok();
    let query = format!("?ticket={}", ticket["ticket"].as_str().unwrap());
    Socket::handshake(site.address, request(site, &query))
        .await
        .unwrap()
        .close()
        .await;
    refusal(site, &query, &[]).await.problem(401, "unauthenticated");
    // What is no handshake is none, and nothing but a WebSocket is an upgrade.
    site.request(reqwest::Method::GET, "/ws", Some(&ann.token), None)
        .await
        .problem(400, "bad_request");
    front.stop().await;
}

#[actix_web::test]
async fn frames_of_every_size_reach_the_other_node() {
    let front = Front::start().await;
    let ([ann, bob], conversation) = front.nginx.conversation_of(["Ann", "Bob"]).await;
    let (mut anns, mut bobs) = (ann.connect().await, bob.connect().await);
    assert_ne!(anns.hello()["node"], bobs.hello()["node"]);
    anns.subscribe(conversation, None).await;
    bobs.subscribe(conversation, None).await;
    for size in [1, 125, 126, 4_096, 16_384] {
        let body = "x".repeat(size);
        anns.post(conversation, MessageId::new(), &body).await;
        assert_eq!(bobs.expect("message").await["body"], body);
    }
    // Much at once: more than any buffer between holds.
    for n in 0..100 {
        let body = format!("{n} {}", "y".repeat(16_000));
        let frame = json!({"type": "send", "conversation": conversation, "id": MessageId::new(), "body": body});
        anns.ask(frame).await;
    }
    for n in 0..100 {
        let message = bobs.expect("message").await;
        assert!(message["body"].as_str().unwrap().starts_with(&format!("{n} ")));
    }
    // What the server closes arrives as it closes it.
    bobs.send_raw(tokio_tungstenite::tungstenite::Message::Binary(vec![0].into()))
        .await;
    bobs.expect_close(4000).await;
    front.stop().await;
}

/// Three reloads, the last with another number of nodes, while people write: every socket stays on the worker it has, what
/// is new goes to new ones, and these of before end when their last socket does.
#[actix_web::test]
async fn a_reload_drops_no_socket() {
    const IDLE: usize = 20;
    const WRITERS: usize = 4;
    let mut front = Front::start().await;
    let (ann, conversation) = front.nginx.person_with_conversation("Ann").await;
    let mut idle = join_all((0..IDLE).map(|_| ann.connect())).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        let (mut socket, stop) = (ann.connect().await, stop.clone());
        writers.push(actix_web::rt::spawn(async move {
            let mut posts = 0;
            while !stop.load(Ordering::Relaxed) || posts < 20 {
                // Fails the test if the socket is gone.
                socket.post(conversation, MessageId::new(), "still here").await;
                posts += 1;
            }
            socket
        }));
    }
    let first = front.nginx.workers();
    let only_one = front.app.address.to_string();
    for (round, settings) in [&[][..], &[("NGINX_API_BURST", "21")], &[("NGINX_NODES", &only_one)]]
        .iter()
        .enumerate()
    {
        front.nginx.reload(settings);
        eventually("new workers run beside those that have sockets", async || {
            let now = front.nginx.workers();
            now.iter().filter(|pid| !first.contains(pid)).count() >= 2 && now.iter().any(|pid| first.contains(pid))
        })
        .await;
        // Through the new workers, with the new configuration.
        eventually("the new configuration is in use", async || {
            let mut fresh = ann.connect().await;
            let is_there = fresh.ask(json!({"type": "ping"})).await["type"] == "pong";
            fresh.close().await;
            is_there
        })
        .await;
        for socket in &mut idle {
            assert_eq!(
                socket.ask(json!({"type": "ping"})).await["type"],
                "pong",
                "round {round}"
            );
        }
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        let socket = tokio::time::timeout(PATIENCE, writer)
            .await
            .expect("a writer hangs")
            .unwrap();
        socket.close().await;
    }
    for socket in idle {
        socket.close().await;
    }
    eventually("the workers of before have ended", async || {
        let now = front.nginx.workers();
        now.len() == 2 && now.iter().all(|pid| !first.contains(pid))
    })
    .await;
    front.stop().await;
}

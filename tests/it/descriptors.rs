//! A node whose limit of open files does not suffice for the sockets it is configured for: it admits what it can hold,
//! refuses the next in words, and goes on serving. The limit is a real one, of a real process.

use crate::support::{PATIENCE, Scrape, ServerProcess, eventually};
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// Far below what the default of 50,000 sockets needs.
const FILES_MAX: u32 = 400;

const ENVIRONMENT: [(&str, &str); 4] = [
    ("PARLANCE_HTTP_WORKERS", "2"),
    ("PARLANCE_ARBITERS", "2"),
    ("PARLANCE_CONNECTIONS_PER_USER", "100000"),
    ("LOG_FORMAT", "json"),
];

fn server() -> ServerProcess {
    ServerProcess::try_start_within(Some(FILES_MAX), &ENVIRONMENT).unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test]
async fn a_node_admits_what_it_has_descriptors_for_and_refuses_the_next() {
    let server = server();
    let scrape = Scrape::of(&server).await;
    assert_eq!(scrape.value("process_max_fds", &[]), f64::from(FILES_MAX));
    let promised = scrape.value("sockets_max", &[]) as usize;
    assert!((30..FILES_MAX as usize / 2).contains(&promised), "{promised}");
    let said = said_of_sockets(&server);
    assert_eq!(
        (&said["level"], &said["sockets"], &said["descriptors"]),
        (&json!("INFO"), &json!(promised), &json!(FILES_MAX)),
        "nobody has asked for more"
    );

    let ann = server.register("Ann").await;
    let mut sockets = Vec::new();
    for _ in 0..promised {
        sockets.push(ann.connect().await);
    }
    let handshake = async || {
        let request = server
            .http()
            .get(server.url("/ws"))
            .bearer_auth(&ann.token)
            .timeout(PATIENCE);
        let request = request.header("Connection", "Upgrade").header("Upgrade", "websocket");
        let request = request.header("Sec-WebSocket-Version", "13");
        let request = request.header("Sec-WebSocket-Key", "cGFybGFuY2UtdGVzdC0wMA==");
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(handshake().await, 503);
    ann.get("/api/me").await.ok();
    for socket in &mut sockets {
        assert_eq!(socket.ask(json!({"type": "ping"})).await["type"], "pong");
    }
    // A place that becomes free can be taken.
    sockets.pop().unwrap().close().await;
    eventually("there is room", async || handshake().await == 101).await;
    assert!(!server.log().contains("Too many open files"), "{}", server.log());
    drop(sockets);
    server.terminate();
}

/// The line of the log about how many sockets are admitted.
fn said_of_sockets(server: &ServerProcess) -> Value {
    let log = server.log();
    let line = log.lines().find(|line| line.contains("PARLANCE_CONNECTIONS_MAX"));
    serde_json::from_str(line.unwrap()).unwrap()
}

#[tokio::test]
async fn who_has_asked_for_more_sockets_than_there_can_be_is_warned() {
    let asked = [ENVIRONMENT.as_slice(), &[("PARLANCE_CONNECTIONS_MAX", "5000")]].concat();
    let server = ServerProcess::try_start_within(Some(FILES_MAX), &asked).unwrap();
    let said = said_of_sockets(&server);
    assert_eq!(
        (&said["level"], &said["wanted"], &said["descriptors"]),
        (&json!("WARN"), &json!(5_000), &json!(FILES_MAX))
    );
    server.terminate();
}

#[tokio::test]
async fn plain_connections_do_not_take_the_descriptors_of_sockets() {
    let server = server();
    let ann = server.register("Ann").await;
    let mut sockets = [ann.connect().await, ann.connect().await];
    // More than the process could hold; those it does not accept wait in the kernel.
    let mut plain = Vec::new();
    for _ in 0..FILES_MAX {
        plain.push(TcpStream::connect(server.address).await.unwrap());
    }
    for _ in 0..3 {
        for socket in &mut sockets {
            assert_eq!(socket.ask(json!({"type": "ping"})).await["type"], "pong");
        }
    }
    drop(plain);
    ann.get("/api/me").await.ok();
    sockets[0].send_json(&json!({"type": "ping"})).await;
    assert!(!server.log().contains("Too many open files"), "{}", server.log());
    drop(sockets);
    server.terminate();
}

#[tokio::test]
async fn a_node_that_could_not_serve_does_not_start() {
    let refused = ServerProcess::try_start_within(Some(200), &ENVIRONMENT).err().unwrap();
    assert!(
        refused.contains("open files") && refused.contains("ulimit"),
        "{refused}"
    );
}

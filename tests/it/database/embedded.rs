//! The private PostgreSQL: it comes and goes with the server, survives it, and is brought back when it dies.

use crate::support::{ServerProcess, db, eventually};
use parlance::ids::MessageId;
use std::time::{Duration, Instant};

/// How long PostgreSQL may be away after a kill.
const BACK_WITHIN: Duration = Duration::from_secs(10);

#[actix_web::test]
async fn a_killed_postgresql_comes_back_by_itself() {
    let server = ServerProcess::start(&[]);
    let (ann, conversation) = server.person_with_conversation("Ann").await;
    let mut socket = ann.connect().await;
    for round in 1..=3 {
        let old = server.postgres_pid().unwrap();
        let begun = Instant::now();
        server.kill_9_postgres();
        // The same socket and the same conversation go on; the post waits until the commit is possible. (Connections
        // may outlive PostgreSQL's main process by a moment, so it may even be answered at once.)
        let id = MessageId::new();
        let ack = match socket.try_post(conversation, id, "still here").await {
            Ok(ack) => ack,
            Err(_) => socket.post(conversation, id, "still here").await,
        };
        assert_eq!(ack.seq, round);
        eventually("another one runs", async || {
            server.postgres_pid().is_some_and(|pid| pid != old)
        })
        .await;
        assert!(begun.elapsed() < BACK_WITHIN, "{:?}", begun.elapsed());
    }
    eventually("the node is ready", async || {
        server
            .http()
            .get(server.url("/health/ready"))
            .send()
            .await
            .unwrap()
            .status()
            == 200
    })
    .await;
    server.terminate();
}

#[actix_web::test]
async fn a_postgresql_left_by_a_killed_server_is_taken_over() {
    let mut server = ServerProcess::start(&[]);
    let (ann, conversation) = server.person_with_conversation("Ann").await;
    let ack = ann.connect().await.post(conversation, MessageId::new(), "before").await;
    let postgres = server.postgres_pid().unwrap();
    server.kill_9();
    assert_eq!(
        server.postgres_pid(),
        Some(postgres),
        "PostgreSQL ended with the server"
    );
    server.restart();
    assert_eq!(server.postgres_pid(), Some(postgres), "it was not taken over");
    // The token of before is still good: the signing key is kept, too.
    let mut socket = ann.connect().await;
    assert_eq!(socket.subscribe(conversation, Some(0)).await.rev(), ack.rev);
    // Taken over is also watched.
    server.kill_9_postgres();
    eventually("another one runs", async || {
        server.postgres_pid().is_some_and(|pid| pid != postgres)
    })
    .await;
    let id = MessageId::new();
    if socket.try_post(conversation, id, "after").await.is_err() {
        socket.post(conversation, id, "after").await;
    }
    server.terminate();
}

#[actix_web::test]
async fn after_both_were_killed_everything_acknowledged_is_there() {
    let mut server = ServerProcess::start(&[]);
    let (ann, conversation) = server.person_with_conversation("Ann").await;
    let mut socket = ann.connect().await;
    for number in 1..=20 {
        socket
            .post(conversation, MessageId::new(), &format!("text {number}"))
            .await;
    }
    server.kill_9_postgres();
    server.kill_9();
    server.restart();
    let rows = db::connect(&server.database_url())
        .await
        .query("SELECT body FROM messages ORDER BY seq", &[])
        .await
        .unwrap();
    let bodies: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(
        bodies,
        (1..=20).map(|number| format!("text {number}")).collect::<Vec<_>>()
    );
    server.terminate();
}

#[actix_web::test]
async fn a_second_server_is_refused_and_told_who_is_there() {
    let server = ServerProcess::start(&[]);
    let complaint = server.second_server().unwrap_err();
    let holder = format!("process {}", server.pid().as_raw_nonzero());
    assert!(
        complaint.contains("in use by another Parlance server") && complaint.contains(&holder),
        "{complaint}"
    );
    // And the first is none the worse for it.
    server.register("Ann").await;
    server.terminate();
}

#[actix_web::test]
async fn binaries_that_are_not_there_are_named() {
    let server = ServerProcess::start(&[]);
    let nowhere = server.data_dir().join("nowhere");
    let complaint = ServerProcess::try_start(&[("POSTGRES_BIN_DIR", nowhere.to_str().unwrap())])
        .err()
        .unwrap();
    assert!(
        complaint.contains("POSTGRES_BIN_DIR") || complaint.contains("nowhere"),
        "{complaint}"
    );
    server.terminate();
}

//! Kills: writers and readers go on as clients do, while the server and its PostgreSQL are killed under them.
//!
//! Afterwards every acknowledged message has to be there once, with the number it was acknowledged with, and every reader
//! has to see exactly what is in the database, though it was never told more than what came after the revision it had.
//! The moments of the kills are random; `CRASH_SEED` repeats those of a failure as far as timing can be repeated.

pub mod client;
pub mod view;

use crate::support::process::nap;
use crate::support::{PATIENCE, Person, ServerProcess, db, environment, eventually};
use client::{Ledger, reader, writer};
use parlance::ids::{ConversationId, MessageId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const SERVER_KILLS: usize = 20;
const POSTGRES_KILLS: usize = 5;
const WRITERS: usize = 4;
const READERS: usize = 3;
const CONVERSATIONS: usize = 3;

/// Writers and readers at work.
struct Load {
    ledger: Arc<Ledger>,
    conversations: Vec<ConversationId>,
    writers_stop: watch::Sender<bool>,
    readers_stop: watch::Sender<bool>,
    writers: Vec<JoinHandle<usize>>,
    readers: Vec<JoinHandle<view::View>>,
}

impl Load {
    /// Lets people in and to work.
    async fn start(server: &ServerProcess, seed: u64) -> Self {
        let mut people: Vec<Person> = vec![server.register("Owner").await];
        let mut conversations = Vec::new();
        for _ in 0..CONVERSATIONS {
            conversations.push(people[0].create_conversation("Crash").await);
        }
        let invite = people[0].invite(conversations[0]).await;
        for number in 1..WRITERS.max(READERS) {
            let person = server.join(&format!("Person {number}"), &invite).await;
            for conversation in &conversations[1..] {
                people[0].add_member(*conversation, person.id, "member").await.ok();
            }
            people.push(person);
        }
        let ledger = Arc::new(Ledger::new(&conversations));
        let (writers_stop, stop_writing) = watch::channel(false);
        let (readers_stop, stop_reading) = watch::channel(false);
        let writers = people.iter().take(WRITERS).enumerate().map(|(number, person)| {
            let seed = seed.wrapping_add(number as u64);
            tokio::spawn(writer(person.clone(), ledger.clone(), seed, stop_writing.clone()))
        });
        let readers = people.iter().cycle().skip(1).take(READERS);
        let readers =
            readers.map(|person| tokio::spawn(reader(person.clone(), conversations.clone(), stop_reading.clone())));
        let (writers, readers) = (writers.collect(), readers.collect());
        Self {
            ledger,
            conversations,
            writers_stop,
            readers_stop,
            writers,
            readers,
        }
    }

    /// Lets everything that was begun come to its end, and compares.
    async fn check(self, server: &ServerProcess) {
        self.writers_stop.send_replace(true);
        let mut connections = 0;
        for writer in self.writers {
            let ended = tokio::time::timeout(PATIENCE * 2, writer)
                .await
                .expect("a writer was not answered");
            connections += ended.expect("a writer failed");
        }
        // The replies were all given; the readers may be a few frames behind.
        self.readers_stop.send_replace(true);
        let url = server.database_url();
        let truth = view::View::of_database(&url, &self.conversations).await;
        for (number, reader) in self.readers.into_iter().enumerate() {
            let seen = tokio::time::timeout(PATIENCE * 2, reader)
                .await
                .expect("a reader did not come to the end");
            seen.expect("a reader failed").assert_same(&truth, number);
        }
        let acknowledged = self.ledger.check(&truth);
        eprintln!(
            "{acknowledged} messages acknowledged over {connections} connections; all there, once, the same to all"
        );
        assert!(acknowledged > 100, "the load was not worth the name");
    }
}

fn seed() -> u64 {
    let seed = environment("CRASH_SEED")
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(rand::random);
    eprintln!("CRASH_SEED={seed}");
    seed
}

/// Kills and restarts until the numbers are full.
fn kill_again_and_again(mut server: ServerProcess, seed: u64) -> ServerProcess {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut servers, mut databases) = (SERVER_KILLS, POSTGRES_KILLS);
    while servers + databases > 0 {
        nap(Duration::from_millis(random.random_range(20..1_200)));
        if random.random_range(0..servers + databases) < databases {
            databases -= 1;
            server.kill_9_postgres();
            if random.random_bool(0.7) {
                continue;
            }
            // Sometimes both, almost at once.
            nap(Duration::from_millis(random.random_range(0..300)));
        }
        if servers > 0 {
            servers -= 1;
            server.kill_9();
            server.restart();
        }
    }
    server
}

#[actix_web::test]
async fn what_was_acknowledged_survives_kills() {
    let seed = seed();
    let server = ServerProcess::start(&[("RUST_LOG", "warn")]);
    let load = Load::start(&server, seed).await;
    let killing = tokio::task::spawn_blocking(move || kill_again_and_again(server, seed));
    let server = killing.await.unwrap();
    load.check(&server).await;
    server.terminate();
}

#[actix_web::test]
async fn what_was_acknowledged_survives_panics_around_the_commit() {
    let seed = seed();
    let faults = "commit::before_commit=10%2*panic;commit::after_commit=10%2*panic";
    let mut server = ServerProcess::start(&[("RUST_LOG", "warn")]);
    let load = Load::start(&server, seed).await;
    server.kill_9();
    server.restart_with(&[("FAILPOINTS", faults)]);
    eventually("four panics", async || {
        server.log().matches("Panic: failpoint").count() >= 4
    })
    .await;
    load.ledger.wait_for_more(100).await;
    load.check(&server).await;
    server.terminate();
}

/// Commits, and kills before anybody hears of it.
#[actix_web::test]
async fn committed_and_not_acknowledged_is_known_when_repeated() {
    let mut server = ServerProcess::start(&[]);
    let (ann, conversation) = server.person_with_conversation("Ann").await;
    let first = ann.connect().await.post(conversation, MessageId::new(), "first").await;
    server.kill_9();
    server.restart_with(&[("FAILPOINTS", "commit::after_commit=sleep(600000)")]);

    let id = MessageId::new();
    let mut socket = ann.connect().await;
    let frame = json!({"type": "send", "ref": "1", "conversation": conversation, "id": id, "body": "second"});
    socket.send_json(&frame).await;
    let client = db::connect(&server.database_url()).await;
    eventually("the message is committed", async || {
        let found = client
            .query("SELECT seq FROM messages WHERE id = $1", &[&id.0])
            .await
            .unwrap();
        !found.is_empty()
    })
    .await;
    server.kill_9();
    socket.until_end().await;
    let came = socket.drain();
    assert!(
        !came
            .iter()
            .any(|frame| frame["type"] == "ack" || frame["type"] == "message"),
        "claimed early: {came:?}"
    );

    server.restart();
    let mut socket = ann.connect().await;
    let replay = socket.subscribe(conversation, Some(first.rev)).await;
    assert_eq!(replay.frames.len(), 1, "{replay:?}");
    let repeated = socket.post(conversation, id, "second").await;
    assert_eq!(
        (repeated.seq, repeated.rev, repeated.duplicate),
        (first.seq + 1, first.rev + 1, true)
    );
    socket.expect_none("message").await;
    server.terminate();
}

/// Kills before the commit: nothing was done, and nothing was claimed.
#[actix_web::test]
async fn not_committed_is_not_there_and_is_done_when_repeated() {
    let mut server = ServerProcess::start(&[]);
    let (ann, conversation) = server.person_with_conversation("Ann").await;
    server.kill_9();
    server.restart_with(&[("FAILPOINTS", "commit::before_commit=sleep(600000)")]);
    let id = MessageId::new();
    let mut socket = ann.connect().await;
    socket
        .send_json(&json!({"type": "send", "ref": "1", "conversation": conversation, "id": id, "body": "x"}))
        .await;
    let client = db::connect(&server.database_url()).await;
    eventually("a lane has prepared what it commits with", async || {
        let sql = "SELECT FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE 'WITH found AS%'";
        !client.query(sql, &[]).await.unwrap().is_empty()
    })
    .await;
    server.kill_9();
    socket.until_end().await;
    assert!(socket.drain().is_empty(), "claimed early");

    server.restart();
    let mut socket = ann.connect().await;
    assert!(
        socket
            .subscribe(conversation, Some(0))
            .await
            .frames
            .iter()
            .all(|frame| frame["type"] != "message")
    );
    let repeated = socket.post(conversation, id, "x").await;
    assert_eq!((repeated.seq, repeated.duplicate), (1, false));
    server.terminate();
}

//! What ends the program and what does not: signals end it in order, and a log or a terminal that nobody reads ends
//! nothing.

use crate::support::{PATIENCE, Scrape, ServerProcess, Site, eventually};
use futures_util::future::join_all;
use parlance::ids::MessageId;
use reqwest::Method;
use rustix::process::Signal;
use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// How soon a server has ended that waits for nobody.
const SOON: Duration = Duration::from_secs(10);

/// A pipe that nobody will ever read.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// A pipe that nobody reads yet.
fn stalled() -> (PipeReader, Stdio) {
    let (reader, writer) = std::io::pipe().unwrap();
    (reader, writer.into())
}

/// A disk without room.
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// Makes so many requests, each of which is a line of the log, and asserts that all are answered.
async fn ask(site: &Site, requests: usize) {
    const AT_ONCE: usize = 20;
    let person = &site.register("Ann").await;
    let ask_in_turn = async || {
        for _ in 0..requests / AT_ONCE {
            let request = site.http().get(site.url("/api/me")).bearer_auth(&person.token);
            // As long as it may be: it is in the line.
            let answer = request.header("x-request-id", "x".repeat(128)).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), 200);
        }
    };
    join_all((0..AT_ONCE).map(|_| ask_in_turn())).await;
}

async fn dropped(site: &Site) -> f64 {
    Scrape::of(site).await.value("log_lines_dropped_total", &[])
}

const JSON: [(&str, &str); 1] = [("LOG_FORMAT", "json")];

#[tokio::test]
async fn a_log_whose_reader_is_gone_ends_nothing() {
    let faults = [("FAILPOINTS", "conversations::command=1*panic(on purpose)")];
    let server = ServerProcess::start_unheard(closed(), closed(), &faults);
    ask(&server, 1_200).await;
    // Neither does a panic, which is a line as well.
    let (ann, conversation) = server.person_with_conversation("Ann").await;
    let mut socket = ann.connect().await;
    while socket.try_post(conversation, MessageId::new(), "x").await.is_err() {}
    let scrape = Scrape::of(&server).await;
    assert_eq!(scrape.value("panics_total", &[]), 1.0);
    assert!(scrape.value("log_lines_dropped_total", &[]) > 1_200.0);
    server.terminate();
}

#[tokio::test]
async fn a_log_on_a_full_disk_ends_nothing() {
    let server = ServerProcess::start_unheard(full(), full(), &[]);
    ask(&server, 1_200).await;
    assert!(dropped(&server).await > 1_200.0);
    server.terminate();
}

#[tokio::test]
async fn a_log_that_is_not_read_stops_nothing_and_says_later_what_is_missing() {
    let (reader, stderr) = stalled();
    let server = ServerProcess::start_unheard(closed(), stderr, &JSON);
    ask(&server, 1_000).await;
    assert_eq!(dropped(&server).await, 0.0, "there is room for so many");
    ask(&server, 4_000).await;
    let lost = dropped(&server).await;
    assert!(lost > 0.0);
    // The reader goes on. All that waited comes, then how much is missing, then the present.
    let (lines, mut read) = tokio::sync::mpsc::channel(10_000);
    std::thread::spawn(move || {
        for line in BufReader::new(reader).lines() {
            // The test may have ended.
            if lines.blocking_send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    let mut answered = 0;
    let missing = loop {
        let line = tokio::time::timeout(PATIENCE, read.recv()).await.unwrap().unwrap();
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        if let Some(missing) = event["lines"].as_f64() {
            assert_eq!(event["level"], "WARN");
            break missing;
        }
        answered += usize::from(event["message"] == "answered");
    };
    assert_eq!(missing, lost);
    assert!(answered > 1_000, "{answered}");
    server.terminate();
    // What was logged at the end has arrived: nothing waits any more.
    let mut last = String::new();
    while let Some(line) = tokio::time::timeout(PATIENCE, read.recv()).await.unwrap() {
        last = line;
    }
    assert!(last.contains("shut down"), "{last}");
}

#[tokio::test]
async fn a_log_that_is_never_read_again_does_not_hold_up_the_end() {
    let (_reader, stderr) = stalled();
    let mut server = ServerProcess::start_unheard(closed(), stderr, &JSON);
    ask(&server, 1_000).await;
    server.begin_stop();
    assert!(server.wait(SOON).success());
    assert_eq!(server.postgres_pid(), None, "PostgreSQL was left running");
}

#[tokio::test]
async fn every_signal_that_means_stop_ends_it_in_order() {
    for signal in [Signal::HUP, Signal::QUIT, Signal::INT, Signal::TERM] {
        let server = ServerProcess::start(&[]);
        let ann = server.register("Ann").await;
        let mut socket = ann.connect().await;
        server.signal(signal);
        socket.expect("goodbye").await;
        socket.expect_close(4203).await;
        server.ended();
    }
}

/// A terminal that goes takes the standard streams with it.
#[tokio::test]
async fn nothing_is_left_when_the_terminal_goes() {
    let ((stdout, out), (stderr, err)) = (stalled(), stalled());
    let server = ServerProcess::start_unheard(out, err, &[]);
    server.register("Ann").await;
    drop((stdout, stderr));
    server.signal(Signal::HUP);
    // Shells and the kernel both say it.
    server.signal(Signal::HUP);
    server.ended();
}

#[tokio::test]
async fn who_was_started_to_outlive_the_terminal_does() {
    let server = ServerProcess::try_start_after(Some("trap '' HUP".to_owned()), &[]).unwrap();
    server.signal(Signal::HUP);
    // Signals come in order: this one was received after the other.
    server.register("Ann").await;
    server.begin_stop();
    server.ended();
}

#[tokio::test]
async fn a_second_signal_ends_the_waiting() {
    let delay = [("PARLANCE_DRAIN_DELAY", "60")];
    for second in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let mut server = ServerProcess::start(&delay);
        server.signal(Signal::TERM);
        eventually("it is going away", async || {
            let ready = server.request(Method::GET, "/health/ready", None, None).await;
            ready.status == 503
        })
        .await;
        // The same said by another signal is no hurry.
        server.signal(Signal::HUP);
        server.register("Ann").await;
        let told = Instant::now();
        server.signal(second);
        assert!(server.wait(SOON).success());
        assert!(told.elapsed() < SOON);
        assert_eq!(server.postgres_pid(), None, "PostgreSQL was left running");
    }
}

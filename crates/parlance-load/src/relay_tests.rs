//! A toy server for the tool's own tests: it speaks just enough of the protocol, and breaks a
//! promise when told to.
//!
//! A checker that has never seen a fault proves nothing. So the relay loses, doubles, swaps or
//! alters exactly one delivery, or cuts a connection, and the tests demand that the tool reports
//! exactly that. A thread for each connection, and the size of the test bounds them.

use crate::client::server_frame::UUID_CHARS;
use crate::client::websocket::tests::server_frame;
use crate::context::Context;
use crate::measure::process::Processes;
use crate::measure::report::Traffic;
use crate::profiles::connections;
use crate::profiles::traffic::{self, Measurement, Pace, Shape};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;

/// Which promise is broken, for one reader at one revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Lose,
    Double,
    Swap,
    Alter,
    Misdeliver,
    Cut,
}

const FAULTY_REV: usize = 40;

#[derive(Default)]
struct Room {
    frames: Vec<String>,
    subscribers: Vec<TcpStream>,
    held_back: Option<String>,
    ids: HashMap<String, usize>,
}

struct Relay {
    fault: Fault,
    rooms: Mutex<Vec<Room>>,
}

impl Relay {
    fn start(fault: Fault) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let relay = Arc::new(Self {
            fault,
            rooms: Mutex::default(),
        });
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let relay = relay.clone();
                std::thread::spawn(move || relay.serve(&stream.unwrap()));
            }
        });
        address
    }

    fn serve(&self, stream: &TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        loop {
            let (mut path, mut token, mut length) = (String::new(), String::new(), 0);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                let line = line.trim_end();
                if path.is_empty() {
                    path = line.split(' ').nth(1).unwrap().to_owned();
                } else if let Some(value) = line.strip_prefix("Authorization: Bearer ") {
                    token = value.to_owned();
                } else if let Some(value) = line.strip_prefix("Content-Length: ") {
                    length = value.parse().unwrap();
                } else if line.is_empty() {
                    break;
                }
            }
            if path == "/ws" {
                return self.serve_socket(stream, reader, token.parse().unwrap());
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let response = self.respond(&path, &serde_json::from_slice(&body).unwrap());
            let head = format!("HTTP/1.1 201 Created\r\nContent-Length: {}\r\n\r\n", response.len());
            (&*stream).write_all((head + &response).as_bytes()).unwrap();
        }
    }

    /// A conversation's id ends in the room's number; an invite's code and a guest's token are that
    /// number.
    fn respond(&self, path: &str, body: &serde_json::Value) -> String {
        match path {
            "/auth/register" => r#"{"access_token":"owner"}"#.into(),
            "/api/conversations" => {
                let mut rooms = self.rooms.lock().unwrap();
                rooms.push(Room::default());
                format!(r#"{{"id":"{}"}}"#, conversation(rooms.len() - 1))
            }
            "/auth/guest" => format!(r#"{{"access_token":"{}"}}"#, body["invite"].as_str().unwrap()),
            invites => {
                let id = invites.split('/').nth(3).unwrap();
                format!(r#"{{"code":"{}"}}"#, u32::from_str_radix(&id[24..], 16).unwrap())
            }
        }
    }

    fn serve_socket(&self, stream: &TcpStream, mut reader: BufReader<TcpStream>, room: usize) {
        let head = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
        (&*stream).write_all(head.as_bytes()).unwrap();
        write(stream, r#"{"type":"hello","protocol":1}"#);
        while let Some(text) = read_frame(&mut reader) {
            let frame: serde_json::Value = serde_json::from_slice(&text).unwrap();
            let mut rooms = self.rooms.lock().unwrap();
            let room_number = room;
            let room = &mut rooms[room];
            if frame["type"] == "subscribe" {
                let after = frame["after"].as_u64().unwrap_or(room.frames.len() as u64) as usize;
                room.frames[after..].iter().for_each(|frame| write(stream, frame));
                write(
                    stream,
                    &format!(
                        r#"{{"type":"subscribed","ref":"s","title":"t","rev":{}}}"#,
                        room.frames.len()
                    ),
                );
                room.subscribers.push(stream.try_clone().unwrap());
            } else {
                self.post(room_number, room, &frame, stream);
            }
        }
    }

    fn post(&self, number: usize, room: &mut Room, frame: &serde_json::Value, stream: &TcpStream) {
        let id = frame["id"].as_str().unwrap();
        let reference = frame["ref"].as_str().unwrap();
        let known = room.ids.get(id).copied();
        let rev = known.unwrap_or(room.frames.len() + 1);
        let duplicate = if known.is_some() { r#","duplicate":true"# } else { "" };
        let conversation = conversation(number);
        if known.is_none() {
            let body = frame["body"].as_str().unwrap();
            let author = "00000000-0000-0000-0000-000000000000";
            assert_eq!(author.len(), UUID_CHARS);
            let message = format!(
                r#"{{"type":"message","conversation":"{conversation}","rev":{rev},"seq":{rev},"id":"{id}","author":"{author}","kind":"person","body":"{body}","reply_to":null,"created_at":"2026-11-22T10:00:00.000Z"}}"#
            );
            room.ids.insert(id.to_owned(), rev);
            room.frames.push(message.clone());
            self.deliver(room, &message, rev);
        }
        write(
            stream,
            &format!(
                r#"{{"type":"ack","ref":"{reference}","conversation":"{conversation}","id":"{id}","seq":{rev},"rev":{rev},"created_at":"2026-11-22T10:00:00.000Z"{duplicate}}}"#
            ),
        );
    }

    /// Writes a message to every subscriber, and to the first one what the fault makes of it.
    fn deliver(&self, room: &mut Room, message: &str, rev: usize) {
        for (at, subscriber) in room.subscribers.iter().enumerate() {
            let fault = if at == 0 && rev == FAULTY_REV {
                self.fault
            } else {
                Fault::None
            };
            match fault {
                Fault::None => write(subscriber, message),
                Fault::Lose => {}
                Fault::Double => [message, message].iter().for_each(|text| write(subscriber, text)),
                Fault::Swap => room.held_back = Some(message.to_owned()),
                Fault::Alter => write(subscriber, &message.replacen("pl1.0", "pl1.1", 1)),
                Fault::Misdeliver => write(subscriber, &message.replacen(&conversation(0), &conversation(77), 1)),
                Fault::Cut => subscriber.shutdown(Shutdown::Both).unwrap(),
            }
        }
        if rev > FAULTY_REV
            && let Some(text) = room.held_back.take()
        {
            write(&room.subscribers[0], &text);
        }
    }
}

fn conversation(room: usize) -> String {
    Uuid::from_u128(room as u128).to_string()
}

/// Best effort: a subscriber that has left is not the relay's concern.
fn write(mut stream: &TcpStream, text: &str) {
    drop(stream.write_all(&server_frame(0x81, text.as_bytes())));
}

fn read_frame(reader: &mut impl Read) -> Option<Vec<u8>> {
    let mut head = [0; 2];
    reader.read_exact(&mut head).ok()?;
    let length = match head[1] & 0x7f {
        126 => {
            let mut long = [0; 2];
            reader.read_exact(&mut long).ok()?;
            usize::from(u16::from_be_bytes(long))
        }
        short => usize::from(short),
    };
    let mut mask = [0; 4];
    reader.read_exact(&mut mask).ok()?;
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload).ok()?;
    payload
        .iter_mut()
        .enumerate()
        .for_each(|(at, byte)| *byte ^= mask[at & 3]);
    (head[0] == 0x81).then_some(payload)
}

fn context(fault: Fault) -> Context {
    Context {
        addresses: vec![Relay::start(fault)],
        processes: Processes::new(Some(std::process::id()), None).unwrap(),
        verify: true,
        progress: false,
        concurrency: 8,
        patience: Duration::from_secs(2),
    }
}

fn fanout(fault: Fault, pace: Pace) -> Traffic {
    let shape = Shape {
        rooms: 1,
        members: 5,
        writers: 2,
        body: 128,
    };
    let measurement = Measurement {
        pace,
        warmup: Duration::ZERO,
        measured: Duration::from_millis(600),
    };
    traffic::fanout(&context(fault), shape, measurement).unwrap()
}

fn counts(traffic: &Traffic) -> [u64; 4] {
    [
        traffic.lost,
        traffic.duplicate,
        traffic.out_of_order,
        traffic.mismatched,
    ]
}

#[test]
fn a_faultless_server_is_found_faultless_at_a_rate_and_in_a_closed_loop() {
    let at_rate = fanout(Fault::None, Pace::Rate(400.0));
    assert!(at_rate.is_sound() && at_rate.closed.is_empty(), "{}", at_rate.table());
    assert!(
        (250.0..550.0).contains(&at_rate.acknowledged_per_s),
        "{}",
        at_rate.table()
    );
    assert!(
        (1_250.0..2_750.0).contains(&at_rate.deliveries_per_s),
        "{}",
        at_rate.table()
    );
    assert!(at_rate.delivery.p50_ms > 0.0 && at_rate.delivery.p99_ms < 500.0);
    let closed_loop = fanout(Fault::None, Pace::ClosedLoop(4));
    assert!(
        closed_loop.is_sound() && closed_loop.acknowledged_per_s > 400.0,
        "{}",
        closed_loop.table()
    );
}

#[test]
fn a_lost_delivery_is_reported() {
    assert_eq!(counts(&fanout(Fault::Lose, Pace::Rate(400.0))), [1, 0, 0, 0]);
}

#[test]
fn a_doubled_delivery_is_reported() {
    assert_eq!(counts(&fanout(Fault::Double, Pace::Rate(400.0))), [0, 1, 0, 0]);
}

#[test]
fn swapped_deliveries_are_reported() {
    assert_eq!(counts(&fanout(Fault::Swap, Pace::Rate(400.0))), [0, 0, 1, 0]);
}

#[test]
fn an_altered_and_a_misdelivered_message_are_reported() {
    for fault in [Fault::Alter, Fault::Misdeliver] {
        let [lost, _, _, mismatched] = counts(&fanout(fault, Pace::Rate(400.0)));
        assert!(mismatched > 0 && lost > 0, "{fault:?}");
    }
}

#[test]
fn a_cut_connection_resumes_and_has_everything() {
    let traffic = fanout(Fault::Cut, Pace::Rate(400.0));
    assert_eq!(counts(&traffic), [0, 0, 0, 0], "{}", traffic.table());
    assert_eq!(traffic.closed.values().sum::<u64>(), 1, "{}", traffic.table());
}

#[test]
fn churn_counts_exactly_what_was_missed() {
    let churn = connections::churn(&context(Fault::None), 50, 3).unwrap();
    assert_eq!((churn.missed, churn.rounds, churn.faults), (50, 3, 0));
    assert!(churn.resume.p50_ms > 0.0);
}

#[test]
fn idle_opens_all_and_holds_them() {
    let idle = connections::idle(&context(Fault::None), 40, 10, Duration::from_millis(10)).unwrap();
    assert_eq!(idle.connections, 40);
    assert!(idle.opened_per_s > 10.0 && idle.open.p50_ms > 0.0);
}

const DELIVERIES: i64 = 3_000_000;

/// Serves one reader as many deliveries as it takes, many in each write.
fn flood(listener: &TcpListener) {
    let (stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    while reader.read_line(&mut line).unwrap() > 2 {
        line.clear();
    }
    (&stream)
        .write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        .unwrap();
    write(&stream, r#"{"type":"hello","protocol":1}"#);
    read_frame(&mut reader).unwrap();
    write(&stream, r#"{"type":"subscribed","ref":"s","title":"t","rev":0}"#);
    let (conversation, mut body) = (conversation(0), [b'.'; 128]);
    let mut chunk = Vec::new();
    for rev in 1..=DELIVERIES {
        crate::client::server_frame::Stamp {
            writer: 0,
            counter: rev as u32,
            sent_ns: rev as u64,
        }
        .write(&mut body);
        let body = str::from_utf8(&body).unwrap();
        let text = format!(
            r#"{{"type":"message","conversation":"{conversation}","rev":{rev},"seq":{rev},"id":"{conversation}","author":"{conversation}","kind":"person","body":"{body}","reply_to":null,"created_at":"2026-11-22T10:00:00.000Z"}}"#
        );
        chunk.extend_from_slice(&server_frame(0x81, text.as_bytes()));
        if chunk.len() > 60_000 || rev == DELIVERIES {
            (&stream).write_all(&chunk).unwrap();
            chunk.clear();
        }
    }
    assert!(
        read_frame(&mut reader).is_none(),
        "the reader leaves when it has everything"
    );
}

#[test]
#[ignore = "measures the tool itself; run it in release with --nocapture"]
fn what_a_delivery_costs_the_tool() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || flood(&listener));
    let options = crate::engine::Options {
        addresses: vec![address],
        verify: false,
        body_bytes: 128,
        concurrency: 1,
        progress: false,
    };
    let members = crate::client::setup::Members {
        conversations: vec![conversation(0)],
        members: vec![crate::client::setup::Member {
            room: 0,
            token: "0".into(),
        }],
    };
    let mut engine = crate::engine::Engine::new(options, members).unwrap();
    engine.open(0..1, Duration::from_secs(2)).unwrap();
    let ticks = || {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let fields: Vec<u64> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|f| f.parse().unwrap())
            .collect();
        (fields[0], fields[1])
    };
    let before = ticks();
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    engine
        .run_until(deadline, |engine| engine.connection(0).reader.rev == DELIVERIES)
        .unwrap();
    let after = ticks();
    assert_eq!(engine.connection(0).reader.rev, DELIVERIES);
    let per_million = 1e6 / DELIVERIES as f64 / 100.0;
    eprintln!(
        "CPU s per million deliveries of the tool: user {:.3}, system {:.3}",
        (after.0 - before.0) as f64 * per_million,
        (after.1 - before.1) as f64 * per_million
    );
}

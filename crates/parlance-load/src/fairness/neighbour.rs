//! What the neighbour's people do, and how long each of it takes.
//!
//! A latency counts from when the thing was due, so that a stalled server cannot hide behind what
//! waits. Each person does one thing at a time, within their quota. Half of them are only signed in
//! to, because the hundredth log-in ends the first one, which the others act by.

use crate::client::http::Client;
use crate::error::{Error, Result};
use crate::fairness::people::{Person, Tenant};
use crate::fairness::socket::Socket;
use crate::measure::stats::histogram;
use hdrhistogram::Histogram;
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Between two things that one person does.
const PACE: Duration = Duration::from_millis(1_200);
/// What they do, over and over. Searches are few: they have a quota of their own.
const HABIT: [Doing; 8] = [
    Doing::Send,
    Doing::List,
    Doing::SignIn,
    Doing::Send,
    Doing::List,
    Doing::Search,
    Doing::SignIn,
    Doing::List,
];

/// What a neighbour does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Send,
    List,
    Search,
    SignIn,
}

/// How long everything took, in microseconds, and how much was refused.
pub(super) struct Served {
    pub took: [Histogram<u64>; 4],
    pub refused: u64,
}

impl Served {
    fn new() -> Result<Self> {
        Ok(Self {
            took: [histogram()?, histogram()?, histogram()?, histogram()?],
            refused: 0,
        })
    }
}

/// Lets all people of the neighbour do what they do, for so long.
pub(super) fn observe(address: SocketAddr, neighbour: &Tenant, time: Duration) -> Result<Served> {
    let started = Instant::now();
    let (people, signed_in_to) = neighbour.people.split_at(neighbour.people.len() / 2);
    let parts: Vec<Result<Served>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..people.len())
            .map(|number| {
                let begin = started + PACE.mul_f64(number as f64 / people.len() as f64);
                scope.spawn(move || {
                    let life = Life {
                        address,
                        person: &people[number],
                        signs_in_to: &signed_in_to[number],
                        first_step: number,
                    };
                    life.go_on(begin, started + time)
                })
            })
            .collect();
        let panicked = || Error::Protocol("a thread of the neighbour panicked".into());
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(panicked())))
            .collect()
    });
    let mut all = Served::new()?;
    for part in parts {
        let part = part?;
        all.refused += part.refused;
        for (into, from) in all.took.iter_mut().zip(&part.took) {
            *into += from;
        }
    }
    Ok(all)
}

/// One of the neighbour's people.
struct Life<'a> {
    address: SocketAddr,
    person: &'a Person,
    signs_in_to: &'a Person,
    first_step: usize,
}

impl Life<'_> {
    fn socket(&self) -> Result<Socket> {
        Socket::open(self.address, self.person.origin, &self.person.token)
    }

    fn client(&self) -> Result<Client> {
        Client::connect_from(self.address, self.person.origin)
    }

    fn go_on(&self, begin: Instant, end: Instant) -> Result<Served> {
        let person = self.person;
        let mut served = Served::new()?;
        let (mut socket, mut client) = (self.socket()?, self.client()?);
        let mut due = begin;
        for step in self.first_step.. {
            if due >= end {
                break;
            }
            wait_until(due);
            let doing = HABIT[step % HABIT.len()];
            let done = match doing {
                Doing::Send => send(&mut socket, person),
                Doing::List => get(&mut client, person, "/api/conversations"),
                Doing::Search => get(&mut client, person, "/api/search?q=harbour"),
                Doing::SignIn => {
                    let Person { email, password, .. } = self.signs_in_to;
                    let body = json!({"email": email, "password": password});
                    client.post("/auth/login", None, &body).map(drop)
                }
            };
            let us = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
            served.took[doing as usize].saturating_record(us.max(1));
            if done.is_err() {
                served.refused += 1;
                (socket, client) = (self.socket()?, self.client()?);
            }
            due += PACE;
        }
        Ok(served)
    }
}

fn send(socket: &mut Socket, person: &Person) -> Result<()> {
    let body = "The harbour is quiet tonight.";
    let frame = json!({"type": "send", "conversation": person.own, "id": Uuid::new_v4(), "body": body});
    let reply = socket.ask(frame)?;
    if reply["type"] == "ack" {
        Ok(())
    } else {
        Err(Error::Protocol(reply.to_string()))
    }
}

fn get(client: &mut Client, person: &Person, path: &str) -> Result<()> {
    let (status, body) = client.request("GET", path, Some(&person.token), "")?;
    if status == 200 {
        return Ok(());
    }
    Err(Error::Http {
        request: format!("GET {path}"),
        status,
        body,
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread of the neighbour has nothing else to do until its next thing is due"
)]
pub(super) fn wait_until(due: Instant) {
    std::thread::sleep(due.saturating_duration_since(Instant::now()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_done_and_searches_stay_within_their_quota() {
        for doing in [Doing::Send, Doing::List, Doing::Search, Doing::SignIn] {
            assert!(HABIT.contains(&doing));
        }
        let round = PACE * u32::try_from(HABIT.len()).unwrap();
        let searches = HABIT.iter().filter(|doing| **doing == Doing::Search).count();
        assert!(60.0 / round.as_secs_f64() * (searches as f64) < 10.0);
    }
}

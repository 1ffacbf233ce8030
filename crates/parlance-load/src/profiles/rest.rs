//! The profile about REST: programs that list conversations, read pages and post, each with a key
//! of its own.
//!
//! Requests are due at a rate and spread over threads with one connection each. A latency counts
//! from when its request was due, so that a stalled server cannot hide behind requests that wait.
//! Then three numbers apart: programs that read their list as fast as responses come, people who
//! log in, and what PostgreSQL took for statements meanwhile. The last is from the server's
//! `/metrics`, as is the share of reads that its cache served.

use crate::client::http::Client;
use crate::client::setup::text;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::measure::metrics::Scrape;
use crate::measure::report::{Latency, table};
use crate::measure::stats::histogram;
use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Programs, each a user with a key, a connection and a thread.
const PROGRAMS: usize = 24;
/// Conversations each of them is a member of, as a program that serves someone is. What the cache
/// serves depends on it: a post in any of them makes the list of each member another one.
const ROOMS_EACH: usize = 2;
/// Users signed up at once; each costs the server a password hash.
const SIGN_UPS: usize = 2;
/// Logins measured by each of two people.
const LOGINS: usize = 20;
/// Programs that read their list as fast as responses come.
const READERS: usize = 4;

/// The mix, of a hundred requests: 70 lists, 25 pages, 5 posts.
fn kind(number: usize) -> RequestKind {
    // Spread evenly: 37 has no factor in common with 100.
    match number * 37 % 100 {
        0..5 => RequestKind::Post,
        5..30 => RequestKind::Page,
        _ => RequestKind::List,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestKind {
    List,
    Page,
    Post,
}

/// One program: its key and its conversations.
struct Program {
    email: String,
    password: String,
    key: String,
    conversations: Vec<String>,
}

/// A conversation that programs share.
struct Room {
    id: String,
    invite: String,
}

/// The result of `rest`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Rest {
    /// Requests due per second.
    pub rate: f64,
    /// Successful responses per second.
    pub requests_per_s: f64,
    /// All requests, from when they were due.
    pub all: Latency,
    pub list: Latency,
    pub page: Latency,
    pub post: Latency,
    /// Share of responses that were not 2xx, or did not come.
    pub error_rate: f64,
    /// Share of look-ups that the cache served, of the mix; none when the server does not say.
    pub hit_rate: Option<f64>,
    /// 95th percentile of all statements of the mix, an upper bound by the server's histogram.
    pub statement_p95_ms: Option<f64>,
    /// Lists per second when each is asked for as soon as the last has come.
    pub cached_lists_per_s: f64,
    pub login: Latency,
    /// CPU seconds of the server per thousand requests of the mix.
    pub server_cpu_s_per_thousand: f64,
}

impl Rest {
    pub(crate) fn table(&self) -> String {
        let latency = |l: &Latency| format!("{:.2} / {:.2} / {:.2} ms", l.p50_ms, l.p95_ms, l.p99_ms);
        let or_unknown = |value: Option<String>| value.unwrap_or_else(|| "unknown".to_owned());
        table(&[
            (
                "rest",
                format!("{:.0} requests/s due, {:.0} succeeded", self.rate, self.requests_per_s),
            ),
            ("all p50/p95/p99", latency(&self.all)),
            ("list", latency(&self.list)),
            ("page", latency(&self.page)),
            ("post", latency(&self.post)),
            ("errors", format!("{:.3} %", self.error_rate * 100.0)),
            (
                "cache hit rate",
                or_unknown(self.hit_rate.map(|rate| format!("{:.1} %", rate * 100.0))),
            ),
            (
                "database statements p95",
                or_unknown(self.statement_p95_ms.map(|ms| format!("≤ {ms:.2} ms"))),
            ),
            ("cached lists", format!("{:.0} /s", self.cached_lists_per_s)),
            ("login p50/p95/p99", latency(&self.login)),
            (
                "server CPU s per thousand requests",
                format!("{:.3}", self.server_cpu_s_per_thousand),
            ),
        ])
    }
}

/// What one thread counted.
struct Tally {
    latencies: [Histogram<u64>; 3],
    errors: u64,
}

impl Tally {
    fn new() -> Result<Self> {
        Ok(Self {
            latencies: [histogram()?, histogram()?, histogram()?],
            errors: 0,
        })
    }

    fn all(&self) -> Result<Histogram<u64>> {
        let mut all = histogram()?;
        for one in &self.latencies {
            all += one;
        }
        Ok(all)
    }

    fn add(&mut self, other: &Self) {
        for (into, from) in self.latencies.iter_mut().zip(&other.latencies) {
            *into += from;
        }
        self.errors += other.errors;
    }
}

/// `rest`: the mix at `rate` requests per second for `measured`, then the rest.
pub(crate) fn rest(context: &Context, rate: f64, measured: Duration) -> Result<Rest> {
    context.show(&format!("  signing up {PROGRAMS} programs\x1b[K\r"));
    let programs = make(context.address())?;
    run_mix(context.address(), &programs, rate, measured / 4)?;
    let (before, cpu) = (Scrape::of(context.address())?, context.processes.cpu());
    let started = Instant::now();
    let tally = run_mix(context.address(), &programs, rate, measured)?;
    let took = started.elapsed().as_secs_f64();
    let (after, cpu) = (Scrape::of(context.address())?, context.processes.cpu().since(cpu));
    let all = tally.all()?;
    let succeeded = all.len() - tally.errors.min(all.len());
    let cached_lists_per_s = run_lists(context.address(), &programs, measured / 2)?;
    let login = logins(context.address(), &programs)?;
    context.show("\x1b[K");
    let [list, page, post] = &tally.latencies;
    Ok(Rest {
        rate,
        requests_per_s: succeeded as f64 / took,
        all: Latency::of(&all),
        list: Latency::of(list),
        page: Latency::of(page),
        post: Latency::of(post),
        error_rate: tally.errors as f64 / all.len().max(1) as f64,
        hit_rate: after.hit_rate_since(&before),
        statement_p95_ms: after.statement_percentile_ms_since(&before, 0.95),
        cached_lists_per_s,
        login: Latency::of(&login),
        server_cpu_s_per_thousand: cpu.server * 1_000.0 / all.len().max(1) as f64,
    })
}

/// Runs a closure for each part, each on a thread of its own, and gathers the results.
fn side_by_side<T: Send>(n: usize, part: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    let part = &part;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..n).map(|idx| scope.spawn(move || part(idx))).collect();
        let panicked = || Error::Protocol("a thread of the profile panicked".into());
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(panicked())))
            .collect()
    })
}

fn run_mix(address: SocketAddr, programs: &[Program], rate: f64, measured: Duration) -> Result<Tally> {
    let total = (rate * measured.as_secs_f64()) as usize;
    let started = Instant::now();
    let parts = side_by_side(programs.len(), |idx| {
        let mut client = Client::connect(address)?;
        let mut tally = Tally::new()?;
        for number in (idx..total).step_by(programs.len()) {
            let due = started + Duration::from_secs_f64(number as f64 / rate);
            wait_until(due);
            // The program's own count, so that each has all of the mix.
            let kind = kind(number / programs.len() + idx * 13);
            let is_ok = ask(&mut client, &programs[idx], kind, number);
            if !is_ok {
                tally.errors += 1;
                client = Client::connect(address)?;
            }
            let us = (due.elapsed().as_micros() as u64).max(1);
            tally.latencies[kind as usize].saturating_record(us);
        }
        Ok(tally)
    })?;
    let mut tally = Tally::new()?;
    for part in &parts {
        tally.add(part);
    }
    Ok(tally)
}

fn ask(client: &mut Client, program: &Program, kind: RequestKind, number: usize) -> bool {
    let conversation = &program.conversations[number / PROGRAMS % program.conversations.len()];
    let messages = format!("/api/conversations/{conversation}/messages");
    let key = Some(program.key.as_str());
    let response = match kind {
        RequestKind::List => client.request("GET", "/api/conversations", key, ""),
        RequestKind::Page => client.request("GET", &messages, key, ""),
        RequestKind::Post => {
            let body = json!({"id": Uuid::new_v4(), "body": format!("Request {number} of the load tool.")});
            client.request("POST", &messages, key, &body.to_string())
        }
    };
    response.is_ok_and(|(status, _)| (200..300).contains(&status))
}

/// One list after another, nothing else going on; all but the first come from the cache.
fn run_lists(address: SocketAddr, programs: &[Program], measured: Duration) -> Result<f64> {
    let started = Instant::now();
    let counts = side_by_side(READERS.min(programs.len()), |idx| {
        let mut client = Client::connect(address)?;
        let mut count = 0_u64;
        while started.elapsed() < measured {
            if !ask(&mut client, &programs[idx], RequestKind::List, 0) {
                return Err(Error::Protocol("a list was refused".into()));
            }
            count += 1;
        }
        Ok(count)
    })?;
    Ok(counts.iter().sum::<u64>() as f64 / started.elapsed().as_secs_f64())
}

fn logins(address: SocketAddr, programs: &[Program]) -> Result<Histogram<u64>> {
    let parts = side_by_side(2, |idx| {
        let mut client = Client::connect(address)?;
        let mut took = histogram()?;
        for number in 0..LOGINS {
            let program = &programs[(2 * number + idx) % programs.len()];
            let started = Instant::now();
            client.post(
                "/auth/login",
                None,
                &json!({"email": program.email, "password": program.password}),
            )?;
            took.saturating_record((started.elapsed().as_micros() as u64).max(1));
        }
        Ok(took)
    })?;
    let mut all = histogram()?;
    for part in &parts {
        all += part;
    }
    Ok(all)
}

/// Users with keys in one tenant, in a ring of rooms: each shares every one of its rooms with
/// others.
fn make(address: SocketAddr) -> Result<Vec<Program>> {
    let run = Uuid::new_v4().simple().to_string();
    let password = format!("Load-{run}");
    let mut client = Client::connect(address)?;
    let owner = json!({"email": format!("owner-{run}@example.test"), "password": password, "name": "Load"});
    let owner = text(&client.post("/auth/register", None, &owner)?, "access_token")?;
    let mut rooms = Vec::new();
    for room in 0..PROGRAMS {
        let title = json!({"title": format!("Room {room}")});
        let made = client.post("/api/conversations", Some(&owner), &title)?;
        let id = text(&made, "id")?;
        let invite = client.post(&format!("/api/conversations/{id}/invites"), Some(&owner), &json!({}))?;
        rooms.push(Room {
            id,
            invite: text(&invite, "code")?,
        });
    }
    let parts = side_by_side(SIGN_UPS, |part| {
        let mut client = Client::connect(address)?;
        (part..PROGRAMS)
            .step_by(SIGN_UPS)
            .map(|number| sign_up(&mut client, &rooms, number, &run, &password))
            .collect::<Result<Vec<_>>>()
    })?;
    Ok(parts.into_iter().flatten().collect())
}

fn sign_up(client: &mut Client, rooms: &[Room], number: usize, run: &str, password: &str) -> Result<Program> {
    let mine: Vec<_> = (0..ROOMS_EACH).map(|n| &rooms[(number + n) % rooms.len()]).collect();
    let email = format!("program-{number}-{run}@example.test");
    let account =
        json!({"email": email, "password": password, "name": format!("Program {number}"), "invite": mine[0].invite});
    let token = text(&client.post("/auth/register", None, &account)?, "access_token")?;
    for Room { invite, .. } in &mine[1..] {
        client.post(&format!("/api/invites/{invite}/accept"), Some(&token), &json!({}))?;
    }
    let key = client.post("/api/keys", Some(&token), &json!({"name": "load", "scopes": ["chat"]}))?;
    Ok(Program {
        email,
        password: password.to_owned(),
        key: text(&key, "secret")?,
        conversations: mine.iter().map(|room| room.id.clone()).collect(),
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread of the profile has nothing else to do until its next request is due"
)]
fn wait_until(due: Instant) {
    std::thread::sleep(due.saturating_duration_since(Instant::now()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::stats::percentile_ms;

    #[test]
    fn the_mix_is_what_it_says() {
        let count = |wanted| (0..100).filter(|number| kind(*number) == wanted).count();
        assert_eq!(
            (
                count(RequestKind::List),
                count(RequestKind::Page),
                count(RequestKind::Post)
            ),
            (70, 25, 5)
        );
    }

    #[test]
    fn percentiles_of_nothing_are_nothing() {
        assert!(percentile_ms(&Tally::new().unwrap().all().unwrap(), 95.0) < f64::EPSILON);
    }
}

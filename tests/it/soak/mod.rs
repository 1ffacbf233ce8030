//! Faults, survived: the whole of an installation under load, while its parts are killed, frozen, cut off and filled up.
//!
//! nginx, two nodes, PostgreSQL and Redis ([`world`]), people who talk ([`clients`]), one or two faults at a time
//! ([`faults`], [`schedule`]), and after each of them an interval in which everybody must become whole. At the end the
//! [`checker`] judges what the clients have written down against what is in the database, and [`vitals`] what else may not
//! have happened. `make test` runs the short form, some faults of every cheap kind; `make soak` the long one. Both are this
//! code. How to read what it says: `docs/soak.md`.

mod checker;
mod clients;
mod daemon;
mod faults;
mod front;
mod history;
mod report;
mod run;
mod schedule;
mod truth;
mod vitals;
mod world;

use crate::support::environment;
use clients::load::Size;
use faults::{Fault, Trouble, Victim};
use run::{Soak, Until};
use schedule::{Step, Timed};
use std::time::Duration;
use world::Link;

/// What people do in both forms.
const SIZE: Size = Size {
    conversations: 50,
    writers: 100,
    readers: 10,
    direct_readers: 5,
    clerks: 4,
    rooms_each: 4,
    pause: Duration::from_millis(2_500),
};

/// A number that whoever starts a soak may give.
fn number(name: &str) -> Option<u64> {
    environment(name)?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes; `make soak` runs it"]
async fn long() {
    let seed = number("SOAK_SEED").unwrap_or_else(rand::random);
    let minutes = number("SOAK_MINUTES").unwrap_or(30);
    let until = Until::Over(Duration::from_secs(minutes * 60));
    Soak::start(SIZE, seed).await.run(until).await;
}

/// One fault of a step of the short form.
const fn brief(fault: Fault, after_ms: u64, lasts_ms: u64) -> Timed {
    Timed {
        fault,
        after: Duration::from_millis(after_ms),
        lasts: Duration::from_millis(lasts_ms),
    }
}

/// Each cheap kind once, two at a time where they share nothing.
fn short_steps() -> Vec<Step> {
    let steps = [
        vec![
            brief(Fault::Kill(Victim::Node(0)), 0, 500),
            brief(Fault::FlushRedis, 200, 100),
        ],
        vec![
            brief(Fault::Link(Link::NodePostgres(1), Trouble::LoseAnswers), 0, 1_500),
            brief(Fault::Kill(Victim::NginxWorker), 500, 500),
        ],
        vec![
            brief(Fault::Stop(Victim::Node(1)), 0, 2_000),
            brief(Fault::Stop(Victim::Redis), 300, 1_000),
        ],
        vec![
            brief(Fault::Kill(Victim::Postgres), 0, 500),
            brief(Fault::ReloadNginx, 300, 700),
        ],
        vec![
            brief(Fault::Link(Link::NginxNode(0), Trouble::Cut), 0, 1_000),
            brief(Fault::Kill(Victim::Redis), 200, 800),
        ],
        vec![
            brief(Fault::Link(Link::NodeRedis(0), Trouble::BlackHole), 0, 2_000),
            brief(Fault::Link(Link::ClientNginx, Trouble::Jitter), 0, 2_000),
        ],
        vec![brief(Fault::ReadOnly, 0, 1_500), brief(Fault::Descriptors(0), 0, 1_500)],
        vec![brief(Fault::DiskFull, 0, 2_500), brief(Fault::Clock(3_600), 0, 2_500)],
        vec![brief(Fault::RollingRestart, 0, 0)],
    ];
    let calm = Duration::from_millis(500);
    steps.into_iter().map(|faults| Step { faults, calm }).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short() {
    let seed = number("SOAK_SEED").unwrap_or(4);
    Soak::start(SIZE, seed).await.run(Until::Done(short_steps())).await;
}

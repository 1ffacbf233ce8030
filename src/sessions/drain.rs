//! How the sockets of a node that goes away are told so, answered and closed.
//!
//! Clients come back to other nodes, each of them with a handshake and a resume. So they are not all sent there at once:
//! goodbyes are said at a bounded rate, in an order that clients do not share, and each names a random pause of its own.
//! Who has not been told yet is served as ever. Who has been told is taken nothing more from, and is closed with 4203 as
//! soon as everything that was taken up before has been answered, so nobody waits for the slowest.
//!
//! Bounds: [`GOODBYES_A_SECOND`], but all within [`SPREAD_MAX`] and a quarter of the time there is. When three quarters of
//! that are over, whoever still waits for an answer is closed without it: its client repeats what was not answered.

use super::{Connection, Sessions};
use crate::error::CloseCode;
use crate::wire::frames::Goodbye;
use crate::wire::{Class, encode};
use rand::seq::SliceRandom as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many sockets are told in a second: what another node takes in beside its work. A small node is empty at once.
const GOODBYES_A_SECOND: usize = 2_500;
/// Longest time from the first goodbye to the last; clients should be back and whole within 10 s.
const SPREAD_MAX: Duration = Duration::from_secs(4);
/// Between two looks at those who go.
const TICK: Duration = Duration::from_millis(20);
/// Longest pause that a client is asked to make before it reconnects, in milliseconds.
const RETRY_AFTER_MS_MAX: u64 = 2_000;

/// When each of a number of sockets is told.
#[derive(Clone, Copy, Debug)]
struct Pacing {
    sockets: usize,
    spread: Duration,
}

impl Pacing {
    /// For so many sockets, when there is so much time for everything.
    fn new(sockets: usize, time: Duration) -> Self {
        let wanted = Duration::from_secs_f64(sockets as f64 / GOODBYES_A_SECOND as f64);
        Self {
            sockets,
            spread: wanted.min(SPREAD_MAX).min(time / 4),
        }
    }

    /// How many should have been told so long after the beginning.
    fn told_by(self, elapsed: Duration) -> usize {
        if elapsed >= self.spread {
            return self.sockets;
        }
        let share = elapsed.as_secs_f64() / self.spread.as_secs_f64();
        (self.sockets as f64 * share) as usize
    }
}

impl Sessions {
    /// Says goodbye to every socket, lets what was accepted be answered, and closes them with 4203. Returns when all are
    /// gone or the deadline has come.
    pub async fn drain(&self, deadline: Instant) {
        let begun = Instant::now();
        let time = deadline.saturating_duration_since(begun);
        // Kept back, so that close frames still arrive when something cannot be committed in time.
        let patience = begun + time * 3 / 4;
        let mut served = self.shared.directory.refuse_newcomers();
        served.shuffle(&mut rand::rng());
        let pacing = Pacing::new(served.len(), time);
        let (mut told, mut n_told) = (Vec::new(), 0);
        let mut ticks = tokio::time::interval(TICK);
        while Instant::now() < deadline && !(served.is_empty() && told.is_empty()) {
            ticks.tick().await;
            // Before others are told: whoever was told has had a tick to take up what had just come.
            let is_late = Instant::now() >= patience;
            told.retain(|connection| !close_if_answered(connection, is_late));
            let due = pacing.told_by(begun.elapsed());
            while n_told < due
                && let Some(connection) = served.pop()
            {
                say_goodbye(&connection);
                told.push(connection);
                n_told += 1;
            }
        }
        while self.open_count() > 0 && Instant::now() < deadline {
            ticks.tick().await;
        }
    }
}

fn say_goodbye(connection: &Connection) {
    let goodbye = Goodbye {
        reason: "draining",
        retry_after_ms: rand::random_range(0..=RETRY_AFTER_MS_MAX),
    };
    connection.drain();
    connection.outbox.push(encode(&goodbye), Class::Snapshot);
}

/// Closes a socket that is owed nothing any more, or any when it is late; whether it needs no further look.
fn close_if_answered(connection: &Arc<Connection>, is_late: bool) -> bool {
    let unanswered = connection.unanswered();
    if connection.outbox.is_closed() {
        return true;
    }
    if unanswered > 0 && !is_late {
        return false;
    }
    if unanswered > 0 {
        tracing::warn!(connection.id = %connection.id, unanswered, "what was accepted is not answered in time");
    }
    connection.outbox.close(Some(CloseCode::Draining));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_told_at_once_and_many_at_a_bounded_rate() {
        let minute = Duration::from_secs(60);
        let few = Pacing::new(40, minute);
        assert_eq!(few.told_by(TICK), 40);
        let many = Pacing::new(5_000, minute);
        assert_eq!(many.spread, Duration::from_secs(2));
        assert_eq!(
            [0, 500, 1_000, 2_000].map(|ms| many.told_by(Duration::from_millis(ms))),
            [0, 1_250, 2_500, 5_000]
        );
        assert_eq!(Pacing::new(50_000, minute).spread, SPREAD_MAX);
        assert_eq!(
            Pacing::new(50_000, Duration::from_secs(2)).spread,
            Duration::from_millis(500)
        );
        let none = Pacing::new(0, Duration::ZERO);
        assert_eq!(none.told_by(Duration::ZERO), 0);
    }

    #[test]
    fn nobody_is_closed_while_an_answer_is_owed() {
        let connection = Arc::new(Connection::for_tests());
        assert!(connection.take_up());
        say_goodbye(&connection);
        assert!(!connection.take_up(), "what comes after the goodbye is not taken up");
        assert!(!close_if_answered(&connection, false));
        connection.answered(1);
        assert!(close_if_answered(&connection, false));
        assert!(connection.outbox.is_closed());
        let silent = Arc::new(Connection::for_tests());
        assert!(silent.take_up());
        assert!(close_if_answered(&silent, true), "not for ever");
    }
}

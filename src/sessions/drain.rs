//! How the sockets of a node that stops get their goodbye, their last replies and their close frame.
//!
//! Clients come back to other nodes, each with a handshake and a resume. So they are not all sent
//! there at once: goodbyes are sent at a bounded rate, in a random order, and each names a random
//! pause. A connection that has had no goodbye is served as before. After it, no frame is accepted
//! any more, and the connection is closed with 4203 as soon as every frame that was accepted has
//! its reply. So nobody waits for the slowest.
//!
//! Bounds: [`GOODBYES_A_SECOND`], but all within [`SPREAD_MAX`] and a quarter of the time there is.
//! When three quarters of the time are over, a socket that still waits for a reply is closed without it.
//! Its client repeats what got no reply.

use super::connection::Connection;
use super::directory::Directory;
use crate::error::CloseCode;
use crate::wire::frames::Goodbye;
use crate::wire::{Class, encode};
use rand::seq::SliceRandom as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What another node can admit beside its work. A small node is empty at once.
const GOODBYES_A_SECOND: usize = 2_500;
/// Longest time from the first goodbye to the last; clients should be back and whole within 10 s.
const SPREAD_MAX: Duration = Duration::from_secs(4);
/// Between two looks at the connections that are to be closed.
const TICK: Duration = Duration::from_millis(20);
/// Longest pause that a client is asked to make before it reconnects, in milliseconds.
const RETRY_AFTER_MS_MAX: u64 = 2_000;

/// When each of a number of sockets gets its goodbye.
#[derive(Clone, Copy, Debug)]
struct GoodbyeSchedule {
    sockets: usize,
    spread: Duration,
}

impl GoodbyeSchedule {
    /// For so many sockets, when there is so much time for the whole drain.
    fn new(sockets: usize, time: Duration) -> Self {
        let wanted = Duration::from_secs_f64(sockets as f64 / GOODBYES_A_SECOND as f64);
        Self {
            sockets,
            spread: wanted.min(SPREAD_MAX).min(time / 4),
        }
    }

    /// How many goodbyes should have been sent so long after the beginning.
    fn due_after(self, elapsed: Duration) -> usize {
        if elapsed >= self.spread {
            return self.sockets;
        }
        let share = elapsed.as_secs_f64() / self.spread.as_secs_f64();
        (self.sockets as f64 * share) as usize
    }
}

/// Drains the node. Returns when all connections are gone or the deadline has come.
pub(super) async fn run(directory: &Directory, deadline: Instant) {
    let begun = Instant::now();
    let time = deadline.saturating_duration_since(begun);
    // Kept back, so that close frames still arrive when something cannot be committed in time.
    let reply_deadline = begun + time * 3 / 4;
    let mut served = directory.close();
    served.shuffle(&mut rand::rng());
    let schedule = GoodbyeSchedule::new(served.len(), time);
    let (mut leaving, mut n_sent) = (Vec::new(), 0);
    let mut ticks = tokio::time::interval(TICK);
    while Instant::now() < deadline && !(served.is_empty() && leaving.is_empty()) {
        ticks.tick().await;
        // Before further goodbyes: a connection has had a tick to accept what had just come.
        let is_late = Instant::now() >= reply_deadline;
        leaving.retain(|connection| !close_if_replied(connection, is_late));
        let due = schedule.due_after(begun.elapsed());
        while n_sent < due
            && let Some(connection) = served.pop()
        {
            send_goodbye(&connection);
            leaving.push(connection);
            n_sent += 1;
        }
    }
    while directory.len() > 0 && Instant::now() < deadline {
        ticks.tick().await;
    }
}

fn send_goodbye(connection: &Connection) {
    let goodbye = Goodbye {
        reason: "draining",
        retry_after_ms: rand::random_range(0..=RETRY_AFTER_MS_MAX),
    };
    connection.drain();
    connection.outbox.push(encode(&goodbye), Class::Snapshot);
}

/// Closes a connection that waits for no reply, or any when it is late. True if it needs no further
/// look.
fn close_if_replied(connection: &Arc<Connection>, is_late: bool) -> bool {
    let unanswered = connection.in_flight();
    if connection.outbox.is_closed() {
        return true;
    }
    if unanswered > 0 && !is_late {
        return false;
    }
    if unanswered > 0 {
        tracing::warn!(connection.id = %connection.id, unanswered, "what was accepted has no reply in time");
    }
    connection.outbox.close(Some(CloseCode::Draining));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_get_it_at_once_and_many_at_a_bounded_rate() {
        let minute = Duration::from_secs(60);
        let few = GoodbyeSchedule::new(40, minute);
        assert_eq!(few.due_after(TICK), 40);
        let many = GoodbyeSchedule::new(5_000, minute);
        assert_eq!(many.spread, Duration::from_secs(2));
        assert_eq!(
            [0, 500, 1_000, 2_000].map(|ms| many.due_after(Duration::from_millis(ms))),
            [0, 1_250, 2_500, 5_000]
        );
        assert_eq!(GoodbyeSchedule::new(50_000, minute).spread, SPREAD_MAX);
        assert_eq!(
            GoodbyeSchedule::new(50_000, Duration::from_secs(2)).spread,
            Duration::from_millis(500)
        );
        let none = GoodbyeSchedule::new(0, Duration::ZERO);
        assert_eq!(none.due_after(Duration::ZERO), 0);
    }

    #[test]
    fn nobody_is_closed_while_a_reply_is_owed() {
        let connection = Arc::new(Connection::for_tests());
        assert!(connection.accept_frame());
        send_goodbye(&connection);
        assert!(
            !connection.accept_frame(),
            "what comes after the goodbye is not accepted"
        );
        assert!(!close_if_replied(&connection, false));
        connection.replied(1);
        assert!(close_if_replied(&connection, false));
        assert!(connection.outbox.is_closed());
        let silent = Arc::new(Connection::for_tests());
        assert!(silent.accept_frame());
        assert!(close_if_replied(&silent, true), "not for ever");
    }
}

//! What replies tell of a connection and of its server: which connections are not used again, and
//! that the disk is full.
//!
//! Used by `client.rs`, which watches replies, by `pool.rs`, which lends connections, and by the
//! readiness (`writable.rs`). Pure but for the clock.
//!
//! * A connection may be alive and of no use: after a failover the old primary is read-only and
//!   replies to everything. So an error is judged by its code ([`Fault`]).
//! * What one connection shows holds for others that nobody has tried: those to the same server
//!   after a failover, those that were idle for longer when a firewall has forgotten one. They are
//!   replaced without being tried, because each try costs a request its time or its success.
//! * A server that is read-only for long must not cost a connection for each request. So a
//!   connection that is younger than [`FRESH`] stays: another one would come to the same server.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};
use tokio_postgres::error::SqlState;

/// A connection of this age shows how the server is now.
const FRESH: Duration = Duration::from_secs(1);

/// Why a connection is not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is lost, or in a state that nobody knows.
    Connection,
    /// It works, and its server does not do what we need.
    Server,
}

impl Fault {
    /// What a code of PostgreSQL says of the connection; `None` where it is about the statement, or
    /// about the present moment.
    pub(super) fn of(state: &SqlState) -> Option<Self> {
        const CONNECTION: [&SqlState; 9] = [
            &SqlState::ADMIN_SHUTDOWN,
            &SqlState::CRASH_SHUTDOWN,
            &SqlState::CANNOT_CONNECT_NOW,
            &SqlState::DATABASE_DROPPED,
            &SqlState::IDLE_SESSION_TIMEOUT,
            &SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            &SqlState::IN_FAILED_SQL_TRANSACTION,
            // What it has prepared is gone, or does not fit the tables any more.
            &SqlState::INVALID_SQL_STATEMENT_NAME,
            &SqlState::FEATURE_NOT_SUPPORTED,
        ];
        // `transaction_timeout` of PostgreSQL 17.
        const TRANSACTION_TIMEOUT: &str = "25P04";
        if *state == SqlState::READ_ONLY_SQL_TRANSACTION {
            return Some(Self::Server);
        }
        let is_of_connection =
            CONNECTION.contains(&state) || state.code() == TRANSACTION_TIMEOUT || state.code().starts_with("08");
        is_of_connection.then_some(Self::Connection)
    }

    /// Whether a connection of this age is given up for it.
    pub(super) fn ends(self, age: Duration) -> bool {
        match self {
            Self::Connection => true,
            Self::Server => age >= FRESH,
        }
    }
}

/// The worst that was noticed on one connection.
#[derive(Debug, Default)]
pub(super) struct FaultNote(AtomicU8);

impl FaultNote {
    pub(super) fn note(&self, fault: Fault) {
        let code = match fault {
            Fault::Server => 1,
            Fault::Connection => 2,
        };
        self.0.fetch_max(code, Ordering::Relaxed);
    }

    pub(super) fn worst(&self) -> Option<Fault> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Fault::Server),
            _ => Some(Fault::Connection),
        }
    }
}

/// What is known of a server from all its connections.
#[derive(Debug, Default)]
pub(super) struct ServerCondition {
    distrust: Mutex<Distrust>,
    disk_full: AtomicBool,
}

#[derive(Debug, Default)]
struct Distrust {
    /// Connections that were made until then.
    made_until: Option<Instant>,
    /// Connections that were used last until then.
    used_until: Option<Instant>,
}

impl ServerCondition {
    /// Notes what a code says of the server's disk.
    pub(super) fn note(&self, state: &SqlState) {
        if *state == SqlState::DISK_FULL {
            self.set_disk_full(true);
        }
    }

    /// Whether a statement has found the disk full, and no trial has shown otherwise since.
    pub(super) fn is_disk_full(&self) -> bool {
        self.disk_full.load(Ordering::Relaxed)
    }

    pub(super) fn set_disk_full(&self, is_full: bool) {
        self.disk_full.store(is_full, Ordering::Relaxed);
    }

    /// The server behind the connections that are not fresh any more is of no use.
    pub(super) fn distrust_server(&self, now: Instant) {
        let until = now.checked_sub(FRESH);
        let mut distrust = self.distrust.lock();
        // What many notice at once is said once.
        let is_news = distrust.made_until.is_none_or(|known| now - known >= 2 * FRESH);
        distrust.made_until = distrust.made_until.max(until);
        drop(distrust);
        if is_news {
            tracing::warn!("the server at the end of a database connection is read-only; connections are replaced");
        }
    }

    /// A connection that was used last at that time gave no sign of life.
    pub(super) fn distrust_used_until(&self, used: Instant) {
        let mut distrust = self.distrust.lock();
        distrust.used_until = distrust.used_until.max(Some(used));
        drop(distrust);
        tracing::warn!("an idle database connection gave no reply; those that were idle for longer are replaced");
    }

    /// Whether a connection may be lent.
    pub(super) fn trusts(&self, made: Instant, used: Instant) -> bool {
        let distrust = self.distrust.lock();
        distrust.made_until.is_none_or(|until| made > until) && distrust.used_until.is_none_or(|until| used > until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_what_becomes_of_the_connection() {
        for (code, fault) in [
            ("25006", Some(Fault::Server)),
            ("08006", Some(Fault::Connection)),
            ("08P01", Some(Fault::Connection)),
            ("57P01", Some(Fault::Connection)),
            ("57P02", Some(Fault::Connection)),
            ("57P03", Some(Fault::Connection)),
            ("57P05", Some(Fault::Connection)),
            ("25P02", Some(Fault::Connection)),
            ("25P03", Some(Fault::Connection)),
            ("25P04", Some(Fault::Connection)),
            ("26000", Some(Fault::Connection)),
            ("0A000", Some(Fault::Connection)),
            ("53100", None),
            ("53300", None),
            ("57014", None),
            ("55P03", None),
            ("40001", None),
            ("23505", None),
            ("42P01", None),
        ] {
            assert_eq!(Fault::of(&SqlState::from_code(code)), fault, "{code}");
        }
        for (fault, age, ends) in [
            (Fault::Connection, 0, true),
            (Fault::Server, 999, false),
            (Fault::Server, 1_000, true),
        ] {
            assert_eq!(fault.ends(Duration::from_millis(age)), ends, "{fault:?} {age}");
        }
        let note = FaultNote::default();
        assert_eq!(note.worst(), None);
        note.note(Fault::Connection);
        note.note(Fault::Server);
        assert_eq!(note.worst(), Some(Fault::Connection));
    }

    #[test]
    fn what_was_made_or_used_later_is_trusted() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let condition = ServerCondition::default();
        assert!(condition.trusts(at(0), at(0)));
        condition.distrust_server(at(5) + FRESH);
        condition.distrust_server(at(3) + FRESH);
        condition.distrust_used_until(at(7));
        condition.distrust_used_until(at(6));
        for (made, used, trusted) in [(5, 9, false), (6, 7, false), (6, 8, true), (1, 8, false)] {
            assert_eq!(condition.trusts(at(made), at(used)), trusted, "{made} {used}");
        }
    }

    #[test]
    fn a_full_disk_is_remembered_until_a_trial() {
        let condition = ServerCondition::default();
        condition.note(&SqlState::TOO_MANY_CONNECTIONS);
        assert!(!condition.is_disk_full());
        condition.note(&SqlState::DISK_FULL);
        assert!(condition.is_disk_full());
        condition.set_disk_full(false);
        assert!(!condition.is_disk_full());
    }
}

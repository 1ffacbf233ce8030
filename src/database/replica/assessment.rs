//! Whether a replica may be read, from what it and its primary say of themselves. Pure.
//!
//! A replica cannot say how old it is. One that has lost its primary believes that it has
//! everything, and the time of its last transaction grows old where nobody writes. So the primary
//! is asked each second how far its log is, and the positions are kept with their times. The
//! replica is as old as the latest of them that it has reached. Nothing has to be written for this.
//!
//! Positions can be compared only in the same log: of the same system, the same database in it, and
//! the same timeline. (A replica of a primary that was replaced goes on along another timeline.)
//!
//! Bound: [`POSITIONS_MAX`] positions.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Positions that are kept. While nobody writes they are one.
const POSITIONS_MAX: usize = 64;

/// Which log a server writes or follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogIdentity {
    /// The system, made once for a primary and all its replicas.
    pub(super) system: i64,
    /// The database in it.
    pub(super) database: u32,
    /// Grows when a replica takes over.
    pub(super) timeline: i32,
}

/// What a replica says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReplicaReport {
    pub(super) identity: LogIdentity,
    /// How far it has replayed the log; `None` for a server that is no replica (any more).
    pub(super) replayed: Option<i64>,
}

/// Why a replica is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("it was not asked yet")]
    Unknown,
    #[error("it does not answer")]
    Away,
    #[error("a read on it failed")]
    Failed,
    #[error("it is no replica: it is not in recovery")]
    NoReplica,
    #[error("it belongs to another database system than DATABASE_URL")]
    OtherSystem,
    #[error("it is another database of the same system than DATABASE_URL")]
    OtherDatabase,
    #[error("it follows another timeline than DATABASE_URL")]
    OtherTimeline,
    #[error("it is too far behind")]
    Behind,
    #[error("how far it is behind is not known: DATABASE_URL does not answer")]
    Unmeasured,
}

/// How far the primary was, oldest first.
#[derive(Debug, Default)]
pub(super) struct PrimaryPositions {
    identity: Option<LogIdentity>,
    positions: VecDeque<(i64, Instant)>,
}

impl PrimaryPositions {
    /// Notes that the primary was at `position`.
    pub(super) fn note(&mut self, identity: LogIdentity, position: i64, at: Instant) {
        if self.identity != Some(identity) {
            self.identity = Some(identity);
            self.positions.clear();
        }
        match self.positions.back_mut() {
            Some((last, last_at)) if *last == position => *last_at = at,
            _ => self.positions.push_back((position, at)),
        }
        if self.positions.len() > POSITIONS_MAX {
            self.positions.pop_front();
        }
    }

    /// How old a replica at `replayed` is at most; `None` if it is older than what is known.
    fn age(&self, replayed: i64, now: Instant) -> Option<Duration> {
        let reached = self.positions.iter().rev().find(|(position, _)| *position <= replayed);
        reached.map(|(_, at)| now.saturating_duration_since(*at))
    }

    /// Whether the replica may be read, and how old it is at most, if that is known.
    pub(super) fn assess(
        &self,
        report: ReplicaReport,
        lag_max: Duration,
        now: Instant,
    ) -> (Result<(), Unusable>, Option<Duration>) {
        let Some(identity) = self.identity else {
            return (Err(Unusable::Unknown), None);
        };
        if report.identity.system != identity.system {
            return (Err(Unusable::OtherSystem), None);
        }
        let Some(replayed) = report.replayed else {
            return (Err(Unusable::NoReplica), None);
        };
        if report.identity.database != identity.database {
            return (Err(Unusable::OtherDatabase), None);
        }
        if report.identity.timeline != identity.timeline {
            return (Err(Unusable::OtherTimeline), None);
        }
        let last_at = self.positions.back().map(|(_, at)| *at);
        if last_at.is_none_or(|at| now.saturating_duration_since(at) > lag_max) {
            return (Err(Unusable::Unmeasured), None);
        }
        let age = self.age(replayed, now);
        let is_young = age.is_some_and(|age| age <= lag_max);
        (if is_young { Ok(()) } else { Err(Unusable::Behind) }, age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: LogIdentity = LogIdentity {
        system: 7,
        database: 16_384,
        timeline: 1,
    };
    const MAX: Duration = Duration::from_secs(5);

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    const fn replica(replayed: i64) -> ReplicaReport {
        ReplicaReport {
            identity: HERE,
            replayed: Some(replayed),
        }
    }

    #[test]
    fn an_idle_primary_does_not_make_its_replica_old() {
        let (mut positions, start) = (PrimaryPositions::default(), Instant::now());
        for n in 0..1_000 {
            positions.note(HERE, 100, start + seconds(n));
        }
        let now = start + seconds(999);
        assert_eq!(positions.assess(replica(100), MAX, now), (Ok(()), Some(seconds(0))));
    }

    #[test]
    fn a_replica_that_stands_still_grows_old_with_what_is_written() {
        let (mut positions, start) = (PrimaryPositions::default(), Instant::now());
        for n in 0..10 {
            positions.note(HERE, 100 + 10 * i64::try_from(n).unwrap(), start + seconds(n));
        }
        let now = start + seconds(9);
        for (replayed, usable, age) in [
            (190, Ok(()), Some(0)),
            (1_000, Ok(()), Some(0)),
            (189, Ok(()), Some(1)),
            (140, Ok(()), Some(5)),
            (139, Err(Unusable::Behind), Some(6)),
            (100, Err(Unusable::Behind), Some(9)),
            (99, Err(Unusable::Behind), None),
        ] {
            assert_eq!(
                positions.assess(replica(replayed), MAX, now),
                (usable, age.map(seconds)),
                "{replayed}"
            );
        }
        // Without new positions of the primary, the age of its replica is not known.
        assert_eq!(
            positions.assess(replica(1_000), MAX, now + seconds(5)),
            (Ok(()), Some(seconds(5)))
        );
        assert_eq!(
            positions.assess(replica(1_000), MAX, now + seconds(6)),
            (Err(Unusable::Unmeasured), None)
        );
    }

    #[test]
    fn only_the_same_log_is_compared() {
        let (mut positions, now) = (PrimaryPositions::default(), Instant::now());
        assert_eq!(positions.assess(replica(100), MAX, now).0, Err(Unusable::Unknown));
        positions.note(HERE, 100, now);
        let of = |identity| ReplicaReport {
            identity,
            ..replica(100)
        };
        for (report, reason) in [
            (of(LogIdentity { system: 8, ..HERE }), Unusable::OtherSystem),
            (of(LogIdentity { database: 5, ..HERE }), Unusable::OtherDatabase),
            (of(LogIdentity { timeline: 2, ..HERE }), Unusable::OtherTimeline),
            (
                ReplicaReport {
                    replayed: None,
                    ..replica(0)
                },
                Unusable::NoReplica,
            ),
        ] {
            assert_eq!(positions.assess(report, MAX, now), (Err(reason), None));
        }
        // After a failover the old positions do not count.
        let next = LogIdentity { timeline: 2, ..HERE };
        positions.note(next, 500, now + seconds(1));
        assert_eq!(
            positions.assess(of(next), MAX, now + seconds(1)),
            (Err(Unusable::Behind), None)
        );
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (mut positions, start) = (PrimaryPositions::default(), Instant::now());
        for n in 0..10_000 {
            positions.note(HERE, n, start);
        }
        assert_eq!(positions.positions.len(), POSITIONS_MAX);
    }
}

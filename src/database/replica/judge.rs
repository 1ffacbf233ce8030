//! Whether a replica may be read, from what it and its primary say of themselves. Pure.
//!
//! How old a replica is cannot be asked of it: one that has lost its primary believes that it has everything, and the time
//! of the last transaction it has replayed grows old where nobody writes. So the primary is asked, each second, how far its
//! log has come, and the answers are kept with their times. The replica is as old as the last of them that it has reached:
//! what was acknowledged before that moment, it has. Nothing has to be written for this.
//!
//! The positions of two logs can only be compared if it is the same log: of the same system, the same database in it, and
//! on the same timeline (one that follows a primary that was replaced goes on along another).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Answers of the primary that are kept. Those of a primary where nobody writes are one.
const MARKS_MAX: usize = 64;

/// Which log a server writes or follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// The system, made once for a primary and all its replicas.
    pub(super) system: i64,
    /// The database in it.
    pub(super) database: u32,
    /// Grows when a replica takes over.
    pub(super) timeline: i32,
}

/// What a replica says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) identity: Identity,
    /// How far it has replayed the log; `None` for what is no replica (any more).
    pub(super) replayed: Option<i64>,
}

/// Why a replica is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Reason {
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

/// What the primary has said, oldest first.
#[derive(Debug, Default)]
pub(super) struct Marks {
    identity: Option<Identity>,
    marks: VecDeque<(i64, Instant)>,
}

impl Marks {
    /// The primary had come so far at `at`.
    pub(super) fn note(&mut self, identity: Identity, position: i64, at: Instant) {
        if self.identity != Some(identity) {
            self.identity = Some(identity);
            self.marks.clear();
        }
        match self.marks.back_mut() {
            Some((last, last_at)) if *last == position => *last_at = at,
            _ => self.marks.push_back((position, at)),
        }
        if self.marks.len() > MARKS_MAX {
            self.marks.pop_front();
        }
    }

    /// How old a replica is at most that has replayed so far; `None` if it is older than what is known.
    fn age(&self, replayed: i64, now: Instant) -> Option<Duration> {
        let reached = self.marks.iter().rev().find(|(position, _)| *position <= replayed);
        reached.map(|(_, at)| now.saturating_duration_since(*at))
    }

    /// Whether the replica may be read, and how old it is at most if that is known.
    pub(super) fn judge(
        &self,
        report: Report,
        lag_max: Duration,
        now: Instant,
    ) -> (Result<(), Reason>, Option<Duration>) {
        let Some(identity) = self.identity else {
            return (Err(Reason::Unknown), None);
        };
        if report.identity.system != identity.system {
            return (Err(Reason::OtherSystem), None);
        }
        let Some(replayed) = report.replayed else {
            return (Err(Reason::NoReplica), None);
        };
        if report.identity.database != identity.database {
            return (Err(Reason::OtherDatabase), None);
        }
        if report.identity.timeline != identity.timeline {
            return (Err(Reason::OtherTimeline), None);
        }
        let last_at = self.marks.back().map(|(_, at)| *at);
        if last_at.is_none_or(|at| now.saturating_duration_since(at) > lag_max) {
            return (Err(Reason::Unmeasured), None);
        }
        let age = self.age(replayed, now);
        let is_young = age.is_some_and(|age| age <= lag_max);
        (if is_young { Ok(()) } else { Err(Reason::Behind) }, age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Identity = Identity {
        system: 7,
        database: 16_384,
        timeline: 1,
    };
    const MAX: Duration = Duration::from_secs(5);

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    const fn replica(replayed: i64) -> Report {
        Report {
            identity: HERE,
            replayed: Some(replayed),
        }
    }

    #[test]
    fn an_idle_primary_does_not_make_its_replica_old() {
        let (mut marks, start) = (Marks::default(), Instant::now());
        for n in 0..1_000 {
            marks.note(HERE, 100, start + seconds(n));
        }
        let now = start + seconds(999);
        assert_eq!(marks.judge(replica(100), MAX, now), (Ok(()), Some(seconds(0))));
    }

    #[test]
    fn a_replica_that_stands_still_grows_old_with_what_is_written() {
        let (mut marks, start) = (Marks::default(), Instant::now());
        for n in 0..10 {
            marks.note(HERE, 100 + 10 * i64::try_from(n).unwrap(), start + seconds(n));
        }
        let now = start + seconds(9);
        for (replayed, verdict, age) in [
            (190, Ok(()), Some(0)),
            (1_000, Ok(()), Some(0)),
            (189, Ok(()), Some(1)),
            (140, Ok(()), Some(5)),
            (139, Err(Reason::Behind), Some(6)),
            (100, Err(Reason::Behind), Some(9)),
            (99, Err(Reason::Behind), None),
        ] {
            assert_eq!(
                marks.judge(replica(replayed), MAX, now),
                (verdict, age.map(seconds)),
                "{replayed}"
            );
        }
        // A primary that does not answer any more says nothing new; what that makes of its replica is not known.
        assert_eq!(
            marks.judge(replica(1_000), MAX, now + seconds(5)),
            (Ok(()), Some(seconds(5)))
        );
        assert_eq!(
            marks.judge(replica(1_000), MAX, now + seconds(6)),
            (Err(Reason::Unmeasured), None)
        );
    }

    #[test]
    fn only_the_same_log_is_compared() {
        let (mut marks, now) = (Marks::default(), Instant::now());
        assert_eq!(marks.judge(replica(100), MAX, now).0, Err(Reason::Unknown));
        marks.note(HERE, 100, now);
        let of = |identity| Report {
            identity,
            ..replica(100)
        };
        for (report, reason) in [
            (of(Identity { system: 8, ..HERE }), Reason::OtherSystem),
            (of(Identity { database: 5, ..HERE }), Reason::OtherDatabase),
            (of(Identity { timeline: 2, ..HERE }), Reason::OtherTimeline),
            (
                Report {
                    replayed: None,
                    ..replica(0)
                },
                Reason::NoReplica,
            ),
        ] {
            assert_eq!(marks.judge(report, MAX, now), (Err(reason), None));
        }
        // After a failover the old marks count no more.
        let next = Identity { timeline: 2, ..HERE };
        marks.note(next, 500, now + seconds(1));
        assert_eq!(
            marks.judge(of(next), MAX, now + seconds(1)),
            (Err(Reason::Behind), None)
        );
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (mut marks, start) = (Marks::default(), Instant::now());
        for n in 0..10_000 {
            marks.note(HERE, n, start);
        }
        assert_eq!(marks.marks.len(), MARKS_MAX);
    }
}

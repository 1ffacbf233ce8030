//! A timer as data: a moment at which something is due, and the rest that follows. Pure.

/// Milliseconds of a monotonic clock.
pub(super) type Millis = u64;

/// How long the first of several things waits for the others.
const GATHER_MS: Millis = 100;

/// At most one pending moment, and a time before which no new one may be set.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timer {
    at: Option<Millis>,
    not_before: Millis,
}

impl Timer {
    /// When it is due, if a moment is set.
    pub(super) const fn at(&self) -> Option<Millis> {
        self.at
    }

    /// Sets the moment, unless an earlier one is pending.
    pub(super) fn arm(&mut self, at: Millis) {
        self.at = Some(self.at.map_or(at, |known| known.min(at)));
    }

    /// Sets the moment unless one is pending: after a short while in which more may gather, and not
    /// within the rest that follows a firing.
    pub(super) fn arm_if_idle(&mut self, now: Millis, interval: Millis) {
        if self.at.is_none() {
            self.at = Some(self.not_before.max(now + interval.min(GATHER_MS)));
        }
    }

    pub(super) const fn clear(&mut self) {
        self.at = None;
    }

    /// Whether the moment has come; then it is no longer pending.
    pub(super) fn fire(&mut self, now: Millis) -> bool {
        let is_due = self.at.is_some_and(|at| at <= now);
        if is_due {
            self.at = None;
        }
        is_due
    }

    /// After firing: nothing more for `interval`.
    pub(super) const fn rest(&mut self, now: Millis, interval: Millis) {
        self.not_before = now + interval;
    }
}

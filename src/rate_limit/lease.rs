//! The slices that this node holds of one subject's quota. Pure.
//!
//! A slice was counted in certain slots of Redis and is good until a certain moment. What is left
//! of it can be returned only to those slots. So up to two slices are kept, each with its own
//! slots: the one that is spent, and the one that was requested before the first was empty. The
//! older is spent first. Each is returned in a request of its own, so nothing that was not used
//! stays counted in Redis. Only where replies come so late that a third slice arrives, the oldest
//! lapses, and counts as used.

use super::window::Millis;

/// Slices smaller than this are not renewed before they are spent. That would call Redis for nearly
/// every request, to save the wait of a few.
const RENEWED_MIN: u32 = 8;

/// The slots that a slice was counted in, by Redis' clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LeaseSlots {
    pub(super) minute: u64,
    pub(super) hour: u64,
}

/// What is left of a slice, to be returned to where it was counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unspent {
    pub(super) count: u32,
    pub(super) slots: LeaseSlots,
}

#[derive(Clone, Copy, Debug, Default)]
struct LeasedSlice {
    left: u32,
    /// What it had when it was granted.
    size: u32,
    slots: LeaseSlots,
    until: Millis,
}

impl LeasedSlice {
    const fn live(&self, now: Millis) -> u32 {
        if now < self.until { self.left } else { 0 }
    }

    const fn take_unspent(&mut self) -> Unspent {
        let count = self.left;
        self.left = 0;
        Unspent {
            count,
            slots: self.slots,
        }
    }
}

/// The slices of one subject.
#[derive(Debug, Default)]
pub(super) struct Lease {
    older: LeasedSlice,
    newer: LeasedSlice,
}

impl Lease {
    /// What can be spent.
    pub(super) const fn live(&self, now: Millis) -> u32 {
        self.older.live(now) + self.newer.live(now)
    }

    /// Spends at most what is live.
    pub(super) fn spend(&mut self, cost: u32, now: Millis) {
        let of_older = cost.min(self.older.live(now));
        self.older.left -= of_older;
        self.newer.left -= (cost - of_older).min(self.newer.live(now));
    }

    /// Whether the next slice should be requested already: this one goes fast, and there is no
    /// other.
    pub(super) const fn is_low(&self, now: Millis, life: Millis) -> bool {
        self.older.live(now) == 0
            && self.newer.size >= RENEWED_MIN
            && self.newer.left * 2 <= self.newer.size
            && now + life / 2 < self.newer.until
    }

    /// Adds a slice that was granted.
    pub(super) const fn add(&mut self, size: u32, slots: LeaseSlots, until: Millis) {
        if self.newer.left > 0 {
            self.older = self.newer;
        }
        self.newer = LeasedSlice {
            left: size,
            size,
            slots,
            until,
        };
    }

    /// What is left of a slice that has ended.
    pub(super) const fn reclaim(&mut self, now: Millis) -> Unspent {
        if self.older.left > 0 && self.older.until <= now {
            return self.older.take_unspent();
        }
        if self.newer.left > 0 && self.newer.until <= now {
            return self.newer.take_unspent();
        }
        Unspent {
            count: 0,
            slots: self.newer.slots,
        }
    }

    /// As [`Self::reclaim`]; where none has ended and two are held, the older, so that there is
    /// room for another. What is returned so can be granted anew by the same reply.
    pub(super) const fn make_room(&mut self, now: Millis) -> Unspent {
        let ended = self.reclaim(now);
        if ended.count == 0 && self.older.left > 0 && self.newer.left > 0 {
            return self.older.take_unspent();
        }
        ended
    }

    /// When the newest slice ends.
    pub(super) const fn until(&self) -> Millis {
        self.newer.until
    }
}

//! The slices that this node holds of one subject's quota: pure.
//!
//! A slice was counted in certain slots and is good until a certain moment, and what is left of it can be given back only
//! to those slots. So up to two are kept, each with its own: the one that is spent and the one that was asked for before it
//! was empty. The older is spent first. Both are given back, each in a question of its own, so that nothing which was not
//! used stays counted in Redis; only where answers come so late that a third arrives, the oldest lapses, and counts as used.

use super::window::Millis;

/// Slices smaller than this are not renewed before they are spent: that would ask Redis for nearly every request, to save
/// the wait of a few.
const RENEWED_MIN: u32 = 8;

/// The slots that a slice was counted in, by Redis' clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Slots {
    pub(super) minute: u64,
    pub(super) hour: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    left: u32,
    slice: u32,
    slots: Slots,
    until: Millis,
}

impl Part {
    const fn live(&self, now: Millis) -> u32 {
        if now < self.until { self.left } else { 0 }
    }

    const fn give_up(&mut self) -> (u32, Slots) {
        let left = self.left;
        self.left = 0;
        (left, self.slots)
    }
}

/// What is held.
#[derive(Debug, Default)]
pub(super) struct Lease {
    older: Part,
    newer: Part,
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

    /// Whether the next slice should be asked for already: this one goes fast, and there is no other.
    pub(super) const fn is_low(&self, now: Millis, life: Millis) -> bool {
        self.older.live(now) == 0
            && self.newer.slice >= RENEWED_MIN
            && self.newer.left * 2 <= self.newer.slice
            && now + life / 2 < self.newer.until
    }

    /// Another slice.
    pub(super) const fn add(&mut self, slice: u32, slots: Slots, until: Millis) {
        if self.newer.left > 0 {
            self.older = self.newer;
        }
        self.newer = Part {
            left: slice,
            slice,
            slots,
            until,
        };
    }

    /// What is left of a slice that has ended.
    pub(super) const fn reclaim(&mut self, now: Millis) -> (u32, Slots) {
        if self.older.left > 0 && self.older.until <= now {
            return self.older.give_up();
        }
        if self.newer.left > 0 && self.newer.until <= now {
            return self.newer.give_up();
        }
        (0, self.newer.slots)
    }

    /// As [`Self::reclaim`]; where none has ended and two are held, the older, so that another finds a place. What is given
    /// back so can be granted anew by the same answer.
    pub(super) const fn make_room(&mut self, now: Millis) -> (u32, Slots) {
        let (left, slots) = self.reclaim(now);
        if left == 0 && self.older.left > 0 && self.newer.left > 0 {
            return self.older.give_up();
        }
        (left, slots)
    }

    /// When the newest slice ends.
    pub(super) const fn until(&self) -> Millis {
        self.newer.until
    }
}

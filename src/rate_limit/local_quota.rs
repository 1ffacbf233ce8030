//! What this node holds of a quota that is shared with other nodes. Pure.
//!
//! A node does not call Redis for every request. It leases a slice of a twentieth of the quota, or
//! what all who wait need, for at most a fortieth of the window (1.5 s of a minute). It spends the
//! slice without asking anybody, and requests the next one when half of it is spent, unless it is
//! small (`lease.rs`). What is left when the lease ends is returned. What was leased by a node that
//! died counts as used until it leaves the window.
//!
//! Where Redis has nothing left, that refusal is repeated for [`REFUSAL`], so that who floods a
//! node does not flood Redis. What was admitted while Redis could not be reached is *unsynced
//! usage*. It is sent with the next request, so that a node does not begin anew after an outage.

use super::lease::{Lease, LeaseSlots};
use super::window::{Millis, Quota, QuotaDecision, Spans};

/// Leases are so many times shorter than the window.
const LEASES_PER_WINDOW: u64 = 40;
/// A slice is this part of the quota, where nobody needs more.
const SLICES_PER_QUOTA: u32 = 20;
/// For how long a refusal of Redis is repeated without another call.
const REFUSAL: Millis = 100;

/// How long a lease is good for.
pub(super) const fn lease_life(spans: Spans) -> Millis {
    let life = spans.minute / LEASES_PER_WINDOW;
    if life == 0 { 1 } else { life }
}

/// A request to Redis about one subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeaseRequest {
    /// What someone waits for; 0 where something is only returned.
    pub(super) cost: u32,
    pub(super) wanted: u32,
    pub(super) quota: Quota,
    /// Admitted without a lease since the last request.
    pub(super) unsynced: u32,
    /// Unspent, and not wanted any more.
    pub(super) returned: u32,
    /// Where `returned` was counted.
    pub(super) slots: LeaseSlots,
    /// When it was made. The lease that it gets ends as much later as leases live.
    pub(super) requested_at: Millis,
}

/// The reply of Redis to one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LeaseGrant {
    pub(super) granted: u32,
    pub(super) slots: LeaseSlots,
    pub(super) minute_left: u32,
    pub(super) hour_left: u32,
    pub(super) minute_reset_ms: Millis,
    pub(super) hour_reset_ms: Millis,
    pub(super) retry_after_ms: Millis,
}

/// Whether a request can be served from the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaseState {
    /// It can be taken from the lease.
    Held,
    /// There is nothing, and there will not be anything for so many milliseconds.
    Refused(Millis),
    /// Redis has to be called.
    Unknown,
}

/// What this node holds of one subject's quota.
#[derive(Debug, Default)]
pub(super) struct LocalQuota {
    lease: Lease,
    known: LeaseGrant,
    known_at: Millis,
    refused_until: Millis,
    /// When the request under way was made.
    requested_at: Option<Millis>,
    /// What those who wait for the reply need together.
    waiting: u32,
    /// Until when Redis is not called about this subject, because it did not reply in time.
    local_only_until: Millis,
    unsynced: u32,
}

impl LocalQuota {
    /// Whether the lease has room for `cost`, which is taken by [`Self::spend`].
    pub(super) fn state(&self, cost: u32, now: Millis) -> LeaseState {
        if self.lease.live(now) >= cost {
            return LeaseState::Held;
        }
        if now < self.refused_until {
            return LeaseState::Refused((self.known_at + self.known.retry_after_ms).saturating_sub(now).max(1));
        }
        LeaseState::Unknown
    }

    /// Takes from what is held.
    pub(super) fn spend(&mut self, cost: u32, now: Millis) {
        self.lease.spend(cost, now);
    }

    /// In how many milliseconds there will be something, where Redis has just said that there is
    /// nothing.
    pub(super) fn refused_for(&self, now: Millis) -> Option<Millis> {
        let is_refused = self.lease.live(now) == 0 && now < self.refused_until;
        is_refused.then(|| (self.known_at + self.known.retry_after_ms).saturating_sub(now).max(1))
    }

    /// Whether the next slice should be requested already.
    pub(super) const fn is_low(&self, now: Millis, spans: Spans) -> bool {
        self.lease.is_low(now, lease_life(spans))
    }

    /// Notes that a request is made; false when one is under way already. A request older than
    /// `patience` is lost.
    pub(super) fn begin_request(&mut self, now: Millis, patience: Millis) -> bool {
        if self.requested_at.is_some_and(|at| now < at + patience) {
            return false;
        }
        self.requested_at = Some(now);
        true
    }

    /// The request could not be made after all: the next who needs it makes it.
    pub(super) const fn cancel_request(&mut self) {
        self.requested_at = None;
    }

    /// Someone waits for the reply.
    pub(super) const fn add_waiting(&mut self, cost: u32) {
        self.waiting = self.waiting.saturating_add(cost);
    }

    /// Someone has waited for too long. If there was no reply, the others wait no longer, and this
    /// node counts alone for `local_only`. If others were quicker with what was granted, all is
    /// well with Redis.
    pub(super) fn timed_out(&mut self, now: Millis, patience: Millis, local_only: Millis) {
        if self.requested_at.is_some_and(|at| now >= at + patience) {
            (self.waiting, self.local_only_until) = (0, now + local_only);
        }
    }

    /// Whether this node counts alone for a while.
    pub(super) const fn is_local_only(&self, now: Millis) -> bool {
        now < self.local_only_until
    }

    /// Something was admitted without a lease. Whether it is the first that has to be synced.
    pub(super) fn add_unsynced(&mut self, cost: u32, quota: Quota) -> bool {
        let is_first = self.unsynced == 0;
        // More than the quota cannot be counted in a window anyway.
        self.unsynced = (self.unsynced + cost).min(quota.per_hour);
        is_first
    }

    /// The next request, with all unsynced usage. With a cost of 0 it only syncs and returns.
    pub(super) fn request(&mut self, cost: u32, quota: Quota, now: Millis) -> LeaseRequest {
        let smallest = quota.per_minute.min(quota.per_hour);
        let unspent = if cost == 0 {
            self.lease.reclaim(now)
        } else {
            self.lease.make_room(now)
        };
        LeaseRequest {
            cost,
            wanted: if cost == 0 {
                0
            } else {
                cost.max(smallest / SLICES_PER_QUOTA).max(self.waiting.min(smallest))
            },
            quota,
            unsynced: std::mem::take(&mut self.unsynced),
            returned: unspent.count,
            slots: unspent.slots,
            requested_at: now,
        }
    }

    /// Redis has replied to a request.
    pub(super) fn apply_grant(&mut self, request: &LeaseRequest, grant: LeaseGrant, now: Millis, spans: Spans) {
        if request.wanted == 0 {
            // Something was only returned: nobody waits for this reply.
            return;
        }
        (self.requested_at, self.waiting, self.local_only_until) = (None, 0, 0);
        (self.known, self.known_at) = (grant, now);
        if grant.granted < request.cost {
            self.refused_until = now + grant.retry_after_ms.min(REFUSAL);
        }
        if grant.granted > 0 {
            self.lease
                .add(grant.granted, grant.slots, request.requested_at + lease_life(spans));
        }
    }

    /// A request got no reply. Its usage is unsynced again. What it returned may have arrived, so
    /// it is not returned again. Until `local_only_until` this node counts alone.
    pub(super) fn request_failed(&mut self, request: &LeaseRequest, local_only_until: Millis) {
        if request.wanted > 0 {
            (self.requested_at, self.waiting, self.local_only_until) = (None, 0, local_only_until);
        }
        self.unsynced += request.unsynced;
    }

    /// When the newest slice can be returned.
    pub(super) const fn lease_until(&self) -> Millis {
        self.lease.until()
    }

    /// A decision of this node, corrected by what is left on all of them.
    pub(super) fn correct(&self, own: QuotaDecision, quota: Quota, now: Millis) -> QuotaDecision {
        let held = self.lease.live(now);
        let (minute_left, hour_left) = (self.known.minute_left + held, self.known.hour_left + held);
        let age = now.saturating_sub(self.known_at);
        let (limit, remaining, reset_ms) = if hour_left < minute_left {
            (quota.per_hour, hour_left, self.known.hour_reset_ms)
        } else {
            (quota.per_minute, minute_left, self.known.minute_reset_ms)
        };
        if remaining > own.remaining {
            return own;
        }
        QuotaDecision {
            limit,
            remaining: remaining.min(limit),
            reset_ms: reset_ms.saturating_sub(age),
            ..own
        }
    }

    /// A refusal of Redis, repeated.
    pub(super) fn refusal(&self, retry_after_ms: Millis, quota: Quota, now: Millis) -> QuotaDecision {
        let own = QuotaDecision {
            limit: quota.per_minute,
            remaining: u32::MAX,
            reset_ms: retry_after_ms,
            retry_after_ms: Some(retry_after_ms),
        };
        QuotaDecision {
            remaining: 0,
            ..self.correct(own, quota, now)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const SPANS: Spans = Spans {
        minute: 60_000,
        hour: 3_600_000,
    };
    const QUOTA: Quota = Quota {
        per_minute: 100,
        per_hour: 1_000,
    };

    fn grant(granted: u32) -> LeaseGrant {
        LeaseGrant {
            granted,
            slots: LeaseSlots { minute: 7, hour: 1 },
            minute_left: 40,
            hour_left: 500,
            minute_reset_ms: 9_000,
            hour_reset_ms: 90_000,
            retry_after_ms: 0,
        }
    }

    /// Takes one, if there is one.
    fn take(local: &mut LocalQuota, now: Millis) -> LeaseState {
        let state = local.state(1, now);
        if state == LeaseState::Held {
            local.spend(1, now);
        }
        state
    }

    #[test]
    fn a_slice_is_spent_without_a_call_and_the_rest_returned() {
        let mut local = LocalQuota::default();
        assert_eq!(take(&mut local, 0), LeaseState::Unknown);
        assert!(
            local.begin_request(0, 100) && !local.begin_request(50, 100),
            "one request at a time"
        );
        assert!(local.begin_request(100, 100), "a lost request is made again");
        let twice = Quota {
            per_minute: 200,
            ..QUOTA
        };
        let request = local.request(1, twice, 100);
        assert_eq!((request.wanted, request.unsynced, request.returned), (10, 0, 0));
        local.apply_grant(&request, grant(10), 101, SPANS);
        for now in 101..105 {
            assert_eq!(take(&mut local, now), LeaseState::Held);
        }
        assert!(!local.is_low(105, SPANS));
        assert_eq!(take(&mut local, 105), LeaseState::Held);
        assert!(
            local.is_low(105, SPANS) && !local.is_low(1_000, SPANS),
            "only what goes fast is renewed early"
        );
        assert_eq!(take(&mut local, 1_600), LeaseState::Unknown, "the lease has ended");
        let request = local.request(0, QUOTA, 1_600);
        assert_eq!(
            (request.wanted, request.returned, request.slots),
            (0, 5, LeaseSlots { minute: 7, hour: 1 })
        );
        assert_eq!(local.request(1, QUOTA, 1_600).returned, 0, "returned once");
    }

    #[test]
    fn two_slices_are_held_and_each_is_returned_to_its_slots() {
        let mut local = LocalQuota::default();
        let slots = |minute| LeaseSlots { minute, hour: 1 };
        for (at, minute) in [(0, 7), (1_100, 8)] {
            let request = local.request(1, QUOTA, at);
            assert_eq!(request.returned, 0);
            let grant = LeaseGrant {
                slots: slots(minute),
                ..grant(5)
            };
            local.apply_grant(&request, grant, at, SPANS);
            take(&mut local, at);
        }
        // The older was spent first; it ends first, too.
        let returned = |local: &mut LocalQuota, now| {
            let request = local.request(0, QUOTA, now);
            (request.returned, request.slots)
        };
        assert_eq!(returned(&mut local, 1_499).0, 0);
        assert_eq!(returned(&mut local, 1_500), (3, slots(7)));
        assert_eq!(returned(&mut local, 2_599).0, 0);
        assert_eq!(returned(&mut local, 2_600), (5, slots(8)));
        assert_eq!(returned(&mut local, 2_600).0, 0);
    }

    #[test]
    fn who_holds_two_slices_and_wants_more_returns_one_with_the_request() {
        let mut local = LocalQuota::default();
        for at in [0, 10] {
            let request = local.request(1, QUOTA, at);
            local.apply_grant(&request, grant(5), at, SPANS);
        }
        let request = local.request(12, QUOTA, 20);
        assert_eq!((request.wanted, request.returned), (12, 5));
        local.apply_grant(&request, grant(12), 20, SPANS);
        assert_eq!(local.state(17, 20), LeaseState::Held);
    }

    #[test]
    fn a_refusal_holds_for_a_moment_and_is_honest() {
        let mut local = LocalQuota::default();
        let nothing = LeaseGrant {
            minute_left: 0,
            retry_after_ms: 30_000,
            ..grant(0)
        };
        let request = local.request(1, QUOTA, 0);
        local.apply_grant(&request, nothing, 10, SPANS);
        assert_eq!(local.state(1, 60), LeaseState::Refused(29_950));
        let refusal = local.refusal(29_950, QUOTA, 60);
        assert_eq!((refusal.limit, refusal.remaining, refusal.reset_ms), (100, 0, 8_950));
        assert_eq!(
            local.state(1, 110),
            LeaseState::Unknown,
            "others may have returned something"
        );
    }

    #[test]
    fn unsynced_usage_is_sent_and_sent_again_after_a_failure() {
        let mut local = LocalQuota::default();
        for _ in 0..7 {
            local.add_unsynced(1, QUOTA);
        }
        let request = local.request(1, QUOTA, 0);
        assert_eq!(request.unsynced, 7);
        local.request_failed(&request, 0);
        local.add_unsynced(1, QUOTA);
        assert_eq!(local.request(1, QUOTA, 1).unsynced, 8);
        assert_eq!(local.request(1, QUOTA, 1).unsynced, 0);
        local.add_unsynced(5_000, QUOTA);
        assert_eq!(local.request(1, QUOTA, 1).unsynced, 1_000);
    }

    #[test]
    fn a_slice_is_large_enough_for_all_who_wait() {
        let mut local = LocalQuota::default();
        for _ in 0..12 {
            local.add_waiting(1);
        }
        let request = local.request(1, QUOTA, 0);
        assert_eq!(request.wanted, 12);
        local.apply_grant(&request, grant(12), 1, SPANS);
        assert_eq!(local.request(1, QUOTA, 2).wanted, 5, "nobody waits any more");
        local.add_waiting(5_000);
        assert_eq!(local.request(1, QUOTA, 2).wanted, 100);
    }

    #[test]
    fn only_a_request_without_a_reply_makes_a_subject_local() {
        let mut local = LocalQuota::default();
        assert!(local.begin_request(0, 100));
        local.cancel_request();
        assert!(
            local.begin_request(50, 100),
            "what could not be made is made by the next"
        );
        local.timed_out(100, 100, 250);
        assert!(!local.is_local_only(100), "the reply may still come in time");
        local.timed_out(150, 100, 250);
        assert!(local.is_local_only(399) && !local.is_local_only(400));
        let request = local.request(1, QUOTA, 150);
        local.apply_grant(&request, grant(5), 151, SPANS);
        assert!(!local.is_local_only(152), "the reply came after all");
    }

    #[test]
    fn what_others_used_is_in_the_decision() {
        let mut local = LocalQuota::default();
        let request = local.request(1, QUOTA, 0);
        local.apply_grant(&request, grant(5), 1_000, SPANS);
        let own = QuotaDecision {
            limit: 100,
            remaining: 99,
            reset_ms: 60_001,
            retry_after_ms: None,
        };
        let corrected = local.correct(own, QUOTA, 1_400);
        assert_eq!(
            (corrected.limit, corrected.remaining, corrected.reset_ms),
            (100, 45, 8_600)
        );
        let less = QuotaDecision { remaining: 3, ..own };
        assert_eq!(local.correct(less, QUOTA, 1_400), less);
    }

    /// What `lease.lua` does with one subject.
    #[derive(Default)]
    struct FakeRedis {
        minutes: BTreeMap<u64, u32>,
        hours: BTreeMap<u64, u32>,
        calls: usize,
    }

    impl FakeRedis {
        fn grant(&mut self, request: &LeaseRequest, now: Millis) -> LeaseGrant {
            self.calls += 1;
            let slots = LeaseSlots {
                minute: now / 1_000,
                hour: now / 60_000,
            };
            let life = lease_life(SPANS);
            for (log, slot) in [
                (&mut self.minutes, request.slots.minute),
                (&mut self.hours, request.slots.hour),
            ] {
                if request.returned > 0 {
                    *log.get_mut(&slot).unwrap() -= request.returned;
                }
            }
            self.minutes
                .retain(|slot, _| (slot + 1) * 1_000 + SPANS.minute + life > now);
            self.hours
                .retain(|slot, _| (slot + 1) * 60_000 + SPANS.hour + life > now);
            let left = |quota: u32, log: &BTreeMap<u64, u32>| {
                quota
                    .saturating_sub(log.values().sum())
                    .saturating_sub(request.unsynced)
            };
            let minute_left = left(request.quota.per_minute, &self.minutes);
            let hour_left = left(request.quota.per_hour, &self.hours);
            let granted = request.wanted.min(minute_left).min(hour_left);
            *self.minutes.entry(slots.minute).or_default() += granted + request.unsynced;
            *self.hours.entry(slots.hour).or_default() += granted + request.unsynced;
            LeaseGrant {
                granted,
                slots,
                minute_left: minute_left - granted,
                hour_left: hour_left - granted,
                minute_reset_ms: 1_000,
                hour_reset_ms: 1_000,
                retry_after_ms: 1_000,
            }
        }
    }

    /// Lets a subject make so many requests at once every two seconds for three minutes, as handle
    /// and actor treat them. What was refused, what Redis had counted after a minute, and how often
    /// it was called.
    fn every_two_seconds(burst: u32, quota: Quota) -> (u32, u32, usize) {
        let (mut local, mut redis) = (LocalQuota::default(), FakeRedis::default());
        let (mut refused, mut counted) = (0, 0);
        for now in (0..180_000).step_by(250) {
            loop {
                let request = local.request(0, quota, now);
                if request.returned == 0 {
                    break;
                }
                redis.grant(&request, now);
            }
            if now == 60_000 {
                counted = redis.minutes.values().sum();
            }
            for _ in 0..if now % 2_000 == 0 { burst } else { 0 } {
                if local.state(1, now) == LeaseState::Unknown || local.is_low(now, SPANS) {
                    let request = local.request(1, quota, now);
                    let grant = redis.grant(&request, now);
                    local.apply_grant(&request, grant, now, SPANS);
                }
                refused += u32::from(take(&mut local, now) != LeaseState::Held);
            }
        }
        (refused, counted, redis.calls)
    }

    #[test]
    fn who_stays_below_the_quota_gets_all_of_it() {
        let of = |per_minute| Quota {
            per_minute,
            per_hour: 10_000,
        };
        // One call for a lease and one to return the rest, each time.
        assert_eq!(every_two_seconds(1, of(50)), (0, 30, 180));
        assert_eq!(every_two_seconds(3, of(100)), (0, 90, 180));
        let (refused, counted, _) = every_two_seconds(6, of(200));
        assert_eq!((refused, counted), (0, 180));
        let (refused, ..) = every_two_seconds(4, of(100));
        assert!(refused > 0, "no more than the quota");
    }
}

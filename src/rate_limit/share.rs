//! What this node holds of a quota that is shared with other nodes: pure.
//!
//! A node does not ask for every request. It leases a slice of at most a twentieth of the quota for at most a fortieth of
//! the window (1.5 s of a minute), spends it without asking anybody, and asks for the next when half of it is spent. What
//! is left when the lease ends is given back; what a node that died had leased is counted as used until it leaves the
//! window. Where Redis has nothing left, that answer holds for [`REFUSAL`], so that who floods a node does not flood Redis.
//!
//! What was admitted while Redis could not be asked is told to it with the next question, so that a node does not begin
//! anew after an outage.

use super::window::{Decision, Millis, Quota, Spans};

/// Leases are so many times shorter than the window.
const LEASES_PER_WINDOW: u64 = 40;
/// A slice is at most this part of the quota.
const SLICES_PER_QUOTA: u32 = 20;
/// For how long a refusal of Redis is repeated without asking again.
const REFUSAL: Millis = 100;

/// How long a lease is good for.
pub(super) const fn lease_life(spans: Spans) -> Millis {
    let life = spans.minute / LEASES_PER_WINDOW;
    if life == 0 { 1 } else { life }
}

/// The slots that a lease was counted in, by Redis' clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Slots {
    pub(super) minute: u64,
    pub(super) hour: u64,
}

/// A question to Redis about one subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// What somebody waits for; 0 where something is only given back.
    pub(super) cost: u32,
    pub(super) wanted: u32,
    pub(super) quota: Quota,
    /// Admitted without a lease since the last question.
    pub(super) arrears: u32,
    pub(super) back: u32,
    pub(super) slots: Slots,
}

/// Redis' answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) granted: u32,
    pub(super) slots: Slots,
    pub(super) minute_left: u32,
    pub(super) hour_left: u32,
    pub(super) minute_reset_ms: Millis,
    pub(super) hour_reset_ms: Millis,
    pub(super) retry_after_ms: Millis,
}

/// What can be done with what is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It was taken from the lease.
    Held,
    /// There is nothing, and there will not be anything for so many milliseconds.
    Refused(Millis),
    /// Redis has to be asked.
    Unknown,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lease {
    left: u32,
    /// How much of `left` can be given back: none of what was left of an earlier slot.
    returnable: u32,
    slice: u32,
    slots: Slots,
    until: Millis,
}

/// What this node holds of one subject's quota.
#[derive(Debug, Default)]
pub(super) struct Share {
    lease: Lease,
    known: Grant,
    known_at: Millis,
    refused_until: Millis,
    asked_at: Option<Millis>,
    arrears: u32,
}

impl Share {
    /// Takes from the lease.
    pub(super) fn take(&mut self, cost: u32, now: Millis) -> Standing {
        if now < self.lease.until && self.lease.left >= cost {
            self.lease.left -= cost;
            return Standing::Held;
        }
        if now < self.refused_until {
            return Standing::Refused((self.known_at + self.known.retry_after_ms).saturating_sub(now).max(1));
        }
        Standing::Unknown
    }

    /// In how many milliseconds there will be something, where Redis has just said that there is nothing.
    pub(super) fn refused_for(&self, now: Millis) -> Option<Millis> {
        let has_lease = now < self.lease.until && self.lease.left > 0;
        let is_refused = !has_lease && now < self.refused_until;
        is_refused.then(|| (self.known_at + self.known.retry_after_ms).saturating_sub(now).max(1))
    }

    /// Puts back what was taken and then not used.
    pub(super) const fn put_back(&mut self, cost: u32) {
        self.lease.left += cost;
    }

    /// Whether the next slice should be asked for already: this one goes fast.
    pub(super) const fn is_low(&self, now: Millis, spans: Spans) -> bool {
        self.lease.left * 2 <= self.lease.slice && now + lease_life(spans) / 2 < self.lease.until
    }

    /// Notes that Redis is asked; false when it is being asked already. A question older than `patience` is lost.
    pub(super) fn may_ask(&mut self, now: Millis, patience: Millis) -> bool {
        if self.asked_at.is_some_and(|at| now < at + patience) {
            return false;
        }
        self.asked_at = Some(now);
        true
    }

    /// Something was admitted without a lease.
    pub(super) fn owe(&mut self, cost: u32, quota: Quota) {
        // More than the quota cannot be counted in a window anyway.
        self.arrears = (self.arrears + cost).min(quota.per_hour);
    }

    /// What to ask, with what there is to tell.
    pub(super) fn question(&mut self, cost: u32, quota: Quota, now: Millis) -> Question {
        let smallest = quota.per_minute.min(quota.per_hour);
        let (back, slots) = self.reclaim(now);
        Question {
            cost,
            wanted: if cost == 0 {
                0
            } else {
                cost.max(smallest / SLICES_PER_QUOTA)
            },
            quota,
            arrears: std::mem::take(&mut self.arrears),
            back,
            slots,
        }
    }

    /// What is left of a lease that has ended.
    pub(super) fn reclaim(&mut self, now: Millis) -> (u32, Slots) {
        if now < self.lease.until {
            return (0, Slots::default());
        }
        let lease = std::mem::take(&mut self.lease);
        (lease.left.min(lease.returnable), lease.slots)
    }

    /// Redis has answered a question that was asked at `asked_at`.
    pub(super) fn granted(
        &mut self,
        question: &Question,
        grant: Grant,
        (asked_at, now): (Millis, Millis),
        spans: Spans,
    ) {
        if question.wanted == 0 {
            // Something was given back: an answer, but to nobody.
            return;
        }
        self.asked_at = None;
        (self.known, self.known_at) = (grant, now);
        if grant.granted < question.cost {
            self.refused_until = now + grant.retry_after_ms.min(REFUSAL);
        }
        if grant.granted == 0 {
            return;
        }
        let until = asked_at + lease_life(spans);
        // What is left of the lease before ends with it, and so does all that is mixed with it.
        let (left, until) = if now < self.lease.until && self.lease.left > 0 {
            (self.lease.left, until.min(self.lease.until))
        } else {
            (0, until)
        };
        self.lease = Lease {
            left: left + grant.granted,
            returnable: grant.granted,
            slice: grant.granted,
            slots: grant.slots,
            until,
        };
    }

    /// A question was not answered: what it told is told again. What it gave back may have arrived, and is not.
    pub(super) fn failed(&mut self, question: &Question) {
        if question.wanted > 0 {
            self.asked_at = None;
        }
        self.arrears += question.arrears;
    }

    /// When there is nothing any more to give back.
    pub(super) const fn lease_until(&self) -> Millis {
        self.lease.until
    }

    /// A decision of this node, corrected by what is left on all of them.
    pub(super) fn correct(&self, own: Decision, quota: Quota, now: Millis) -> Decision {
        let minute_left = self.known.minute_left + self.lease.left;
        let hour_left = self.known.hour_left + self.lease.left;
        let age = now.saturating_sub(self.known_at);
        let (limit, remaining, reset_ms) = if hour_left < minute_left {
            (quota.per_hour, hour_left, self.known.hour_reset_ms)
        } else {
            (quota.per_minute, minute_left, self.known.minute_reset_ms)
        };
        if remaining > own.remaining {
            return own;
        }
        Decision {
            limit,
            remaining: remaining.min(limit),
            reset_ms: reset_ms.saturating_sub(age),
            ..own
        }
    }

    /// A refusal of Redis, repeated.
    pub(super) fn refusal(&self, retry_after_ms: Millis, quota: Quota, now: Millis) -> Decision {
        let own = Decision {
            limit: quota.per_minute,
            remaining: u32::MAX,
            reset_ms: retry_after_ms,
            retry_after_ms: Some(retry_after_ms),
        };
        Decision {
            remaining: 0,
            ..self.correct(own, quota, now)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPANS: Spans = Spans {
        minute: 60_000,
        hour: 3_600_000,
    };
    const QUOTA: Quota = Quota {
        per_minute: 100,
        per_hour: 1_000,
    };

    fn grant(granted: u32) -> Grant {
        Grant {
            granted,
            slots: Slots { minute: 7, hour: 1 },
            minute_left: 40,
            hour_left: 500,
            minute_reset_ms: 9_000,
            hour_reset_ms: 90_000,
            retry_after_ms: 0,
        }
    }

    #[test]
    fn a_slice_is_spent_without_asking_and_the_rest_given_back() {
        let mut share = Share::default();
        assert_eq!(share.take(1, 0), Standing::Unknown);
        assert!(
            share.may_ask(0, 100) && !share.may_ask(50, 100),
            "one question at a time"
        );
        assert!(share.may_ask(100, 100), "a lost question is asked again");
        let question = share.question(1, QUOTA, 100);
        assert_eq!((question.wanted, question.arrears, question.back), (5, 0, 0));
        share.granted(&question, grant(5), (100, 101), SPANS);
        assert_eq!(
            (share.take(1, 101), share.take(1, 102)),
            (Standing::Held, Standing::Held)
        );
        assert!(!share.is_low(102, SPANS));
        assert_eq!(share.take(1, 103), Standing::Held);
        assert!(
            share.is_low(103, SPANS) && !share.is_low(1_000, SPANS),
            "only what goes fast is renewed early"
        );
        assert_eq!(share.take(1, 1_600), Standing::Unknown, "the lease has ended");
        let question = share.question(0, QUOTA, 1_600);
        assert_eq!(
            (question.wanted, question.back, question.slots),
            (0, 2, Slots { minute: 7, hour: 1 })
        );
        assert_eq!(share.question(1, QUOTA, 1_600).back, 0, "given back once");
    }

    #[test]
    fn a_mixed_lease_ends_with_its_oldest_part_and_returns_only_its_own() {
        let mut share = Share::default();
        let question = share.question(1, QUOTA, 0);
        share.granted(&question, grant(5), (0, 1), SPANS);
        for _ in 0..3 {
            share.take(1, 2);
        }
        share.granted(&question, grant(5), (100, 101), SPANS);
        assert_eq!(share.lease.left, 7);
        assert_eq!(share.lease_until(), 1_500);
        assert_eq!(share.reclaim(1_500).0, 5);
    }

    #[test]
    fn a_refusal_holds_for_a_moment_and_is_honest() {
        let mut share = Share::default();
        let nothing = Grant {
            minute_left: 0,
            retry_after_ms: 30_000,
            ..grant(0)
        };
        let question = share.question(1, QUOTA, 0);
        share.granted(&question, nothing, (0, 10), SPANS);
        assert_eq!(share.take(1, 60), Standing::Refused(29_950));
        let refusal = share.refusal(29_950, QUOTA, 60);
        assert_eq!((refusal.limit, refusal.remaining, refusal.reset_ms), (100, 0, 8_950));
        assert_eq!(
            share.take(1, 110),
            Standing::Unknown,
            "others may have given something back"
        );
    }

    #[test]
    fn what_was_admitted_alone_is_told_and_told_again_when_unheard() {
        let mut share = Share::default();
        for _ in 0..7 {
            share.owe(1, QUOTA);
        }
        let question = share.question(1, QUOTA, 0);
        assert_eq!(question.arrears, 7);
        share.failed(&question);
        share.owe(1, QUOTA);
        assert_eq!(share.question(1, QUOTA, 1).arrears, 8);
        assert_eq!(share.question(1, QUOTA, 1).arrears, 0);
        share.owe(5_000, QUOTA);
        assert_eq!(share.question(1, QUOTA, 1).arrears, 1_000);
    }

    #[test]
    fn what_others_used_is_in_the_answer() {
        let mut share = Share::default();
        let question = share.question(1, QUOTA, 0);
        share.granted(&question, grant(5), (0, 1_000), SPANS);
        let own = Decision {
            limit: 100,
            remaining: 99,
            reset_ms: 60_001,
            retry_after_ms: None,
        };
        let corrected = share.correct(own, QUOTA, 2_000);
        assert_eq!(
            (corrected.limit, corrected.remaining, corrected.reset_ms),
            (100, 45, 8_000)
        );
        let less = Decision { remaining: 3, ..own };
        assert_eq!(share.correct(less, QUOTA, 2_000), less);
    }
}

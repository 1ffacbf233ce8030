//! What this node holds of a quota that is shared with other nodes: pure.
//!
//! A node does not ask for every request. It leases a slice of a twentieth of the quota, or what all who wait need, for at
//! most a fortieth of the window (1.5 s of a minute), spends it without asking anybody, and asks for the next when half of
//! it is spent, unless it is small (`lease.rs`). What is left when the lease ends is given back; what a node that died had
//! leased is counted as used until it leaves the window. Where Redis has nothing left, that answer holds for [`REFUSAL`], so
//! that who floods a node does not flood Redis.
//!
//! What was admitted while Redis could not be asked is told to it when it can, so that a node does not begin anew after an
//! outage.

use super::lease::{Lease, Slots};
use super::window::{Decision, Millis, Quota, Spans};

/// Leases are so many times shorter than the window.
const LEASES_PER_WINDOW: u64 = 40;
/// A slice is this part of the quota, where nobody needs more.
const SLICES_PER_QUOTA: u32 = 20;
/// For how long a refusal of Redis is repeated without asking again.
const REFUSAL: Millis = 100;

/// How long a lease is good for.
pub(super) const fn lease_life(spans: Spans) -> Millis {
    let life = spans.minute / LEASES_PER_WINDOW;
    if life == 0 { 1 } else { life }
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
    /// It can be taken from the lease.
    Held,
    /// There is nothing, and there will not be anything for so many milliseconds.
    Refused(Millis),
    /// Redis has to be asked.
    Unknown,
}

/// What this node holds of one subject's quota.
#[derive(Debug, Default)]
pub(super) struct Share {
    lease: Lease,
    known: Grant,
    known_at: Millis,
    refused_until: Millis,
    asked_at: Option<Millis>,
    /// What those who wait for an answer need together.
    waiting: u32,
    /// Until when Redis is not asked about this subject, because it was not heard in time.
    alone_until: Millis,
    arrears: u32,
}

impl Share {
    /// What can be done about a request; what it costs is taken by [`Self::spend`].
    pub(super) fn standing(&self, cost: u32, now: Millis) -> Standing {
        if self.lease.live(now) >= cost {
            return Standing::Held;
        }
        if now < self.refused_until {
            return Standing::Refused((self.known_at + self.known.retry_after_ms).saturating_sub(now).max(1));
        }
        Standing::Unknown
    }

    /// Takes from what is held.
    pub(super) fn spend(&mut self, cost: u32, now: Millis) {
        self.lease.spend(cost, now);
    }

    /// In how many milliseconds there will be something, where Redis has just said that there is nothing.
    pub(super) fn refused_for(&self, now: Millis) -> Option<Millis> {
        let is_refused = self.lease.live(now) == 0 && now < self.refused_until;
        is_refused.then(|| (self.known_at + self.known.retry_after_ms).saturating_sub(now).max(1))
    }

    /// Whether the next slice should be asked for already.
    pub(super) const fn is_low(&self, now: Millis, spans: Spans) -> bool {
        self.lease.is_low(now, lease_life(spans))
    }

    /// Notes that Redis is asked; false when it is being asked already. A question older than `patience` is lost.
    pub(super) fn may_ask(&mut self, now: Millis, patience: Millis) -> bool {
        if self.asked_at.is_some_and(|at| now < at + patience) {
            return false;
        }
        self.asked_at = Some(now);
        true
    }

    /// The question could not be put after all: the next who needs it asks.
    pub(super) const fn was_not_asked(&mut self) {
        self.asked_at = None;
    }

    /// Somebody waits for the answer.
    pub(super) const fn wait(&mut self, cost: u32) {
        self.waiting = self.waiting.saturating_add(cost);
    }

    /// Somebody has waited in vain. If the question was not heard, the next need not wait as long; if others were quicker
    /// with the answers, all is well with Redis.
    pub(super) fn was_late(&mut self, now: Millis, patience: Millis, alone: Millis) {
        if self.asked_at.is_some_and(|at| now >= at + patience) {
            (self.waiting, self.alone_until) = (0, now + alone);
        }
    }

    /// Whether this node counts alone for a while.
    pub(super) const fn is_alone(&self, now: Millis) -> bool {
        now < self.alone_until
    }

    /// Something was admitted without a lease. Whether it is the first that has to be told.
    pub(super) fn owe(&mut self, cost: u32, quota: Quota) -> bool {
        let is_first = self.arrears == 0;
        // More than the quota cannot be counted in a window anyway.
        self.arrears = (self.arrears + cost).min(quota.per_hour);
        is_first
    }

    /// What to ask, with what there is to tell.
    pub(super) fn question(&mut self, cost: u32, quota: Quota, now: Millis) -> Question {
        let smallest = quota.per_minute.min(quota.per_hour);
        let (back, slots) = if cost == 0 {
            self.lease.reclaim(now)
        } else {
            self.lease.make_room(now)
        };
        Question {
            cost,
            wanted: if cost == 0 {
                0
            } else {
                cost.max(smallest / SLICES_PER_QUOTA).max(self.waiting.min(smallest))
            },
            quota,
            arrears: std::mem::take(&mut self.arrears),
            back,
            slots,
        }
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
        (self.asked_at, self.waiting, self.alone_until) = (None, 0, 0);
        (self.known, self.known_at) = (grant, now);
        if grant.granted < question.cost {
            self.refused_until = now + grant.retry_after_ms.min(REFUSAL);
        }
        if grant.granted > 0 {
            self.lease.add(grant.granted, grant.slots, asked_at + lease_life(spans));
        }
    }

    /// A question was not answered: what it told is told again. What it gave back may have arrived, and is not. Until
    /// `alone_until` this node counts alone.
    pub(super) fn failed(&mut self, question: &Question, alone_until: Millis) {
        if question.wanted > 0 {
            (self.asked_at, self.waiting, self.alone_until) = (None, 0, alone_until);
        }
        self.arrears += question.arrears;
    }

    /// When the newest slice can be given back.
    pub(super) const fn lease_until(&self) -> Millis {
        self.lease.until()
    }

    /// A decision of this node, corrected by what is left on all of them.
    pub(super) fn correct(&self, own: Decision, quota: Quota, now: Millis) -> Decision {
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
    use std::collections::BTreeMap;

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

    /// Takes one, if there is one.
    fn take(share: &mut Share, now: Millis) -> Standing {
        let standing = share.standing(1, now);
        if standing == Standing::Held {
            share.spend(1, now);
        }
        standing
    }

    #[test]
    fn a_slice_is_spent_without_asking_and_the_rest_given_back() {
        let mut share = Share::default();
        assert_eq!(take(&mut share, 0), Standing::Unknown);
        assert!(
            share.may_ask(0, 100) && !share.may_ask(50, 100),
            "one question at a time"
        );
        assert!(share.may_ask(100, 100), "a lost question is asked again");
        let twice = Quota {
            per_minute: 200,
            ..QUOTA
        };
        let question = share.question(1, twice, 100);
        assert_eq!((question.wanted, question.arrears, question.back), (10, 0, 0));
        share.granted(&question, grant(10), (100, 101), SPANS);
        for now in 101..105 {
            assert_eq!(take(&mut share, now), Standing::Held);
        }
        assert!(!share.is_low(105, SPANS));
        assert_eq!(take(&mut share, 105), Standing::Held);
        assert!(
            share.is_low(105, SPANS) && !share.is_low(1_000, SPANS),
            "only what goes fast is renewed early"
        );
        assert_eq!(take(&mut share, 1_600), Standing::Unknown, "the lease has ended");
        let question = share.question(0, QUOTA, 1_600);
        assert_eq!(
            (question.wanted, question.back, question.slots),
            (0, 5, Slots { minute: 7, hour: 1 })
        );
        assert_eq!(share.question(1, QUOTA, 1_600).back, 0, "given back once");
    }

    #[test]
    fn two_slices_are_held_and_each_is_given_back_to_its_slots() {
        let mut share = Share::default();
        let slots = |minute| Slots { minute, hour: 1 };
        for (at, minute) in [(0, 7), (1_100, 8)] {
            let question = share.question(1, QUOTA, at);
            assert_eq!(question.back, 0);
            let grant = Grant {
                slots: slots(minute),
                ..grant(5)
            };
            share.granted(&question, grant, (at, at), SPANS);
            take(&mut share, at);
        }
        // The older was spent first; it ends first, too.
        let given_back = |share: &mut Share, now| {
            let question = share.question(0, QUOTA, now);
            (question.back, question.slots)
        };
        assert_eq!(given_back(&mut share, 1_499).0, 0);
        assert_eq!(given_back(&mut share, 1_500), (3, slots(7)));
        assert_eq!(given_back(&mut share, 2_599).0, 0);
        assert_eq!(given_back(&mut share, 2_600), (5, slots(8)));
        assert_eq!(given_back(&mut share, 2_600).0, 0);
    }

    #[test]
    fn who_holds_two_slices_and_asks_for_more_gives_one_back_with_the_question() {
        let mut share = Share::default();
        for at in [0, 10] {
            let question = share.question(1, QUOTA, at);
            share.granted(&question, grant(5), (at, at), SPANS);
        }
        let question = share.question(12, QUOTA, 20);
        assert_eq!((question.wanted, question.back), (12, 5));
        share.granted(&question, grant(12), (20, 20), SPANS);
        assert_eq!(share.standing(17, 20), Standing::Held);
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
        assert_eq!(share.standing(1, 60), Standing::Refused(29_950));
        let refusal = share.refusal(29_950, QUOTA, 60);
        assert_eq!((refusal.limit, refusal.remaining, refusal.reset_ms), (100, 0, 8_950));
        assert_eq!(
            share.standing(1, 110),
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
        share.failed(&question, 0);
        share.owe(1, QUOTA);
        assert_eq!(share.question(1, QUOTA, 1).arrears, 8);
        assert_eq!(share.question(1, QUOTA, 1).arrears, 0);
        share.owe(5_000, QUOTA);
        assert_eq!(share.question(1, QUOTA, 1).arrears, 1_000);
    }

    #[test]
    fn a_slice_is_large_enough_for_all_who_wait() {
        let mut share = Share::default();
        for _ in 0..12 {
            share.wait(1);
        }
        let question = share.question(1, QUOTA, 0);
        assert_eq!(question.wanted, 12);
        share.granted(&question, grant(12), (0, 1), SPANS);
        assert_eq!(share.question(1, QUOTA, 2).wanted, 5, "nobody waits any more");
        share.wait(5_000);
        assert_eq!(share.question(1, QUOTA, 2).wanted, 100);
    }

    #[test]
    fn only_who_was_not_heard_goes_on_alone() {
        let mut share = Share::default();
        assert!(share.may_ask(0, 100));
        share.was_not_asked();
        assert!(share.may_ask(50, 100), "what could not be put is put by the next");
        share.was_late(100, 100, 250);
        assert!(!share.is_alone(100), "this question may still be answered in time");
        share.was_late(150, 100, 250);
        assert!(share.is_alone(399) && !share.is_alone(400));
        let question = share.question(1, QUOTA, 150);
        share.granted(&question, grant(5), (150, 151), SPANS);
        assert!(!share.is_alone(152), "it was heard after all");
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
        let corrected = share.correct(own, QUOTA, 1_400);
        assert_eq!(
            (corrected.limit, corrected.remaining, corrected.reset_ms),
            (100, 45, 8_600)
        );
        let less = Decision { remaining: 3, ..own };
        assert_eq!(share.correct(less, QUOTA, 1_400), less);
    }

    /// What `lease.lua` does with one subject.
    #[derive(Default)]
    struct Lender {
        minutes: BTreeMap<u64, u32>,
        hours: BTreeMap<u64, u32>,
        asked: usize,
    }

    impl Lender {
        fn answer(&mut self, question: &Question, now: Millis) -> Grant {
            self.asked += 1;
            let slots = Slots {
                minute: now / 1_000,
                hour: now / 60_000,
            };
            let life = lease_life(SPANS);
            for (log, slot) in [
                (&mut self.minutes, question.slots.minute),
                (&mut self.hours, question.slots.hour),
            ] {
                if question.back > 0 {
                    *log.get_mut(&slot).unwrap() -= question.back;
                }
            }
            self.minutes
                .retain(|slot, _| (slot + 1) * 1_000 + SPANS.minute + life > now);
            self.hours
                .retain(|slot, _| (slot + 1) * 60_000 + SPANS.hour + life > now);
            let left = |quota: u32, log: &BTreeMap<u64, u32>| {
                quota
                    .saturating_sub(log.values().sum())
                    .saturating_sub(question.arrears)
            };
            let minute_left = left(question.quota.per_minute, &self.minutes);
            let hour_left = left(question.quota.per_hour, &self.hours);
            let granted = question.wanted.min(minute_left).min(hour_left);
            *self.minutes.entry(slots.minute).or_default() += granted + question.arrears;
            *self.hours.entry(slots.hour).or_default() += granted + question.arrears;
            Grant {
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

    /// Lets a subject make so many requests at once every two seconds for three minutes, as handle and supervisor treat
    /// them; gives what was refused, what Redis had counted after a minute, and how often it was asked.
    fn every_two_seconds(burst: u32, quota: Quota) -> (u32, u32, usize) {
        let (mut share, mut lender) = (Share::default(), Lender::default());
        let (mut refused, mut counted) = (0, 0);
        for now in (0..180_000).step_by(250) {
            loop {
                let question = share.question(0, quota, now);
                if question.back == 0 {
                    break;
                }
                lender.answer(&question, now);
            }
            if now == 60_000 {
                counted = lender.minutes.values().sum();
            }
            for _ in 0..if now % 2_000 == 0 { burst } else { 0 } {
                if share.standing(1, now) == Standing::Unknown || share.is_low(now, SPANS) {
                    let question = share.question(1, quota, now);
                    let grant = lender.answer(&question, now);
                    share.granted(&question, grant, (now, now), SPANS);
                }
                refused += u32::from(take(&mut share, now) != Standing::Held);
            }
        }
        (refused, counted, lender.asked)
    }

    #[test]
    fn who_stays_below_the_quota_gets_all_of_it() {
        let of = |per_minute| Quota {
            per_minute,
            per_hour: 10_000,
        };
        // Asked once and told once what was left, each time.
        assert_eq!(every_two_seconds(1, of(50)), (0, 30, 180));
        assert_eq!(every_two_seconds(3, of(100)), (0, 90, 180));
        let (refused, counted, _) = every_two_seconds(6, of(200));
        assert_eq!((refused, counted), (0, 180));
        let (refused, ..) = every_two_seconds(4, of(100));
        assert!(refused > 0, "no more than the quota");
    }
}

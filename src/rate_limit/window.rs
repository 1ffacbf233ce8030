//! How much one subject has used, in two sliding windows. Pure.
//!
//! Both windows are logs of what was admitted. Each entry has the last moment at which it can have
//! happened. The log of the minute is exact to the millisecond. That of the hour is kept in slots
//! of a second, and a slot leaves as a whole with the last that is in it: so the hour is never
//! exceeded, and what is said of it is true to the second.
//!
//! Why not simpler: a fixed window that starts anew lets twice the quota through around its
//! boundary. A token bucket lets the burst and the refill through together. The price is to
//! remember each request of the last minute.
//!
//! Bounds: the log of the minute has at most as many entries as its quota (and one for each
//! millisecond), that of the hour as its quota, and at most 3,601. Nothing is remembered of what was refused. The quota
//! is an argument of every check, so a changed tier counts at once, with what was used before.

use std::collections::VecDeque;

/// Milliseconds of a clock that does not go back; where it began does not matter.
pub type Millis = u64;

/// Into how many slots the long window is cut. At most one of them is given away.
const SLOTS: u64 = 3_600;

/// What may be used in two windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// In any minute; at least 1.
    pub per_minute: u32,
    /// In any hour; at least 1.
    pub per_hour: u32,
}

/// How long the windows are. A minute and an hour; tests take shorter ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spans {
    pub minute: Millis,
    /// At least as long as `minute`.
    pub hour: Millis,
}

/// Whether a request is admitted, and what is left in the window that has less left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaDecision {
    /// The quota of that window.
    pub limit: u32,
    /// What is left of it after this request.
    pub remaining: u32,
    /// In how many milliseconds the oldest counted request leaves it.
    pub reset_ms: Millis,
    /// `None`: admitted. Otherwise in how many milliseconds the same request will be, if nothing
    /// else is meanwhile.
    pub retry_after_ms: Option<Millis>,
}

impl QuotaDecision {
    #[must_use]
    pub const fn is_admitted(&self) -> bool {
        self.retry_after_ms.is_none()
    }
}

/// What was admitted within one window.
#[derive(Clone, Debug, Default)]
struct Log {
    /// The last moment at which something can have been admitted, and how much was; ascending.
    entries: VecDeque<(Millis, u32)>,
    total: u32,
}

impl Log {
    /// Removes what has left the window: what lies back by more than its length.
    fn prune(&mut self, now: Millis, window: Millis) {
        while let Some((at, count)) = self.entries.front()
            && leaves(*at, window) <= now
        {
            self.total -= count;
            self.entries.pop_front();
        }
        if self.entries.is_empty() {
            self.entries.shrink_to(4);
        }
    }

    /// Adds to the entry of the same slot, if there is one: that leaves with the last of it.
    fn add(&mut self, at: Millis, count: u32, slot: Millis) {
        self.total += count;
        match self.entries.back_mut() {
            // Also when `at` lies before it: two threads checked in another order than they looked
            // at the clock.
            Some((last, known)) if at / slot <= *last / slot => {
                *last = at.max(*last);
                *known += count;
            }
            _ => self.entries.push_back((at, count)),
        }
    }

    /// When there is room for `cost`.
    fn free_at(&self, cost: u32, limit: u32, now: Millis, window: Millis) -> Millis {
        let mut excess = (self.total + cost).saturating_sub(limit);
        for (at, count) in &self.entries {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(*count);
            if excess == 0 {
                return leaves(*at, window);
            }
        }
        now
    }

    fn oldest_leaves(&self, now: Millis, window: Millis) -> Millis {
        self.entries.front().map_or(now, |(at, _)| leaves(*at, window))
    }
}

/// The first moment that is more than `window` after `at`, wherever in its millisecond either of
/// them was.
const fn leaves(at: Millis, window: Millis) -> Millis {
    at + window + 1
}

/// How long a slot of the long window is.
const fn slot_of(window: Millis) -> Millis {
    if window < SLOTS { 1 } else { window / SLOTS }
}

/// What one subject has used.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    minute: Log,
    hour: Log,
}

impl Window {
    /// Admits `cost` requests at once, or refuses them and counts nothing. A cost beyond the whole
    /// quota is the whole quota.
    pub(super) fn check(&mut self, cost: u32, now: Millis, quota: Quota, spans: Spans) -> QuotaDecision {
        self.prune(now, spans);
        let cost = cost.min(quota.per_minute).min(quota.per_hour);
        let minute_free_at = self.minute.free_at(cost, quota.per_minute, now, spans.minute);
        let hour_free_at = self.hour.free_at(cost, quota.per_hour, now, spans.hour);
        let free_at = minute_free_at.max(hour_free_at);
        if free_at > now {
            return QuotaDecision {
                retry_after_ms: Some(free_at - now),
                ..self.state(now, quota, spans)
            };
        }
        self.minute.add(now, cost, 1);
        self.hour.add(now, cost, slot_of(spans.hour));
        self.state(now, quota, spans)
    }

    /// The refusal that one request would get now; counts nothing.
    pub(super) fn refusal(&mut self, now: Millis, quota: Quota, spans: Spans) -> Option<QuotaDecision> {
        self.prune(now, spans);
        let minute_free_at = self.minute.free_at(1, quota.per_minute, now, spans.minute);
        let free_at = minute_free_at.max(self.hour.free_at(1, quota.per_hour, now, spans.hour));
        (free_at > now).then(|| QuotaDecision {
            retry_after_ms: Some(free_at - now),
            ..self.state(now, quota, spans)
        })
    }

    /// Where it stands, as if something free had been admitted.
    fn state(&self, now: Millis, quota: Quota, spans: Spans) -> QuotaDecision {
        let minute_left = quota.per_minute.saturating_sub(self.minute.total);
        let hour_left = quota.per_hour.saturating_sub(self.hour.total);
        let (limit, remaining, reset_at) = if hour_left < minute_left {
            (quota.per_hour, hour_left, self.hour.oldest_leaves(now, spans.hour))
        } else {
            let reset_at = self.minute.oldest_leaves(now, spans.minute);
            (quota.per_minute, minute_left, reset_at)
        };
        QuotaDecision {
            limit,
            remaining,
            reset_ms: reset_at.saturating_sub(now),
            retry_after_ms: None,
        }
    }

    /// Whether nothing is counted any more, so that it can be removed.
    pub(super) fn is_idle(&mut self, now: Millis, spans: Spans) -> bool {
        self.prune(now, spans);
        self.hour.entries.is_empty() && self.minute.entries.is_empty()
    }

    fn prune(&mut self, now: Millis, spans: Spans) {
        self.minute.prune(now, spans.minute);
        self.hour.prune(now, spans.hour);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SPANS: Spans = Spans {
        minute: 60_000,
        hour: 3_600_000,
    };

    const fn quota(per_minute: u32, per_hour: u32) -> Quota {
        Quota { per_minute, per_hour }
    }

    #[test]
    fn the_minute_slides_and_says_when_to_come_back() {
        let (mut window, quota) = (Window::default(), quota(3, 100));
        let mut at = |now| window.check(1, now, quota, SPANS);
        assert_eq!((at(0).remaining, at(10_000).remaining, at(20_000).remaining), (2, 1, 0));
        let refused = at(30_000);
        assert_eq!((refused.limit, refused.remaining), (3, 0));
        assert_eq!((refused.reset_ms, refused.retry_after_ms), (30_001, Some(30_001)));
        assert!(
            !at(60_000).is_admitted(),
            "a minute later, but less than a whole one for all we know"
        );
        assert!(at(60_001).is_admitted());
        assert_eq!(at(60_001).retry_after_ms, Some(10_000));
    }

    #[test]
    fn the_hour_is_reported_when_less_of_it_is_left() {
        let (mut window, quota) = (Window::default(), quota(10, 12));
        for n in 0..10 {
            assert_eq!(window.check(1, 0, quota, SPANS).remaining, 9 - n);
        }
        let later = window.check(1, 60_001, quota, SPANS);
        assert_eq!((later.limit, later.remaining), (12, 1));
        assert_eq!(later.reset_ms, 3_540_000);
        assert!(window.check(1, 60_001, quota, SPANS).is_admitted());
        let refused = window.check(1, 60_001, quota, SPANS);
        assert_eq!(
            refused.retry_after_ms,
            Some(3_540_000),
            "an hour after the first, and no longer"
        );
        assert!(!window.check(1, 3_600_000, quota, SPANS).is_admitted());
        assert!(window.check(1, 3_600_001, quota, SPANS).is_admitted());
    }

    #[test]
    fn a_changed_quota_counts_what_was_used_before() {
        let mut window = Window::default();
        assert!(window.check(80, 0, quota(100, 1_000), SPANS).is_admitted());
        let less = window.check(1, 1_000, quota(50, 1_000), SPANS);
        assert_eq!((less.limit, less.remaining, less.retry_after_ms), (50, 0, Some(59_001)));
        let more = window.check(1, 1_000, quota(200, 1_000), SPANS);
        assert_eq!((more.remaining, more.retry_after_ms), (119, None));
    }

    #[test]
    fn what_costs_too_much_costs_everything() {
        let mut window = Window::default();
        assert!(window.check(500, 0, quota(10, 20), SPANS).is_admitted());
        assert!(!window.check(1, 30_000, quota(10, 20), SPANS).is_admitted());
    }

    #[test]
    fn nothing_idle_is_kept() {
        let (mut window, quota) = (Window::default(), quota(5, 100));
        assert!(window.is_idle(0, SPANS));
        window.check(1, 30, quota, SPANS);
        assert!(!window.is_idle(60_031, SPANS), "the hour still counts it");
        assert!(window.is_idle(3_660_001, SPANS));
    }

    #[test]
    fn memory_is_bounded_by_the_quota() {
        // A second of the hour is one entry, however much is in it.
        let (mut window, quota) = (Window::default(), quota(50, 1_000));
        for now in 0..200_000 {
            window.check(1, now, quota, SPANS);
            assert!(window.minute.entries.len() <= 50 && window.hour.entries.len() <= 201);
        }
    }

    /// Short windows, so that a few hundred steps pass through them often.
    const SHORT: Spans = Spans {
        minute: 600,
        hour: 6_000,
    };

    proptest! {
        #[test]
        fn never_more_than_the_quota_in_any_window_and_hardly_less(
            steps in proptest::collection::vec((0_u64..120, 1_u32..4), 1..600),
            per_minute in 1_u32..30,
            per_hour in 20_u32..120,
        ) {
            let quota = quota(per_minute, per_hour);
            let (mut window, mut now) = (Window::default(), 5);
            // The naive model: everything that was ever admitted.
            let mut admitted: Vec<(Millis, u32)> = Vec::new();
            let used = |admitted: &[(Millis, u32)], now: Millis, span: Millis| -> u32 {
                admitted.iter().filter(|(at, _)| at + span >= now).map(|(_, cost)| cost).sum()
            };
            for (pause, cost) in steps {
                now += pause;
                let cost = cost.min(per_minute).min(per_hour);
                let minute_fits = used(&admitted, now, SHORT.minute) + cost <= per_minute;
                let decision = window.check(cost, now, quota, SHORT);
                if decision.is_admitted() {
                    prop_assert!(minute_fits, "the minute is exact");
                    admitted.push((now, cost));
                    prop_assert!(used(&admitted, now, SHORT.hour) <= per_hour, "the hour is never exceeded");
                } else {
                    // One slot is the most that the hour is ahead of the truth.
                    let slot = SHORT.hour / SLOTS;
                    let hour_fits = used(&admitted, now, SHORT.hour + slot) + cost <= per_hour;
                    prop_assert!(!(minute_fits && hour_fits), "refused without need");
                    // And what it says about coming back is true.
                    let later = now + decision.retry_after_ms.unwrap();
                    prop_assert!(window.clone().check(cost, later, quota, SHORT).is_admitted());
                    prop_assert!(!window.clone().check(cost, later - 1, quota, SHORT).is_admitted());
                }
                prop_assert!(decision.remaining <= decision.limit);
            }
            for (start, _) in &admitted {
                let in_minute: u32 =
                    admitted.iter().filter(|(at, _)| (*start..=start + SHORT.minute).contains(at)).map(|(_, n)| n).sum();
                let in_hour: u32 =
                    admitted.iter().filter(|(at, _)| (*start..=start + SHORT.hour).contains(at)).map(|(_, n)| n).sum();
                prop_assert!(in_minute <= per_minute && in_hour <= per_hour, "{in_minute} {in_hour}");
            }
        }
    }
}

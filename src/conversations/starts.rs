//! Which conversations may begin to be active, and for whom.
//!
//! A start costs a task, a place in memory and three queries, and anybody can ask for one by a made-up
//! id. So each user has a budget of starts, over all sockets and routes: [`STARTS`]. One that turns out
//! not to exist costs [`MISS_COST`] of them, and is remembered for [`MISS_KEPT`], so that asking again
//! costs nothing at all. What is remembered cannot come into being meanwhile: the server makes the ids.
//!
//! Used by `slot_table.rs`. Bounds: those of the budget, and [`MISSES_MAX`] misses; then the oldest is
//! forgotten. Beyond the budget a user gets `rate_limited`, with the time to wait. Loading itself is
//! done in turns (`lifecycle.rs`).

use super::error::Error;
use crate::auth::Access;
use crate::error::Code;
use crate::fairness::{Claimant, HeldBackReport, SpendingBudget, SpendingRate};
use crate::ids::{ConversationId, TenantId, UserId};
use crate::metrics::{HeldBack, SharedResource};
use parking_lot::Mutex;
use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

/// Starts of a user: as many at once as two connections can subscribe to, and 20 a second for any
/// length of time.
const STARTS: SpendingRate = SpendingRate {
    per_second: 20,
    burst: 400,
};
/// What asking for a conversation that does not exist costs, besides the start.
const MISS_COST: u32 = 9;
/// For how long it is remembered that a conversation does not exist.
const MISS_KEPT: Duration = Duration::from_secs(1);
/// Conversations of which that is remembered.
const MISSES_MAX: usize = 4_096;

/// For whom a conversation is started.
pub(super) type Starter = Claimant<TenantId, UserId>;

/// The user who asks for it.
pub(super) const fn starter(access: &Access) -> Starter {
    Claimant {
        group: access.tenant_id,
        member: access.user_id,
    }
}

#[derive(Debug)]
pub(super) struct Starts {
    /// `None` when limits are off.
    budget: Option<Mutex<SpendingBudget<UserId>>>,
    misses: Mutex<RecentMisses>,
    report: HeldBackReport,
}

impl Starts {
    pub(super) fn new(is_limited: bool) -> Self {
        Self {
            budget: is_limited.then(|| Mutex::new(SpendingBudget::new(STARTS))),
            misses: Mutex::default(),
            report: HeldBackReport::new(SharedResource::ConversationStarts),
        }
    }

    /// Admits a start, or says why not.
    ///
    /// # Errors
    /// `not_found` for what was missed a moment ago, [`Error::StartsSpent`].
    pub(super) fn admit(&self, id: ConversationId, starter: Starter, now: Instant) -> Result<(), Error> {
        if self.misses.lock().contains(id, now) {
            return Err(Error::Refused(Code::NotFound, Code::NotFound.text()));
        }
        let Some(budget) = &self.budget else { return Ok(()) };
        let spent = budget.lock().spend(starter.member, 1, now);
        spent.map_err(|wait| {
            self.report.refused(HeldBack::Refused, &starter.group, &starter.member);
            Error::StartsSpent(wait)
        })
    }

    /// A conversation that was started does not exist.
    pub(super) fn missed(&self, id: ConversationId, starter: Starter, now: Instant) {
        self.misses.lock().note(id, now);
        if let Some(budget) = &self.budget {
            budget.lock().charge(starter.member, MISS_COST, now);
        }
    }
}

/// Conversations that did not exist a moment ago. Pure.
#[derive(Debug, Default)]
struct RecentMisses {
    known: HashSet<ConversationId>,
    /// The same, oldest first.
    noted: VecDeque<(Instant, ConversationId)>,
}

impl RecentMisses {
    fn contains(&mut self, id: ConversationId, now: Instant) -> bool {
        self.forget_old(now);
        self.known.contains(&id)
    }

    fn note(&mut self, id: ConversationId, now: Instant) {
        self.forget_old(now);
        if self.known.insert(id) {
            self.noted.push_back((now, id));
        }
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some((at, id)) = self.noted.front()
            && (now.duration_since(*at) >= MISS_KEPT || self.noted.len() > MISSES_MAX)
        {
            self.known.remove(id);
            self.noted.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn somebody() -> Starter {
        Claimant {
            group: TenantId::new(),
            member: UserId::new(),
        }
    }

    #[test]
    fn a_miss_is_remembered_for_a_second() {
        let (starts, user, start) = (Starts::new(true), somebody(), Instant::now());
        let id = ConversationId::new();
        starts.admit(id, user, start).unwrap();
        starts.missed(id, user, start);
        let again = starts.admit(id, somebody(), start + Duration::from_millis(999));
        assert_eq!(again.unwrap_err().code(), Code::NotFound);
        assert!(starts.admit(id, user, start + MISS_KEPT).is_ok());
    }

    #[test]
    fn made_up_ids_are_soon_at_an_end_and_others_are_not_concerned() {
        let (starts, user, start) = (Starts::new(true), somebody(), Instant::now());
        let mut tried = 0;
        while starts.admit(ConversationId::new(), user, start).is_ok() {
            tried += 1;
            starts.missed(ConversationId::new(), user, start);
        }
        assert_eq!(tried, 40);
        assert!((0..400).all(|_| starts.admit(ConversationId::new(), somebody(), start).is_ok()));
        let code = starts.admit(ConversationId::new(), user, start).unwrap_err().code();
        assert_eq!(code, Code::RateLimited);
    }

    #[test]
    fn remembered_misses_have_a_bound() {
        let (mut misses, start) = (RecentMisses::default(), Instant::now());
        for _ in 0..MISSES_MAX + 100 {
            misses.note(ConversationId::new(), start);
        }
        let after = misses.contains(ConversationId::new(), start);
        assert!(!after && misses.noted.len() == MISSES_MAX && misses.known.len() == MISSES_MAX);
        misses.contains(ConversationId::new(), start + MISS_KEPT);
        assert!(misses.noted.is_empty() && misses.known.is_empty());
    }
}

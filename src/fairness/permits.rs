//! Permits for a shared thing, given in turns: the shell around `turns.rs`.
//!
//! [`FairPermits::acquire`] waits for a permit. Dropping the permit charges the microseconds that it
//! was held, and gives the next ones. No task runs for it: whoever asks, gives back or goes away does
//! the work, under a short lock.
//!
//! Used by every room that shares something between tenants. Bounds: [`TurnLimits`]. Who is beyond
//! gets [`Beyond`] at once; who is displaced by others, when that happens. Who stops waiting is
//! taken out of the queue.

use super::held_back::HeldBackReport;
use super::turns::{Admitted, Claimant, ShareKey, TurnLimits, Turns};
use crate::metrics::{HeldBack, SharedResource};
use parking_lot::Mutex;
use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The claimant has more than their share waiting, or waited too long: nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("beyond one's share, while others wait")]
pub struct Beyond;

/// A shared thing, used in turns. Cheap to clone.
pub struct FairPermits<G: ShareKey, M: ShareKey> {
    shared: Arc<Shared<G, M>>,
}

/// By which a permit is given.
type Ticket<G, M> = oneshot::Sender<FairPermit<G, M>>;

struct Shared<G: ShareKey, M: ShareKey> {
    turns: Mutex<Turns<G, M, Ticket<G, M>>>,
    report: HeldBackReport,
}

/// A permit. Held as long as the shared thing is used.
#[must_use = "dropped, it is given back"]
pub struct FairPermit<G: ShareKey, M: ShareKey> {
    turn: Option<GivenTurn<G, M>>,
}

struct GivenTurn<G: ShareKey, M: ShareKey> {
    shared: Arc<Shared<G, M>>,
    claimant: Claimant<G, M>,
    expected: u64,
    since: Instant,
}

impl<G: ShareKey, M: ShareKey> Clone for FairPermits<G, M> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<G: ShareKey, M: ShareKey> fmt::Debug for FairPermits<G, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FairPermits").finish_non_exhaustive()
    }
}

impl<G: ShareKey, M: ShareKey> fmt::Debug for FairPermit<G, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FairPermit").finish_non_exhaustive()
    }
}

impl<G: ShareKey + Display, M: ShareKey + Display> FairPermits<G, M> {
    #[must_use]
    pub fn new(resource: SharedResource, limits: TurnLimits) -> Self {
        let shared = Shared {
            turns: Mutex::new(Turns::new(limits)),
            report: HeldBackReport::new(resource),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Waits for a permit, however long it takes.
    ///
    /// # Errors
    /// [`Beyond`].
    pub async fn acquire(&self, claimant: Claimant<G, M>) -> Result<FairPermit<G, M>, Beyond> {
        let (sender, mut receiver) = oneshot::channel();
        let asked = self.shared.turns.lock().ask(claimant, sender);
        let Ok(Admitted { number, displaced }) = asked else {
            self.refused(HeldBack::Refused, claimant);
            return Err(Beyond);
        };
        // Not under the lock: it wakes somebody.
        drop(displaced);
        give_turns(&self.shared);
        if let Ok(permit) = receiver.try_recv() {
            return Ok(permit);
        }
        let _place = Place {
            shared: &self.shared,
            claimant,
            number,
        };
        let given = receiver.await;
        if given.is_ok() {
            self.shared.report.waited();
        } else {
            self.refused(HeldBack::Displaced, claimant);
        }
        given.map_err(|_displaced| Beyond)
    }

    /// Waits for a permit for so long at most.
    ///
    /// # Errors
    /// [`Beyond`].
    pub async fn acquire_within(
        &self,
        claimant: Claimant<G, M>,
        patience: Duration,
    ) -> Result<FairPermit<G, M>, Beyond> {
        let given = tokio::time::timeout(patience, self.acquire(claimant)).await;
        given.unwrap_or_else(|_elapsed| {
            self.refused(HeldBack::TimedOut, claimant);
            Err(Beyond)
        })
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.turns.lock().waiting()
    }

    fn refused(&self, outcome: HeldBack, claimant: Claimant<G, M>) {
        self.shared.report.refused(outcome, &claimant.group, &claimant.member);
    }
}

impl<G: ShareKey, M: ShareKey> Drop for FairPermit<G, M> {
    fn drop(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        let used = u64::try_from(turn.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        let GivenTurn {
            shared,
            claimant,
            expected,
            ..
        } = turn;
        shared.turns.lock().release(claimant, expected, used);
        give_turns(&shared);
    }
}

/// A place in the queue. Dropped, it is given up, if it is still held.
struct Place<'a, G: ShareKey, M: ShareKey> {
    shared: &'a Arc<Shared<G, M>>,
    claimant: Claimant<G, M>,
    number: u64,
}

impl<G: ShareKey, M: ShareKey> Drop for Place<'_, G, M> {
    fn drop(&mut self) {
        let withdrawn = self.shared.turns.lock().withdraw(self.claimant, self.number);
        drop(withdrawn);
    }
}

/// Gives every turn that there is room for.
fn give_turns<G: ShareKey, M: ShareKey>(shared: &Arc<Shared<G, M>>) {
    loop {
        let next = shared.turns.lock().next();
        let Some(turn) = next else { return };
        let permit = FairPermit {
            turn: Some(GivenTurn {
                shared: shared.clone(),
                claimant: turn.claimant,
                expected: turn.expected,
                since: Instant::now(),
            }),
        };
        if let Err(mut permit) = turn.ticket.send(permit) {
            // Gone a moment ago. Not by dropping it, which would come back here.
            permit.turn = None;
            shared.turns.lock().release(turn.claimant, turn.expected, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    const LIMITS: TurnLimits = TurnLimits {
        running_max: 1,
        running_of_group_max: 1,
        running_of_member_max: 1,
        waiting_max: 4,
        waiting_of_group_max: 3,
        waiting_of_member_max: 2,
    };

    fn permits() -> FairPermits<u8, u8> {
        FairPermits::new(SharedResource::Search, LIMITS)
    }

    const fn of(group: u8, member: u8) -> Claimant<u8, u8> {
        Claimant { group, member }
    }

    #[tokio::test]
    async fn permits_come_in_turns_and_the_rest_is_refused_at_once() {
        let permits = permits();
        let running = permits.acquire(of(1, 1)).await.unwrap();
        let mut own = vec![Box::pin(permits.acquire(of(1, 1))), Box::pin(permits.acquire(of(1, 1)))];
        assert!(own.iter_mut().all(|waits| waits.as_mut().now_or_never().is_none()));
        assert_eq!(permits.acquire(of(1, 1)).now_or_never().unwrap().unwrap_err(), Beyond);
        let mut other = Box::pin(permits.acquire(of(2, 1)));
        assert!(other.as_mut().now_or_never().is_none());
        assert_eq!(permits.waiting(), 3);
        drop(running);
        let others = other.now_or_never().expect("the other tenant is next").unwrap();
        assert!(own[0].as_mut().now_or_never().is_none());
        drop(others);
        assert!(own.remove(0).now_or_never().unwrap().is_ok());
    }

    #[tokio::test]
    async fn who_goes_away_leaves_no_place_behind() {
        let permits = permits();
        let running = permits.acquire(of(1, 1)).await.unwrap();
        let mut gone = Box::pin(permits.acquire(of(1, 2)));
        assert!(gone.as_mut().now_or_never().is_none());
        assert_eq!(permits.waiting(), 1);
        drop(gone);
        assert_eq!(permits.waiting(), 0);
        // Given, and gone before it is taken.
        let mut late = Box::pin(permits.acquire(of(1, 3)));
        assert!(late.as_mut().now_or_never().is_none());
        drop(running);
        drop(late);
        assert!(permits.acquire(of(2, 1)).now_or_never().unwrap().is_ok());
        let waits = Duration::from_millis(1);
        let _running = permits.acquire(of(2, 1)).await.unwrap();
        assert_eq!(permits.acquire_within(of(1, 1), waits).await.unwrap_err(), Beyond);
        assert_eq!(permits.waiting(), 0);
    }

    #[tokio::test]
    async fn a_newcomer_takes_the_place_of_who_has_most() {
        let permits = permits();
        let _running = permits.acquire(of(9, 9)).await.unwrap();
        let ask = |group, member| Box::pin(permits.acquire(of(group, member)));
        let mut waiting = [ask(1, 1), ask(1, 1), ask(1, 2), ask(2, 1)];
        assert!(waiting.iter_mut().all(|waits| waits.as_mut().now_or_never().is_none()));
        let mut newcomer = ask(3, 1);
        assert!(newcomer.as_mut().now_or_never().is_none(), "it waits");
        let outcomes: Vec<bool> = waiting
            .iter_mut()
            .map(|waits| waits.as_mut().now_or_never().is_some())
            .collect();
        assert_eq!(outcomes, [false, true, false, false], "the last of the one who had two");
    }
}

//! Restarting what dies: a restart budget, a death watch, and a mailbox that outlives its reader.
//!
//! `actix::Supervisor` keeps the same value across a restart and does not survive a panic, so supervision is ours. A
//! parent holds a factory; a child holds a [`DeathGuard`] whose drop tells the parent, which works the same for a stop, a
//! panic and an aborted task. The successor gets a new generation number and rebuilds its state from storage; only the
//! mailbox, plain messages in a bounded queue, is passed on, so what callers had queued is not lost.
//!
//! The budget is five restarts in sixty seconds with exponential back-off. Spent, the child stays down until the window
//! frees a place; meanwhile its callers are answered `unavailable`.

mod running;

pub use running::{Entered, Named, Running, current, enter, named, start};

use crate::metrics::metrics;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc, oneshot};

/// How often a child may be restarted, and how fast. Pure.
#[derive(Clone, Copy, Debug)]
pub struct RestartPolicy {
    /// Restarts within `window` before the child stays down.
    pub restarts_max: usize,
    /// The sliding window of the budget.
    pub window: Duration,
    /// Delay before the first restart in a window; doubles with each further one.
    pub delay_min: Duration,
    /// Longest delay.
    pub delay_max: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            restarts_max: 5,
            window: Duration::from_secs(60),
            delay_min: Duration::from_millis(10),
            delay_max: Duration::from_secs(5),
        }
    }
}

/// What to do about a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start the successor after this delay.
    Restart(Duration),
    /// The budget is spent; a place is free after this delay.
    Exhausted(Duration),
}

/// The deaths of one child within the window.
#[derive(Clone, Debug)]
pub struct RestartBudget {
    policy: RestartPolicy,
    deaths: VecDeque<Instant>,
}

impl RestartBudget {
    /// A full budget.
    #[must_use]
    pub fn new(policy: RestartPolicy) -> Self {
        Self {
            policy,
            deaths: VecDeque::with_capacity(policy.restarts_max),
        }
    }

    /// Counts a death at `now` and says what to do.
    pub fn record(&mut self, now: Instant) -> Verdict {
        while self
            .deaths
            .front()
            .is_some_and(|at| now.duration_since(*at) >= self.policy.window)
        {
            self.deaths.pop_front();
        }
        if self.deaths.len() >= self.policy.restarts_max {
            let free_at = self.deaths.front().map_or(now, |oldest| *oldest + self.policy.window);
            self.deaths.pop_front();
            self.deaths.push_back(free_at);
            return Verdict::Exhausted(free_at.duration_since(now));
        }
        let doublings = u32::try_from(self.deaths.len()).unwrap_or(u32::MAX).min(16);
        self.deaths.push_back(now);
        Verdict::Restart(
            self.policy
                .delay_min
                .saturating_mul(1 << doublings)
                .min(self.policy.delay_max),
        )
    }
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// It meant to stop.
    Stopped,
    /// It panicked, or its task was aborted.
    Crashed,
}

/// Held in a child's state; tells its parent when the child is gone, whatever the reason.
#[derive(Debug)]
pub struct DeathGuard {
    tell: Option<oneshot::Sender<Death>>,
    stopping: bool,
}

impl DeathGuard {
    /// A guard, and what resolves when it is dropped.
    #[must_use]
    pub fn new() -> (Self, oneshot::Receiver<Death>) {
        let (tell, told) = oneshot::channel();
        (
            Self {
                tell: Some(tell),
                stopping: false,
            },
            told,
        )
    }

    /// Says that the coming end is meant.
    pub const fn stopping(&mut self) {
        self.stopping = true;
    }
}

impl Drop for DeathGuard {
    fn drop(&mut self) {
        let death = if self.stopping && !std::thread::panicking() {
            Death::Stopped
        } else {
            Death::Crashed
        };
        if let Some(tell) = self.tell.take() {
            // The parent may be gone; then nobody is left to restart anything.
            if tell.send(death).is_err() {
                tracing::debug!("a death went unnoticed");
            }
        }
    }
}

/// Keeps a child alive: calls `start` with a generation and a guard, and again after every crash, within the policy.
/// Ends when the child stops on purpose. `down` is told when the budget is spent, and for how long.
pub async fn supervise(
    name: &'static str,
    policy: RestartPolicy,
    mut start: impl FnMut(u64, DeathGuard),
    mut down: impl FnMut(Duration),
) {
    metrics().actor_supervised(name);
    let mut budget = RestartBudget::new(policy);
    for generation in 1_u64.. {
        let (guard, death) = DeathGuard::new();
        start(generation, guard);
        if death.await == Ok(Death::Stopped) {
            return;
        }
        metrics().actor_restarted(name);
        match budget.record(Instant::now()) {
            Verdict::Restart(delay) => {
                tracing::warn!(
                    actor = name,
                    generation,
                    delay_ms = delay.as_secs_f64() * 1e3,
                    "actor died; restarting"
                );
                tokio::time::sleep(jittered(delay)).await;
            }
            Verdict::Exhausted(delay) => {
                tracing::error!(
                    actor = name,
                    generation,
                    delay_ms = delay.as_secs_f64() * 1e3,
                    "actor died; restart budget spent"
                );
                down(delay);
                tokio::time::sleep(delay).await;
            }
        }
    }
}

/// Between half of a delay and all of it, so that what died together does not come back together.
pub(crate) fn jittered(delay: Duration) -> Duration {
    delay.mul_f64(rand::random_range(0.5..=1.0))
}

/// A bounded queue that outlives its reader: each generation reads on where the one before it ended.
#[derive(Debug)]
pub struct Mailbox<T> {
    sender: mpsc::Sender<T>,
    receiver: Arc<Mutex<mpsc::Receiver<T>>>,
}

impl<T> Mailbox<T> {
    /// A mailbox for at most `capacity` messages.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let (sender, receiver) = mpsc::channel(capacity);
        Self {
            sender,
            receiver: Arc::new(Mutex::new(receiver)),
        }
    }

    /// How many messages wait, or are on their way.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.sender.max_capacity() - self.sender.capacity()
    }

    /// The way in.
    #[must_use]
    pub const fn sender(&self) -> &mpsc::Sender<T> {
        &self.sender
    }

    /// The way out, once the reader before is gone.
    pub async fn reader(&self) -> Reader<T> {
        Reader {
            receiver: self.receiver.clone().lock_owned().await,
        }
    }

    /// The way out, if nobody reads.
    #[must_use]
    pub fn try_reader(&self) -> Option<Reader<T>> {
        self.receiver
            .clone()
            .try_lock_owned()
            .ok()
            .map(|receiver| Reader { receiver })
    }
}

/// The one reader of a mailbox, as a stream.
#[derive(Debug)]
pub struct Reader<T> {
    receiver: OwnedMutexGuard<mpsc::Receiver<T>>,
}

impl<T> Reader<T> {
    /// Refuses further messages; those that wait can still be read.
    pub fn close(&mut self) {
        self.receiver.close();
    }

    /// The next message that waits.
    pub fn try_next(&mut self) -> Option<T> {
        self.receiver.try_recv().ok()
    }

    /// Polls for the next message.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.receiver.poll_recv(cx)
    }
}

impl<T> futures_util::Stream for Reader<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.get_mut().receiver.poll_recv(cx)
    }
}

/// Where actors run: a fixed set of arbiters, each a thread of its own. A child is placed by its id, so that its messages
/// stay on one thread.
#[derive(Clone, Debug)]
pub struct ArbiterPool {
    arbiters: Arc<[actix::ArbiterHandle]>,
}

impl ArbiterPool {
    /// Starts `size` arbiters (at least one) on the running actix system.
    #[must_use]
    pub fn start(size: usize) -> Self {
        let arbiters = (0..size.max(1)).map(|_| actix::Arbiter::new().handle()).collect();
        Self { arbiters }
    }

    /// Runs a future on the arbiter of `key`. False when that arbiter has stopped.
    pub fn spawn(&self, key: u128, future: impl Future<Output = ()> + Send + 'static) -> bool {
        let index = usize::try_from(key % self.arbiters.len() as u128).unwrap_or_default();
        self.arbiters[index].spawn(future)
    }

    /// Stops every arbiter; what still runs there is dropped.
    pub fn stop(&self) {
        for arbiter in &*self.arbiters {
            arbiter.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_backs_off_and_is_spent_and_frees_itself() {
        let mut budget = RestartBudget::new(RestartPolicy::default());
        let start = Instant::now();
        for doublings in 0..5 {
            assert_eq!(
                budget.record(start),
                Verdict::Restart(Duration::from_millis(10 << doublings))
            );
        }
        let later = start + Duration::from_secs(20);
        assert_eq!(budget.record(later), Verdict::Exhausted(Duration::from_secs(40)));
        let free = start + Duration::from_secs(121);
        assert_eq!(budget.record(free), Verdict::Restart(Duration::from_millis(10)));
    }

    #[tokio::test]
    async fn a_crash_is_seen_and_the_mailbox_goes_on_where_it_was() {
        let mailbox = Arc::new(Mailbox::new(4));
        for n in 0..3 {
            mailbox.sender().send(n).await.unwrap();
        }
        let (done, read) = tokio::sync::mpsc::channel(4);
        let supervised = mailbox.clone();
        supervise(
            "test",
            RestartPolicy::default(),
            move |generation, mut guard| {
                let (mailbox, done) = (supervised.clone(), done.clone());
                tokio::spawn(async move {
                    let mut reader = mailbox.reader().await;
                    if generation == 1 {
                        done.send((generation, reader.try_next())).await.unwrap();
                        panic!("on purpose");
                    }
                    done.send((generation, reader.try_next())).await.unwrap();
                    guard.stopping();
                });
            },
            |_| (),
        )
        .await;
        let mut read = read;
        assert_eq!(
            (read.recv().await, read.recv().await),
            (Some((1, Some(0))), Some((2, Some(1))))
        );
    }
}

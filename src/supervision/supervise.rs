//! The two loops that keep a child alive: [`supervise`] for actors, [`supervise_task`] for tasks.
//!
//! A successor gets a new generation number and rebuilds its state from storage. Restarts are paid
//! from a budget of the default [`RestartPolicy`]; each is counted and logged under the child's
//! name.

use super::backoff::jittered;
use super::budget::{RestartBudget, RestartDecision, RestartPolicy};
use super::guard::{Death, DeathGuard};
use super::running::named;
use crate::metrics::metrics;
use futures_util::FutureExt as _;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

/// Keeps an actor alive: calls `start` with a generation and a guard, and again after every crash.
/// Returns when the actor has stopped on purpose.
pub async fn supervise(name: &'static str, mut start: impl FnMut(u64, DeathGuard)) {
    let mut restarts = Restarts::new(name);
    for generation in 1_u64.. {
        let (guard, death) = DeathGuard::new();
        start(generation, guard);
        if death.await == Ok(Death::Stopped) {
            return;
        }
        restarts.pause(generation).await;
    }
}

/// Keeps a task alive: runs what `task` makes of a generation, and makes another after every panic.
/// Returns when the task returns. The task runs inside this future, so it ends when this is dropped
/// or aborted.
pub async fn supervise_task<F: Future<Output = ()>>(name: &'static str, mut task: impl FnMut(u64) -> F) {
    let mut restarts = Restarts::new(name);
    for generation in 1_u64.. {
        let run = named(name, None, async { task(generation).await });
        // Nothing of a generation that panicked is used again, but what it shares under locks.
        if AssertUnwindSafe(run).catch_unwind().await.is_ok() {
            return;
        }
        restarts.pause(generation).await;
    }
}

/// The restarts of one child.
struct Restarts {
    name: &'static str,
    budget: RestartBudget,
}

impl Restarts {
    fn new(name: &'static str) -> Self {
        metrics().actor_supervised(name);
        Self {
            name,
            budget: RestartBudget::new(RestartPolicy::default()),
        }
    }

    /// Counts the death of a generation and waits until the next may start.
    async fn pause(&mut self, generation: u64) {
        let actor = self.name;
        metrics().actor_restarted(actor);
        let pause = match self.budget.record(Instant::now()) {
            RestartDecision::Restart(delay) => {
                let delay_ms = delay.as_secs_f64() * 1e3;
                tracing::warn!(actor, generation, delay_ms, "actor died; restarting");
                jittered(delay)
            }
            RestartDecision::Exhausted(delay) => {
                let delay_ms = delay.as_secs_f64() * 1e3;
                tracing::error!(actor, generation, delay_ms, "actor died; restart budget spent");
                delay
            }
        };
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::mailbox::Mailbox;
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn a_crash_is_seen_and_the_mailbox_goes_on_where_it_was() {
        let mailbox = Arc::new(Mailbox::new(4));
        for n in 0..3 {
            mailbox.sender().send(n).await.unwrap();
        }
        let (done, mut read) = mpsc::channel(4);
        let supervised = mailbox.clone();
        supervise("test", move |generation, mut guard| {
            let (mailbox, done) = (supervised.clone(), done.clone());
            tokio::spawn(async move {
                let mut reader = mailbox.reader().await;
                done.send((generation, reader.try_next())).await.unwrap();
                assert!(generation > 1, "on purpose");
                guard.stopping();
            });
        })
        .await;
        assert_eq!(
            (read.recv().await, read.recv().await),
            (Some((1, Some(0))), Some((2, Some(1))))
        );
    }

    #[tokio::test]
    async fn a_task_is_made_again_after_a_panic_and_not_after_it_returned() {
        let (done, mut read) = mpsc::channel(4);
        supervise_task("test", |generation| {
            let done = done.clone();
            async move {
                done.send(generation).await.unwrap();
                tokio::task::yield_now().await;
                assert!(generation > 1, "on purpose");
            }
        })
        .await;
        assert_eq!((read.try_recv(), read.try_recv()), (Ok(1), Ok(2)));
        assert!(read.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_task_ends_with_its_supervisor() {
        struct Flag(Arc<AtomicBool>);
        impl Drop for Flag {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let is_gone = Arc::new(AtomicBool::new(false));
        let flag = is_gone.clone();
        let supervisor = tokio::spawn(supervise_task("test", move |_| {
            let flag = Flag(flag.clone());
            async move {
                let _flag = flag;
                std::future::pending::<()>().await;
            }
        }));
        tokio::task::yield_now().await;
        supervisor.abort();
        assert!(supervisor.await.unwrap_err().is_cancelled());
        assert!(is_gone.load(Ordering::SeqCst));
    }
}

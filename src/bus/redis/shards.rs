//! The servers of Redis that the bus speaks to, and the tasks for each: as many as the layout has.
//!
//! A single Redis is the only server; a cluster has one for each shard, its master. The layout is asked for when the bus
//! starts, when a connection breaks, when a slot has moved, and every [`LOOK_INTERVAL`] in case nobody has noticed. A server
//! that is in the new layout, too, keeps its connections and what waits for it.
//!
//! When a task panics, all of its kind end with it and are started again by their supervisor.

use super::{Letter, RECONNECTS, Shared};
use crate::bus::ENVELOPES_MAX;
use crate::metrics::{BusDrop, metrics};
use crate::redis::{Address, Layout};
use crate::supervision::{Mailbox, jittered, named};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

/// How often the layout of a cluster is asked for without a reason.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// The shortest pause between two looks; a cluster that is being changed gives many reasons.
const LOOK_PAUSE: Duration = Duration::from_millis(250);

/// A server, for the bus.
pub(super) struct Shard {
    pub(super) address: Address,
    pub(super) outgoing: Mailbox<Letter>,
    pub(super) topics_changed: Notify,
    /// Whether the publisher and the subscriber are connected.
    pub(super) publishes: AtomicBool,
    pub(super) listens: AtomicBool,
}

impl Shard {
    fn new(address: Address) -> Self {
        Self {
            address,
            outgoing: Mailbox::new(ENVELOPES_MAX),
            topics_changed: Notify::new(),
            publishes: AtomicBool::new(false),
            listens: AtomicBool::new(false),
        }
    }
}

/// The servers, and who has what.
#[derive(Clone)]
pub(super) struct Shards {
    pub(super) layout: Layout,
    pub(super) all: Vec<Arc<Shard>>,
}

impl Shards {
    pub(super) fn at(&self, address: &Address) -> Option<&Arc<Shard>> {
        self.all.iter().find(|shard| shard.address == *address)
    }
}

/// Keeps the servers as the layout says, for ever.
pub(super) async fn watch(shared: &Shared) {
    let mut failures = RECONNECTS;
    loop {
        let known = shared.shards.borrow().as_ref().map(|shards| shards.layout.clone());
        match shared.servers.ask(known.as_ref()).await {
            Ok(layout) => {
                failures.reset();
                adopt(shared, layout);
                tokio::select! {
                    () = shared.look.notified() => {}
                    () = tokio::time::sleep(LOOK_INTERVAL), if shared.is_cluster() => {}
                }
                tokio::time::sleep(jittered(LOOK_PAUSE)).await;
            }
            Err(error) => {
                if error.kind() == ::redis::ErrorKind::InvalidClientConfig {
                    tracing::warn!(%error, "the bus does not know to whom to speak");
                } else {
                    tracing::debug!(%error, "the bus finds no Redis");
                }
                metrics().bus_dropped(BusDrop::RedisAway, shared.take_early().len());
                tokio::time::sleep(jittered(failures.next_pause())).await;
            }
        }
    }
}

/// From now on these are the servers.
pub(super) fn adopt(shared: &Shared, layout: Layout) {
    shared.topics.lock().rearrange(&layout);
    shared.shards.send_if_modified(|shards| {
        if shards.as_ref().is_some_and(|shards| shards.layout == layout) {
            return false;
        }
        let known = |address: &Address| shards.as_ref()?.at(address).cloned();
        let all: Vec<_> = layout
            .masters()
            .into_iter()
            .map(|address| known(&address).unwrap_or_else(|| Arc::new(Shard::new(address))))
            .collect();
        for gone in shards.iter().flat_map(|shards| &shards.all) {
            if !all.iter().any(|shard| shard.address == gone.address) {
                metrics().bus_dropped(BusDrop::RedisAway, gone.outgoing.depth());
            }
        }
        tracing::info!(
            servers = all.len(),
            cluster = layout.is_cluster(),
            whole = layout.is_whole(),
            "the bus speaks to Redis"
        );
        *shards = Some(Shards { layout, all });
        true
    });
    if let Some(shards) = &*shared.shards.borrow() {
        shards.all.iter().for_each(|shard| shard.topics_changed.notify_one());
    }
    for (to, bytes) in shared.take_early() {
        shared.publish(to, bytes);
    }
}

/// Runs a task for each server, as long as it is one. Panics when one of them has panicked.
///
/// A server that left the layout and came back is another one, with a mailbox of its own, also when nobody looked in
/// between: what has its address is not asked for, but what it is.
pub(super) async fn for_each<F>(shared: Arc<Shared>, name: &'static str, run: fn(Arc<Shared>, Arc<Shard>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut shards = shared.shards.subscribe();
    let mut tasks = JoinSet::new();
    let mut running: Vec<(Arc<Shard>, AbortHandle)> = Vec::new();
    loop {
        let all = shards.borrow_and_update().as_ref().map(|shards| shards.all.clone());
        let all = all.unwrap_or_default();
        running.retain(|(runs, task)| {
            let stays = all.iter().any(|shard| Arc::ptr_eq(shard, runs));
            if !stays {
                task.abort();
            }
            stays
        });
        for shard in all {
            if !running.iter().any(|(runs, _)| Arc::ptr_eq(runs, &shard)) {
                let task = tasks.spawn(named(name, None, run(shared.clone(), shard.clone())));
                running.push((shard, task));
            }
        }
        tokio::select! {
            changed = shards.changed() => if changed.is_err() { return },
            Some(ended) = tasks.join_next() => match ended {
                Ok(()) => return,
                Err(error) if error.is_cancelled() => {}
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::redis::{Connected, bus_for_tests};

    /// Takes charge of a server, and says so.
    async fn take_charge(_: Arc<Shared>, shard: Arc<Shard>) {
        let _in_charge = Connected::new(&shard.publishes);
        std::future::pending::<()>().await;
    }

    async fn until_in_charge(shard: &Shard, expected: bool) {
        // The tasks are on this thread: a few turns are enough for them, and many for one that does not come.
        for _ in 0..100 {
            if shard.publishes.load(std::sync::atomic::Ordering::Relaxed) == expected {
                return;
            }
            tokio::task::yield_now().await;
        }
        unreachable!("in charge of {}: not {expected}", shard.address);
    }

    #[actix_web::test]
    async fn a_server_that_left_and_came_back_unseen_gets_a_task_of_its_own() {
        let shared = bus_for_tests().shared;
        let servers = [Address::new("redis", 1), Address::new("redis", 2)];
        let both = || Layout::of_ranges([(0, 8_191, servers[0].clone()), (8_192, 16_383, servers[1].clone())]);
        let tasks = tokio::spawn(for_each(shared.clone(), "test", take_charge));
        adopt(&shared, both());
        let [first, second] = [0, 1].map(|n| shared.at(&servers[n]).unwrap());
        until_in_charge(&first, true).await;
        until_in_charge(&second, true).await;
        // Nobody is polled between the two.
        adopt(&shared, Layout::of_ranges([(0, 16_383, servers[1].clone())]));
        adopt(&shared, both());
        let again = shared.at(&servers[0]).unwrap();
        assert!(!Arc::ptr_eq(&again, &first));
        until_in_charge(&again, true).await;
        until_in_charge(&first, false).await;
        assert!(Arc::ptr_eq(&second, &shared.at(&servers[1]).unwrap()));
        until_in_charge(&second, true).await;
        tasks.abort();
    }
}

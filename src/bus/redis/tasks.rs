//! Follows the layout of Redis, and runs a task for each server.
//!
//! The layout is read at the start, when a connection breaks, when a slot has moved, and every
//! [`REFRESH_INTERVAL`] in case nobody has noticed. When a task of one server panics, all of its
//! kind end, and their supervisor starts them again.

use super::connection::RECONNECTS;
use super::servers::BusServer;
use super::state::RedisBusState;
use crate::metrics::{BusDrop, metrics};
use crate::supervision::{jittered, named};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{AbortHandle, JoinSet};

/// Between two reads of a cluster's layout without a reason.
const REFRESH_INTERVAL: Duration = Duration::from_secs(10);
/// Between two reads at least. A cluster that is being changed gives many reasons.
const REFRESH_PAUSE: Duration = Duration::from_millis(250);

/// Keeps the known servers as the layout says, for ever.
pub(super) async fn follow_layout(state: &RedisBusState) {
    let mut failures = RECONNECTS;
    loop {
        let known = state.known.borrow().as_ref().map(|servers| servers.layout.clone());
        match state.servers.ask(known.as_ref()).await {
            Ok(layout) => {
                failures.reset();
                state.adopt(layout);
                tokio::select! {
                    () = state.refresh.notified() => {}
                    () = tokio::time::sleep(REFRESH_INTERVAL), if state.is_cluster() => {}
                }
                tokio::time::sleep(jittered(REFRESH_PAUSE)).await;
            }
            Err(error) => {
                if error.kind() == ::redis::ErrorKind::InvalidClientConfig {
                    tracing::warn!(%error, "the bus does not know to whom to speak");
                } else {
                    tracing::debug!(%error, "the bus finds no Redis");
                }
                metrics().bus_dropped(BusDrop::RedisAway, state.take_early().len());
                tokio::time::sleep(jittered(failures.next_pause())).await;
            }
        }
    }
}

/// Runs a task for each server, as long as it is one. Panics when one of them has panicked.
///
/// A server that left the layout and came back is another one with its own mailbox, also when
/// nobody looked in between. So servers are compared by identity and not by address.
pub(super) async fn for_each_server<F>(
    state: Arc<RedisBusState>,
    name: &'static str,
    run: fn(Arc<RedisBusState>, Arc<BusServer>) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut servers = state.known.subscribe();
    let mut tasks = JoinSet::new();
    let mut running: Vec<(Arc<BusServer>, AbortHandle)> = Vec::new();
    loop {
        let all = servers.borrow_and_update().as_ref().map(|servers| servers.all.clone());
        let all = all.unwrap_or_default();
        running.retain(|(runs, task)| {
            let stays = all.iter().any(|server| Arc::ptr_eq(server, runs));
            if !stays {
                task.abort();
            }
            stays
        });
        for server in all {
            if !running.iter().any(|(runs, _)| Arc::ptr_eq(runs, &server)) {
                let task = tasks.spawn(named(name, None, run(state.clone(), server.clone())));
                running.push((server, task));
            }
        }
        tokio::select! {
            changed = servers.changed() => if changed.is_err() { return },
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
    use super::super::connection::ConnectedGuard;
    use super::super::state::state_for_tests;
    use super::*;
    use crate::redis::{Address, Layout};
    use std::sync::atomic::Ordering;

    /// Takes charge of a server, and says so.
    async fn take_charge(_: Arc<RedisBusState>, server: Arc<BusServer>) {
        let _in_charge = ConnectedGuard::new(&server.publisher_connected);
        std::future::pending::<()>().await;
    }

    async fn until_in_charge(server: &BusServer, expected: bool) {
        // The tasks are on this thread: a few turns are enough for them, and many for one that does
        // not come.
        for _ in 0..100 {
            if server.publisher_connected.load(Ordering::Relaxed) == expected {
                return;
            }
            tokio::task::yield_now().await;
        }
        unreachable!("in charge of {}: not {expected}", server.address);
    }

    #[actix_web::test]
    async fn a_server_that_left_and_came_back_unseen_gets_a_task_of_its_own() {
        let state = state_for_tests();
        let addresses = [Address::new("redis", 1), Address::new("redis", 2)];
        let both = || Layout::of_ranges([(0, 8_191, addresses[0].clone()), (8_192, 16_383, addresses[1].clone())]);
        let tasks = tokio::spawn(for_each_server(state.clone(), "test", take_charge));
        state.adopt(both());
        let [first, second] = [0, 1].map(|n| state.at(&addresses[n]).unwrap());
        until_in_charge(&first, true).await;
        until_in_charge(&second, true).await;
        // Nobody is polled between the two.
        state.adopt(Layout::of_ranges([(0, 16_383, addresses[1].clone())]));
        state.adopt(both());
        let again = state.at(&addresses[0]).unwrap();
        assert!(!Arc::ptr_eq(&again, &first));
        until_in_charge(&again, true).await;
        until_in_charge(&first, false).await;
        assert!(Arc::ptr_eq(&second, &state.at(&addresses[1]).unwrap()));
        until_in_charge(&second, true).await;
        tasks.abort();
    }
}

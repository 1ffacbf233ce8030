//! Removes cached users when they change, on whichever node, and their tenants with them.
//!
//! A change of a user invalidates where it is made, and once more on every node when `auth` reads
//! of it. So it takes five seconds at the most everywhere, whatever was lost on the bus. A tenant has
//! no events of its own; what the operator changes of it is told as a change of its first user.
//!
//! A task that listens to the events of `auth`. When it falls behind, or is started again after a
//! panic, it has missed events, so it clears the whole cache.

use super::cached::{CachedTenant, CachedUser};
use crate::auth::{Auth, AuthEvent};
use crate::cache::{CacheHandle, Pattern, keys};
use crate::supervision::{ArbiterPool, supervise_task};
use tokio::sync::broadcast::error::RecvError;

/// What the task is called in logs and metrics.
const TASK: &str = "cached_users";

pub(super) fn start(auth: &Auth, cache: &CacheHandle, arbiters: &ArbiterPool) {
    let (auth, cache) = (auth.clone(), cache.clone());
    arbiters.spawn(0, async move {
        supervise_task(TASK, |generation| run(&auth, &cache, generation)).await;
    });
}

async fn run(auth: &Auth, cache: &CacheHandle, generation: u64) {
    let mut events = auth.events();
    if generation > 1 {
        // Nobody listened between two generations.
        cache.delete_pattern(Pattern::everything());
    }
    loop {
        match events.recv().await {
            Ok(AuthEvent::UserChanged(user)) => {
                cache.delete(&keys::user::<CachedUser>(user.tenant_id, user.user_id));
                cache.delete(&keys::tenant::<CachedTenant>(user.tenant_id));
            }
            Ok(AuthEvent::Revoked(_)) => {}
            Err(RecvError::Lagged(_)) => cache.delete_pattern(Pattern::everything()),
            Err(RecvError::Closed) => return,
        }
    }
}

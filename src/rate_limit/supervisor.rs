//! The supervisor of the counters: an actor that does what no request should have to do.
//!
//! It owns the upkeep of the table: a shard every [`TICK`], it forgets who is idle, and it says when the table is so full
//! that subjects share budgets. Counting itself is done by the handle, directly in the table, from whichever thread asks:
//! a question to an actor costs microseconds and a turn in its mailbox, a count under a shard's lock a tenth of one, and
//! the socket asks for every message.
//!
//! Nobody waits for this actor. A crash loses nothing: the counters are not in it. While it is down, idle subjects stay
//! until a full shard looks for them by itself.

use super::Shared;
use crate::supervision::{ArbiterPool, DeathGuard, RestartPolicy, start, supervise};
use actix::prelude::*;
use std::sync::Arc;
use std::time::Duration;

/// What it is called in logs and metrics.
const ACTOR: &str = "rate_limit";
/// Between two shards that are cleaned; all of them in half a minute.
const TICK: Duration = Duration::from_millis(500);
/// The arbiter it runs on, if there are as many.
const ARBITER: u128 = 2;

/// The upkeep of the counters.
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    /// The shard to clean next.
    shard: usize,
    _guard: DeathGuard,
}

impl Supervisor {
    /// Starts it under supervision.
    pub(super) fn start_supervised(shared: &Arc<Shared>, arbiters: &ArbiterPool) {
        let shared = shared.clone();
        arbiters.spawn(ARBITER, async move {
            let begin = |_, guard| {
                let shared = shared.clone();
                let supervisor = Self {
                    shared,
                    shard: 0,
                    _guard: guard,
                };
                start(ACTOR, None, supervisor);
            };
            supervise(ACTOR, RestartPolicy::default(), begin, |_| ()).await;
        });
    }

    fn tick(&mut self) {
        fail::fail_point!("rate_limit::tick");
        let table = &self.shared.table;
        table.clean(self.shard, self.shared.now());
        self.shard = (self.shard + 1) % table.shards();
        let crowded = table.take_crowded();
        if crowded > 0 {
            let subjects = table.len();
            tracing::warn!(
                crowded,
                subjects,
                "too many callers to count each alone: some share a budget"
            );
        }
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(TICK, |supervisor, _| supervisor.tick());
    }
}

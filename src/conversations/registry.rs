//! The registry: starts the conversations of this node and listens to the bus for them.
//!
//! It takes new slots from the table's mailbox of starts and hands each to a task of its own
//! (`lifecycle.rs`). It passes on what the bus delivers (`deliveries.rs`), and compares revisions
//! with the database (`revisions.rs`).
//!
//! When the registry dies, conversations go on: their tasks are on their own arbiters. Its
//! successor reads the same mailbox of starts and subscribes to the bus again.

use super::deliveries::deliver;
use super::dependencies::ConversationContext;
use super::lifecycle;
use super::revisions::{COMPARE_INTERVAL, compare_all, compare_some};
use super::slot::{self, Slot};
use crate::bus::{Delivery, Envelope, Interest};
use crate::metrics::metrics;
use crate::supervision::{self, DeathGuard, MailboxReader, supervise};
use actix::prelude::*;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What the registry is called in logs and metrics.
pub(super) const ACTOR: &str = "registry";

/// Starts the registry under supervision.
pub(super) fn start(context: &Arc<ConversationContext>) {
    let registry_context = context.clone();
    let run = async move {
        let begin = |_, guard| {
            let context = registry_context.clone();
            actix::spawn(async move {
                let starts = context.slots.starts().reader().await;
                let deliveries = context.bus.subscribe(context.node, Interest::Conversations);
                let registry = RegistryActor {
                    context,
                    starts: Some(starts),
                    deliveries: Some(deliveries),
                    _guard: guard,
                };
                supervision::start(ACTOR, None, registry);
            });
        };
        supervise(ACTOR, begin).await;
    };
    // Those that it starts; there may be none for long.
    metrics().actor_supervised(slot::ACTOR);
    context.arbiters.spawn(0, run);
}

struct RegistryActor {
    context: Arc<ConversationContext>,
    /// Handed to the actor's context when it starts, like `deliveries`.
    starts: Option<MailboxReader<Arc<Slot>>>,
    deliveries: Option<mpsc::Receiver<Delivery>>,
    _guard: DeathGuard,
}

impl Actor for RegistryActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(starts) = self.starts.take() {
            ctx.add_stream(starts);
        }
        if let Some(mut deliveries) = self.deliveries.take() {
            ctx.add_stream(futures_util::stream::poll_fn(move |cx| deliveries.poll_recv(cx)));
        }
        ctx.run_later(COMPARE_INTERVAL, Self::compare);
    }
}

impl StreamHandler<Arc<Slot>> for RegistryActor {
    fn handle(&mut self, slot: Arc<Slot>, _: &mut Self::Context) {
        let _guard = StartGuard {
            slot: slot.clone(),
            context: self.context.clone(),
        };
        fail::fail_point!("conversations::registry");
        lifecycle::start(slot, &self.context);
    }
}

/// A slot that the registry has taken from its mailbox and not started yet. Should it die now, its
/// successor must find the slot there again, or its callers would wait for ever.
struct StartGuard {
    slot: Arc<Slot>,
    context: Arc<ConversationContext>,
}

impl Drop for StartGuard {
    fn drop(&mut self) {
        if std::thread::panicking() && self.context.slots.start(self.slot.clone()).is_err() {
            self.context.slots.close_now(&self.slot);
        }
    }
}

impl StreamHandler<Delivery> for RegistryActor {
    fn handle(&mut self, Delivery { envelope, published_at }: Delivery, ctx: &mut Self::Context) {
        // What the bus says itself has not been on the way.
        if !matches!(envelope, Envelope::Resumed(_)) {
            metrics().bus_lagged(published_at.elapsed());
        }
        if let Some(ids) = deliver(&self.context, envelope) {
            let context = self.context.clone();
            let compare = async move { compare_some(&context, &ids).await };
            ctx.spawn(compare.into_actor(self));
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}

impl RegistryActor {
    fn compare(&mut self, ctx: &mut Context<Self>) {
        let context = self.context.clone();
        let compare = async move { compare_all(&context).await };
        ctx.spawn(compare.into_actor(self).map(|(), _, ctx| {
            ctx.run_later(COMPARE_INTERVAL, Self::compare);
        }));
    }
}

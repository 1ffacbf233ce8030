//! The life of one conversation on this node: loaded, started, restarted when it dies, passivated.
//!
//! Each active conversation has a task of its own, on the arbiter of its actor. It restarts the
//! actor five times in a minute, with back-off. When that budget is spent, callers get
//! `unavailable` until it has a place again.
//!
//! Races, and what happens. *Command, then passivation*: an actor stops only from a timer that
//! found no subscriber and no command for a while. A command that arrives between that and the
//! slot's removal waits in the mailbox, and [`SlotTable::passivate`] moves it to a new slot, which
//! is started. *Passivation, then command*: the caller's old slot is closed; the handle asks the
//! table again and gets the new one. *Death while starting*: counts as a death. *Two generations*:
//! a successor starts when its predecessor's guard has been dropped, and takes the mailboxes only
//! when the predecessor's readers are gone. So two never read one mailbox.
//!
//! [`SlotTable::passivate`]: super::slot_table::SlotTable::passivate

use super::actor::{ConversationActor, SlotReaders};
use super::catch_up::read_changes_after;
use super::dependencies::ConversationContext;
use super::slot::{ACTOR, Slot};
use super::state::ConversationState;
use super::store;
use super::subscribers::{Subscriber, SubscriberPhase};
use crate::error::{CloseCode, Code};
use crate::fairness::Beyond;
use crate::ids::ConversationId;
use crate::metrics::metrics;
use crate::supervision::{self, Death, DeathGuard, RestartBudget, RestartDecision, jittered};
use futures_util::StreamExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a conversation that cannot be loaded keeps its callers waiting.
const LOAD_PATIENCE: Duration = Duration::from_secs(8);
/// Pause between attempts to load.
const LOAD_RETRY: Duration = Duration::from_millis(200);

/// The node is subscribed to a conversation's envelopes while it is active, however that ends.
struct BusSubscriptionGuard {
    context: Arc<ConversationContext>,
    id: ConversationId,
}

impl BusSubscriptionGuard {
    fn new(context: &Arc<ConversationContext>, id: ConversationId) -> Self {
        context.bus.subscribe_to(context.node, id);
        Self {
            context: context.clone(),
            id,
        }
    }
}

impl Drop for BusSubscriptionGuard {
    fn drop(&mut self) {
        self.context.bus.unsubscribe_from(self.context.node, self.id);
    }
}

/// A slot under supervision. Should the supervising task itself die, nobody would reply to its
/// callers: so the slot is closed.
struct SlotGuard {
    slot: Option<Arc<Slot>>,
    context: Arc<ConversationContext>,
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        // Dropped without a panic, it is stopped with everything else.
        if let Some(slot) = self.slot.take().filter(|_| std::thread::panicking()) {
            tracing::error!(conversation.id = %slot.id, "the task of a conversation has died");
            close_subscribers(&slot, Code::Unavailable);
            self.context.slots.close_now(&slot);
        }
    }
}

/// Runs a slot on the arbiter of its conversation, from now on until it passivates.
pub(super) fn start(slot: Arc<Slot>, context: &Arc<ConversationContext>) {
    let id = slot.id;
    let guard = SlotGuard {
        slot: Some(slot),
        context: context.clone(),
    };
    context.arbiters.spawn(id.0.as_u128(), run(guard));
}

async fn run(mut guard: SlotGuard) {
    let Some(slot) = guard.slot.clone() else { return };
    // Before the state is loaded: what is published after that arrives, and what was published
    // before is in the state.
    let _subscribed = BusSubscriptionGuard::new(&guard.context, slot.id);
    supervise_slot(&slot, &guard.context).await;
    guard.slot = None;
}

/// One generation after the other, until the conversation passivates or cannot be kept up.
async fn supervise_slot(slot: &Arc<Slot>, context: &Arc<ConversationContext>) {
    let mut budget = RestartBudget::new(context.restarts);
    let mut is_successor = false;
    loop {
        let death = match load(context, slot).await {
            Ok(Some(mut state)) => {
                if is_successor {
                    state.succeeds(context.clock.now());
                }
                run_generation(slot, context, state).await
            }
            Ok(None) => {
                context.slots.missed(slot);
                return close(context, slot, Code::NotFound).await;
            }
            Err(code) => return close(context, slot, code).await,
        };
        if death == Death::Stopped {
            let mut commands = slot.commands.reader().await;
            return context.slots.passivate(slot, &mut commands).await;
        }
        is_successor = true;
        metrics().actor_restarted(ACTOR);
        match budget.record(Instant::now()) {
            RestartDecision::Restart(delay) => {
                tracing::warn!(conversation.id = %slot.id, delay_ms = delay.as_secs_f64() * 1e3, "conversation died; restarting");
                tokio::time::sleep(jittered(delay)).await;
            }
            RestartDecision::Exhausted(delay) => {
                tracing::error!(conversation.id = %slot.id, "conversation died; restart budget spent");
                return stay_down(context, slot, delay).await;
            }
        }
    }
}

async fn run_generation(slot: &Arc<Slot>, context: &Arc<ConversationContext>, state: ConversationState) -> Death {
    let (guard, death) = DeathGuard::new();
    // Free as soon as the predecessor's streams are gone.
    let readers = SlotReaders {
        commands: slot.commands.reader().await,
        events: slot.events.reader().await,
    };
    let actor = ConversationActor::new(state, slot.clone(), context.clone(), readers, guard);
    supervision::start(ACTOR, Some(slot.id.0), actor);
    death.await.unwrap_or(Death::Crashed)
}

/// Loads the state, in turns with others, and patiently: a database that is just being restarted is
/// back in a moment. One that does not reply at all must not hold the callers longer than one that
/// refuses.
async fn load(context: &ConversationContext, slot: &Slot) -> Result<Option<ConversationState>, Code> {
    let tries = async {
        loop {
            match try_load(context, slot).await {
                Err(LoadError::Database(error)) if error.is_unavailable() => {
                    if let Some(left_out) = sampled(context) {
                        tracing::warn!(%error, left_out, conversation.id = %slot.id, "conversation not loaded; trying again");
                    }
                    tokio::time::sleep(LOAD_RETRY).await;
                }
                result => return result,
            }
        }
    };
    match tokio::time::timeout(LOAD_PATIENCE, tries).await {
        Ok(Ok(state)) => Ok(state),
        // The report of the turns says who.
        Ok(Err(LoadError::Beyond(_))) => Err(Code::Overloaded),
        Ok(Err(LoadError::Database(error))) => {
            if let Some(left_out) = sampled(context) {
                tracing::error!(%error, left_out, conversation.id = %slot.id, "conversation not loaded");
            }
            Err(error.code())
        }
        Err(_elapsed) => {
            if let Some(left_out) = sampled(context) {
                tracing::error!(left_out, conversation.id = %slot.id, "conversation not loaded in time");
            }
            Err(Code::Unavailable)
        }
    }
}

/// Why a conversation was not loaded.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Database(#[from] crate::database::Error),
    #[error(transparent)]
    Beyond(#[from] Beyond),
}

/// Whether to log that a conversation was not loaded: a line a second is enough.
fn sampled(context: &ConversationContext) -> Option<u64> {
    context.failed_loads.lock().admit(Instant::now())
}

async fn try_load(context: &ConversationContext, slot: &Slot) -> Result<Option<ConversationState>, LoadError> {
    let _turn = context.loads.acquire(slot.starter).await?;
    let Some(loaded) = store::load(&context.database, slot.id).await? else {
        return Ok(None);
    };
    let mut state = ConversationState::new(loaded);
    // Subscribers that outlived a generation are pushed what it did not push.
    let live = |s: &Subscriber| matches!(s.phase, SubscriberPhase::Live).then_some(s.delivered);
    let served = slot.subscribers.lock().iter().filter_map(live).min();
    if let Some(served) = served.filter(|served| *served < state.rev) {
        let missed = read_changes_after(context, slot.id, served).await?;
        state.prefill(served, &missed.changes);
    }
    Ok(Some(state))
}

/// Closes a slot that cannot be kept: its subscribers reconnect, its callers are refused.
async fn close(context: &ConversationContext, slot: &Arc<Slot>, code: Code) {
    let mut commands = slot.commands.reader().await;
    close_subscribers(slot, code);
    context.slots.close(slot, &mut commands, code).await;
}

/// Refuses everybody until the restart budget has a place again.
async fn stay_down(context: &ConversationContext, slot: &Arc<Slot>, delay: Duration) {
    let mut commands = slot.commands.reader().await;
    close_subscribers(slot, Code::Unavailable);
    let refuse = async {
        while let Some(command) = commands.next().await {
            command.refuse(Code::Unavailable);
        }
    };
    if tokio::time::timeout(delay, refuse).await.is_err() {
        tracing::info!(conversation.id = %slot.id, "conversation may be started again");
    }
    context.slots.close(slot, &mut commands, Code::Unavailable).await;
}

fn close_subscribers(slot: &Slot, code: Code) {
    let subscribers = slot.subscribers.lock().clear();
    for subscriber in subscribers {
        if let SubscriberPhase::Replaying(replay) = subscriber.phase {
            replay.reply.refuse(code);
        }
        subscriber.outbox.close(Some(CloseCode::StateDiscarded));
    }
}

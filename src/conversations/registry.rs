//! The registry: the supervisor of the conversations of this node.
//!
//! It starts a conversation when its slot appears, restarts it when it dies (five times in a minute, with back-off),
//! lets it go when it passivates, listens to the bus, and compares revisions every four seconds, so that a lost
//! publication or a lost receipt costs time and never a message.
//!
//! Races, and what happens. *Command, then passivation*: an actor stops only from a timer that found nobody following and
//! nothing asked for a while; a command that arrives between that and the slot's retirement waits in the mailbox, and
//! [`Slots::retire`] moves it to a new slot, which is started. *Passivation, then command*: the caller's old slot is
//! closed, it asks the table again and gets the new one. *Death while starting*: counts as a death. *Two generations*: a
//! successor starts when its predecessor's guard has been dropped and takes the mailbox only when the predecessor's
//! reader is gone, so two never read one mailbox.
//!
//! When the registry itself dies, conversations go on: they are supervised by tasks on their own arbiters. Its successor
//! reads the same mailbox of starts and listens to the bus again.

use super::actor::Conversation;
use super::replay::{Clock, READERS_MAX, read_all};
use super::slots::{Fact, Slot, Slots};
use super::state::State;
use super::subscribers::{Phase, Subscriber};
use super::{Audience, first_page, store};
use crate::bus::{Bus, Delivery, Envelope, Interest, To};
use crate::cache::{CacheHandle, Subject};
use crate::commit::Persistence;
use crate::database::Database;
use crate::error::{CloseCode, Code};
use crate::ids::{ConversationId, NodeId, Rev, Seq, UserId};
use crate::metrics::metrics;
use crate::presence::PresenceHandle;
use crate::supervision::{
    self, ArbiterPool, Death, DeathGuard, Mailbox, RestartBudget, RestartDecision, RestartPolicy, jittered, supervise,
};
use crate::wire::Committed;
use crate::wire::frames::Notice;
use actix::prelude::*;
use futures_util::StreamExt as _;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};

/// What the registry is called in logs and metrics.
pub(super) const ACTOR: &str = "registry";
/// Starts that wait for the registry.
pub(super) const STARTS_MAX: usize = 10_000;
/// Between two comparisons of revisions with the database. Five seconds are promised; the rest is for the comparison and
/// for reading what was missed.
const COMPARE_INTERVAL: Duration = Duration::from_secs(4);
/// Conversations in one comparing query: one is enough for most nodes, and it stays far below the statement timeout.
const COMPARE_IDS: usize = 10_000;
/// How long a conversation that cannot be loaded keeps its callers waiting.
const LOAD_PATIENCE: Duration = Duration::from_secs(8);
/// Pause between attempts to load.
const LOAD_RETRY: Duration = Duration::from_millis(200);

/// What every conversation of the node shares.
pub(super) struct Shared {
    pub(super) node: NodeId,
    pub(super) slots: Arc<Slots>,
    pub(super) database: Database,
    pub(super) persistence: Persistence,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) cache: CacheHandle,
    pub(super) presence: PresenceHandle,
    pub(super) audience: Arc<dyn Audience>,
    pub(super) readers: Semaphore,
    pub(super) clock: Clock,
    pub(super) passivate_after: Duration,
    pub(super) restarts: RestartPolicy,
    pub(super) arbiters: ArbiterPool,
    /// Slots that wait to be started.
    pub(super) starts: Mailbox<Arc<Slot>>,
}

impl Shared {
    pub(super) fn readers() -> Semaphore {
        Semaphore::new(READERS_MAX)
    }

    /// Tells the other nodes on which the conversation is active, if there are any.
    pub(super) fn publish(&self, conversation: ConversationId, envelope: impl FnOnce() -> Envelope) {
        if self.bus.has_peers(self.node) {
            self.bus.publish(self.node, To::Conversation(conversation), envelope());
        }
    }

    /// Tells each other node of those of the users who are connected to it.
    pub(super) fn publish_notices(&self, conversation_id: ConversationId, last_seq: Seq, told: Vec<(UserId, i64)>) {
        if !self.bus.has_peers(self.node) {
            return;
        }
        let mut by_node = HashMap::<NodeId, Vec<(UserId, i64)>>::new();
        for (user, unread) in told {
            for node in self.presence.nodes_of(user) {
                by_node.entry(node).or_default().push((user, unread));
            }
        }
        for (node, unread) in by_node {
            let envelope = Envelope::Notices {
                conversation_id,
                last_seq,
                unread,
            };
            self.bus.publish(self.node, To::Node(node), envelope);
        }
    }
}

/// Starts the registry under supervision.
pub(super) fn start(shared: &Arc<Shared>) {
    let registry = shared.clone();
    let run = async move {
        let begin = |_, guard| {
            let shared = registry.clone();
            actix::spawn(async move {
                let starts = shared.starts.reader().await;
                let envelopes = shared.bus.subscribe(shared.node, Interest::Conversations);
                let registry = Registry {
                    shared,
                    starts: Some(starts),
                    envelopes: Some(envelopes),
                    _guard: guard,
                };
                supervision::start(ACTOR, None, registry);
            });
        };
        supervise(ACTOR, begin).await;
    };
    // Those that it starts; there may be none for long.
    metrics().actor_supervised(super::ACTOR);
    shared.arbiters.spawn(0, run);
}

struct Registry {
    shared: Arc<Shared>,
    starts: Option<crate::supervision::MailboxReader<Arc<Slot>>>,
    envelopes: Option<mpsc::Receiver<Delivery>>,
    _guard: DeathGuard,
}

impl Actor for Registry {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(starts) = self.starts.take() {
            ctx.add_stream(starts);
        }
        if let Some(mut envelopes) = self.envelopes.take() {
            ctx.add_stream(futures_util::stream::poll_fn(move |cx| envelopes.poll_recv(cx)));
        }
        ctx.run_later(COMPARE_INTERVAL, Self::compare);
    }
}

impl StreamHandler<Arc<Slot>> for Registry {
    fn handle(&mut self, slot: Arc<Slot>, _: &mut Self::Context) {
        let starting = Starting {
            slot: slot.clone(),
            shared: self.shared.clone(),
        };
        fail::fail_point!("conversations::registry");
        let life = Life {
            slot: Some(slot),
            shared: self.shared.clone(),
        };
        self.shared.arbiters.spawn(starting.slot.id.0.as_u128(), run(life));
    }
}

/// A slot that the registry has taken from its mailbox and not started yet: should it die now, its successor must find
/// the slot there again, or its callers would wait for ever.
struct Starting {
    slot: Arc<Slot>,
    shared: Arc<Shared>,
}

impl Drop for Starting {
    fn drop(&mut self) {
        if std::thread::panicking() && self.shared.starts.sender().try_send(self.slot.clone()).is_err() {
            self.shared.slots.bury(&self.slot);
        }
    }
}

impl StreamHandler<Delivery> for Registry {
    fn handle(&mut self, Delivery { envelope, published_at }: Delivery, ctx: &mut Self::Context) {
        // What the bus says itself has not been on the way.
        if !matches!(envelope, Envelope::Resumed(_)) {
            metrics().bus_lagged(published_at.elapsed());
        }
        let Shared {
            slots, audience, cache, ..
        } = &*self.shared;
        match envelope {
            Envelope::Committed(committed) => {
                first_page::committed(cache, &committed);
                slots.tell(committed.conversation_id, Fact::Heard(committed));
            }
            Envelope::Read {
                conversation_id,
                user_id: user,
                seq,
            } => {
                cache.invalidate(Subject::User(user));
                slots.tell(conversation_id, Fact::Read { user, seq });
            }
            Envelope::Typing {
                conversation_id,
                user_id: user,
                on,
            } => slots.tell(conversation_id, Fact::Typing { user, on }),
            Envelope::Resumed(ids) => {
                let shared = self.shared.clone();
                let known = shared.slots.revs_of(&ids);
                let compare = async move { compare(&shared, &known).await };
                ctx.spawn(compare.into_actor(self));
            }
            Envelope::Notices {
                conversation_id,
                last_seq,
                unread,
            } => {
                let slot = slots.find(conversation_id);
                if slot.is_some() && last_seq != Seq::ZERO {
                    // Active here: its own actor hears of the change, and tells them.
                    return;
                }
                let follows = |connection| {
                    slot.as_ref()
                        .is_some_and(|slot| slot.subscribers.lock().contains(connection))
                };
                for (user, unread) in unread {
                    if last_seq == Seq::ZERO {
                        // A new conversation: nothing was committed to it that would have told.
                        cache.invalidate(Subject::User(user));
                    }
                    let notice = Notice {
                        conversation: conversation_id,
                        last_seq,
                        unread,
                    };
                    audience.notify(user, notice, &follows);
                }
            }
            // They have subscriptions of their own.
            Envelope::Presence(_) | Envelope::Invalidated(_) => {}
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}

impl Registry {
    fn compare(&mut self, ctx: &mut Context<Self>) {
        let shared = self.shared.clone();
        let compare = async move {
            let mut known = shared.slots.revs();
            // As the index has them: it is walked from neighbour to neighbour.
            known.sort_unstable_by_key(|(id, _)| *id);
            compare(&shared, &known).await;
        };
        ctx.spawn(compare.into_actor(self).map(|(), _, ctx| {
            ctx.run_later(COMPARE_INTERVAL, Self::compare);
        }));
    }
}

/// Tells conversations that know less than the database how far they are there; they read on.
async fn compare(shared: &Shared, known: &[(ConversationId, Rev)]) {
    for known in known.chunks(COMPARE_IDS) {
        match store::list_newer(&shared.database, known).await {
            Ok(revs) => {
                for (conversation_id, observed) in revs {
                    let committed = Committed {
                        conversation_id,
                        changes: Vec::new(),
                        observed,
                        since: None,
                    };
                    shared.slots.tell(conversation_id, Fact::Heard(committed));
                }
            }
            Err(error) => tracing::warn!(%error, "revisions not compared"),
        }
    }
}

/// The node hears of a conversation while it is active, however that ends.
struct Following {
    shared: Arc<Shared>,
    id: ConversationId,
}

impl Following {
    fn start(shared: &Arc<Shared>, id: ConversationId) -> Self {
        shared.bus.follow(shared.node, id);
        Self {
            shared: shared.clone(),
            id,
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.shared.bus.ignore(self.shared.node, self.id);
    }
}

/// A slot under supervision. Should its task itself die, nobody would answer its callers: so it is buried.
struct Life {
    slot: Option<Arc<Slot>>,
    shared: Arc<Shared>,
}

impl Drop for Life {
    fn drop(&mut self) {
        // Dropped without a panic, it is stopped with everything else.
        if let Some(slot) = self.slot.take().filter(|_| std::thread::panicking()) {
            tracing::error!(conversation.id = %slot.id, "the task of a conversation has died");
            cut(&slot, Code::Unavailable);
            self.shared.slots.bury(&slot);
        }
    }
}

async fn run(mut life: Life) {
    let Some(slot) = life.slot.clone() else { return };
    // Before the state is loaded: what is told after that is heard, and what was told before is in it.
    let _following = Following::start(&life.shared, slot.id);
    supervise_slot(&slot, &life.shared).await;
    life.slot = None;
}

/// The life of one slot: generation after generation, until it passivates or cannot be kept up.
async fn supervise_slot(slot: &Arc<Slot>, shared: &Arc<Shared>) {
    let mut budget = RestartBudget::new(shared.restarts);
    loop {
        let death = match load(shared, slot).await {
            Ok(Some(state)) => run_generation(slot, shared, state).await,
            Ok(None) => return give_up(shared, slot, Code::NotFound).await,
            Err(code) => return give_up(shared, slot, code).await,
        };
        if death == Death::Stopped {
            let mut commands = slot.commands.reader().await;
            return shared.slots.retire(slot, &mut commands).await;
        }
        metrics().actor_restarted(super::ACTOR);
        match budget.record(Instant::now()) {
            RestartDecision::Restart(delay) => {
                tracing::warn!(conversation.id = %slot.id, delay_ms = delay.as_secs_f64() * 1e3, "conversation died; restarting");
                tokio::time::sleep(jittered(delay)).await;
            }
            RestartDecision::Exhausted(delay) => {
                tracing::error!(conversation.id = %slot.id, "conversation died; restart budget spent");
                return stay_down(shared, slot, delay).await;
            }
        }
    }
}

async fn run_generation(slot: &Arc<Slot>, shared: &Arc<Shared>, state: State) -> Death {
    let (guard, death) = DeathGuard::new();
    // Free as soon as the predecessor's streams are gone.
    let readers = (slot.commands.reader().await, slot.facts.reader().await);
    let conversation = Conversation::new(state, slot.clone(), shared.clone(), readers, guard);
    supervision::start(super::ACTOR, Some(slot.id.0), conversation);
    death.await.unwrap_or(Death::Crashed)
}

/// Loads the state, patiently: a database that is just being restarted is back in a moment. One that does not answer at
/// all must not hold the callers longer than one that refuses.
async fn load(shared: &Shared, slot: &Slot) -> Result<Option<State>, Code> {
    let tries = async {
        loop {
            match try_load(shared, slot).await {
                Err(error) if error.is_unavailable() => {
                    tracing::warn!(%error, conversation.id = %slot.id, "conversation not loaded; trying again");
                    tokio::time::sleep(LOAD_RETRY).await;
                }
                result => return result,
            }
        }
    };
    match tokio::time::timeout(LOAD_PATIENCE, tries).await {
        Ok(Ok(state)) => Ok(state),
        Ok(Err(error)) => {
            tracing::error!(%error, conversation.id = %slot.id, "conversation not loaded");
            Err(error.code())
        }
        Err(_elapsed) => {
            tracing::error!(conversation.id = %slot.id, "conversation not loaded in time");
            Err(Code::Unavailable)
        }
    }
}

async fn try_load(shared: &Shared, slot: &Slot) -> Result<Option<State>, crate::database::Error> {
    let Some(loaded) = store::load(&shared.database, slot.id).await? else {
        return Ok(None);
    };
    let mut state = State::new(loaded);
    // Subscribers that outlived a generation are brought what it did not push.
    let live = |s: &Subscriber| matches!(s.phase, Phase::Live).then_some(s.delivered);
    let served = slot.subscribers.lock().iter().filter_map(live).min();
    if let Some(served) = served.filter(|served| *served < state.rev) {
        let missed = read_all(shared, slot.id, served).await?;
        state.prefill(served, &missed);
    }
    Ok(Some(state))
}

/// Ends a slot that cannot be kept: its readers reconnect, its callers are answered.
async fn give_up(shared: &Shared, slot: &Arc<Slot>, code: Code) {
    let mut commands = slot.commands.reader().await;
    cut(slot, code);
    shared.slots.abandon(slot, &mut commands, code).await;
}

/// Refuses everybody until the restart budget has a place again.
async fn stay_down(shared: &Shared, slot: &Arc<Slot>, delay: Duration) {
    let mut commands = slot.commands.reader().await;
    cut(slot, Code::Unavailable);
    let refuse = async {
        while let Some(command) = commands.next().await {
            command.refuse(Code::Unavailable);
        }
    };
    if tokio::time::timeout(delay, refuse).await.is_err() {
        tracing::info!(conversation.id = %slot.id, "conversation may be started again");
    }
    shared.slots.abandon(slot, &mut commands, Code::Unavailable).await;
}

fn cut(slot: &Slot, code: Code) {
    let subscribers = slot.subscribers.lock().clear();
    for subscriber in subscribers {
        if let Phase::Replaying(replay) = subscriber.phase {
            replay.reply.refuse(code);
        }
        subscriber.outbox.close(Some(CloseCode::StateDiscarded));
    }
}

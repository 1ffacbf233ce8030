//! The active conversations of this node: from an id to the slot where it is reached.
//!
//! The table is read by everyone, and written when a conversation starts or passivates. Nothing
//! waits under its lock. A new slot goes into the mailbox of starts, which the registry takes from.
//!
//! Bounds: `PARLANCE_ACTIVE_MAX` slots, and of a tenant and a user the shares of `fairness/holdings.rs`.
//! When the table is full, the conversation that was unused for longest makes room; until it has gone
//! there are up to [`LEAVING_MAX`] more. If all are used, callers get `overloaded`; beyond their share
//! `limit_reached`. [`STARTS_MAX`] wait to be started; beyond them callers get `overloaded`.

use super::command::ConversationCommand;
use super::error::Error;
use super::event::ConversationEvent;
use super::slot::{ACTOR, Slot};
use super::starts::{Starter, Starts};
use crate::config::{ConversationsConfig, LimitsConfig};
use crate::error::Code;
use crate::fairness::{EntryUse, HeldBackReport, Holdings};
use crate::ids::{ConversationId, Rev, TenantId, UserId};
use crate::metrics::{Depth, HeldBack, SharedResource};
use crate::supervision::{Mailbox, MailboxReader};
use futures_util::StreamExt as _;
use parking_lot::{Mutex, RwLock};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::error::TrySendError;

/// Slots that wait for the registry to start them.
const STARTS_MAX: usize = 10_000;
/// Slots beyond the bound, while as many others are asked to go.
const LEAVING_MAX: usize = 256;
/// How long a passivated slot waits for senders that have a permit and have not used it: a session
/// only runs while its socket takes bytes.
const PASSIVATE_PATIENCE: Duration = Duration::from_secs(1);

type Slots = HashMap<ConversationId, Arc<Slot>>;

#[derive(Debug)]
pub struct SlotTable {
    slots: RwLock<Slots>,
    /// In which active conversations a user is a member; for presence.
    memberships: RwLock<HashMap<UserId, HashSet<ConversationId>>>,
    /// Slots that wait for the registry to start them.
    starts: Mailbox<Arc<Slot>>,
    /// Who may start one.
    budget: Starts,
    /// Whose the slots are; locked within the lock of the slots.
    shares: Mutex<Holdings<TenantId, UserId, ConversationId>>,
    report: HeldBackReport,
    active_max: usize,
}

impl SlotTable {
    #[must_use]
    pub fn new(config: &ConversationsConfig, limits: &LimitsConfig) -> Self {
        Self {
            slots: RwLock::default(),
            memberships: RwLock::default(),
            starts: Mailbox::new(STARTS_MAX),
            budget: Starts::new(limits.enabled),
            shares: Mutex::new(Holdings::new(config.active_max)),
            report: HeldBackReport::new(SharedResource::ActiveConversations),
            active_max: config.active_max,
        }
    }

    /// The mailbox that the registry takes new slots from.
    pub(super) const fn starts(&self) -> &Mailbox<Arc<Slot>> {
        &self.starts
    }

    pub(super) fn find(&self, id: ConversationId) -> Option<Arc<Slot>> {
        self.slots.read().get(&id).cloned()
    }

    /// The slot of a conversation, which is started if it is not active and `starter` may.
    pub(super) fn find_or_start(&self, id: ConversationId, starter: Starter) -> Result<Arc<Slot>, Error> {
        if let Some(slot) = self.find(id) {
            return Ok(slot);
        }
        self.budget.admit(id, starter, Instant::now())?;
        let mut slots = self.slots.write();
        if let Some(slot) = slots.get(&id) {
            return Ok(slot.clone());
        }
        self.make_room(&slots, &starter)?;
        let slot = Slot::new(id, starter);
        self.start(slot.clone()).map_err(|_full| Error::Overloaded)?;
        slots.insert(id, slot.clone());
        let mut shares = self.shares.lock();
        shares.add(id, &starter);
        if shares.is_stale(slots.len()) {
            shares.sweep(|id| slots.contains_key(&id));
        }
        Ok(slot)
    }

    /// Room for one more of this starter: another one is asked to go if the table is full.
    fn make_room(&self, slots: &Slots, starter: &Starter) -> Result<(), Error> {
        let mut shares = self.shares.lock();
        let error = if !shares.has_room(starter, slots.len()) {
            Error::Refused(
                Code::LimitReached,
                "Too many of your conversations are in use at a time.",
            )
        } else if slots.len() < self.active_max {
            return Ok(());
        } else {
            let unused = (slots.len() < self.active_max + LEAVING_MAX)
                .then(|| shares.choose(|id| slots.get(&id).map_or(EntryUse::Gone, |slot| slot.look_at_use())))
                .flatten();
            if let Some(slot) = unused.and_then(|id| slots.get(&id)) {
                slot.notify(ConversationEvent::MakeRoom);
                return Ok(());
            }
            Error::Overloaded
        };
        self.report.refused(HeldBack::Refused, &starter.group, &starter.member);
        Err(error)
    }

    /// A conversation that was started does not exist.
    pub(super) fn missed(&self, slot: &Slot) {
        self.budget.missed(slot.id, slot.starter, Instant::now());
    }

    /// Hands a slot to the registry; gives it back when too many wait.
    pub(super) fn start(&self, slot: Arc<Slot>) -> Result<(), Arc<Slot>> {
        self.starts.sender().try_send(slot).map_err(TrySendError::into_inner)
    }

    /// Takes a slot whose actor has stopped out of the table. What reached it in the last moment
    /// goes to a new slot. Anyone who still holds the old one finds it closed and asks again.
    ///
    /// A sender may have been given its permit before the mailbox was closed and use it afterwards.
    /// So the old mailbox is read to its very end, which waits for such senders. What they send
    /// stays in front of what the new slot is sent.
    pub(super) async fn passivate(&self, slot: &Arc<Slot>, reader: &mut MailboxReader<ConversationCommand>) {
        let successor = Slot::new(slot.id, slot.starter);
        {
            let mut slots = self.slots.write();
            reader.close();
            slots.insert(slot.id, successor.clone());
        }
        let mut late = Vec::new();
        let drained = tokio::time::timeout(PASSIVATE_PATIENCE, async {
            while let Some(command) = reader.next().await {
                late.push(command);
            }
        });
        let drained = drained.await.is_ok();
        {
            let mut slots = self.slots.write();
            // The table and this function hold it: nobody else does, and nobody can get it under
            // this lock. Someone may have had it for a moment, though, and left something there.
            if drained && late.is_empty() && Arc::strong_count(&successor) == 2 && successor.is_empty() {
                self.take_out(&mut slots, slot);
                return;
            }
        }
        *successor.late.lock() = late;
        if let Err(successor) = self.start(successor)
            && let Some(mut reader) = successor.commands.try_reader()
        {
            self.close(&successor, &mut reader, Code::Overloaded).await;
        }
        // A command that took so long is not carried out: that keeps the order.
        while let Some(command) = reader.next().await {
            command.refuse(Code::Overloaded);
        }
    }

    /// Takes a slot out of the table and refuses everything that waits there, or is on its way.
    pub(super) async fn close(&self, slot: &Arc<Slot>, reader: &mut MailboxReader<ConversationCommand>, code: Code) {
        self.remove(slot);
        reader.close();
        let late = std::mem::take(&mut *slot.late.lock());
        late.into_iter().for_each(|command| command.refuse(code));
        while let Some(command) = reader.next().await {
            command.refuse(code);
        }
    }

    /// Takes a slot whose supervising task has died out of the table. What waits there is refused,
    /// as far as it has arrived.
    pub(super) fn close_now(&self, slot: &Arc<Slot>) {
        self.remove(slot);
        if let Some(mut reader) = slot.commands.try_reader() {
            reader.close();
            while let Some(command) = reader.try_next() {
                command.refuse(Code::Unavailable);
            }
        }
    }

    fn remove(&self, slot: &Arc<Slot>) {
        let mut slots = self.slots.write();
        if slots.get(&slot.id).is_some_and(|known| Arc::ptr_eq(known, slot)) {
            self.take_out(&mut slots, slot);
        }
    }

    fn take_out(&self, slots: &mut Slots, slot: &Slot) {
        slots.remove(&slot.id);
        self.shares.lock().remove(&slot.starter, slots.len());
    }

    pub(super) fn len(&self) -> usize {
        self.slots.read().len()
    }

    /// What waits for all active conversations.
    pub(super) fn depth(&self) -> Depth {
        let mut depth = Depth {
            actor: ACTOR,
            ..Depth::default()
        };
        for slot in self.slots.read().values() {
            let waiting = slot.depth();
            depth.total += waiting;
            depth.deepest = depth.deepest.max(waiting);
        }
        depth
    }

    /// All active conversations, and the revision that each has reached.
    pub(super) fn revs(&self) -> Vec<(ConversationId, Rev)> {
        let slots = self.slots.read();
        slots.values().map(|slot| (slot.id, slot.rev())).collect()
    }

    /// Those of some conversations that are active, likewise.
    pub(super) fn revs_of(&self, ids: &[ConversationId]) -> Vec<(ConversationId, Rev)> {
        let slots = self.slots.read();
        let active = ids.iter().filter_map(|id| slots.get(id));
        active.map(|slot| (slot.id, slot.rev())).collect()
    }

    /// Notes that a user is a member of an active conversation.
    pub(super) fn add_membership(&self, user: UserId, id: ConversationId) {
        self.memberships.write().entry(user).or_default().insert(id);
    }

    /// Undoes [`Self::add_membership`].
    pub(super) fn remove_membership(&self, user: UserId, id: ConversationId) {
        let mut memberships = self.memberships.write();
        if let Some(ids) = memberships.get_mut(&user) {
            ids.remove(&id);
            if ids.is_empty() {
                memberships.remove(&user);
            }
        }
    }

    /// All members of active conversations that are small enough for presence.
    pub(super) fn members(&self) -> Vec<UserId> {
        self.memberships.read().keys().copied().collect()
    }

    /// Notifies every active conversation that the user is a member of.
    pub(super) fn notify_conversations_of(&self, user: UserId, event: impl Fn() -> ConversationEvent) {
        let ids: Vec<_> = self
            .memberships
            .read()
            .get(&user)
            .map(|ids| ids.iter().copied().collect())
            .unwrap_or_default();
        for id in ids {
            if let Some(slot) = self.find(id) {
                slot.notify(event());
            }
        }
    }

    /// Notifies a conversation, if it is active.
    pub(super) fn notify(&self, id: ConversationId, event: ConversationEvent) {
        if let Some(slot) = self.find(id) {
            slot.notify(event);
        }
    }
}

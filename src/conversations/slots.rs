//! Where a conversation's actor is reached: its mailboxes and its subscribers, which outlive it.
//!
//! A slot exists while its conversation is active on this node. Generations of the actor come and go behind it; what is
//! sent to the slot waits in its mailbox until a generation takes it. The table of slots is read by everyone and written
//! when a conversation starts or is retired; nothing waits under its lock.

use super::subscribers::Subscribers;
use super::{Error, Follower};
use crate::auth::Access;
use crate::commit::{CommitSink, Completion, Request};
use crate::error::Code;
use crate::ids::{ConnectionId, ConversationId, Rev, Seq, UserId};
use crate::metrics::Depth;
use crate::supervision::{Mailbox, MailboxReader};
use crate::wire::{Committed, Reply};
use bytestring::ByteString;
use futures_util::StreamExt as _;
use parking_lot::{Mutex, RwLock};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Commands that wait for one conversation; when it is full, callers wait until their deadline, then `overloaded`.
pub(super) const COMMANDS_MAX: usize = 1_024;
/// Facts that wait for one conversation; when it is full they are dropped and the revision check repairs it.
const FACTS_MAX: usize = 4_096;
/// How long a retired slot waits for senders that have their place and have not used it: a session is only run while its
/// socket takes bytes.
const RETIRE_PATIENCE: Duration = Duration::from_secs(1);

/// What a caller asks of a conversation.
#[derive(Debug)]
pub(super) enum Command {
    /// Change something durable.
    Submit {
        access: Access,
        request: Request,
        deadline: Instant,
        done: Completion,
    },
    /// Follow.
    Subscribe {
        access: Access,
        follower: Follower,
        after: Option<Rev>,
        reply: Reply,
    },
    /// Stop following.
    Unsubscribe { connection: ConnectionId, reply: Reply },
    /// Move the caller's read marker.
    Read { access: Access, seq: Seq, reply: Reply },
    /// Say that the caller types, or no longer.
    Typing { access: Access, on: bool, reply: Reply },
    /// Ask whether the caller may do this; for what is not stored in the conversation itself, like invitations.
    Authorize {
        access: Access,
        requirement: crate::commit::Requirement,
        answer: tokio::sync::oneshot::Sender<Result<(), Error>>,
    },
}

impl Command {
    /// Answers a command that nobody will carry out.
    pub(super) fn refuse(self, code: Code) {
        match self {
            Self::Submit { done, .. } => {
                done.settle(Err(crate::commit::Error::Refused(code, code.text())));
            }
            Self::Subscribe { reply, .. } | Self::Unsubscribe { reply, .. } | Self::Read { reply, .. } => {
                reply.refuse(code);
            }
            Self::Typing { reply, .. } => reply.refuse(code),
            Self::Authorize { answer, .. } => {
                // The asker may have gone.
                drop(answer.send(Err(Error::Refused(code, code.text()))));
            }
        }
    }
}

/// What a conversation is told.
#[derive(Debug)]
pub(super) enum Fact {
    /// Changes were committed here.
    Committed(Committed),
    /// Changes were committed on another node, or somewhere, as a comparison has found.
    Heard(Committed),
    /// A member has read up to `seq`, on another node.
    Read { user: UserId, seq: Seq },
    /// A member started or stopped typing, on another node.
    Typing { user: UserId, on: bool },
    /// A user came online or went offline.
    Presence { user: UserId, online: bool },
    /// A user has another name.
    Renamed { user: UserId, name: ByteString },
    /// A connection is gone.
    Disconnected { connection: ConnectionId },
}

/// One active conversation.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: ConversationId,
    pub(super) commands: Mailbox<Command>,
    /// What had been sent to the slot before this one when that was retired; goes before everything in `commands`.
    pub(super) late: Mutex<Vec<Command>>,
    pub(super) facts: Mailbox<Fact>,
    pub(super) subscribers: Mutex<Subscribers>,
    /// The revision that the actor has reached, for whoever compares; nothing is decided by it.
    rev: AtomicI64,
}

impl Slot {
    fn new(id: ConversationId) -> Arc<Self> {
        Arc::new(Self {
            id,
            commands: Mailbox::new(COMMANDS_MAX),
            late: Mutex::default(),
            facts: Mailbox::new(FACTS_MAX),
            subscribers: Mutex::new(Subscribers::default()),
            rev: AtomicI64::new(0),
        })
    }

    /// The revision that the actor has reached; zero before it was loaded.
    fn rev(&self) -> Rev {
        Rev(self.rev.load(Ordering::Relaxed))
    }

    /// The actor has reached a revision.
    pub(super) fn reached(&self, rev: Rev) {
        self.rev.store(rev.0, Ordering::Relaxed);
    }

    /// How many commands and facts wait.
    fn depth(&self) -> usize {
        self.commands.depth() + self.facts.depth()
    }

    /// Whether no command waits, nor is on its way.
    fn is_empty(&self) -> bool {
        self.commands.depth() == 0
    }

    /// Tells a fact; dropped when too many wait.
    pub(super) fn tell(&self, fact: Fact) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.facts.sender().try_send(fact) {
            tracing::warn!(conversation.id = %self.id, "a conversation's facts overflow; its revision will be compared");
        }
    }
}

/// The active conversations of this node.
#[derive(Debug)]
pub(super) struct Slots {
    slots: RwLock<HashMap<ConversationId, Arc<Slot>>>,
    /// In which active conversations a user is a member; for presence.
    memberships: RwLock<HashMap<UserId, HashSet<ConversationId>>>,
    starts: mpsc::Sender<Arc<Slot>>,
    active_max: usize,
}

impl Slots {
    /// An empty table; `starts` is how the registry hears of new slots.
    pub(super) fn new(starts: mpsc::Sender<Arc<Slot>>, active_max: usize) -> Self {
        Self {
            slots: RwLock::default(),
            memberships: RwLock::default(),
            starts,
            active_max,
        }
    }

    /// The slot of an active conversation.
    pub(super) fn find(&self, id: ConversationId) -> Option<Arc<Slot>> {
        self.slots.read().get(&id).cloned()
    }

    /// The slot of a conversation, which is started if it is not active.
    pub(super) fn obtain(&self, id: ConversationId) -> Result<Arc<Slot>, Error> {
        if let Some(slot) = self.find(id) {
            return Ok(slot);
        }
        let mut slots = self.slots.write();
        if let Some(slot) = slots.get(&id) {
            return Ok(slot.clone());
        }
        if slots.len() >= self.active_max {
            return Err(Error::Overloaded);
        }
        let slot = Slot::new(id);
        self.starts.try_send(slot.clone()).map_err(|_full| Error::Overloaded)?;
        slots.insert(id, slot.clone());
        Ok(slot)
    }

    /// Takes a slot whose actor has stopped out of the table. What reached it in the last moment goes to a new slot, and
    /// whoever still holds the old one finds it closed and asks again.
    ///
    /// A sender may have been given its place before the mailbox was closed and use it afterwards, so the old mailbox is
    /// read to its very end, which waits for such senders; what they send stays in front of what the new slot is sent.
    pub(super) async fn retire(&self, slot: &Arc<Slot>, reader: &mut MailboxReader<Command>) {
        let successor = Slot::new(slot.id);
        {
            let mut slots = self.slots.write();
            reader.close();
            slots.insert(slot.id, successor.clone());
        }
        let mut late = Vec::new();
        let drained = tokio::time::timeout(RETIRE_PATIENCE, async {
            while let Some(command) = reader.next().await {
                late.push(command);
            }
        });
        let drained = drained.await.is_ok();
        {
            let mut slots = self.slots.write();
            // The table and this function: nobody holds it, and nobody can get it under this lock. Somebody may have had
            // it for a moment, though, and left something there.
            if drained && late.is_empty() && Arc::strong_count(&successor) == 2 && successor.is_empty() {
                slots.remove(&slot.id);
                return;
            }
        }
        *successor.late.lock() = late;
        if self.starts.try_send(successor.clone()).is_err()
            && let Some(mut reader) = successor.commands.try_reader()
        {
            self.abandon(&successor, &mut reader, Code::Overloaded).await;
        }
        // Of a sender that took so long, the order is kept by not carrying it out.
        while let Some(command) = reader.next().await {
            command.refuse(Code::Overloaded);
        }
    }

    /// Takes a slot out of the table and answers everything that waits there, or is on its way.
    pub(super) async fn abandon(&self, slot: &Arc<Slot>, reader: &mut MailboxReader<Command>, code: Code) {
        self.forget(slot);
        reader.close();
        let late = std::mem::take(&mut *slot.late.lock());
        late.into_iter().for_each(|command| command.refuse(code));
        while let Some(command) = reader.next().await {
            command.refuse(code);
        }
    }

    /// Takes a slot whose task has died out of the table. What waits there is answered as far as it has arrived.
    pub(super) fn bury(&self, slot: &Arc<Slot>) {
        self.forget(slot);
        if let Some(mut reader) = slot.commands.try_reader() {
            reader.close();
            while let Some(command) = reader.try_next() {
                command.refuse(Code::Unavailable);
            }
        }
    }

    fn forget(&self, slot: &Arc<Slot>) {
        let mut slots = self.slots.write();
        if slots.get(&slot.id).is_some_and(|known| Arc::ptr_eq(known, slot)) {
            slots.remove(&slot.id);
        }
    }

    /// How many conversations are active.
    pub(super) fn len(&self) -> usize {
        self.slots.read().len()
    }

    /// What waits for all active conversations.
    pub(super) fn depth(&self) -> Depth {
        let mut depth = Depth {
            actor: super::ACTOR,
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

    /// Tells a fact about a user to every active conversation they are a member of.
    pub(super) fn tell_conversations_of(&self, user: UserId, fact: impl Fn() -> Fact) {
        let ids: Vec<_> = self
            .memberships
            .read()
            .get(&user)
            .map(|ids| ids.iter().copied().collect())
            .unwrap_or_default();
        for id in ids {
            if let Some(slot) = self.find(id) {
                slot.tell(fact());
            }
        }
    }

    /// Tells a fact to a conversation, if it is active.
    pub(super) fn tell(&self, id: ConversationId, fact: Fact) {
        if let Some(slot) = self.find(id) {
            slot.tell(fact);
        }
    }
}

impl CommitSink for Slots {
    fn committed(&self, committed: Committed) {
        self.tell(committed.conversation_id, Fact::Committed(committed));
    }
}

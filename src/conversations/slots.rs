//! Where a conversation's actor is reached: its mailboxes and its subscribers, which outlive it.
//!
//! A slot exists while its conversation is active on this node. Generations of the actor come and go behind it; what is
//! sent to the slot waits in its mailbox until a generation takes it. The table of slots is read by everyone and written
//! when a conversation starts or is retired; nothing waits under its lock.

use super::subscribers::Subscribers;
use super::{Caller, Error, Follower};
use crate::error::Code;
use crate::ids::{ConnectionId, ConversationId, Rev, Seq, UserId};
use crate::persistence::{CommitSink, Completion, Request};
use crate::supervision::{Mailbox, Reader};
use crate::wire::{Committed, Reply};
use bytestring::ByteString;
use parking_lot::{Mutex, RwLock};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;

/// Commands that wait for one conversation; when it is full, callers wait until their deadline, then `overloaded`.
pub(super) const COMMANDS_MAX: usize = 1_024;
/// Facts that wait for one conversation; when it is full they are dropped and the revision check repairs it.
const FACTS_MAX: usize = 4_096;

/// What a caller asks of a conversation.
#[derive(Debug)]
pub(super) enum Command {
    /// Change something durable.
    Submit {
        caller: Caller,
        request: Request,
        deadline: Instant,
        done: Completion,
    },
    /// Follow.
    Subscribe {
        caller: Caller,
        follower: Follower,
        after: Option<Rev>,
        reply: Reply,
    },
    /// Stop following.
    Unsubscribe { connection: ConnectionId, reply: Reply },
    /// Move the caller's read marker.
    Read { caller: Caller, seq: Seq, reply: Reply },
    /// Say that the caller types, or no longer.
    Typing { caller: Caller, on: bool, reply: Reply },
    /// Ask whether the caller may do this; for what is not stored in the conversation itself, like invitations.
    Authorize {
        caller: Caller,
        requirement: crate::persistence::Requirement,
        answer: tokio::sync::oneshot::Sender<Result<(), Error>>,
    },
}

impl Command {
    /// Answers a command that nobody will carry out.
    pub(super) fn refuse(self, code: Code) {
        match self {
            Self::Submit { done, .. } => {
                done.settle(Err(crate::persistence::Error::Refused(code, code.text())));
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
    /// Changes were committed, here or on another node.
    Committed(Committed),
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
    pub(super) facts: Mailbox<Fact>,
    pub(super) subscribers: Mutex<Subscribers>,
}

impl Slot {
    fn new(id: ConversationId) -> Arc<Self> {
        Arc::new(Self {
            id,
            commands: Mailbox::new(COMMANDS_MAX),
            facts: Mailbox::new(FACTS_MAX),
            subscribers: Mutex::new(Subscribers::default()),
        })
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
    pub(super) fn retire(&self, slot: &Arc<Slot>, reader: &mut Reader<Command>) {
        let mut slots = self.slots.write();
        reader.close();
        let late: Vec<_> = std::iter::from_fn(|| reader.try_next()).collect();
        slots.remove(&slot.id);
        if late.is_empty() {
            return;
        }
        let successor = Slot::new(slot.id);
        for command in late {
            // As many fit as fitted before.
            if let Err(error) = successor.commands.sender().try_send(command) {
                error.into_inner().refuse(Code::Overloaded);
            }
        }
        if self.starts.try_send(successor.clone()).is_ok() {
            slots.insert(slot.id, successor);
        }
    }

    /// Takes a slot out of the table and answers everything that waits there.
    pub(super) fn abandon(&self, slot: &Arc<Slot>, reader: &mut Reader<Command>, code: Code) {
        self.slots.write().remove(&slot.id);
        reader.close();
        while let Some(command) = reader.try_next() {
            command.refuse(code);
        }
    }

    /// All active conversations.
    pub(super) fn ids(&self) -> Vec<ConversationId> {
        self.slots.read().keys().copied().collect()
    }

    /// How many conversations are active.
    pub(super) fn len(&self) -> usize {
        self.slots.read().len()
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

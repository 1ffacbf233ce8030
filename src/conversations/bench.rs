//! The way in for `benches/cores.rs`, and for nothing else: the state machine and the table of subscribers are private,
//! and making them public so that they can be timed would invite others to use them.
//!
//! Compiled only with the feature `bench`. It does what the actor does with a commit, without the actor: judge, encode
//! once, push to everybody who follows.

use super::effects::Effect;
use super::member::Member;
use super::state::{ConversationState, LoadedConversation};
use super::subscribers::{Subscriber, SubscriberPhase, Subscribers};
use crate::ids::{ConnectionId, ConversationId, MemberRole, MessageId, Rev, Seq, TenantId, UserId, UserKind};
use crate::wire::frames::{Message, Timestamp};
use crate::wire::{Change, Drained, Outbox};
use bytestring::ByteString;
use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;

/// A conversation all of whose members follow it.
#[derive(Debug)]
pub struct Room {
    state: ConversationState,
    subscribers: Subscribers,
    outboxes: Vec<Arc<Outbox>>,
    author: UserId,
    effects: Vec<Effect>,
}

impl Room {
    /// A new conversation of so many members.
    #[must_use]
    pub fn new(members: usize) -> Self {
        let users: Vec<_> = (0..members.max(1)).map(|_| UserId::new()).collect();
        let member = Member {
            name: "Member".into(),
            kind: UserKind::Person,
            role: MemberRole::Member,
            read_seq: Seq::ZERO,
            online: true,
        };
        let state = ConversationState::new(LoadedConversation {
            id: ConversationId::new(),
            tenant_id: TenantId::new(),
            title: "Room".into(),
            rev: Rev::ZERO,
            last_seq: Seq::ZERO,
            deleted_at: None,
            members: users
                .iter()
                .map(|user| (*user, member.clone()))
                .collect::<HashMap<_, _>>(),
            recent: Vec::new(),
        });
        let (mut subscribers, mut outboxes) = (Subscribers::default(), Vec::with_capacity(users.len()));
        for user in &users {
            let outbox = Arc::new(Outbox::new());
            outboxes.push(outbox.clone());
            let (connection, delivered) = (ConnectionId::new(), Rev::ZERO);
            subscribers.insert(Subscriber {
                connection,
                user: *user,
                outbox,
                phase: SubscriberPhase::Live,
                delivered,
                permit: None,
            });
        }
        Self {
            state,
            subscribers,
            outboxes,
            author: users[0],
            effects: Vec::new(),
        }
    }

    /// The next message, as persistence would tell it.
    #[must_use]
    pub fn next_message(&self, body: &ByteString) -> Change {
        let rev = self.state.rev.next();
        Change::Message(Arc::new(Message {
            conversation: self.state.id,
            rev,
            seq: self.state.last_seq.next(),
            id: MessageId::new(),
            author: self.author,
            kind: UserKind::Person,
            body: Some(body.clone()),
            reply_to: None,
            created_at: Timestamp::UNIX_EPOCH,
            edited_at: None,
            deleted_at: None,
            reactions: Vec::new(),
            posted_rev: rev,
        }))
    }

    /// Judges a committed change; how many effects it has.
    pub fn apply(&mut self, change: Change) -> usize {
        let rev = change.rev();
        self.effects.clear();
        self.state.committed(vec![change], rev, 0, &mut self.effects);
        self.effects.len()
    }

    /// Carries out what [`Self::apply`] asked for, as far as it is about readers.
    pub fn deliver(&mut self) {
        for effect in &self.effects {
            if let Effect::Broadcast(change) = effect {
                self.subscribers.push_durable(&change.encode_live(), change.rev());
            }
        }
    }

    /// Takes everything that waits for the readers' sockets; how many bytes.
    #[must_use]
    pub fn drain(&self) -> usize {
        let drained = self
            .outboxes
            .iter()
            .map(|outbox| match outbox.drain(usize::MAX, Waker::noop()) {
                Drained::Chunk { bytes, .. } => bytes.len(),
                _ => 0,
            });
        drained.sum()
    }
}

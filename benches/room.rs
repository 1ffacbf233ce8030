//! What the actor of a conversation does with a commit, without the actor: judge it, encode it
//! once, push it to everybody who is subscribed. For `cores.rs`.

use bytestring::ByteString;
use parlance::conversations::effects::Effect;
use parlance::conversations::member::Member;
use parlance::conversations::state::{ConversationState, LoadedConversation};
use parlance::conversations::subscribers::{Subscriber, Subscribers};
use parlance::ids::{ConnectionId, ConversationId, MemberRole, MessageId, Rev, Seq, TenantId, UserId, UserKind};
use parlance::wire::frames::{Message, Timestamp};
use parlance::wire::{Change, Drained, Outbox};
use std::sync::Arc;
use std::task::Waker;

/// A conversation all of whose members are subscribed.
#[derive(Debug)]
pub(crate) struct Room {
    id: ConversationId,
    /// Those of the newest message.
    rev: Rev,
    seq: Seq,
    state: ConversationState,
    subscribers: Subscribers,
    outboxes: Vec<Arc<Outbox>>,
    author: UserId,
    effects: Vec<Effect>,
}

impl Room {
    /// A new conversation of so many members.
    pub(crate) fn new(members: usize) -> Self {
        let users: Vec<_> = (0..members.max(1)).map(|_| UserId::new()).collect();
        let member = Member {
            name: "Member".into(),
            kind: UserKind::Person,
            role: MemberRole::Member,
            read_seq: Seq::ZERO,
            online: true,
        };
        let id = ConversationId::new();
        let state = ConversationState::new(LoadedConversation {
            id,
            tenant_id: TenantId::new(),
            title: "Room".into(),
            rev: Rev::ZERO,
            last_seq: Seq::ZERO,
            deleted_at: None,
            members: users.iter().map(|user| (*user, member.clone())).collect(),
            recent: Vec::new(),
        });
        let (mut subscribers, mut outboxes) = (Subscribers::default(), Vec::with_capacity(users.len()));
        for user in &users {
            let outbox = Arc::new(Outbox::default());
            outboxes.push(outbox.clone());
            subscribers.insert(Subscriber::live(ConnectionId::new(), *user, outbox, Rev::ZERO));
        }
        Self {
            id,
            rev: Rev::ZERO,
            seq: Seq::ZERO,
            state,
            subscribers,
            outboxes,
            author: users[0],
            effects: Vec::new(),
        }
    }

    /// The next message, as a commit has it.
    pub(crate) fn next_message(&mut self, body: &ByteString) -> Change {
        self.rev = self.rev.next();
        self.seq = self.seq.next();
        Change::Message(Arc::new(Message {
            conversation: self.id,
            rev: self.rev,
            seq: self.seq,
            id: MessageId::new(),
            author: self.author,
            kind: UserKind::Person,
            body: Some(body.clone()),
            reply_to: None,
            created_at: Timestamp::UNIX_EPOCH,
            edited_at: None,
            deleted_at: None,
            reactions: Vec::new(),
            mine: None,
            cause: None,
            posted_rev: self.rev,
        }))
    }

    /// Judges a committed change; the number of its effects.
    pub(crate) fn apply(&mut self, change: Change) -> usize {
        let rev = change.rev();
        self.effects.clear();
        self.state.committed(vec![change], rev, 0, &mut self.effects);
        self.effects.len()
    }

    /// Performs the effects of [`Self::apply`] that are about readers.
    pub(crate) fn deliver(&mut self) {
        for effect in &self.effects {
            if let Effect::Broadcast(change) = effect {
                self.subscribers.push_durable(&change.encode_live(), change.rev());
            }
        }
    }

    /// Takes everything that waits for the sockets of the readers; the number of bytes.
    pub(crate) fn drain(&self) -> usize {
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

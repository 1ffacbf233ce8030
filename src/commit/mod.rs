//! The road every durable change takes: a bounded queue, a group commit, a receipt.
//!
//! An [`Operation`] is handed to the writer lane of its conversation. The lane commits in groups: at once when it is idle,
//! and while a commit is in flight the next group gathers, so no timer adds latency and load makes batches larger.
//! PostgreSQL numbers everything under the lock of the conversation's row; it is the sequencer, on any number of nodes.
//!
//! `batch.rs` decides what goes into a group (pure), `writer.rs` runs the transaction and its retries, `change.rs` applies
//! the rarer changes, `store.rs` has the SQL, `supervisor.rs` the lane actors and their restarts.
//!
//! Bounds: 10,000 operations wait on a node, shared by its lanes; a full lane answers `overloaded` and nothing is
//! acknowledged. An operation that cannot be committed within its deadline is answered `unavailable`; the client repeats
//! it with the same id. A lane that crashes drops what it was committing: those operations are answered `unavailable`
//! too, and what waited is taken up by its successor.

mod batch;
mod change;
mod observers;
mod read_markers;
mod store;
mod supervisor;
mod writer;

pub use batch::{Group, Grouped, Queue};
pub use observers::{CommitObserver, CommitObservers};
pub(crate) use store::message_columns;
pub use store::{member_from_row, message_from_row};
pub use supervisor::CommitHandle;

use crate::error::Code;
use crate::ids::{ConversationId, InviteId, MemberRole, MessageId, Rev, Seq, TenantId, UserId, UserKind};
use crate::wire::frames::Timestamp;
use bytestring::ByteString;
use sha2::{Digest as _, Sha256};
use std::time::{Duration, Instant};

/// Operations that wait for a commit on this node, over all lanes.
pub const OPERATIONS_MAX: usize = 10_000;
/// How long an operation may take from acceptance to commit, retries included.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// Most members of a conversation.
pub const MEMBERS_MAX: i32 = 10_000;

/// What is asked for.
#[allow(missing_docs, reason = "the fields are the protocol's, and say what they are")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Post a message.
    Post {
        id: MessageId,
        body: ByteString,
        reply_to: Option<MessageId>,
    },
    /// Change the body of a message.
    Edit { id: MessageId, body: ByteString },
    /// Delete a message.
    Delete { id: MessageId },
    /// Add or remove a reaction.
    React { id: MessageId, emoji: String, on: bool },
    /// Add a member.
    AddMember { user_id: UserId, role: Option<MemberRole> },
    /// Give a member another role.
    ChangeMember { user_id: UserId, role: MemberRole },
    /// Remove a member, or leave.
    RemoveMember { user_id: UserId },
    /// Join by an invitation, whose use is counted in the same transaction.
    Join { invite_id: InviteId },
    /// Change the title.
    Rename { title: ByteString },
    /// Delete the conversation.
    DeleteConversation,
}

/// What the actor must be for the request; decided in `conversations/permissions.rs`, enforced under the row lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// A member with at least this role.
    Role(MemberRole),
    /// A member who wrote the message.
    Author,
    /// A member who wrote the message, or who has at least this role.
    AuthorOrRole(MemberRole),
    /// The user alone is enough: an invitation stands for the membership.
    Invitation,
}

/// A request with everything that is needed to carry it out.
#[derive(Debug)]
pub struct Operation {
    /// The tenant of actor and conversation.
    pub tenant_id: TenantId,
    /// The conversation it changes.
    pub conversation_id: ConversationId,
    /// Who asks.
    pub actor_id: UserId,
    /// What kind of author the actor is.
    pub actor_kind: UserKind,
    /// What the actor must be.
    pub requirement: Requirement,
    /// What is asked for.
    pub request: Request,
    /// Until when it may be tried: [`DEADLINE`] after it was taken up.
    pub deadline: Instant,
    /// Who waits for the result.
    pub done: Completion,
}

impl Operation {
    /// When it was taken up from its client.
    #[must_use]
    pub fn accepted_at(&self) -> Instant {
        self.deadline.checked_sub(DEADLINE).unwrap_or(self.deadline)
    }
}

/// The durable result of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The revision of the change; of the thing's latest change when nothing changed.
    pub rev: Rev,
    /// For a post: the message's number.
    pub seq: Option<Seq>,
    /// For a post: when it was committed.
    pub created_at: Option<Timestamp>,
    /// For a post: whether the same id had been sent before.
    pub duplicate: bool,
}

/// Why an operation was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The lane's queue is full.
    #[error("the persistence queue is full")]
    Overloaded,
    /// The database was not reachable until the deadline, or the lane crashed. May have been done.
    #[error("the database is not available")]
    Unavailable,
    /// The request contradicts the rules or the present state.
    #[error("refused: {1}")]
    Refused(Code, &'static str),
    /// A defect: the database refuses this very operation.
    #[error("the database refuses the operation")]
    Poison,
}

impl Error {
    /// The public code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Overloaded => Code::Overloaded,
            Self::Unavailable => Code::Unavailable,
            Self::Refused(code, _) => *code,
            Self::Poison => Code::Internal,
        }
    }

    /// The sentence for people.
    #[must_use]
    pub const fn message(&self) -> &'static str {
        match self {
            Self::Refused(_, message) => message,
            other => other.code().text(),
        }
    }
}

type Callback = Box<dyn FnOnce(Result<Receipt, Error>) + Send>;

/// Who waits for a result. Answered exactly once: dropping it unanswered answers `unavailable`, so that a crash anywhere
/// on the road is an answer too.
pub struct Completion(Option<Callback>);

impl Completion {
    /// A completion that calls `callback`; it must not block.
    #[must_use]
    pub fn new(callback: impl FnOnce(Result<Receipt, Error>) + Send + 'static) -> Self {
        Self(Some(Box::new(callback)))
    }

    /// Answers.
    pub fn complete(mut self, result: Result<Receipt, Error>) {
        if let Some(callback) = self.0.take() {
            callback(result);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(callback) = self.0.take() {
            callback(Err(Error::Unavailable));
        }
    }
}

impl std::fmt::Debug for Completion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Completion")
    }
}

/// The digest by which a repeated send is recognised: SHA-256 over the reply's id (16 bytes, or nothing) behind a tag
/// byte, then the body.
#[must_use]
pub fn digest(body: &str, reply_to: Option<MessageId>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    match reply_to {
        Some(id) => {
            hasher.update([1]);
            hasher.update(id.0.as_bytes());
        }
        None => hasher.update([0]),
    }
    hasher.update(body.as_bytes());
    hasher.finalize().into()
}

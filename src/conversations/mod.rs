//! Conversations: one actor each, and the handle by which sessions and REST handlers reach them.
//!
//! The life of a message. A session parses a `send` and puts it into the mailbox of the conversation's slot
//! ([`Conversation::send`]). The actor (`actor.rs`) checks the author's role in memory and passes the operation to
//! `commit`, whose lane commits it in a group; the receipt goes straight to the author's outbox as `ack`, and the
//! committed change comes back to the actor as a fact. The pure state (`state.rs`) judges whether its revision is next
//! and answers with effects; the actor encodes the frame once and pushes it to the outbox of every subscriber, and the
//! bus carries it to the other nodes.
//!
//! `slots.rs` is where an active conversation is reached, `registry.rs` supervises, `subscribers.rs` is who follows,
//! `replay.rs` brings them to the present, `permissions.rs` is who may do what, `store.rs` reads. `listing.rs`,
//! `first_page.rs` and `invites.rs` are what REST asks besides.

mod actor;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod error;
mod first_page;
mod invites;
mod listing;
mod memberships;
mod permissions;
mod presence_listener;
mod recovery;
mod registry;
mod replay;
mod slots;
mod social;
mod state;
mod store;
mod subscribers;
mod timers;

pub use crate::commit::{Receipt, Request};
pub use error::Error;
pub use first_page::Encode;
pub use invites::{INVITES_MAX, Invite};
pub use listing::{History, Range, Summary};

use crate::auth::{Access, AllowedConversations};
use crate::bus::{Bus, Envelope, To};
use crate::cache::{CacheHandle, Subject};
use crate::commit::{CommitSink, Completion, DEADLINE, Persistence};
use crate::config::ConversationsConfig;
use crate::database::Database;
use crate::error::Code;
use crate::ids::{ConnectionId, ConversationId, NodeId, Rev, Seq, UserId};
use crate::metrics::Depth;
use crate::presence::PresenceHandle;
use crate::supervision::{ArbiterPool, Mailbox};
use crate::wire::frames::Notice;
use crate::wire::{Outbox, Reply};
use bytestring::ByteString;
use registry::Shared;
use slots::{Command, Fact, Slot, Slots};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// What a conversation's actor is called in logs and metrics.
const ACTOR: &str = "conversation";
/// How long a caller waits for room in a conversation's mailbox before it is answered `overloaded`.
pub const ROOM_TIMEOUT: Duration = Duration::from_secs(2);
/// Most users that may be named when a conversation is made.
pub const FIRST_MEMBERS_MAX: usize = 100;

/// The sockets of this node: what conversations need of the sessions, which stand above them. Must not block.
pub trait Audience: Send + Sync + 'static {
    /// Tells the user's connections, except those for which `subscribed` is true.
    fn notify(&self, user: UserId, notice: Notice, subscribed: &dyn Fn(ConnectionId) -> bool);
}

/// The conversations of this node. Cheap to clone.
#[derive(Clone)]
pub struct Conversations {
    shared: Arc<Shared>,
}

/// What the conversations are built from.
pub struct Parts {
    /// This node.
    pub node: NodeId,
    /// The truth.
    pub database: Database,
    /// The other nodes.
    pub bus: Arc<dyn Bus>,
    /// What is remembered of lists.
    pub cache: CacheHandle,
    /// Who is online.
    pub presence: PresenceHandle,
    /// The sessions.
    pub audience: Arc<dyn Audience>,
    /// Where actors run.
    pub arbiters: ArbiterPool,
}

impl Conversations {
    /// Starts the writer lanes and the registry.
    #[must_use]
    pub fn start(parts: Parts, config: &ConversationsConfig) -> Self {
        let starts = Mailbox::new(registry::STARTS_MAX);
        let slots = Arc::new(Slots::new(starts.sender().clone(), config.active_max));
        let sink: Arc<dyn CommitSink> = slots.clone();
        let lanes = config.persistence_lanes;
        let publishing = Arc::new(Publishing {
            slots: sink,
            bus: parts.bus.clone(),
            node: parts.node,
            cache: parts.cache.clone(),
        });
        let sink: Arc<dyn CommitSink> = publishing;
        let persistence = Persistence::start(parts.database.clone(), lanes, &parts.arbiters, &sink);
        let shared = Arc::new(Shared {
            node: parts.node,
            slots,
            database: parts.database,
            persistence,
            bus: parts.bus,
            cache: parts.cache,
            presence: parts.presence,
            audience: parts.audience,
            readers: Shared::readers(),
            clock: replay::Clock::start(),
            passivate_after: config.passivate_after,
            restarts: config.restarts,
            arbiters: parts.arbiters,
            starts,
        });
        registry::start(&shared);
        presence_listener::start(&shared);
        Self { shared }
    }

    /// The way to a conversation, which is started if it is not active. Whether it exists, and for whom, is answered to
    /// what is sent there.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when too many conversations are active.
    pub fn conversation(&self, id: ConversationId) -> Result<Conversation, Error> {
        Ok(Conversation {
            slot: self.shared.slots.obtain(id)?,
            conversations: self.clone(),
        })
    }

    /// Changes something durable and waits until it is.
    ///
    /// # Errors
    /// What the rules, the present state or the database say; `overloaded` and `unavailable` may be tried again.
    pub async fn submit(&self, access: Access, id: ConversationId, request: Request) -> Result<Receipt, Error> {
        let (answer, answered) = oneshot::channel();
        let done = Completion::new(move |result| {
            // The asker may have gone; the change is durable all the same.
            drop(answer.send(result));
        });
        let command = Command::Submit {
            access,
            request,
            deadline: Instant::now() + DEADLINE,
            done,
        };
        self.conversation(id)?.enqueue(command).await;
        Ok(answered.await.map_err(|_dropped| crate::commit::Error::Unavailable)??)
    }

    /// Asks whether the caller may see, make and withdraw invitations.
    ///
    /// # Errors
    /// `forbidden` for members, `not_found` for everybody else.
    pub async fn authorize_invites(&self, access: Access, id: ConversationId) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        let command = Command::Authorize {
            access,
            requirement: permissions::INVITE,
            answer,
        };
        self.conversation(id)?.enqueue(command).await;
        answered.await.map_err(|_dropped| crate::commit::Error::Unavailable)?
    }

    /// Makes a conversation; its first member, and owner, is the caller.
    ///
    /// # Errors
    /// `forbidden` for guests, `not_found` when a member is not an active user of the tenant.
    pub async fn create(&self, access: Access, title: &str, members: &[UserId]) -> Result<ConversationId, Error> {
        if access.conversations != AllowedConversations::All {
            return Err(Error::Refused(Code::Forbidden, "Guests make no conversations."));
        }
        let mut others: Vec<UserId> = members.iter().copied().filter(|user| *user != access.user_id).collect();
        others.sort_unstable();
        others.dedup();
        if others.len() > FIRST_MEMBERS_MAX {
            return Err(Error::Refused(
                Code::TooLarge,
                "Too many members; add the others afterwards.",
            ));
        }
        let first = std::iter::once(access.user_id).chain(others.iter().copied());
        // Also when the caller goes away while it is being made.
        let changed = self.shared.cache.invalidate_on_drop(first.map(Subject::User).collect());
        let made = store::insert(&self.shared.database, access.tenant_id, access.user_id, title, &others).await?;
        let id =
            made.map_err(|store::Unknown| Error::Refused(Code::NotFound, "A member is not a user who can be added."))?;
        drop(changed);
        let notice = Notice {
            conversation: id,
            last_seq: Seq::ZERO,
            unread: 0,
        };
        for user in &others {
            self.shared.audience.notify(*user, notice, &|_| false);
        }
        let unread = others.into_iter().map(|user| (user, 0)).collect();
        self.shared.publish_notices(id, Seq::ZERO, unread);
        Ok(id)
    }

    /// Tells the conversations of a user that they have another name.
    pub fn renamed(&self, user: UserId, name: &ByteString) {
        self.shared.slots.tell_conversations_of(user, || Fact::Renamed {
            user,
            name: name.clone(),
        });
    }

    /// How many conversations are in memory.
    #[must_use]
    pub fn active_count(&self) -> usize {
        self.shared.slots.len()
    }

    /// What waits for the actors below.
    #[must_use]
    pub fn depths(&self) -> Vec<Depth> {
        let starts = self.shared.starts.depth();
        let registry = Depth {
            actor: registry::ACTOR,
            total: starts,
            deepest: starts,
        };
        let mut depths = self.shared.persistence.waiting();
        depths.extend([self.shared.slots.depth(), registry, self.shared.presence.depth()]);
        depths
    }

    /// Waits until everything accepted so far is committed and answered, and read markers are written.
    pub async fn flush(&self) {
        self.shared.persistence.flush().await;
    }
}

/// Commits are told to the conversations of this node and to the other nodes.
struct Publishing {
    slots: Arc<dyn CommitSink>,
    bus: Arc<dyn Bus>,
    node: NodeId,
    cache: CacheHandle,
}

impl CommitSink for Publishing {
    fn committed(&self, committed: crate::wire::Committed) {
        // First, because whoever waits for the receipt may list conversations next.
        first_page::committed(&self.cache, &committed);
        // Also without changes: a receipt that was lost once tells others how far the conversation is.
        if self.bus.has_peers(self.node) {
            let to = To::Conversation(committed.conversation_id);
            self.bus.publish(self.node, to, Envelope::Committed(committed.clone()));
        }
        self.slots.committed(committed);
    }
}

/// A connection that wants to follow a conversation.
#[derive(Debug)]
pub struct Follower {
    /// The connection.
    pub connection: ConnectionId,
    /// What waits for it.
    pub outbox: Arc<Outbox>,
    /// Its place among the connection's subscriptions; `None` when it replaces one that it believes to have.
    pub seat: Option<OwnedSemaphorePermit>,
}

/// The way to one conversation. Cheap to clone; stays valid when the actor behind it is restarted or passivated.
#[derive(Clone)]
pub struct Conversation {
    slot: Arc<Slot>,
    conversations: Conversations,
}

/// A command that found no room; [`Full::wait`] waits for some.
#[must_use]
pub struct Full {
    conversation: Conversation,
    command: Box<Command>,
}

impl Full {
    /// Waits for room until [`ROOM_TIMEOUT`], then answers `overloaded`.
    pub async fn wait(self) {
        self.conversation.enqueue(*self.command).await;
    }
}

impl Conversation {
    /// Which conversation.
    #[must_use]
    pub fn id(&self) -> ConversationId {
        self.slot.id
    }

    /// Changes something durable; `done` is called when it is.
    ///
    /// # Errors
    /// [`Full`]: to be waited for before anything else of the same caller is sent, or the order is lost.
    pub fn send(&mut self, access: Access, request: Request, done: Completion) -> Result<(), Full> {
        self.offer(Command::Submit {
            access,
            request,
            deadline: Instant::now() + DEADLINE,
            done,
        })
    }

    /// Lets a connection follow, from `after` or from the newest messages.
    ///
    /// # Errors
    /// [`Full`].
    pub fn subscribe(
        &mut self,
        access: Access,
        follower: Follower,
        after: Option<Rev>,
        reply: Reply,
    ) -> Result<(), Full> {
        self.offer(Command::Subscribe {
            access,
            follower,
            after,
            reply,
        })
    }

    /// Ends a connection's subscription.
    ///
    /// # Errors
    /// [`Full`].
    pub fn unsubscribe(&mut self, connection: ConnectionId, reply: Reply) -> Result<(), Full> {
        self.offer(Command::Unsubscribe { connection, reply })
    }

    /// Moves the caller's read marker.
    ///
    /// # Errors
    /// [`Full`].
    pub fn read(&mut self, access: Access, seq: Seq, reply: Reply) -> Result<(), Full> {
        self.offer(Command::Read { access, seq, reply })
    }

    /// Says that the caller types, or no longer.
    ///
    /// # Errors
    /// [`Full`].
    pub fn typing(&mut self, access: Access, on: bool, reply: Reply) -> Result<(), Full> {
        self.offer(Command::Typing { access, on, reply })
    }

    /// Says that a connection is gone. May be lost; the next push to it notices.
    pub fn disconnected(&self, connection: ConnectionId) {
        self.slot.tell(Fact::Disconnected { connection });
    }

    /// Whether a connection follows at this moment.
    #[must_use]
    pub fn is_followed_by(&self, connection: ConnectionId) -> bool {
        self.slot.subscribers.lock().contains(connection)
    }

    fn offer(&mut self, command: Command) -> Result<(), Full> {
        match self.slot.commands.sender().try_send(command) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(command)) => Err(Full {
                conversation: self.clone(),
                command: Box::new(command),
            }),
            Err(mpsc::error::TrySendError::Closed(command)) => {
                // Passivated a moment ago: the table has, or starts, the next one. Once, so that this cannot go round.
                match self.conversations.shared.slots.obtain(self.slot.id) {
                    Ok(slot) => self.slot = slot,
                    Err(error) => {
                        command.refuse(error.code());
                        return Ok(());
                    }
                }
                match self.slot.commands.sender().try_send(command) {
                    Ok(()) => {}
                    Err(error) => error.into_inner().refuse(Code::Overloaded),
                }
                Ok(())
            }
        }
    }

    async fn enqueue(mut self, command: Command) {
        let Err(full) = self.offer(command) else { return };
        match tokio::time::timeout(ROOM_TIMEOUT, self.slot.commands.sender().reserve()).await {
            Ok(Ok(room)) => room.send(*full.command),
            Ok(Err(_)) | Err(_) => full.command.refuse(Code::Overloaded),
        }
    }
}

//! The handles: [`ConversationsHandle`] for all conversations of the node, [`ConversationHandle`]
//! for one.
//!
//! Sessions and REST handlers use them. What is asked of a conversation goes into the mailbox of
//! its slot (1,024 commands, taken by `actor.rs`). When that is full, the caller waits for
//! [`ROOM_TIMEOUT`] and then gets `overloaded`. Whether a conversation exists, and for whom, is
//! replied to what is sent there. A handle stays valid when the actor behind it is restarted or
//! passivated.

use super::command::ConversationCommand;
use super::dependencies::{ConversationContext, ConversationDependencies};
use super::error::Error;
use super::event::ConversationEvent;
use super::slot::Slot;
use super::starts::starter;
use super::store::NotMade;
use super::subscribers::NewSubscriber;
use super::{presence_listener, registry, store};
use crate::auth::{Access, AllowedConversations};
use crate::cache::Subject;
use crate::commit::{Completion, DEADLINE, Receipt, Request};
use crate::config::ConversationsConfig;
use crate::error::Code;
use crate::ids::{ConnectionId, ConversationId, Rev, Seq, UserId};
use crate::metrics::Depth;
use crate::wire::Reply;
use crate::wire::frames::Notice;
use bytestring::ByteString;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// How long a caller waits for room in a conversation's mailbox.
pub const ROOM_TIMEOUT: Duration = Duration::from_secs(2);
/// Most users that may be named when a conversation is made.
pub const FIRST_MEMBERS_MAX: usize = 100;

/// The conversations of this node. Cheap to clone.
#[derive(Clone)]
pub struct ConversationsHandle {
    pub(super) context: Arc<ConversationContext>,
}

impl ConversationsHandle {
    /// Starts the registry and the listener to presence. Conversations start when they are first
    /// asked something.
    #[must_use]
    pub fn start(dependencies: ConversationDependencies, config: &ConversationsConfig) -> Self {
        let context = Arc::new(ConversationContext::new(dependencies, config));
        registry::start(&context);
        presence_listener::start(&context);
        Self { context }
    }

    /// The handle of a conversation, which is started if it is not active.
    ///
    /// # Errors
    /// `not_found` where the caller may not touch it, or it did not exist a moment ago;
    /// [`Error::StartsSpent`]; [`Error::Overloaded`] when too many conversations are active.
    pub fn conversation(&self, access: &Access, id: ConversationId) -> Result<ConversationHandle, Error> {
        if !access.allows(id) {
            return Err(Error::Refused(Code::NotFound, Code::NotFound.text()));
        }
        Ok(ConversationHandle {
            slot: self.context.slots.find_or_start(id, starter(access))?,
            context: self.context.clone(),
        })
    }

    /// Changes something durable and waits until it is.
    ///
    /// # Errors
    /// What the rules, the present state or the database say; `overloaded` and `unavailable` may be
    /// tried again.
    pub async fn change(&self, access: Access, id: ConversationId, request: Request) -> Result<Receipt, Error> {
        let conversation = self.conversation(&access, id)?;
        let (respond_to, response) = oneshot::channel();
        let done = Completion::new(move |result| {
            // The caller may have gone; the change is durable all the same.
            drop(respond_to.send(result));
        });
        let command = ConversationCommand::Change {
            access,
            request,
            deadline: Instant::now() + DEADLINE,
            done,
        };
        conversation.send(command).await;
        Ok(response.await.map_err(|_dropped| crate::commit::Error::Unavailable)??)
    }

    /// Makes a conversation; its first member, and owner, is the caller.
    ///
    /// # Errors
    /// `forbidden` for guests, `not_found` when a member is not an active user of the tenant or does
    /// not want to be added; `limit_reached` beyond the additions of a day.
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
        let first = || std::iter::once(access.user_id).chain(others.iter().copied());
        // Also when the caller goes away while it is being made.
        let changed = self
            .context
            .cache
            .invalidate_on_drop(first().map(Subject::User).collect());
        let made = store::insert(&self.context.database, access.tenant_id, access.user_id, title, &others).await?;
        let id = made.map_err(|refusal| match refusal {
            NotMade::UnknownMember => Error::Refused(Code::NotFound, "A member is not a user who can be added."),
            NotMade::TooManyAdded => Error::ADDITIONS,
            NotMade::TooMany => Error::Refused(
                Code::LimitReached,
                "You have made as many conversations as one user can; delete some.",
            ),
            NotMade::OwnerMayNot => Error::Refused(Code::Forbidden, Code::Forbidden.text()),
        })?;
        drop(changed);
        let notice = Notice {
            conversation: id,
            // Each of the first members took one.
            rev: Rev(i64::try_from(others.len() + 1).unwrap_or(i64::MAX)),
            title: title.into(),
            last_seq: Seq::ZERO,
            last_message: None,
            last_message_at: None,
            removed: false,
            unread: 0,
        };
        // Also the caller's other devices.
        self.context.notify_made(notice, first());
        Ok(id)
    }

    /// Notifies the conversations of a user that they have another name.
    pub fn renamed(&self, user: UserId, name: &ByteString) {
        self.context
            .slots
            .notify_conversations_of(user, || ConversationEvent::Renamed {
                user,
                name: name.clone(),
            });
    }

    /// How many conversations are in memory.
    #[must_use]
    pub fn active_count(&self) -> usize {
        self.context.slots.len()
    }

    /// What waits for the conversations, the registry and the listener to presence.
    #[must_use]
    pub fn depths(&self) -> Vec<Depth> {
        let starts = self.context.slots.starts().depth();
        let registry = Depth {
            actor: registry::ACTOR,
            total: starts,
            deepest: starts,
        };
        vec![self.context.slots.depth(), registry, self.context.presence.depth()]
    }
}

/// The handle of one conversation. Cheap to clone.
#[derive(Clone)]
pub struct ConversationHandle {
    slot: Arc<Slot>,
    context: Arc<ConversationContext>,
}

/// A command that found the mailbox full; [`MailboxFull::wait`] waits for room. It must be waited
/// for before anything else of the same caller is sent, or the order is lost.
#[must_use]
pub struct MailboxFull {
    conversation: ConversationHandle,
    command: Box<ConversationCommand>,
}

impl MailboxFull {
    /// Waits for room until [`ROOM_TIMEOUT`], then refuses the command with `overloaded`.
    pub async fn wait(self) {
        self.conversation.send(*self.command).await;
    }
}

impl ConversationHandle {
    #[must_use]
    pub fn id(&self) -> ConversationId {
        self.slot.id
    }

    /// Changes something durable; `done` is called when it is.
    ///
    /// # Errors
    /// [`MailboxFull`].
    pub fn change(&mut self, access: Access, request: Request, done: Completion) -> Result<(), MailboxFull> {
        self.try_send(ConversationCommand::Change {
            access,
            request,
            deadline: Instant::now() + DEADLINE,
            done,
        })
    }

    /// Subscribes a connection, from `after` or from the newest messages.
    ///
    /// # Errors
    /// [`MailboxFull`].
    pub fn subscribe(
        &mut self,
        access: Access,
        subscriber: NewSubscriber,
        after: Option<Rev>,
        reply: Reply,
    ) -> Result<(), MailboxFull> {
        self.try_send(ConversationCommand::Subscribe {
            access,
            subscriber,
            after,
            reply,
        })
    }

    /// Ends a connection's subscription.
    ///
    /// # Errors
    /// [`MailboxFull`].
    pub fn unsubscribe(&mut self, connection: ConnectionId, reply: Reply) -> Result<(), MailboxFull> {
        self.try_send(ConversationCommand::Unsubscribe { connection, reply })
    }

    /// Moves the caller's read marker.
    ///
    /// # Errors
    /// [`MailboxFull`].
    pub fn read(&mut self, access: Access, seq: Seq, reply: Reply) -> Result<(), MailboxFull> {
        self.try_send(ConversationCommand::Read { access, seq, reply })
    }

    /// The caller types, or no longer.
    ///
    /// # Errors
    /// [`MailboxFull`].
    pub fn typing(&mut self, access: Access, on: bool, reply: Reply) -> Result<(), MailboxFull> {
        self.try_send(ConversationCommand::Typing { access, on, reply })
    }

    /// A connection is gone. May be lost; the next push to the connection finds it closed.
    pub fn disconnected(&self, connection: ConnectionId) {
        self.slot.notify(ConversationEvent::Disconnected { connection });
    }

    /// Whether a connection is subscribed at this moment.
    #[must_use]
    pub fn has_subscriber(&self, connection: ConnectionId) -> bool {
        self.slot.subscribers.lock().contains(connection)
    }

    fn try_send(&mut self, command: ConversationCommand) -> Result<(), MailboxFull> {
        self.slot.note_use();
        match self.slot.commands.sender().try_send(command) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(command)) => Err(MailboxFull {
                conversation: self.clone(),
                command: Box::new(command),
            }),
            Err(mpsc::error::TrySendError::Closed(command)) => {
                // Passivated a moment ago, or it never was there: the table has, or starts, the
                // next one. Once, so that this cannot go round.
                let slots = &self.context.slots;
                match command.starter() {
                    Some(starter) => match slots.find_or_start(self.slot.id, starter) {
                        Ok(slot) => self.slot = slot,
                        Err(error) => {
                            command.refuse(error.code());
                            return Ok(());
                        }
                    },
                    None => match slots.find(self.slot.id) {
                        Some(slot) => self.slot = slot,
                        None => {
                            command.miss();
                            return Ok(());
                        }
                    },
                }
                match self.slot.commands.sender().try_send(command) {
                    Ok(()) => {}
                    Err(error) => error.into_inner().refuse(Code::Overloaded),
                }
                Ok(())
            }
        }
    }

    async fn send(mut self, command: ConversationCommand) {
        let Err(full) = self.try_send(command) else { return };
        match tokio::time::timeout(ROOM_TIMEOUT, self.slot.commands.sender().reserve()).await {
            Ok(Ok(room)) => room.send(*full.command),
            Ok(Err(_)) | Err(_) => full.command.refuse(Code::Overloaded),
        }
    }
}

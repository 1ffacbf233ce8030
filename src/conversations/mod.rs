//! Conversations: one actor each, and the handles by which sessions and REST handlers reach them.
//!
//! The life of a message. A session parses a `send` and puts it into the mailbox of the
//! conversation's slot ([`ConversationHandle::change`]). The actor checks the author's role in
//! memory and passes the operation to `commit`, whose lane commits it in a group. The observers of
//! commits notify the conversation's slot and the other nodes. Then the receipt goes straight to
//! the author's outbox as `ack`. The pure state judges whether the committed change is the next
//! one, and decides the effects. The actor encodes the frame once and pushes it to the outbox of
//! every subscriber.
//!
//! | File | What it is |
//! |---|---|
//! | `handle.rs` | the way in |
//! | `command.rs`, `event.rs`, `slot.rs`, `slot_table.rs` | what is sent to a conversation, and where it waits |
//! | `actor.rs`, `perform.rs`, `notices.rs`, `replay.rs`, `replay_pages.rs`, `adoption.rs`, `memberships.rs` | the actor |
//! | `recheck.rs` | its question to the database before it refuses |
//! | `state.rs`, `replay_plan.rs`, `notice_plan.rs`, `change_log.rs`, `ephemeral.rs` | what it decides; pure |
//! | `effects.rs`, `member.rs`, `timer.rs` | the words in which it decides; pure |
//! | `pending_rechecks.rs` | commands that wait until the state is known to be up to date; pure |
//! | `subscribers.rs` | who is subscribed, beside the actor |
//! | `starts.rs` | who may start one |
//! | `registry.rs`, `lifecycle.rs`, `revisions.rs`, `deliveries.rs` | starting, supervising, repairing |
//! | `presence_listener.rs` | who came online or went offline |
//! | `*_observer.rs` | what follows from a commit |
//! | `permissions.rs` | who may do what; pure |
//! | `listing.rs`, `history.rs`, `first_page.rs`, `invites.rs`, `additions.rs`, `leaving.rs` | what REST asks besides |
//! | `store.rs`, `catch_up.rs` | reads from the database |
//!
//! `state`, `effects`, `member` and `subscribers` are public so that the benchmarks can measure
//! them. What is public in them is what it takes to apply a commit and to deliver it.

mod actor;
mod additions;
mod adoption;
mod audience;
mod bus_observer;
mod catch_up;
mod change_log;
mod clock;
mod command;
mod deliveries;
mod dependencies;
pub mod effects;
mod ephemeral;
mod error;
mod event;
mod first_page;
mod first_page_observer;
mod handle;
mod history;
mod invites;
mod leaving;
mod lifecycle;
mod listing;
pub mod member;
mod memberships;
mod notice_plan;
mod notices;
mod pending_rechecks;
mod perform;
mod permissions;
mod presence_listener;
mod recheck;
mod registry;
mod replay;
mod replay_pages;
mod replay_plan;
mod revisions;
mod slot;
mod slot_observer;
mod slot_table;
mod starts;
pub mod state;
mod store;
pub mod subscribers;
mod timer;

pub use crate::commit::{Receipt, Request};
pub use audience::Audience;
pub use bus_observer::BusObserver;
pub use dependencies::ConversationDependencies;
pub use error::Error;
pub use first_page_observer::FirstPageObserver;
pub use handle::{ConversationHandle, ConversationsHandle, FIRST_MEMBERS_MAX, MailboxFull, ROOM_TIMEOUT};
pub use history::{History, HistoryRange, PAGE_BYTES_MAX};
pub use invites::{INVITES_MAX, Invite, USER_INVITES_MAX};
pub use leaving::{LEAVES_MAX, Left, Return};
pub use listing::Summary;
pub use slot_observer::SlotObserver;
pub use slot_table::SlotTable;
pub use store::{ADDITIONS_PER_DAY, USER_CONVERSATIONS_MAX};
pub use subscribers::NewSubscriber;

//! Where one active conversation is reached: its mailboxes and its subscribers.
//!
//! A slot outlives the actors behind it. Generations of the actor come and go. What is sent to the
//! slot waits in its mailboxes until a generation takes it (`actor.rs`).
//!
//! Bounds: [`COMMANDS_MAX`] commands and [`EVENTS_MAX`] events wait. When the commands are full,
//! the caller waits (`handle.rs`). When the events are full, the event is dropped and logged; the
//! comparison of revisions (`revisions.rs`) finds what is missing.

use super::command::ConversationCommand;
use super::event::ConversationEvent;
use super::starts::Starter;
use super::subscribers::Subscribers;
use crate::fairness::EntryUse;
use crate::ids::{ConversationId, Rev};
use crate::supervision::Mailbox;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use tokio::sync::mpsc;

/// What a conversation's actor is called in logs and metrics.
pub(super) const ACTOR: &str = "conversation";
/// Commands that wait for one conversation.
const COMMANDS_MAX: usize = 1_024;
/// Events that wait for one conversation.
const EVENTS_MAX: usize = 4_096;

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: ConversationId,
    /// For whom it was started.
    pub(super) starter: Starter,
    pub(super) commands: Mailbox<ConversationCommand>,
    /// What had been sent to the slot before this one when that was passivated; goes before
    /// everything in `commands`.
    pub(super) late: Mutex<Vec<ConversationCommand>>,
    pub(super) events: Mailbox<ConversationEvent>,
    pub(super) subscribers: Mutex<Subscribers>,
    /// Whether it was asked something since it was last looked at.
    is_used: AtomicBool,
    /// The revision that the actor has reached, for the comparison of revisions; nothing is decided
    /// by it.
    rev: AtomicI64,
}

impl Slot {
    pub(super) fn new(id: ConversationId, starter: Starter) -> Arc<Self> {
        Arc::new(Self {
            id,
            starter,
            commands: Mailbox::new(COMMANDS_MAX),
            late: Mutex::default(),
            events: Mailbox::new(EVENTS_MAX),
            subscribers: Mutex::new(Subscribers::default()),
            is_used: AtomicBool::new(true),
            rev: AtomicI64::new(0),
        })
    }

    /// The revision that the actor has reached; zero before its state was loaded.
    pub(super) fn rev(&self) -> Rev {
        Rev(self.rev.load(Ordering::Relaxed))
    }

    pub(super) fn set_rev(&self, rev: Rev) {
        self.rev.store(rev.0, Ordering::Relaxed);
    }

    /// How many commands and events wait.
    pub(super) fn depth(&self) -> usize {
        self.commands.depth() + self.events.depth()
    }

    /// It is asked something.
    pub(super) fn note_use(&self) {
        // Mostly it is known already, and then nothing is written that others read.
        if !self.is_used.load(Ordering::Relaxed) {
            self.is_used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was used since this was last asked, or is in use. Never waits.
    pub(super) fn look_at_use(&self) -> EntryUse {
        let was_used = self.is_used.swap(false, Ordering::Relaxed);
        let has_subscribers = || self.subscribers.try_lock().is_none_or(|known| !known.is_empty());
        if was_used || !self.is_empty() || has_subscribers() {
            EntryUse::Used
        } else {
            EntryUse::Unused
        }
    }

    /// Whether no command waits, nor is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.commands.depth() == 0
    }

    /// Never waits. The event is dropped when too many wait.
    pub(super) fn notify(&self, event: ConversationEvent) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.events.sender().try_send(event) {
            tracing::warn!(conversation.id = %self.id, "a conversation's events overflow; its revision will be compared");
        }
    }
}

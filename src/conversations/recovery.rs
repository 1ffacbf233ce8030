//! What a new generation does for the subscribers that the one before has left behind.
//!
//! Each is brought to the present by how it stood. Live: it is pushed what it has missed, which the state was prefilled
//! with; if that is too much to be gapless, its connection is closed and its client resumes. Replaying: the replay goes
//! on from where the socket had everything; only a snapshot that was in the dead generation's memory is answered
//! `unavailable`. No longer a member: it is told so, as far as that is still in memory, and its subscription ends.

use super::actor::Conversation;
use super::replay::Pages;
use super::subscribers::{Phase, Stage, Subscriber};
use crate::error::{CloseCode, Code};
use crate::ids::{ConnectionId, Rev};
use crate::wire::{Change, Class, Outbox, ReplayWatch};
use actix::prelude::*;
use std::sync::Arc;

/// What becomes of one subscriber.
enum Fate {
    /// It is up to date, or has been brought there.
    Follows,
    /// Its replay is taken up again.
    Resumes {
        number: u64,
        to: (Arc<Outbox>, ReplayWatch),
        pages: Pages,
    },
    /// It is taken out of the table; whoever waits for a reply is answered with this code.
    Ends(Code),
}

impl Conversation {
    /// Looks after the subscribers of the generation before.
    pub(super) fn adopt_subscribers(&mut self, ctx: &mut Context<Self>) {
        let slot = self.slot.clone();
        let mut subscribers = slot.subscribers.lock();
        let connections: Vec<ConnectionId> = subscribers.iter().map(|subscriber| subscriber.connection).collect();
        let mut resumed = Vec::new();
        for connection in connections {
            let Some(subscriber) = subscribers.find_mut(connection) else {
                continue;
            };
            match self.adopt(subscriber) {
                Fate::Follows => {}
                Fate::Resumes { number, to, pages } => resumed.push((connection, number, to, pages)),
                Fate::Ends(code) => {
                    if let Some(Subscriber {
                        phase: Phase::Replaying(replay),
                        ..
                    }) = subscribers.remove(connection)
                    {
                        replay.reply.refuse(code);
                    }
                }
            }
        }
        drop(subscribers);
        for (connection, number, to, pages) in resumed {
            self.run_replay(connection, number, to, pages, ctx);
        }
    }

    fn adopt(&mut self, subscriber: &mut Subscriber) -> Fate {
        let rev = self.state.rev;
        let ending = self.state.ending_of(subscriber.user);
        let is_member = self.state.role_of(subscriber.user).is_some();
        match &mut subscriber.phase {
            Phase::Live => {
                let until = ending.as_ref().map_or(rev, Change::rev);
                if !push_missed(&self.state.changes_after(subscriber.delivered), until, subscriber, rev) {
                    // Too much to keep the promise of gapless live frames.
                    subscriber.outbox.close(Some(CloseCode::StateDiscarded));
                    return Fate::Ends(Code::Unavailable);
                }
                if is_member {
                    Fate::Follows
                } else {
                    Fate::Ends(Code::NotFound)
                }
            }
            Phase::Replaying(_) if !is_member => {
                if let Some(ending) = ending {
                    subscriber.outbox.push(ending.encode_live(), Class::Durable);
                }
                Fate::Ends(Code::NotFound)
            }
            Phase::Replaying(replay) if replay.stage == Stage::Snapshot => Fate::Ends(Code::Unavailable),
            Phase::Replaying(replay) => {
                replay.number = self.number_replay();
                let to = (subscriber.outbox.clone(), replay.interest.watch());
                let pages = Pages::Database {
                    known: replay.after,
                    from: replay.through,
                };
                Fate::Resumes {
                    number: replay.number,
                    to,
                    pages,
                }
            }
        }
    }
}

/// Pushes a live subscriber what it has missed, up to `until`; false when that is no longer in memory.
fn push_missed(missed: &Option<Vec<Change>>, until: Rev, subscriber: &mut Subscriber, rev: Rev) -> bool {
    if subscriber.delivered >= rev {
        return true;
    }
    let Some(missed) = missed else { return false };
    for change in missed.iter().filter(|change| change.rev() <= until) {
        subscriber.outbox.push(change.encode_live(), Class::Durable);
    }
    subscriber.delivered = rev;
    true
}

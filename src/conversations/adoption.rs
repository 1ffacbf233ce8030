//! What a new generation does for the subscribers that the one before has left behind.
//!
//! Each is brought to the present, by how it stood. *Live*: it is pushed what it has missed, which
//! the state was prefilled with; if that is too much to be without gaps, its connection is closed
//! and its client resumes. *Replaying*: the replay goes on from where the socket had everything;
//! only a snapshot that was in the dead generation's memory is refused with `unavailable`. *No
//! longer a member*: it is pushed the farewell, as far as that is still in memory, and its
//! subscription ends.

use super::actor::ConversationActor;
use super::replay::ReplayId;
use super::replay_pages::{PageSource, ReplayTarget};
use super::subscribers::{ReplayStage, Subscriber, SubscriberPhase};
use crate::error::{CloseCode, Code};
use crate::ids::{ConnectionId, Rev};
use crate::wire::{Change, Class};
use actix::prelude::*;

/// What becomes of one subscriber.
enum Adoption {
    /// It is up to date, or has been brought there.
    Live,
    /// Its replay goes on.
    Resumed(ResumedReplay),
    /// It is removed from the table; anyone who waits for a reply gets this code.
    Ended(Code),
}

struct ResumedReplay {
    id: ReplayId,
    target: ReplayTarget,
    source: PageSource,
}

impl ConversationActor {
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
                Adoption::Live => {}
                Adoption::Resumed(replay) => resumed.push(replay),
                Adoption::Ended(code) => {
                    if let Some(replay) = subscribers.remove_replaying(connection) {
                        replay.reply.refuse(code);
                    }
                }
            }
        }
        drop(subscribers);
        for ResumedReplay { id, target, source } in resumed {
            self.run_replay(id, target, source, ctx);
        }
    }

    fn adopt(&mut self, subscriber: &mut Subscriber) -> Adoption {
        let rev = self.state.rev;
        let ending = self.state.ending_of(subscriber.user);
        let is_member = self.state.role_of(subscriber.user).is_some();
        match &mut subscriber.phase {
            SubscriberPhase::Live => {
                let until = ending.as_ref().map_or(rev, Change::rev);
                let missed = self.state.changes_after(subscriber.delivered);
                if !push_missed(missed.as_deref(), until, subscriber, rev) {
                    // Too much to keep the promise of live frames without gaps.
                    subscriber.outbox.close(Some(CloseCode::StateDiscarded));
                    return Adoption::Ended(Code::Unavailable);
                }
                if is_member {
                    Adoption::Live
                } else {
                    Adoption::Ended(Code::NotFound)
                }
            }
            SubscriberPhase::Replaying(_) if !is_member => {
                if let Some(ending) = ending {
                    subscriber.outbox.push(ending.encode_live(), Class::Durable);
                }
                Adoption::Ended(Code::NotFound)
            }
            SubscriberPhase::Replaying(replay) if replay.stage == ReplayStage::Snapshot => {
                Adoption::Ended(Code::Unavailable)
            }
            SubscriberPhase::Replaying(replay) => {
                replay.number = self.number_replay();
                let target = self.replay_target(replay, subscriber.outbox.clone(), subscriber.user);
                Adoption::Resumed(ResumedReplay {
                    id: ReplayId {
                        connection: subscriber.connection,
                        number: replay.number,
                    },
                    target,
                    source: PageSource::Database {
                        known: replay.after,
                        from: replay.through,
                    },
                })
            }
        }
    }
}

/// Pushes a live subscriber what it has missed, up to `until`; false when that is no longer in
/// memory.
fn push_missed(missed: Option<&[Change]>, until: Rev, subscriber: &mut Subscriber, rev: Rev) -> bool {
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

//! What happens around messages and is not durable, or only in batches: typing, read markers,
//! presence, notices. Pure.
//!
//! All of it is coalesced: what comes often is passed on at most once in its interval, in its
//! latest form. Part of the conversation's state (`state.rs`), which decides who is a member and
//! whether the conversation is small enough.

use super::effects::{Effect, NoticeRecipients};
use super::timer::{Millis, Timer};
use crate::ids::{Seq, UserId};
use std::collections::HashMap;

/// A typist is passed on at most this often.
const TYPING_REPEAT_MS: Millis = 3_000;
/// A typist who says nothing more is taken to have stopped after this.
const TYPING_EXPIRY_MS: Millis = 12_000;
/// `read` frames of one person go out at most this often.
const READ_INTERVAL_MS: Millis = 1_000;
/// Notices of one conversation go out at most this often.
const NOTICE_INTERVAL_MS: Millis = 1_000;
/// Presence changes are gathered for this long, so that many arrivals are one write for each
/// subscriber.
const PRESENCE_INTERVAL_MS: Millis = 100;

/// A typist; kept for three seconds after they were last passed on, so that flicker is not.
#[derive(Clone, Debug)]
struct Typist {
    passed_at: Millis,
    /// Until when subscribers show it; `None` once they were pushed that it stopped.
    shown_until: Option<Millis>,
}

impl Typist {
    fn deadline(&self) -> Millis {
        self.shown_until.unwrap_or(self.passed_at + TYPING_REPEAT_MS)
    }
}

/// Typing, read markers, presence and notices that wait to be passed on. Every map is bounded by
/// the members.
#[derive(Clone, Debug, Default)]
pub(super) struct EphemeralState {
    typing: HashMap<UserId, Typist>,
    reads: HashMap<UserId, Seq>,
    reads_timer: Timer,
    presences: HashMap<UserId, bool>,
    presences_timer: Timer,
    /// Who gets a notice with the next tick.
    notices: NoticeRecipients,
    notices_timer: Timer,
}

impl EphemeralState {
    /// A member started or stopped typing.
    pub(super) fn typing(&mut self, user: UserId, on: bool, now: Millis, effects: &mut Vec<Effect>) {
        match (on, self.typing.get_mut(&user)) {
            (false, Some(typing)) => {
                if typing.shown_until.take().is_some() {
                    effects.push(Effect::BroadcastTyping { user, on: false });
                }
            }
            (false, None) => {}
            (true, Some(typing)) if now < typing.passed_at + TYPING_REPEAT_MS => {
                if typing.shown_until.is_some() {
                    typing.shown_until = Some(now + TYPING_EXPIRY_MS);
                }
            }
            (true, _) => {
                self.typing.insert(
                    user,
                    Typist {
                        passed_at: now,
                        shown_until: Some(now + TYPING_EXPIRY_MS),
                    },
                );
                effects.push(Effect::BroadcastTyping { user, on: true });
            }
        }
    }

    /// A member has posted what they typed.
    pub(super) fn stop_typing(&mut self, user: UserId, effects: &mut Vec<Effect>) {
        if self
            .typing
            .remove(&user)
            .is_some_and(|typing| typing.shown_until.is_some())
        {
            effects.push(Effect::BroadcastTyping { user, on: false });
        }
    }

    /// A member's read marker has moved; called only while the conversation is small enough.
    pub(super) fn read(&mut self, user: UserId, seq: Seq, now: Millis) {
        self.reads.insert(user, seq);
        self.reads_timer.arm_if_idle(now, READ_INTERVAL_MS);
    }

    /// A member came online or went offline; called only while the conversation is small enough.
    pub(super) fn presence(&mut self, user: UserId, online: bool, now: Millis) {
        self.presences.insert(user, online);
        self.presences_timer.arm_if_idle(now, PRESENCE_INTERVAL_MS);
    }

    /// What lists show of the conversation has changed: the connections of members that are not
    /// subscribed get a notice, the author's too.
    pub(super) fn notify_all(&mut self, now: Millis) {
        self.notices.all = true;
        self.notices_timer.arm_if_idle(now, NOTICE_INTERVAL_MS);
    }

    /// A member was added, or has read: their connections get a notice.
    pub(super) fn notify_member(&mut self, user: UserId, now: Millis) {
        self.notices.users.insert(user);
        self.notices_timer.arm_if_idle(now, NOTICE_INTERVAL_MS);
    }

    pub(super) fn remove_member(&mut self, user: UserId) {
        self.typing.remove(&user);
        self.presences.remove(&user);
        self.reads.remove(&user);
        self.notices.users.remove(&user);
    }

    /// When [`Self::tick`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Millis> {
        let typing = self.typing.values().map(Typist::deadline);
        let timers = [self.reads_timer, self.presences_timer, self.notices_timer];
        timers.iter().filter_map(Timer::at).chain(typing).min()
    }

    pub(super) fn tick(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        self.tick_typing(now, effects);
        if self.reads_timer.fire(now) {
            let reads = std::mem::take(&mut self.reads);
            effects.extend(reads.into_iter().map(|(user, seq)| Effect::BroadcastRead { user, seq }));
            self.reads_timer.rest(now, READ_INTERVAL_MS);
        }
        if self.presences_timer.fire(now) {
            let presences = std::mem::take(&mut self.presences);
            effects.extend(
                presences
                    .into_iter()
                    .map(|(user, online)| Effect::BroadcastPresence { user, online }),
            );
        }
        if self.notices_timer.fire(now) {
            let recipients = std::mem::take(&mut self.notices);
            if recipients.all || !recipients.users.is_empty() {
                effects.push(Effect::Notify(recipients));
            }
            self.notices_timer.rest(now, NOTICE_INTERVAL_MS);
        }
    }

    fn tick_typing(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        self.typing.retain(|user, typing| {
            if typing.shown_until.is_some_and(|until| until <= now) {
                typing.shown_until = None;
                effects.push(Effect::BroadcastTyping { user: *user, on: false });
            }
            typing.deadline() > now
        });
    }
}

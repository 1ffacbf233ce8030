//! A conversation as a value: what it knows, and what follows from each event. Pure: no actor, no
//! clock, no I/O.
//!
//! The state is a cache of what PostgreSQL holds (members, the newest messages, the latest changes)
//! plus what is nowhere else (who is typing, who is online). Durable changes come in only as
//! committed, with a revision. Whether one is next, old or beyond a gap is judged here and nowhere
//! else. Time is an argument. Timers are data: [`ConversationState::next_deadline`] says when to
//! call [`ConversationState::tick`].
//!
//! Gaps. A change beyond the next revision waits in `ahead` for [`GAP_PATIENCE_MS`]. If what is
//! missing does not arrive, an [`Effect::CatchUp`] asks the actor to read it. A read gives the net
//! effect, so it has holes where a thing changed twice. Live subscribers are promised every
//! revision. So a hole is filled with the present state of the thing that was changed there (one
//! that existed then), under the hole's revision. Clients upsert, so this is harmless.

use super::change_log::{ChangeLog, RecentMessages, change_at};
use super::effects::Effect;
use super::ephemeral::EphemeralState;
use super::member::Member;
use super::timer::{Millis, Timer};
use crate::ids::{ConversationId, MemberRole, Rev, Seq, TenantId, UserId};
use crate::wire::frames::{ConversationChanged, MemberChange, MemberChanged, Message, Timestamp};
use crate::wire::{Change, limits};
use bytestring::ByteString;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Changes beyond a gap that are kept, and their bytes; past it they are dropped and read again.
const AHEAD_MAX: usize = 1_024;
const AHEAD_BYTES_MAX: usize = 512 * 1_024;
/// How long a gap may stay before it is read from the database.
const GAP_PATIENCE_MS: Millis = 50;
/// How long after one turned out not to exist: who names revisions that nobody has committed causes
/// so few reads.
const FALSE_GAP_PATIENCE_MS: Millis = 1_000;

/// What the database says when a conversation starts.
#[derive(Clone, Debug)]
pub struct LoadedConversation {
    pub id: ConversationId,
    pub tenant_id: TenantId,
    pub title: ByteString,
    pub rev: Rev,
    pub last_seq: Seq,
    pub deleted_at: Option<Timestamp>,
    pub members: HashMap<UserId, Member>,
    /// The newest messages, ascending by `seq`; not all that a snapshot has, if they are long.
    pub recent: Vec<Message>,
}

#[derive(Clone, Debug)]
pub struct ConversationState {
    pub(super) id: ConversationId,
    pub(super) tenant_id: TenantId,
    pub(super) title: ByteString,
    pub(super) rev: Rev,
    pub(super) last_seq: Seq,
    pub(super) deleted_at: Option<Timestamp>,
    pub(super) members: HashMap<UserId, Member>,
    pub(super) recent: RecentMessages,
    /// The latest changes, the last one with revision `rev`.
    pub(super) log: ChangeLog,
    /// Changes beyond a gap.
    ahead: BTreeMap<Rev, Change>,
    /// The highest revision known to exist.
    observed: Rev,
    gap: Timer,
    gap_patience: Millis,
    /// The highest revision known to exist when the read under way began.
    catching_up: Option<Rev>,
    pub(super) ephemeral: EphemeralState,
}

impl ConversationState {
    #[must_use]
    pub fn new(loaded: LoadedConversation) -> Self {
        Self {
            id: loaded.id,
            tenant_id: loaded.tenant_id,
            title: loaded.title,
            rev: loaded.rev,
            last_seq: loaded.last_seq,
            deleted_at: loaded.deleted_at,
            members: loaded.members,
            recent: RecentMessages::new(loaded.recent),
            log: ChangeLog::default(),
            ahead: BTreeMap::new(),
            observed: loaded.rev,
            gap: Timer::default(),
            gap_patience: GAP_PATIENCE_MS,
            catching_up: None,
            ephemeral: EphemeralState::default(),
        }
    }

    /// Fills the log with what subscribers who have everything up to `served` have missed, as if it
    /// had just happened; for a state that replaces one that died. `missed` is the net effect up to
    /// the present revision, ascending.
    pub(super) fn prefill(&mut self, served: Rev, missed: &[Change]) {
        let mut next = served.next();
        while next <= self.rev {
            let Some(change) = change_at(missed, next, |rev| self.properties_at(rev)) else {
                return self.log.clear();
            };
            self.log.push(change);
            next = next.next();
        }
    }

    /// The present properties, as a change of an earlier revision: fills a hole (see
    /// [`change_at`]).
    fn properties_at(&self, rev: Rev) -> Change {
        Change::Properties(Arc::new(ConversationChanged {
            conversation: self.id,
            rev,
            title: self.title.clone(),
            // What was deleted has no later revision.
            deleted_at: None,
        }))
    }

    /// A member's role, if the user is one and the conversation is not deleted.
    pub(super) fn role_of(&self, user: UserId) -> Option<MemberRole> {
        if self.deleted_at.is_some() {
            return None;
        }
        self.members.get(&user).map(|member| member.role)
    }

    pub(super) fn member_ids(&self) -> impl Iterator<Item = UserId> + '_ {
        self.members.keys().copied()
    }

    /// Whether the conversation is small enough for `read`, `typing` and `presence`.
    pub(super) fn is_small(&self) -> bool {
        self.members.len() <= limits::MEMBERS_LISTED_MAX
    }

    // Durable changes.

    /// Applies committed changes, and notes the highest revision seen with them.
    pub fn committed(&mut self, changes: Vec<Change>, observed: Rev, now: Millis, effects: &mut Vec<Effect>) {
        self.observed = self.observed.max(observed);
        for change in changes {
            self.observed = self.observed.max(change.rev());
            if change.rev() == self.rev.next() {
                self.apply(change, now, effects);
                self.apply_ahead(now, effects);
            } else if change.rev() > self.rev {
                self.keep_ahead(change);
            }
        }
        if self.rev >= self.observed {
            self.gap.clear();
        } else if self.catching_up.is_none() {
            self.gap.arm(now + self.gap_patience);
        }
    }

    fn keep_ahead(&mut self, change: Change) {
        let bytes: usize = self.ahead.values().map(Change::weight).sum();
        if self.ahead.len() >= AHEAD_MAX || bytes >= AHEAD_BYTES_MAX {
            self.ahead.clear();
        }
        self.ahead.insert(change.rev(), change);
    }

    /// Applies what was read for [`Effect::CatchUp`]: the net effect of everything after the
    /// present revision, ascending, from a database that had reached `latest`.
    pub(super) fn caught_up(&mut self, found: &[Change], latest: Rev, now: Millis, effects: &mut Vec<Effect>) {
        let asked = self.catching_up.take();
        let last = found.last().map_or(self.rev, Change::rev);
        while self.rev < last {
            let next = self.rev.next();
            let Some(change) = change_at(found, next, |rev| self.properties_at(rev)) else {
                break;
            };
            self.apply(change, now, effects);
        }
        self.ahead = self.ahead.split_off(&self.rev.next());
        self.apply_ahead(now, effects);
        self.gap_patience = GAP_PATIENCE_MS;
        if asked.is_some_and(|asked| asked > latest) {
            self.forget_false_revisions(asked, latest);
        }
        if self.rev < self.observed {
            self.gap.arm(now + self.gap_patience);
        } else {
            self.gap.clear();
        }
    }

    /// The read for [`Effect::CatchUp`] failed; it will be tried again.
    pub(super) fn catch_up_failed(&mut self, now: Millis) {
        self.catching_up = None;
        self.gap.arm(now + 10 * GAP_PATIENCE_MS);
    }

    /// What was said to exist before the database was asked, and does not.
    fn forget_false_revisions(&mut self, asked: Option<Rev>, latest: Rev) {
        self.gap_patience = FALSE_GAP_PATIENCE_MS;
        if asked == Some(self.observed) {
            self.observed = latest.max(self.rev);
            self.ahead.split_off(&self.observed.next());
        }
    }

    fn apply_ahead(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        while let Some(change) = self.ahead.remove(&self.rev.next()) {
            self.apply(change, now, effects);
        }
        while self.ahead.first_key_value().is_some_and(|(rev, _)| *rev <= self.rev) {
            self.ahead.pop_first();
        }
    }

    /// Applies the change with the next revision.
    fn apply(&mut self, change: Change, now: Millis, effects: &mut Vec<Effect>) {
        self.rev = change.rev();
        self.log.push(change.clone());
        effects.push(Effect::Broadcast(change.clone()));
        match change {
            Change::Message(message) => self.apply_message(message, now, effects),
            Change::Member(member) => self.apply_member(&member, now, effects),
            Change::Properties(properties) => self.apply_properties(&properties, now, effects),
        }
    }

    fn apply_message(&mut self, message: Arc<Message>, now: Millis, effects: &mut Vec<Effect>) {
        if message.seq <= self.last_seq {
            if self.shows_otherwise(&message) {
                self.ephemeral.notify_all(now);
            }
            return self.recent.replace(message);
        }
        self.last_seq = message.seq;
        let author = message.author;
        self.recent.push(message);
        if let Some(member) = self.members.get_mut(&author) {
            member.read_seq = self.last_seq;
            effects.push(Effect::MarkRead {
                user: author,
                seq: self.last_seq,
            });
        }
        // What was being typed is there now.
        self.ephemeral.stop_typing(author, effects);
        self.ephemeral.notify_all(now);
    }

    fn apply_member(&mut self, member: &Arc<MemberChanged>, now: Millis, effects: &mut Vec<Effect>) {
        let user = member.user.id;
        if member.change == MemberChange::Removed {
            self.members.remove(&user);
            self.ephemeral.remove_member(user);
            effects.push(Effect::MembersChanged { user, joined: false });
            let farewell = Change::Member(member.clone());
            effects.push(Effect::Detach { user, farewell });
            return;
        }
        if let Some(known) = self.members.get_mut(&user) {
            known.role = member.user.role;
            known.name = member.user.name.clone();
            return;
        }
        let joined = Member {
            name: member.user.name.clone(),
            kind: member.user.kind,
            role: member.user.role,
            read_seq: self.last_seq,
            online: false,
        };
        self.members.insert(user, joined);
        effects.push(Effect::MembersChanged { user, joined: true });
        self.ephemeral.notify_member(user, now);
    }

    fn apply_properties(&mut self, properties: &Arc<ConversationChanged>, now: Millis, effects: &mut Vec<Effect>) {
        if self.title != properties.title {
            self.ephemeral.notify_all(now);
        }
        self.title = properties.title.clone();
        self.deleted_at = properties.deleted_at;
        if self.deleted_at.is_some() {
            let farewell = Change::Properties(properties.clone());
            effects.push(Effect::End { farewell });
            // Also not a notice of what was posted a moment ago: nobody is subscribed any more.
            self.ephemeral = EphemeralState::default();
        }
    }

    // What is not durable, or only in batches.

    /// A member has read up to `seq`, here.
    pub(super) fn read(&mut self, user: UserId, seq: Seq, now: Millis, effects: &mut Vec<Effect>) {
        let seq = seq.min(self.last_seq);
        if self.move_marker(user, seq, now) {
            effects.push(Effect::MarkRead { user, seq });
            effects.push(Effect::PublishRead { user, seq });
        }
    }

    /// A member has read up to `seq` on another node; that node writes it.
    pub(super) fn read_elsewhere(&mut self, user: UserId, seq: Seq, now: Millis) {
        self.move_marker(user, seq, now);
    }

    fn move_marker(&mut self, user: UserId, seq: Seq, now: Millis) -> bool {
        let is_small = self.is_small();
        let Some(member) = self.members.get_mut(&user).filter(|member| member.read_seq < seq) else {
            return false;
        };
        member.read_seq = seq;
        if is_small {
            self.ephemeral.read(user, seq, now);
        }
        self.ephemeral.notify_member(user, now);
        true
    }

    /// A member started or stopped typing.
    pub(super) fn typing(&mut self, user: UserId, on: bool, now: Millis, effects: &mut Vec<Effect>) {
        if !self.is_small() || !self.members.contains_key(&user) {
            return;
        }
        self.ephemeral.typing(user, on, now, effects);
    }

    /// A user came online or went offline.
    pub(super) fn presence(&mut self, user: UserId, online: bool, now: Millis) {
        let is_small = self.is_small();
        let Some(member) = self.members.get_mut(&user) else {
            return;
        };
        if member.online == online {
            return;
        }
        member.online = online;
        if is_small {
            self.ephemeral.presence(user, online, now);
        }
    }

    /// A user has another name.
    pub(super) fn renamed(&mut self, user: UserId, name: &ByteString) {
        if let Some(member) = self.members.get_mut(&user) {
            member.name = name.clone();
        }
    }

    // Time.

    /// When [`Self::tick`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Millis> {
        self.gap.at().into_iter().chain(self.ephemeral.next_deadline()).min()
    }

    pub(super) fn tick(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        if self.gap.fire(now) && self.catching_up.is_none() {
            self.catching_up = Some(self.observed);
            effects.push(Effect::CatchUp { after: self.rev });
        }
        self.ephemeral.tick(now, effects);
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

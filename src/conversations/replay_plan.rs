//! What the state knows of bringing a subscriber to the present. Pure.

use super::member::Member;
use super::permissions::actions_of;
use super::state::ConversationState;
use crate::ids::{MemberRole, Rev, Seq, UserId};
use crate::wire::frames::{MemberEntry, Subscribed};
use crate::wire::{Change, Ref, limits};

/// How a subscriber is brought to the present.
#[derive(Clone, Debug)]
pub(super) enum ReplayPlan {
    /// From memory: these changes, in this order, then `subscribed`.
    Memory { changes: Vec<Change>, complete: bool },
    /// The newest messages, from behind this one on: more than memory holds, so from the database.
    Newest { after: Seq },
    /// Too much or too old: from the database.
    Database,
}

impl ConversationState {
    /// How to bring a subscriber who has everything up to `after` (or nothing) to the present.
    pub(super) fn plan_replay(&self, after: Option<Rev>) -> ReplayPlan {
        let Some(after) = after else {
            let newest = i64::try_from(limits::SUBSCRIBE_MESSAGES).unwrap_or(i64::MAX);
            let before = Seq((self.last_seq.0 - newest).max(0));
            let Some(recent) = self.recent.snapshot() else {
                return ReplayPlan::Newest { after: before };
            };
            return ReplayPlan::Memory {
                changes: recent.map(|message| Change::Message(message.clone())).collect(),
                complete: before == Seq::ZERO,
            };
        };
        if after == self.rev {
            return ReplayPlan::Memory {
                changes: Vec::new(),
                complete: true,
            };
        }
        if after > self.rev || after < self.log.starts_after(self.rev) {
            return ReplayPlan::Database;
        }
        ReplayPlan::Memory {
            changes: self.log.net_effect_after(after),
            complete: true,
        }
    }

    /// The `subscribed` frame for a member.
    pub(super) fn subscribed(&self, user: UserId, reference: Option<Ref>, complete: bool) -> Subscribed {
        let entry = |(id, member): (&UserId, &Member)| MemberEntry {
            id: *id,
            name: member.name.clone(),
            kind: member.kind,
            role: member.role,
            online: member.online,
        };
        let members = self.is_small().then(|| {
            let mut members: Vec<_> = self.members.iter().map(entry).collect();
            members.sort_unstable_by_key(|member| member.id);
            members
        });
        let own = self.members.get(&user);
        let role = own.map_or(MemberRole::Member, |member| member.role);
        Subscribed {
            reference,
            conversation: self.id,
            title: self.title.clone(),
            rev: self.rev,
            last_seq: self.last_seq,
            read_seq: own.map_or(Seq::ZERO, |member| member.read_seq),
            role,
            may: actions_of(role),
            member_count: self.members.len(),
            members,
            complete,
        }
    }

    /// Every change after a revision, without holes; `None` when they are no longer all in memory.
    pub(super) fn changes_after(&self, after: Rev) -> Option<Vec<Change>> {
        self.log.all_after(after)
    }

    /// The change that ended a user's membership or the conversation, if it is in memory and still
    /// holds.
    pub(super) fn ending_of(&self, user: UserId) -> Option<Change> {
        if self.role_of(user).is_some() {
            return None;
        }
        self.log.ending_of(user)
    }
}

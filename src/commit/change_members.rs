//! Changes of members: adding, joining by an invitation, roles, removing. Judged under the lock of
//! the conversation, as the rest (`change.rs`).

use super::change::{AppliedChange, ChangeError, ChangeResult, LockedChange, NOT_FOUND, changed, unchanged};
use super::store;
use crate::error::Code;
use crate::ids::{InviteId, MemberRole, Rev, UserId, UserStatus};
use crate::wire::Change;
use crate::wire::frames::{MemberChange, MemberChanged};
use std::sync::Arc;

/// Most members of a conversation.
const MEMBERS_MAX: i32 = 10_000;

impl LockedChange<'_> {
    async fn member(&self, user_id: UserId) -> ChangeResult<Option<MemberChanged>> {
        let (tenant, id) = (self.operation.tenant_id, self.operation.conversation_id);
        Ok(store::find_member(self.db, tenant, id, user_id).await?)
    }

    pub(super) async fn add_member(&self, user_id: UserId, role: Option<MemberRole>) -> ChangeResult<AppliedChange> {
        self.require(None)?;
        let granted = role.unwrap_or(MemberRole::Member);
        if granted > MemberRole::Member && self.role != Some(MemberRole::Owner) {
            return Err(ChangeError::Refused(Code::Forbidden, "Only an owner gives roles."));
        }
        if let Some(known) = self
            .member(user_id)
            .await?
            .filter(|known| known.change != MemberChange::Removed)
        {
            if role.is_some_and(|role| role != known.user.role) {
                return Err(ChangeError::Refused(
                    Code::Conflict,
                    "The user is a member already, with another role.",
                ));
            }
            return Ok(unchanged(known.rev));
        }
        let candidate = self.candidate(user_id).await?;
        if candidate.guest {
            return Err(ChangeError::Refused(
                Code::Forbidden,
                "Guests join by an invitation only.",
            ));
        }
        if candidate.status != UserStatus::Active {
            return Err(ChangeError::Refused(Code::Conflict, "The user is suspended."));
        }
        if candidate.refuses {
            return Err(ChangeError::Refused(
                Code::Forbidden,
                "The user does not want to be added here; give them an invitation.",
            ));
        }
        self.admit(candidate, granted).await
    }

    pub(super) async fn join(&self, invite_id: InviteId) -> ChangeResult<AppliedChange> {
        let (tenant, id, user_id) = (
            self.operation.tenant_id,
            self.operation.conversation_id,
            self.operation.actor_id,
        );
        if self.role.is_some() {
            // A member who follows the link again needs no use of it.
            let known = self.member(user_id).await?;
            return Ok(unchanged(known.map_or(Rev::ZERO, |known| known.rev)));
        }
        let candidate = self.candidate(user_id).await?;
        if candidate.status != UserStatus::Active {
            return Err(NOT_FOUND);
        }
        if self.conversation.member_count >= MEMBERS_MAX {
            return Err(ChangeError::Refused(
                Code::LimitReached,
                "The conversation has as many members as it can.",
            ));
        }
        if !store::use_invite(self.db, tenant, id, invite_id, user_id).await? {
            return Err(NOT_FOUND);
        }
        store::delete_declined(self.db, tenant, id, user_id).await?;
        self.admit(candidate, MemberRole::Member).await
    }

    /// A user of the tenant, as one who may become a member by what this operation does.
    async fn candidate(&self, user_id: UserId) -> ChangeResult<store::Candidate> {
        let (tenant, id) = (self.operation.tenant_id, self.operation.conversation_id);
        let found = store::find_candidate(self.db, tenant, id, user_id, self.operation.actor_id).await?;
        found.ok_or(NOT_FOUND)
    }

    async fn admit(&self, candidate: store::Candidate, role: MemberRole) -> ChangeResult<AppliedChange> {
        if self.conversation.member_count >= MEMBERS_MAX {
            return Err(ChangeError::Refused(
                Code::LimitReached,
                "The conversation has as many members as it can.",
            ));
        }
        let rev = self.next_rev().await?;
        let mut user = candidate.user;
        user.role = role;
        let member = MemberChanged {
            conversation: self.operation.conversation_id,
            rev,
            user,
            change: MemberChange::Added,
            joined_rev: rev,
        };
        store::upsert_member(self.db, self.operation.tenant_id, &member, self.conversation.last_seq).await?;
        Ok(changed(Change::Member(Arc::new(member))))
    }

    async fn keep_an_owner(&self, member: &MemberChanged) -> ChangeResult<()> {
        let (tenant, id) = (self.operation.tenant_id, self.operation.conversation_id);
        if member.user.role == MemberRole::Owner && store::count_owners(self.db, tenant, id).await? <= 1 {
            return Err(ChangeError::Refused(
                Code::Conflict,
                "A conversation keeps at least one owner.",
            ));
        }
        Ok(())
    }

    pub(super) async fn change_member(&self, user_id: UserId, role: MemberRole) -> ChangeResult<AppliedChange> {
        self.require(None)?;
        let known = self
            .member(user_id)
            .await?
            .filter(|known| known.change != MemberChange::Removed);
        let mut member = known.ok_or(NOT_FOUND)?;
        if member.user.role == role {
            return Ok(unchanged(member.rev));
        }
        self.keep_an_owner(&member).await?;
        member.rev = self.next_rev().await?;
        member.user.role = role;
        member.change = MemberChange::Changed;
        store::update_member_role(self.db, self.operation.tenant_id, &member).await?;
        Ok(changed(Change::Member(Arc::new(member))))
    }

    pub(super) async fn remove_member(&self, user_id: UserId) -> ChangeResult<AppliedChange> {
        self.require(None)?;
        let mut member = self.member(user_id).await?.ok_or(NOT_FOUND)?;
        if member.change == MemberChange::Removed {
            return Ok(unchanged(member.rev));
        }
        let leaves = user_id == self.operation.actor_id;
        if !leaves && self.role != Some(MemberRole::Owner) && member.user.role >= MemberRole::Moderator {
            return Err(ChangeError::Refused(
                Code::Forbidden,
                "Only an owner removes moderators and owners.",
            ));
        }
        self.keep_an_owner(&member).await?;
        let (tenant, id) = (self.operation.tenant_id, self.operation.conversation_id);
        member.rev = self.next_rev().await?;
        member.change = MemberChange::Removed;
        store::remove_member(self.db, tenant, id, user_id, self.operation.actor_id, member.rev).await?;
        Ok(changed(Change::Member(Arc::new(member))))
    }
}

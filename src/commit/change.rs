//! Applies one change that is not a post: load, judge under the lock, write. Judging is by the rows themselves, so it
//! holds whatever another node did a moment ago.

use super::store::{self, LockedConversation};
use super::{MEMBERS_MAX, Operation, Receipt, Request, Requirement};
use crate::database::{Error as DatabaseError, Transaction};
use crate::error::Code;
use crate::ids::{InviteId, MemberRole, MessageId, Rev, UserId, UserStatus};
use crate::wire::frames::{ConversationChanged, MemberChange, MemberChanged, Message};
use crate::wire::{Change, limits};
use std::sync::Arc;

/// Why a change was not applied.
pub(super) enum Failure {
    /// The rules forbid it; the transaction goes on.
    Refused(Code, &'static str),
    /// The statement failed; the transaction is lost.
    Database(DatabaseError),
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

/// What an applied change leaves behind: its receipt, and the change itself unless it changed nothing.
pub(super) struct Applied {
    pub(super) receipt: Receipt,
    pub(super) change: Option<Change>,
}

type Result<T> = std::result::Result<T, Failure>;

const NOT_FOUND: Failure = Failure::Refused(Code::NotFound, Code::NotFound.text());
const FORBIDDEN: Failure = Failure::Refused(Code::Forbidden, "Your role in this conversation does not allow it.");

const fn unchanged(rev: Rev) -> Applied {
    Applied {
        receipt: Receipt {
            rev,
            seq: None,
            created_at: None,
            duplicate: false,
        },
        change: None,
    }
}

fn changed(change: Change) -> Applied {
    let Applied { receipt, .. } = unchanged(change.rev());
    Applied {
        receipt,
        change: Some(change),
    }
}

/// One operation under the lock of its conversation.
struct Scope<'a> {
    db: &'a Transaction<'a>,
    operation: &'a Operation,
    conversation: LockedConversation,
    /// The actor's role; `None` for one who comes with an invitation.
    role: Option<MemberRole>,
}

/// Applies one operation inside the writer's transaction.
pub(super) async fn apply(db: &Transaction<'_>, operation: &Operation) -> Result<Applied> {
    let (tenant, id) = (operation.tenant_id, operation.conversation_id);
    let conversation = store::load_conversation(db, tenant, id).await?.ok_or(NOT_FOUND)?;
    let member = store::find_member(db, tenant, id, operation.actor_id).await?;
    if let Some(applied) = repeated_end(operation, &conversation, member.as_ref()) {
        return Ok(applied);
    }
    if conversation.is_deleted {
        return Err(NOT_FOUND);
    }
    let role = member
        .filter(|member| member.change != MemberChange::Removed)
        .map(|member| member.user.role);
    if role.is_none() && operation.requirement != Requirement::Invitation {
        return Err(NOT_FOUND);
    }
    let scope = Scope {
        db,
        operation,
        conversation,
        role,
    };
    match &operation.request {
        Request::Post { .. } => Err(Failure::Refused(Code::Internal, Code::Internal.text())),
        Request::Edit { id, body } => scope.edit(*id, body).await,
        Request::Delete { id } => scope.delete(*id).await,
        Request::React { id, emoji, on } => scope.react(*id, emoji, *on).await,
        Request::AddMember { user_id, role } => scope.add_member(*user_id, *role).await,
        Request::ChangeMember { user_id, role } => scope.change_member(*user_id, *role).await,
        Request::RemoveMember { user_id } => scope.remove_member(*user_id).await,
        Request::Join { invite_id } => scope.join(*invite_id).await,
        Request::Rename { title } => scope.rename(title).await,
        Request::DeleteConversation => scope.delete_conversation().await,
    }
}

/// A change that takes away its own permission, repeated because the answer to its commit was lost: done already.
fn repeated_end(
    operation: &Operation,
    conversation: &LockedConversation,
    member: Option<&MemberChanged>,
) -> Option<Applied> {
    match &operation.request {
        Request::RemoveMember { user_id } if *user_id == operation.actor_id => {
            let left = member.filter(|member| member.change == MemberChange::Removed)?;
            Some(unchanged(left.rev))
        }
        Request::DeleteConversation if conversation.is_deleted => {
            let owner = member.filter(|member| member.user.role == MemberRole::Owner)?;
            (owner.change != MemberChange::Removed).then(|| unchanged(conversation.properties_rev))
        }
        _ => None,
    }
}

impl Scope<'_> {
    fn require(&self, author: Option<UserId>) -> Result<()> {
        let is_author = author == Some(self.operation.actor_id);
        let has_role = |least: MemberRole| self.role.is_some_and(|role| role >= least);
        let allowed = match self.operation.requirement {
            Requirement::Role(least) => has_role(least),
            Requirement::Author => is_author,
            Requirement::AuthorOrRole(least) => is_author || has_role(least),
            Requirement::Invitation => true,
        };
        if allowed { Ok(()) } else { Err(FORBIDDEN) }
    }

    async fn next_rev(&self) -> Result<Rev> {
        Ok(store::advance_rev(self.db, self.operation.tenant_id, self.operation.conversation_id).await?)
    }

    async fn message(&self, id: MessageId) -> Result<Message> {
        let found = store::find_message(self.db, self.operation.tenant_id, self.operation.conversation_id, id).await?;
        found.ok_or(NOT_FOUND)
    }

    /// The message as it stands after the change.
    async fn updated(&self, id: MessageId) -> Result<Applied> {
        Ok(changed(Change::Message(Arc::new(self.message(id).await?))))
    }

    async fn edit(&self, id: MessageId, body: &str) -> Result<Applied> {
        let message = self.message(id).await?;
        self.require(Some(message.author))?;
        if message.deleted_at.is_some() {
            return Err(Failure::Refused(Code::Conflict, "The message is deleted."));
        }
        if message.body.as_deref() == Some(body) {
            return Ok(unchanged(message.rev));
        }
        let rev = self.next_rev().await?;
        store::update_body(self.db, self.operation.tenant_id, id, body, rev).await?;
        self.updated(id).await
    }

    async fn delete(&self, id: MessageId) -> Result<Applied> {
        let message = self.message(id).await?;
        self.require(Some(message.author))?;
        if message.deleted_at.is_some() {
            return Ok(unchanged(message.rev));
        }
        let rev = self.next_rev().await?;
        store::delete_message(self.db, self.operation.tenant_id, &message, rev).await?;
        self.updated(id).await
    }

    async fn react(&self, id: MessageId, emoji: &str, on: bool) -> Result<Applied> {
        self.require(None)?;
        let message = self.message(id).await?;
        if message.deleted_at.is_some() {
            return Err(Failure::Refused(Code::Conflict, "The message is deleted."));
        }
        let user_id = self.operation.actor_id;
        if store::has_reaction(self.db, &message, user_id, emoji).await? == on {
            return Ok(unchanged(message.rev));
        }
        let is_new = !message.reactions.iter().any(|reaction| reaction.emoji == emoji);
        if on && is_new && message.reactions.len() >= limits::EMOJIS_PER_MESSAGE_MAX {
            return Err(Failure::Refused(
                Code::Conflict,
                "The message has as many different reactions as it can.",
            ));
        }
        if on {
            store::insert_reaction(self.db, &message, user_id, emoji).await?;
        } else {
            store::delete_reaction(self.db, &message, user_id, emoji).await?;
        }
        let rev = self.next_rev().await?;
        store::touch_message(self.db, self.operation.tenant_id, id, rev).await?;
        self.updated(id).await
    }

    async fn member(&self, user_id: UserId) -> Result<Option<MemberChanged>> {
        let (tenant, id) = (self.operation.tenant_id, self.operation.conversation_id);
        Ok(store::find_member(self.db, tenant, id, user_id).await?)
    }

    async fn add_member(&self, user_id: UserId, role: Option<MemberRole>) -> Result<Applied> {
        self.require(None)?;
        let granted = role.unwrap_or(MemberRole::Member);
        if granted > MemberRole::Member && self.role != Some(MemberRole::Owner) {
            return Err(Failure::Refused(Code::Forbidden, "Only an owner gives roles."));
        }
        if let Some(known) = self
            .member(user_id)
            .await?
            .filter(|known| known.change != MemberChange::Removed)
        {
            if role.is_some_and(|role| role != known.user.role) {
                return Err(Failure::Refused(
                    Code::Conflict,
                    "The user is a member already, with another role.",
                ));
            }
            return Ok(unchanged(known.rev));
        }
        let candidate = store::find_candidate(self.db, self.operation.tenant_id, user_id)
            .await?
            .ok_or(NOT_FOUND)?;
        if candidate.guest {
            return Err(Failure::Refused(Code::Forbidden, "Guests join by an invitation only."));
        }
        if candidate.status != UserStatus::Active {
            return Err(Failure::Refused(Code::Conflict, "The user is suspended."));
        }
        self.admit(candidate, granted).await
    }

    async fn join(&self, invite_id: InviteId) -> Result<Applied> {
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
        let candidate = store::find_candidate(self.db, tenant, user_id)
            .await?
            .ok_or(NOT_FOUND)?;
        if candidate.status != UserStatus::Active {
            return Err(NOT_FOUND);
        }
        if self.conversation.member_count >= MEMBERS_MAX {
            return Err(Failure::Refused(
                Code::LimitReached,
                "The conversation has as many members as it can.",
            ));
        }
        if !store::use_invite(self.db, tenant, id, invite_id, user_id).await? {
            return Err(NOT_FOUND);
        }
        self.admit(candidate, MemberRole::Member).await
    }

    async fn admit(&self, candidate: store::Candidate, role: MemberRole) -> Result<Applied> {
        if self.conversation.member_count >= MEMBERS_MAX {
            return Err(Failure::Refused(
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

    async fn keep_an_owner(&self, member: &MemberChanged) -> Result<()> {
        let (tenant, id) = (self.operation.tenant_id, self.operation.conversation_id);
        if member.user.role == MemberRole::Owner && store::count_owners(self.db, tenant, id).await? <= 1 {
            return Err(Failure::Refused(
                Code::Conflict,
                "A conversation keeps at least one owner.",
            ));
        }
        Ok(())
    }

    async fn change_member(&self, user_id: UserId, role: MemberRole) -> Result<Applied> {
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

    async fn remove_member(&self, user_id: UserId) -> Result<Applied> {
        self.require(None)?;
        let mut member = self.member(user_id).await?.ok_or(NOT_FOUND)?;
        if member.change == MemberChange::Removed {
            return Ok(unchanged(member.rev));
        }
        let leaves = user_id == self.operation.actor_id;
        if !leaves && self.role != Some(MemberRole::Owner) && member.user.role >= MemberRole::Moderator {
            return Err(Failure::Refused(
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

    async fn rename(&self, title: &str) -> Result<Applied> {
        self.require(None)?;
        if self.conversation.title == title {
            return Ok(unchanged(self.conversation.properties_rev));
        }
        let (tenant, id) = (self.operation.tenant_id, self.operation.conversation_id);
        let rev = self.next_rev().await?;
        store::update_title(self.db, tenant, id, title, rev).await?;
        let properties = ConversationChanged {
            conversation: id,
            rev,
            title: title.into(),
            deleted_at: None,
        };
        Ok(changed(Change::Properties(Arc::new(properties))))
    }

    async fn delete_conversation(&self) -> Result<Applied> {
        self.require(None)?;
        let (tenant, id) = (self.operation.tenant_id, self.operation.conversation_id);
        let rev = self.next_rev().await?;
        let deleted_at = store::delete_conversation(self.db, tenant, id, rev).await?;
        let title = self.conversation.title.as_str().into();
        let properties = ConversationChanged {
            conversation: id,
            rev,
            title,
            deleted_at: Some(deleted_at),
        };
        Ok(changed(Change::Properties(Arc::new(properties))))
    }
}

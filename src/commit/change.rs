//! Applies one change that is not a post: load, judge under the lock, write.
//!
//! Judging is by the rows themselves, so it holds whatever another node did a moment ago. What is
//! about members is in `change_members.rs`.

use super::operation::{Operation, Request, Requirement};
use super::receipt::Receipt;
use super::store::{self, LockedConversation};
use crate::database::{Error as DatabaseError, Transaction};
use crate::error::Code;
use crate::ids::{MemberRole, MessageId, Rev, UserId};
use crate::wire::frames::{Cause, ConversationChanged, MemberChange, MemberChanged, Message};
use crate::wire::{Change, limits};
use std::sync::Arc;

/// Why a change was not applied.
pub(super) enum ChangeError {
    /// The rules forbid it; the transaction goes on.
    Refused(Code, &'static str),
    /// The statement failed; the transaction is lost.
    Database(DatabaseError),
}

impl From<DatabaseError> for ChangeError {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

/// What an applied change leaves behind: its receipt, and the change itself unless it changed
/// nothing.
pub(super) struct AppliedChange {
    pub(super) receipt: Receipt,
    pub(super) change: Option<Change>,
}

pub(super) type ChangeResult<T> = Result<T, ChangeError>;

pub(super) const NOT_FOUND: ChangeError = ChangeError::Refused(Code::NotFound, Code::NotFound.text());
const FORBIDDEN: ChangeError =
    ChangeError::Refused(Code::Forbidden, "Your role in this conversation does not allow it.");

pub(super) const fn unchanged(rev: Rev) -> AppliedChange {
    AppliedChange {
        receipt: Receipt {
            rev,
            seq: None,
            created_at: None,
            duplicate: false,
        },
        change: None,
    }
}

pub(super) fn changed(change: Change) -> AppliedChange {
    let AppliedChange { receipt, .. } = unchanged(change.rev());
    AppliedChange {
        receipt,
        change: Some(change),
    }
}

/// One operation under the lock of its conversation.
pub(super) struct LockedChange<'a> {
    pub(super) db: &'a Transaction<'a>,
    pub(super) operation: &'a Operation,
    pub(super) conversation: LockedConversation,
    /// The actor's role; `None` for one who comes with an invitation.
    pub(super) role: Option<MemberRole>,
}

/// Applies one operation inside the lane's transaction.
pub(super) async fn apply(db: &Transaction<'_>, operation: &Operation) -> ChangeResult<AppliedChange> {
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
    let change = LockedChange {
        db,
        operation,
        conversation,
        role,
    };
    match &operation.request {
        Request::Post { .. } => Err(ChangeError::Refused(Code::Internal, Code::Internal.text())),
        Request::Edit { id, body, if_rev } => change.edit(*id, body, *if_rev).await,
        Request::Delete { id, if_rev } => change.delete(*id, *if_rev).await,
        Request::React { id, emoji, on, if_rev } => change.react(*id, emoji, *on, *if_rev).await,
        Request::AddMember { user_id, role } => change.add_member(*user_id, *role).await,
        Request::ChangeMember { user_id, role } => change.change_member(*user_id, *role).await,
        Request::RemoveMember { user_id } => change.remove_member(*user_id).await,
        Request::Join { invite_id } => change.join(*invite_id).await,
        Request::Rename { title } => change.rename(title).await,
        Request::DeleteConversation => change.delete_conversation().await,
    }
}

/// A change that takes away its own permission, repeated because the reply to its commit was lost:
/// it is done already.
fn repeated_end(
    operation: &Operation,
    conversation: &LockedConversation,
    member: Option<&MemberChanged>,
) -> Option<AppliedChange> {
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

impl LockedChange<'_> {
    pub(super) fn require(&self, author: Option<UserId>) -> ChangeResult<()> {
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

    pub(super) async fn next_rev(&self) -> ChangeResult<Rev> {
        Ok(store::advance_rev(self.db, self.operation.tenant_id, self.operation.conversation_id).await?)
    }

    async fn message(&self, id: MessageId) -> ChangeResult<Message> {
        let found = store::find_message(self.db, self.operation.tenant_id, self.operation.conversation_id, id).await?;
        found.ok_or(NOT_FOUND)
    }

    /// The message as it stands after the change.
    async fn updated(&self, id: MessageId, reaction: Option<(String, bool)>) -> ChangeResult<AppliedChange> {
        let mut message = self.message(id).await?;
        message.cause = Some(Box::new(Cause {
            by: self.operation.actor_id,
            reaction,
        }));
        Ok(changed(Change::Message(Arc::new(message))))
    }

    /// Refuses when the text is another one than that of `if_rev`. Reactions do not count.
    async fn require_unedited(&self, message: &Message, if_rev: Option<Rev>) -> ChangeResult<()> {
        let Some(seen) = if_rev else { return Ok(()) };
        let text = store::find_text_rev(self.db, self.operation.tenant_id, message.id).await?;
        if text > seen {
            return Err(ChangeError::Refused(
                Code::Conflict,
                "The message was edited or deleted since the revision that you saw.",
            ));
        }
        Ok(())
    }

    async fn edit(&self, id: MessageId, body: &str, if_rev: Option<Rev>) -> ChangeResult<AppliedChange> {
        let message = self.message(id).await?;
        self.require(Some(message.author))?;
        if message.deleted_at.is_some() {
            return Err(ChangeError::Refused(Code::Conflict, "The message is deleted."));
        }
        if message.body.as_deref() == Some(body) {
            return Ok(unchanged(message.rev));
        }
        self.require_unedited(&message, if_rev).await?;
        let rev = self.next_rev().await?;
        store::update_body(self.db, self.operation.tenant_id, id, body, rev).await?;
        self.updated(id, None).await
    }

    async fn delete(&self, id: MessageId, if_rev: Option<Rev>) -> ChangeResult<AppliedChange> {
        let message = self.message(id).await?;
        self.require(Some(message.author))?;
        if message.deleted_at.is_some() {
            return Ok(unchanged(message.rev));
        }
        self.require_unedited(&message, if_rev).await?;
        let rev = self.next_rev().await?;
        store::delete_message(self.db, self.operation.tenant_id, &message, rev).await?;
        self.updated(id, None).await
    }

    /// Adds or removes an emoji.
    async fn react(&self, id: MessageId, emoji: &str, on: bool, if_rev: Option<Rev>) -> ChangeResult<AppliedChange> {
        self.require(None)?;
        let message = self.message(id).await?;
        if message.deleted_at.is_some() {
            return Err(ChangeError::Refused(Code::Conflict, "The message is deleted."));
        }
        let user_id = self.operation.actor_id;
        if store::has_reaction(self.db, &message, user_id, emoji).await? == on {
            return Ok(unchanged(message.rev));
        }
        self.require_unedited(&message, if_rev).await?;
        let is_new = !message.reactions.iter().any(|reaction| reaction.emoji == emoji);
        if on && is_new && message.reactions.len() >= limits::EMOJIS_PER_MESSAGE_MAX {
            return Err(ChangeError::Refused(
                Code::Conflict,
                "The message has as many different reactions as it can.",
            ));
        }
        let total: i64 = message.reactions.iter().map(|reaction| reaction.count).sum();
        if on && total >= limits::REACTIONS_PER_MESSAGE_MAX {
            return Err(ChangeError::Refused(
                Code::LimitReached,
                "The message has as many reactions as it can.",
            ));
        }
        if on {
            store::insert_reaction(self.db, &message, user_id, emoji).await?;
        } else {
            store::delete_reaction(self.db, &message, user_id, emoji).await?;
        }
        let rev = self.next_rev().await?;
        store::touch_message(self.db, self.operation.tenant_id, id, rev).await?;
        self.updated(id, Some((emoji.to_owned(), on))).await
    }

    async fn rename(&self, title: &str) -> ChangeResult<AppliedChange> {
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

    async fn delete_conversation(&self) -> ChangeResult<AppliedChange> {
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

//! An invitation as the admins of its tenant see it.
//!
//! Without its code: an admin who had it could join a conversation that they may not read. For the
//! same reason a title is shown to members of the conversation only.

use crate::ids::{ConversationId, InviteId, UserId};
use crate::wire::frames::{Timestamp, optional_timestamp, timestamp};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// An invitation of the tenant, without its code.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TenantInvite {
    /// Its id, to withdraw it.
    pub id: InviteId,
    /// Where it leads to.
    pub conversation: InvitedTo,
    /// Who made it. It counts while they may invite there.
    pub created_by: InviteMaker,
    /// When it was made.
    #[serde(serialize_with = "timestamp")]
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub created_at: Timestamp,
    /// When it runs out, if it does.
    #[serde(serialize_with = "optional_timestamp")]
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub expires_at: Option<Timestamp>,
    /// How many may join by it, if that is limited.
    pub max_uses: Option<i32>,
    /// How many have.
    pub uses: i32,
    /// Whether somebody can join by it now.
    pub usable: bool,
}

/// The conversation of an invitation.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct InvitedTo {
    /// Its id.
    pub id: ConversationId,
    /// Its title; null for who is no member.
    pub title: Option<String>,
}

/// Who made an invitation.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct InviteMaker {
    /// Their id.
    pub id: UserId,
    /// Their name.
    pub name: String,
}

/// Which invitations of a tenant; all conditions together.
#[derive(Clone, Copy, Debug, Default)]
pub struct InviteFilter {
    /// Only those of this user.
    pub created_by: Option<UserId>,
    /// Only those to this conversation.
    pub conversation: Option<ConversationId>,
}

impl InviteFilter {
    pub(super) fn ids(self) -> (Option<Uuid>, Option<Uuid>) {
        (self.created_by.map(|id| id.0), self.conversation.map(|id| id.0))
    }
}

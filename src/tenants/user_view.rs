//! A user as others see them, and what can be changed of a user.

use crate::auth::{Action, Principal, User, UserChange};
use crate::ids::{Role, Tier, UserId, UserKind, UserStatus};
use crate::wire::frames::{Timestamp, optional_timestamp};
use bytestring::ByteString;
use serde::Serialize;
use utoipa::ToSchema;

/// A user as far as the caller may see them: id, name and kind for everyone, the rest for the user and for admins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct UserView {
    /// The user's id.
    pub id: UserId,
    /// Display name.
    #[schema(value_type = String)]
    pub name: ByteString,
    /// Person, agent or system.
    pub kind: UserKind,
    /// Address; null for guests and agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub email: Option<Option<String>>,
    /// Role in the tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Tier of the limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// Whether they may sign in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<UserStatus>,
    /// When they were made.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_timestamp")]
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub created_at: Option<Timestamp>,
}

impl UserView {
    pub(super) fn new(caller: &Principal, user: User) -> Self {
        let full = caller.user_id == user.id || caller.allows(Action::SeeUserDetails);
        Self {
            id: user.id,
            name: user.name,
            kind: user.kind,
            email: full.then_some(user.email),
            role: full.then_some(user.role),
            tier: full.then_some(user.tier),
            status: full.then_some(user.status),
            created_at: full.then_some(user.created_at),
        }
    }
}

/// What is to become of a user.
#[derive(Clone, Debug, Default)]
pub struct UserPatch {
    /// New display name: for oneself, or by an admin.
    pub name: Option<String>,
    /// What only admins change.
    pub change: UserChange,
}

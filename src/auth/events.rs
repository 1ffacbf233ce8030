//! What is revoked or changed, as plain data: the rows of `auth_events` as they are read, and what
//! listeners receive.

use super::principal::CredentialId;
use crate::ids::{Role, TenantId, Tier, UserId, UserStatus};
use bytestring::ByteString;
use chrono::{DateTime, Utc};

/// A user as they are now, where it concerns their rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserState {
    pub tenant_id: TenantId,
    pub user_id: UserId,
    pub name: ByteString,
    pub role: Role,
    pub tier: Tier,
    /// Suspended users are refused everywhere.
    pub status: UserStatus,
    /// When the row last changed: a read that began before a local change must not undo it here.
    pub updated_at: DateTime<Utc>,
}

/// What live sockets and caches must know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthEvent {
    /// A login is over, or a key deleted: its sockets are closed with 4001.
    Revoked(CredentialId),
    /// A user's name, role, tier or status is another: sockets get the new rights, or are closed
    /// with 4003.
    UserChanged(UserState),
}

//! Users and tenants as plain types: what the rows hold, what responses show, and the checks of what
//! people type.
//!
//! They stand here and not in `tenants/`, because sign-up makes both. `tenants/` builds on this.

use super::error::Error;
use super::events::UserState;
use super::principal::{Credential, Principal};
use crate::ids::{ConversationId, Plan, Role, SessionId, TenantId, Tier, UserId, UserKind, UserStatus};
use crate::wire::frames::timestamp;
use bytestring::ByteString;
use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio_postgres::Row;
use utoipa::ToSchema;

/// Longest address, in bytes (RFC 5321).
pub const EMAIL_BYTES_MAX: usize = 254;

/// A user, with what they and their admins may see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct User {
    /// The user's id.
    pub id: UserId,
    /// Display name.
    #[schema(value_type = String)]
    pub name: ByteString,
    /// Person, agent or system.
    pub kind: UserKind,
    /// Address; guests and agents have none.
    pub email: Option<String>,
    /// Role in the tenant.
    pub role: Role,
    /// Tier of the limits.
    pub tier: Tier,
    /// Whether they may sign in.
    pub status: UserStatus,
    /// When they were made.
    #[serde(serialize_with = "timestamp")]
    pub created_at: DateTime<Utc>,
    /// When they last changed; orders what different reads saw. Not on the wire.
    #[serde(skip)]
    #[schema(ignore)]
    pub updated_at: DateTime<Utc>,
}

/// A tenant: the workspace that owns users and conversations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Tenant {
    /// The tenant's id.
    pub id: TenantId,
    /// Its name.
    pub name: String,
    /// What it has from the operator.
    pub plan: Plan,
    /// When it was made.
    #[serde(serialize_with = "timestamp")]
    pub created_at: DateTime<Utc>,
}

/// A user with their tenant.
#[derive(Clone, Debug)]
pub struct Account {
    pub user: User,
    pub tenant: Tenant,
}

impl User {
    /// A user from a row with the columns named here.
    ///
    /// # Errors
    /// [`Error::Row`] or [`Error::Word`] if the row is not such a row.
    pub fn from_row(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            id: UserId(row.try_get("user_id")?),
            name: row.try_get::<_, String>("user_name")?.into(),
            kind: word(row, "kind", UserKind::parse)?,
            email: row.try_get("email")?,
            role: word(row, "role", Role::parse)?,
            tier: word(row, "tier", Tier::parse)?,
            status: word(row, "status", UserStatus::parse)?,
            created_at: row.try_get("user_created_at")?,
            updated_at: row.try_get("updated_at")?,
        })
    }

    /// The part that concerns rights, for the revocation cache.
    #[must_use]
    pub fn state(&self, tenant_id: TenantId) -> UserState {
        UserState {
            tenant_id,
            user_id: self.id,
            name: self.name.clone(),
            role: self.role,
            tier: self.tier,
            status: self.status,
            updated_at: self.updated_at,
        }
    }
}

impl Tenant {
    /// A tenant from a row with the columns named here.
    ///
    /// # Errors
    /// As [`User::from_row`].
    pub fn from_row(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            id: TenantId(row.try_get("tenant_id")?),
            name: row.try_get("tenant_name")?,
            plan: word(row, "tenant_plan", Plan::parse)?,
            created_at: row.try_get("tenant_created_at")?,
        })
    }
}

impl Account {
    /// Who is calling with a login of this account.
    pub(super) fn principal(&self, session_id: SessionId, conversation: Option<ConversationId>) -> Principal {
        let user = &self.user;
        Principal {
            tenant_id: self.tenant.id,
            user_id: user.id,
            credential: Credential::Session(session_id),
            kind: user.kind,
            name: user.name.clone(),
            role: user.role,
            tier: user.tier,
            plan: self.tenant.plan,
            conversation,
            expires_at: None,
        }
    }

    /// Both from one row.
    ///
    /// # Errors
    /// As [`User::from_row`].
    pub fn from_row(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            user: User::from_row(row)?,
            tenant: Tenant::from_row(row)?,
        })
    }
}

/// Reads a column that holds a word of one of the closed vocabularies.
fn word<T>(row: &Row, column: &'static str, parse: fn(&str) -> Option<T>) -> Result<T, Error> {
    parse(row.try_get(column)?).ok_or(Error::Word(column))
}

/// Checks the shape of an address. Whether it exists is not checked.
///
/// # Errors
/// [`Error::Invalid`].
pub fn check_email(email: &str) -> Result<(), Error> {
    let shaped = email.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && !domain.is_empty()
            && !domain.contains('@')
            && !domain.starts_with('.')
            && !domain.ends_with('.')
    });
    let clean = !email.chars().any(|c| c.is_whitespace() || c.is_control());
    if !shaped || !clean || email.len() > EMAIL_BYTES_MAX {
        return Err(Error::invalid("email", "This is not an e-mail address."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_shape() {
        for good in ["a@b", "ann.lee+x@example.org", "ä@exämple.org"] {
            assert!(check_email(good).is_ok(), "{good}");
        }
        let long = format!("{}@example.org", "x".repeat(250));
        for bad in ["", "ann", "@b", "a@", "a@b@c", "a b@c", "a@b\n", "a@.b", "a@b.", &long] {
            assert!(check_email(bad).is_err(), "{bad:?}");
        }
    }
}

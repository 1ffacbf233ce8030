//! Users and tenants as the cache holds them: shared in this process, compact in Redis.
//!
//! The shapes are apart from those of the wire and of the rows, so that neither can change what
//! lies in Redis unnoticed. A test pins their bytes. When you change a shape, or a vocabulary in
//! it, give it another version.

use super::tenant_view::TenantView;
use crate::auth::{Tenant, User};
use crate::cache::{Cacheable, Kind, Shareable};
use crate::ids::{Admission, Plan, Role, TenantId, Tier, UserId, UserKind, UserStatus};
use bytestring::ByteString;
use chrono::serde::ts_microseconds;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "UserShape", into = "UserShape")]
pub(super) struct CachedUser(Arc<User>);

#[derive(Serialize, Deserialize)]
struct UserShape {
    id: UserId,
    name: String,
    kind: UserKind,
    email: Option<String>,
    role: Role,
    tier: Tier,
    status: UserStatus,
    #[serde(with = "ts_microseconds")]
    created_at: DateTime<Utc>,
    #[serde(with = "ts_microseconds")]
    updated_at: DateTime<Utc>,
}

impl Cacheable for CachedUser {
    const KIND: Kind = Kind::User;

    fn weight(&self) -> usize {
        size_of::<User>() + self.0.name.len() + self.0.email.as_ref().map_or(0, String::len)
    }
}

impl Shareable for CachedUser {
    const VERSION: u8 = 1;
}

impl From<User> for CachedUser {
    fn from(user: User) -> Self {
        Self(Arc::new(user))
    }
}

impl From<CachedUser> for User {
    fn from(user: CachedUser) -> Self {
        Arc::unwrap_or_clone(user.0)
    }
}

impl From<UserShape> for CachedUser {
    fn from(shape: UserShape) -> Self {
        Self::from(User {
            id: shape.id,
            name: ByteString::from(shape.name),
            kind: shape.kind,
            email: shape.email,
            role: shape.role,
            tier: shape.tier,
            status: shape.status,
            created_at: shape.created_at,
            updated_at: shape.updated_at,
        })
    }
}

impl From<CachedUser> for UserShape {
    fn from(user: CachedUser) -> Self {
        let user = User::from(user);
        Self {
            id: user.id,
            name: user.name.into(),
            kind: user.kind,
            email: user.email,
            role: user.role,
            tier: user.tier,
            status: user.status,
            created_at: user.created_at,
            updated_at: user.updated_at,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "TenantShape", into = "TenantShape")]
pub(super) struct CachedTenant(Arc<TenantView>);

#[derive(Serialize, Deserialize)]
struct TenantShape {
    id: TenantId,
    name: String,
    plan: Plan,
    #[serde(with = "ts_microseconds")]
    created_at: DateTime<Utc>,
    admits_members: Admission,
    admits_guests: Admission,
}

impl Cacheable for CachedTenant {
    const KIND: Kind = Kind::Tenant;

    fn weight(&self) -> usize {
        size_of::<TenantView>() + self.0.tenant.name.len()
    }
}

impl Shareable for CachedTenant {
    const VERSION: u8 = 3;
}

impl From<TenantView> for CachedTenant {
    fn from(view: TenantView) -> Self {
        Self(Arc::new(view))
    }
}

impl From<CachedTenant> for TenantView {
    fn from(view: CachedTenant) -> Self {
        Arc::unwrap_or_clone(view.0)
    }
}

impl From<TenantShape> for CachedTenant {
    fn from(shape: TenantShape) -> Self {
        let TenantShape {
            id,
            name,
            plan,
            created_at,
            admits_members,
            admits_guests,
        } = shape;
        Self::from(TenantView {
            tenant: Tenant {
                id,
                name,
                plan,
                created_at,
            },
            admits_members,
            admits_guests,
        })
    }
}

impl From<CachedTenant> for TenantShape {
    fn from(view: CachedTenant) -> Self {
        let TenantView {
            tenant:
                Tenant {
                    id,
                    name,
                    plan,
                    created_at,
                },
            admits_members,
            admits_guests,
        } = view.into();
        Self {
            id,
            name,
            plan,
            created_at,
            admits_members,
            admits_guests,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn moment(micros: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(micros).unwrap()
    }

    /// Bytes that lie in someone's Redis: if this fails, the shape needs another version.
    #[test]
    fn the_shapes_are_what_they_were() {
        let user = User {
            id: UserId(Uuid::from_u128(1)),
            name: "Ann".into(),
            kind: UserKind::Person,
            email: Some("a@b".to_owned()),
            role: Role::Member,
            tier: Tier::Premium,
            status: UserStatus::Active,
            created_at: moment(1),
            updated_at: moment(-1),
        };
        let bytes = postcard::to_allocvec(&CachedUser::from(user.clone())).unwrap();
        let pinned = "100000000000000000000000000000000103416e6e0001036140620102000201";
        assert_eq!((CachedUser::VERSION, hex(&bytes).as_str()), (1, pinned));
        let back: CachedUser = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(User::from(back), user);

        let view = TenantView {
            tenant: Tenant {
                id: TenantId(Uuid::from_u128(2)),
                name: "Ours".to_owned(),
                plan: Plan::Premium,
                created_at: moment(3),
            },
            admits_members: Admission::Admins,
            admits_guests: Admission::Nobody,
        };
        let bytes = postcard::to_allocvec(&CachedTenant::from(view.clone())).unwrap();
        let pinned = "1000000000000000000000000000000002044f75727301060102";
        assert_eq!((CachedTenant::VERSION, hex(&bytes).as_str()), (3, pinned));
        let back: CachedTenant = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(TenantView::from(back), view);
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

//! Tenants and their people: the name of the workspace, its users, their roles, tiers and status.
//!
//! The way in is [`Tenants`] (`service.rs`). The rules of who may change whom are in
//! `auth/permissions.rs`. `cached.rs` is what the cache holds, `invalidation.rs` removes it when it
//! changes elsewhere, `store/` is the SQL, `user_filter.rs` which users a list has. `invites.rs` is what
//! admins see of the links by which people come in, `blocks.rs` who is not added by whom.

mod blocks;
mod cached;
mod error;
mod invalidation;
mod invites;
mod plans;
mod service;
mod store;
mod tenant_invite;
mod tenant_view;
mod user_filter;
mod user_view;

pub use blocks::BlockedUser;
pub use error::Error;
pub use plans::{PlanChanged, TenantPlan, list_plans, set_plan};
pub use service::Tenants;
pub use tenant_invite::{InviteFilter, TenantInvite};
pub use tenant_view::{TenantPatch, TenantView};
pub use user_filter::{Guests, UserFilter};
pub use user_view::{UserPatch, UserView};

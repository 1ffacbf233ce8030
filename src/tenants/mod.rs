//! Tenants and their people: the name of the workspace, its users, their roles, tiers and status.
//!
//! The way in is [`Tenants`] (`service.rs`). The rules of who may change whom are in
//! `auth/permissions.rs`. `cached.rs` is what the cache holds, `invalidation.rs` removes it when it
//! changes elsewhere, `store.rs` is the SQL, `user_filter.rs` which users a list has.

mod cached;
mod error;
mod invalidation;
mod service;
mod store;
mod user_filter;
mod user_view;

pub use error::Error;
pub use service::Tenants;
pub use user_filter::{Guests, UserFilter};
pub use user_view::{UserPatch, UserView};

//! Every statement of signing in, one named function each.
//!
//! Functions that belong to a change take the transaction, so they cannot be called outside of one.
//! The `auth_events` row of a revocation or change is always written by the same transaction as the
//! change itself.

pub(super) mod accounts;
pub(super) mod api_keys;
pub(super) mod events;
pub(super) mod installation;
pub(super) mod invites;
pub(super) mod logins;

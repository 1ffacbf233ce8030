//! The cache: what this process remembers (L1), what the nodes remember together in Redis (L2), and
//! who loads the rest.
//!
//! | file | what |
//! |---|---|
//! | `handle.rs` | the way in: look up, delete, invalidate |
//! | `keys.rs` | the names of what is cached; pure |
//! | `kind.rs`, `cacheable.rs` | what kinds of values there are, and what they must be able to do |
//! | `levels.rs` | a look-up through L1, L2 and the loader |
//! | `versions.rs` | what may still be shown; pure |
//! | `local.rs` | L1 |
//! | `flights.rs` | one load for all who wait for the same key |
//! | `remote.rs`, `encoding.rs` | L2, and how a value looks there |
//! | `pending.rs` | what Redis has not taken yet; pure |
//! | `actor.rs` | writes to Redis and listens to the other nodes |
//!
//! * Owns: nothing that is not in PostgreSQL too. Without the cache everything is slower and as
//!   right.
//! * Used by: auth (API keys), tenants (users, tenants), conversations (first pages of lists).
//! * Not cached: messages and revisions, because the conversation's actor is their cache. Nothing
//!   that decides a permission by itself, so a change of rights never waits for a TTL. An API key's
//!   owner is cached in this process only, and each use is checked against what `auth` knows of
//!   changes since.
//! * Promise on this node: a read that begins after [`CacheHandle::delete`] or
//!   [`CacheHandle::invalidate`] has returned never gets what was true before.
//! * Promise on another node: the same, as soon as the bus has delivered the invalidation. If that
//!   is lost, the TTL ends the old value. A failed load is not remembered. What does not exist is
//!   remembered for `CACHE_TTL_NEGATIVE`.
//! * Bounds: L1 in bytes (`PARLANCE_CACHE_BYTES`) and in time (`CACHE_TTL_LOCAL`). A look-up waits
//!   for Redis for one deadline of [`crate::redis::Redis`]. Full means that something is dropped
//!   and loaded again.

mod actor;
mod cacheable;
mod encoding;
mod flights;
mod handle;
pub mod keys;
mod kind;
mod levels;
mod local;
mod pending;
mod remote;
mod versions;

pub use cacheable::{Cacheable, LoadedValue, Shareable};
pub use handle::{CacheHandle, RemoteStatus};
pub use keys::{Key, Pattern};
pub use kind::Kind;
pub use levels::Reads;
pub use versions::Subject;

//! Rate limits: how much of the server anybody may use.
//!
//! A subject is a user, over all of their connections and credentials, or the network of a client
//! that shows none. What they may use follows from their tier. It is given with every request, so a
//! changed tier counts as soon as authentication knows of it.
//!
//! | file | what |
//! |---|---|
//! | `handle.rs` | the way in: [`RateLimitHandle`] |
//! | `payer.rs` | whose budget is used |
//! | `counters.rs` | counting, and the queue of demands for leases |
//! | `table.rs` | the counters of all subjects, in shards |
//! | `actor.rs` | the actor that calls Redis and looks after the table |
//! | `lease_client.rs`, `lease.lua` | how Redis is called, and how it counts |
//! | `local_quota.rs` | what this node holds of a shared quota; pure |
//! | `lease.rs` | the slices of it, each with its end; pure |
//! | `window.rs` | the two sliding windows of one subject; pure |
//!
//! Bounds: 65,536 users and as many networks, then newcomers share budgets; 10,000 demands for
//! leases, then this node counts alone, as it does while Redis is away. Each node then gives at
//! most the quota, never more, and never nothing.

mod actor;
mod counters;
mod handle;
mod lease;
mod lease_client;
mod local_quota;
mod payer;
mod table;
mod window;

pub use handle::{PendingDecision, QuotaCheck, RateLimitHandle};
pub use payer::Payer;
pub use window::{Millis, Quota, QuotaDecision, Spans};

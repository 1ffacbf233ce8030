//! The bus: what nodes publish for each other.
//!
//! | file | what |
//! |---|---|
//! | `interface.rs` | the trait [`Bus`] |
//! | `envelope.rs`, `presence.rs` | what can be published, and to whom |
//! | `interest.rs` | which subscription gets which envelope |
//! | `in_process.rs` | the bus within one process |
//! | `redis/` | the bus between processes |
//! | `codec.rs`, `encoded.rs` | envelopes as bytes, and their form; pure |
//!
//! * Used by: cache, presence, conversations and commit. Each subscribes with its own [`Interest`]
//!   and its own queue.
//! * The bus is an accelerator, never the truth. An envelope may be lost, late or doubled. Durable
//!   changes carry their revision and are repaired from PostgreSQL. The rest (typing, presence,
//!   notices) only matters now.
//! * Bounds: [`ENVELOPES_MAX`] envelopes wait for each subscriber. Further ones are dropped and
//!   counted. Publishing never waits.

mod codec;
mod encoded;
mod envelope;
mod in_process;
mod interest;
mod interface;
mod presence;
mod redis;

pub use envelope::{Delivery, Envelope, Invalidation, To};
pub use in_process::InProcessBus;
pub use interest::Interest;
pub use interface::{Bus, ENVELOPES_MAX};
pub use presence::{PresenceMessage, SnapshotPart};
pub use redis::RedisBus;

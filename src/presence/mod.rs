//! Presence: which users are connected, to this node and to the others.
//!
//! Sessions say who connects and disconnects. Conversations ask who is online, and read a queue of
//! users whose presence may have changed. Nodes inform each other over the bus, in a subscription of
//! its own; nothing is kept outside of them.
//!
//! | file | what |
//! |---|---|
//! | `handle.rs` | the way in |
//! | `local.rs` | users of this node, with their grace; pure |
//! | `remote.rs` | users of other nodes, as those say themselves; pure |
//! | `exchange.rs` | both together, and what is published about them |
//! | `task.rs` | the task that takes in what others say, sends heartbeats and lets time pass |
//! | `changes.rs` | the queue of changed users |

mod changes;
mod exchange;
mod handle;
mod local;
mod remote;
mod task;

pub use changes::{ChangedUsers, PRESENCES, PresenceChanges};
pub use handle::PresenceHandle;

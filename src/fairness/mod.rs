//! What is shared between tenants, and how it is divided.
//!
//! * Owns: turns between groups and their members ([`FairPermits`] around the pure `turns.rs` and
//!   `virtual_time.rs`), budgets over time ([`SpendingBudget`]), places of a table
//!   ([`Holdings`]), and the report of who is held back
//!   ([`HeldBackReport`]).
//! * Used by: every room that has something which all tenants use: starts of conversations, places
//!   for hashing passwords, searches.
//! * Bounds: each shared thing states its [`TurnLimits`]. Idle tenants cost no memory, and no task
//!   runs for it.
//! * Overload: who is beyond their share while others wait is refused at once; the others go on.
//!
//! Why one place: a queue that is divided in one room and a pot in the next is a pot. ADR 0027 says
//! why in turns by cost, and not by quotas.

mod budget;
mod held_back;
mod holdings;
mod permits;
mod turns;
mod virtual_time;

pub use budget::{SpendingBudget, SpendingRate};
pub use held_back::{HeldBackReport, LogSample};
pub use holdings::{EntryUse, Holdings};
pub use permits::{Beyond, FairPermit, FairPermits};
pub use turns::{Claimant, ShareKey, TurnLimits};

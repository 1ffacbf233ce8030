//! Restarting what dies: a restart budget, a guard that notices a death, and a mailbox that
//! outlives its reader.
//!
//! * Owns: the loops that keep actors and tasks alive ([`supervise`], [`supervise_task`]), the pure
//!   [`RestartBudget`] and [`Backoff`], the [`Mailbox`], the threads of the actors
//!   ([`ArbiterPool`]), and the name of the actor that runs ([`current`]).
//! * Used by: every folder that starts an actor or a task that lives as long as the node.
//! * Bound: five restarts in sixty seconds. Then the child stays down until the window has room
//!   again, and its callers get `unavailable`.
//! * A crash loses what the child had in memory. Its mailbox survives, and the successor reads on.
//!
//! Why our own: `actix::Supervisor` keeps the same value across a restart, and it does not survive
//! a panic.

mod arbiters;
mod backoff;
mod budget;
mod guard;
mod mailbox;
mod running;
mod supervise;

pub use arbiters::ArbiterPool;
pub use backoff::{Backoff, jitter, jittered};
pub use budget::{RestartBudget, RestartDecision, RestartPolicy};
pub use guard::{Death, DeathGuard};
pub use mailbox::{Mailbox, MailboxReader};
pub use running::{Entered, Named, Running, current, enter, named, start};
pub use supervise::{supervise, supervise_task};

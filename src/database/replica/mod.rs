//! A streaming replica of the database, for reads that may be some seconds old.
//!
//! | file | what |
//! |---|---|
//! | `reads.rs` | [`Replica`]: does a read there, if the replica is well |
//! | `monitor.rs` | the task that asks the primary and the replica how far they are |
//! | `health.rs` | its latest finding, which requests look at; pure |
//! | `assessment.rs` | whether a replica may be read; pure |
//!
//! * Used by: [`Database::read_stale`](super::Database::read_stale), which only search and
//!   analytics may call (`tests/it/tidy.rs`).
//! * Requests only look at the latest finding, so a replica that is away costs none of them a
//!   time-out. When the replica is given up during a read, the read is made on the primary at once.
//! * A failed read is made once more, on the primary. Where the connection failed, the replica is
//!   not read again before the task has found it well. What one caller asks for does not condemn it
//!   for others: a statement that took too long gets its error, and a caller that finds no free
//!   connection goes to the primary.
//! * Bounds: a pool of its own, as large as the database's; two connections of the task, one to
//!   each server; one second for each of its questions. A finding grows old with the replica, and
//!   counts for nothing after four seconds.
//! * A crash of the task: it is started again, and the replica is not read until then.
//!
//! Sessions are read-only. So nothing can be written there, even when it has become a primary.

mod assessment;
mod health;
mod monitor;
mod reads;

pub use health::ReplicaStatus;
pub(super) use reads::Replica;

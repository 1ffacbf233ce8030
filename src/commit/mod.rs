//! The way to durability of every change: a bounded queue, a group commit, a receipt.
//!
//! An [`Operation`] is handed to the writer lane of its conversation. The lane commits in groups:
//! at once when it is idle. While a commit is in flight the next group gathers. So no timer adds
//! latency, and load makes groups larger. PostgreSQL numbers everything under the lock of the
//! conversation's row; it is the sequencer, on any number of nodes.
//!
//! | File | What it is |
//! |---|---|
//! | `handle.rs` | the way in |
//! | `operation.rs`, `receipt.rs`, `error.rs`, `digest.rs` | what is asked for, and what comes back |
//! | `lane.rs`, `batch.rs` | the actor of a lane, and what goes into a group (pure) |
//! | `writer.rs`, `transaction.rs` | retries, deadlines and receipts; one attempt to commit a group |
//! | `change.rs`, `change_members.rs` | applies what is not a post |
//! | `observers.rs` | who is notified of commits |
//! | `read_markers.rs`, `read_markers_actor.rs` | how far people have read, written once a second |
//! | `store/`, `rows.rs` | the SQL, and from rows to messages |
//!
//! Bounds: 10,000 operations wait on a node, shared by its lanes. A full lane refuses with
//! `overloaded`, and nothing is acknowledged. An operation that cannot be committed within its
//! deadline ends as `unavailable`; the client repeats it with the same id. A lane that crashes
//! drops what it was committing: those operations end as `unavailable` too. What waited is read on
//! by its successor.

mod batch;
mod change;
mod change_members;
mod digest;
mod error;
mod handle;
mod lane;
mod observers;
mod operation;
mod read_markers;
mod read_markers_actor;
mod receipt;
mod rows;
mod store;
mod transaction;
mod writer;

pub use batch::{Group, Grouped, Queue};
pub use digest::digest;
pub use error::Error;
pub use handle::{CommitHandle, OPERATIONS_MAX};
pub use observers::{CommitObserver, CommitObservers};
pub use operation::{DEADLINE, Operation, Request, Requirement};
pub use receipt::{Completion, Receipt};
pub(crate) use rows::message_columns;
pub use rows::{member_from_row, message_from_row};
pub use store::{mark_own, own_reactions};

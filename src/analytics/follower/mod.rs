//! Counts messages behind the commits, on one node at a time.
//!
//! `task.rs` is the loop with its lease, `horizon.rs` says up to when everything is committed (pure),
//! `counter.rs` counts what is new in some conversations, `merger.rs` makes few blocks of many.

mod counter;
mod horizon;
mod merger;
mod task;

pub(in crate::analytics) use counter::{CountedBatch, count};
pub(in crate::analytics) use merger::merge_touched;
pub use task::CountsFollower;

//! The index of words, filled behind the commits.
//!
//! A post waits for its own row and nothing else. A task of each node follows what was committed
//! and writes the words of messages into `search_index`, conversation by conversation, each with a
//! durable position: the revision up to which it is indexed. The revision is given under the lock
//! of the conversation's row, so nothing that commits late can be before the position. Whoever
//! searches reads what lies beyond it directly.
//!
//! | file | what |
//! |---|---|
//! | `observer.rs` | hears of commits of this node |
//! | `backlog.rs` | the conversations that wait; bounded |
//! | `pace.rs` | how long the task rests between two batches (pure) |
//! | `indexer.rs` | one batch: read, take words, write, move positions |
//! | `task.rs` | the task: batches, and the sweep for what nobody heard of |
//! | `maintenance.rs` | [`SearchIndex`]: verifying and rebuilding, for operators |
//! | `vector.rs` | the words of a message as PostgreSQL takes them (pure) |
//! | `store.rs` | the SQL |
//!
//! Two nodes may hear of the same conversation: whoever locks its position does the work, and the
//! other passes on.

mod backlog;
mod indexer;
mod maintenance;
mod observer;
mod pace;
mod store;
mod task;
mod vector;

pub use maintenance::{IndexReport, SearchIndex};
pub use observer::SearchObserver;

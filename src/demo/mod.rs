//! A believable year of a workspace, to look at: `parlance demo`.
//!
//! People of several zones with their weekdays, holidays and nights, who talk in conversations of
//! every size, with replies, reactions, edits and deletions. The same seed and the same end make
//! the same year, but for the salt of the password.
//!
//! | file | what |
//! |---|---|
//! | `plan.rs` | what is asked for |
//! | `cast.rs` | the people (pure) |
//! | `rooms.rs` | the conversations, and how much is said in each (pure) |
//! | `rhythm.rs` | when something is said, and by whom (pure) |
//! | `phrases.rs` | what is said (pure) |
//! | `timeline.rs` | one conversation as the rows that the server would have left (pure) |
//! | `load.rs` | all of it into the database, in one transaction |
//! | `store.rs` | the SQL |
//!
//! Used by `main.rs` and by tests. It goes past `commit/`, so it is for a database that nobody
//! serves yet, and it refuses one that has other workspaces.

mod cast;
mod load;
mod phrases;
mod plan;
mod rhythm;
mod rooms;
mod store;
mod timeline;

pub use load::{Error, Loaded, load};
pub use plan::{DemoPlan, EMAIL, PASSWORD};

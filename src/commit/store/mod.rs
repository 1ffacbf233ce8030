//! The SQL of durable changes: one function a statement, tenant first.
//!
//! Everything here but the read markers runs inside a lane's transaction, after [`LOCK`] has locked
//! the rows of the group's conversations in the order of their ids. So two lanes cannot deadlock.
//! The statements that follow take a fresh snapshot (READ COMMITTED), so they see what earlier
//! holders of the locks have committed: PostgreSQL is the sequencer.

mod append;
mod conversations;
mod members;
mod messages;
mod own_reactions;
mod read_markers;

pub(super) use append::{APPEND, APPEND_NEW, LOCK, PostColumns, PostVerdict, Posted, posted_from_row};
pub(super) use conversations::{LockedConversation, advance_rev, delete_conversation, load_conversation, update_title};
pub(super) use members::{
    Candidate, count_owners, delete_declined, find_candidate, find_member, remove_member, update_member_role,
    upsert_member, use_invite,
};
pub(super) use messages::{
    delete_message, delete_reaction, find_message, find_text_rev, has_reaction, insert_reaction, touch_message,
    update_body,
};
pub use own_reactions::{mark_own, own_reactions};
pub(super) use read_markers::move_read_markers;

//! Search: the messages of the caller's conversations that have some words, youngest first.
//!
//! The way in is [`Search`] (`service.rs`). `request.rs` and `results.rs` are its input and output.
//! `query.rs` prepares the words (pure), `rounds.rs` decides in which order slices are searched
//! (pure), `snippet.rs` shows why a message was found (pure), `store.rs` is the SQL.

mod error;
mod query;
mod request;
mod results;
mod rounds;
mod service;
mod snippet;
mod store;

pub use error::Error;
pub use query::QUERY_BYTES_MAX;
pub use request::{SearchCursor, SearchRequest};
pub use results::{FoundConversation, FoundMessage, SearchResults};
pub use service::Search;
pub use snippet::Fragment;

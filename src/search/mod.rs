//! Search: the messages of the caller's conversations that have some words, youngest first.
//!
//! The way in is [`Search`] (`service.rs`). `request.rs` and `results.rs` are its input and output.
//! `words.rs` says what a word is, `query.rs` what is asked for, `slices.rs` where words stand in the
//! index, `rounds.rs` in which order slices are searched, `snippet.rs` why a message was found (all
//! pure). `store.rs` is the SQL. `index/` fills the index behind the commits.

mod error;
mod index;
mod query;
mod request;
mod results;
mod rounds;
mod service;
mod slices;
mod snippet;
mod store;
mod words;

pub use error::Error;
pub use index::{IndexReport, SearchIndex, SearchObserver};
pub use query::QUERY_BYTES_MAX;
pub use request::{SearchCursor, SearchRequest};
pub use results::{FoundConversation, FoundMessage, SearchResults};
pub use service::Search;
pub use snippet::Fragment;

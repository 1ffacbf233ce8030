//! What goes over the socket: frames in and out, and the outbox that waits for one socket.
//!
//! This folder knows the protocol and nothing else: no actors, no database. `client.rs` and `frames.rs` are pure.

mod change;
mod client;
mod encode;
pub mod frames;
mod outbox;
mod outbox_queue;
mod replay_page;
mod reply;

pub use change::{Change, Committed, Thing};
pub use client::{ClientFrame, InvalidField, ParseError, ParsedFrame, Ref, limits, parse, validate_body, validate_emoji};
pub use encode::{Frame, encode, encode_close};
pub use outbox::{Drained, Outbox};
pub use outbox_queue::{Class, Pushed};
pub use replay_page::{PageSent, ReplayInterest, ReplayWatch};
pub use reply::Reply;

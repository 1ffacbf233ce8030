//! What goes over the socket: frames in and out, and the outbox that waits for one socket.
//!
//! This folder knows the protocol and nothing else: no actors, no database. `client.rs` and `frames.rs` are pure.

mod change;
mod client;
mod encode;
pub mod frames;
mod outbox;
mod reply;

pub use change::{Change, Committed, Thing};
pub use client::{ClientFrame, ParseError, ParsedFrame, Ref, limits, parse, validate_body, validate_emoji};
pub use encode::{Frame, encode, encode_close};
pub use outbox::{Class, Drained, Outbox, PageSent, Pushed, ReplayInterest, ReplayWatch};
pub use reply::Reply;

//! The socket code below a session: bytes into messages, messages into bytes, and the window
//! between them.
//!
//! It knows WebSocket frames and the outbox, and nothing of chat. The session (`session.rs`) stands
//! on it. It is public, so that the conformance suite can run an echo on the very same code
//! (`tests/conformance/echo.rs`).
//!
//! `incoming.rs` reads, `body.rs` writes, `pace.rs` lets several small writes become one, `link.rs`
//! is what they share.

mod body;
mod incoming;
mod link;
mod pace;

pub use body::{Body, WRITE_BUFFER_BYTES};
pub use incoming::{Incoming, IncomingStream};
pub use link::Link;

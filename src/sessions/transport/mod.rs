//! The socket code below a session: bytes into messages, messages into bytes, and the window
//! between them.
//!
//! It knows WebSocket frames and the outbox, and nothing of chat. The session (`session.rs`) stands
//! on it. It is public, so that the conformance suite can run an echo on the very same code
//! (`tests/conformance/echo.rs`).
//!
//! | File | What it is |
//! |---|---|
//! | `upgraded.rs` | a connection on its way here from the HTTP server |
//! | `task.rs` | the task of one socket |
//! | `reader.rs`, `incoming.rs` | bytes, and messages, that come in |
//! | `writer.rs`, `pace.rs` | bytes that go out; several small writes become one |
//! | `link.rs` | what these share |

mod incoming;
mod link;
mod pace;
mod reader;
mod task;
mod upgraded;
mod writer;

pub use incoming::{Incoming, IncomingStream};
pub use link::Link;
pub use reader::Reader;
pub use task::SocketTask;
pub use upgraded::{Takeover, Upgraded};

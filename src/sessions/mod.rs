//! Sessions: one actor for each WebSocket, and what the node does to all of them.
//!
//! | file | what |
//! |---|---|
//! | `handle.rs`, `dependencies.rs` | the way in, and what sessions are built from |
//! | `session.rs` | the actor of a socket |
//! | `commands.rs` | what it does with a client's frames |
//! | `subscriptions.rs` | the conversations that it is subscribed to |
//! | `subscribe_rate.rs` | how often a connection may subscribe; pure |
//! | `replies.rs` | `hello`, and the replies to changes |
//! | `transport/` | the socket code below the actor |
//! | `connection.rs`, `directory.rs` | one socket as others see it, and all of them |
//! | `credentials.rs` | keeps the rights of open connections true |
//! | `sweep.rs`, `progress.rs` | pings, silence, expiry, stalls |
//! | `drain.rs` | how sockets are closed when the node stops |
//!
//! Bounds: 50,000 connections on a node (then 503), 20 of a user (then 4005), 100 of an address
//! (then 4104).
//! Of one connection: 32 unanswered frames (then it is not read), 1 MiB or 1,024 frames that wait
//! for it (then it is cut).

mod commands;
mod connection;
mod credentials;
mod dependencies;
mod directory;
mod drain;
mod handle;
mod progress;
mod replies;
mod session;
mod subscribe_rate;
mod subscriptions;
mod sweep;
pub mod transport;

pub use connection::Connection;
pub use dependencies::SessionDependencies;
pub use directory::{AdmissionError, Directory};
pub use handle::SessionsHandle;
pub use session::{OpenError, SocketRequest, open};

//! What a client of the protocol needs: requests, frames, and rooms and members to begin with.
//!
//! `http.rs` makes requests, `setup.rs` makes rooms and members with them, `websocket.rs` finds
//! frames in what was read, `server_frame.rs` reads their fields.

pub(crate) mod http;
pub(crate) mod server_frame;
pub(crate) mod setup;
pub(crate) mod websocket;

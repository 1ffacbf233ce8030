//! What goes over the socket: frames in and out.
//!
//! This folder knows the protocol and nothing else: no actors, no database. `frames.rs` is pure.

mod client;
pub mod frames;

pub use client::{ClientFrame, ParseError, ParsedFrame, Ref, limits, parse, validate_body, validate_emoji};

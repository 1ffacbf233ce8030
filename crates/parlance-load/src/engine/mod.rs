//! What drives the connections of a run, all on one thread.
//!
//! `driver.rs` is the engine as profiles use it, `event_loop.rs` what its thread does,
//! `connection.rs` one socket, `writer.rs` its sending side, `backoff.rs` when it connects again,
//! `run_state.rs` what all connections share.

mod backoff;
mod connection;
mod driver;
mod event_loop;
mod run_state;
mod writer;

pub(crate) use driver::{Engine, Options};

//! What every profile is given: the target, and how the run is made.
//!
//! Made by `main.rs` for one server that runs, and by the suite for each server that it starts.

use crate::client::server_frame::BODY_BYTES_MIN;
use crate::client::setup;
use crate::engine::{Engine, Options};
use crate::error::{Error, Result};
use crate::measure::process::Processes;
use crate::measure::report::show_progress;
use std::net::SocketAddr;
use std::time::Duration;

/// Longest body of a message, by the protocol.
const BODY_BYTES_MAX: usize = 16_384;

/// Where load goes, whose cost is measured, and how patient the tool is.
#[derive(Clone)]
pub(crate) struct Context {
    /// The nodes of the server, or what is in front of them.
    pub addresses: Vec<SocketAddr>,
    pub processes: Processes,
    /// Compare every frame with its complete parse.
    pub verify: bool,
    /// Show each second how it goes.
    pub progress: bool,
    /// Most connections in the act of connecting.
    pub concurrency: usize,
    /// How long connections may take to be subscribed, and everything sent to have its reply and be
    /// delivered.
    pub patience: Duration,
}

impl Context {
    /// Where requests go: the first node.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Makes rooms and members, none connected yet.
    pub(crate) fn engine(&self, rooms: usize, members: usize, body_bytes: usize) -> Result<Engine> {
        if !(BODY_BYTES_MIN..=BODY_BYTES_MAX).contains(&body_bytes) {
            let allowed = format!("a body has {BODY_BYTES_MIN} to {BODY_BYTES_MAX} bytes");
            return Err(Error::Arguments(allowed));
        }
        self.show(&format!("  making {rooms} rooms with {members} members each\x1b[K\r"));
        let members = setup::make(self.address(), rooms, members)?;
        let options = Options {
            addresses: self.addresses.clone(),
            verify: self.verify,
            body_bytes,
            concurrency: self.concurrency,
            progress: self.progress,
        };
        Engine::new(options, members)
    }

    /// Shows progress, if that is wanted.
    pub(crate) fn show(&self, text: &str) {
        if self.progress {
            show_progress(text);
        }
    }
}

//! A second handle on a socket's descriptor.
//!
//! A session that cannot be written to is not polled, so it cannot end itself. Anyone who sees that
//! from outside shuts the TCP connection down through a duplicate of its descriptor, made when the
//! connection was accepted; the worker then sees an error and drops the session. The price is one
//! descriptor more for each WebSocket.

use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;

/// A duplicate of a connection's descriptor.
#[derive(Debug)]
pub struct Socket(TcpStream);

impl Socket {
    /// Duplicates a descriptor. `None` when the process has no descriptors left.
    pub fn duplicate(stream: impl AsFd) -> Option<Self> {
        stream
            .as_fd()
            .try_clone_to_owned()
            .ok()
            .map(|descriptor| Self(TcpStream::from(descriptor)))
    }

    /// Ends the connection in both directions.
    pub fn shut_down(&self) {
        // It fails only when the connection is gone already.
        drop(self.0.shutdown(Shutdown::Both));
    }
}

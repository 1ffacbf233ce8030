//! A second handle on a connection's descriptor.
//!
//! A request whose response cannot be written is not polled, so it cannot end itself. The deadlines
//! (`deadlines.rs`) shut the TCP connection down through a duplicate of its descriptor, made when
//! the connection was accepted; the worker then sees an error and lets go. The price is one
//! descriptor more for each connection that is not a socket: a socket gives it back.

use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;

/// A duplicate of a connection's descriptor.
#[derive(Debug)]
pub(super) struct DuplicateDescriptor(TcpStream);

impl DuplicateDescriptor {
    /// Duplicates a descriptor. `None` when the process has no descriptors left.
    pub(super) fn of(stream: impl AsFd) -> Option<Self> {
        stream
            .as_fd()
            .try_clone_to_owned()
            .ok()
            .map(|descriptor| Self(TcpStream::from(descriptor)))
    }

    /// Ends the connection in both directions.
    pub(super) fn shut_down(&self) {
        // It fails only when the connection is gone already.
        drop(self.0.shutdown(Shutdown::Both));
    }
}

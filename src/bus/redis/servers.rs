//! The servers of Redis that the bus speaks to, and what waits for each.
//!
//! A single Redis is the only server. A cluster has one for each master.

use crate::bus::ENVELOPES_MAX;
use crate::redis::{Address, Layout};
use crate::supervision::Mailbox;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// An encoded envelope that waits to be published.
pub(super) struct Publication {
    pub(super) channel: String,
    pub(super) bytes: Vec<u8>,
    /// The channel belongs to a slot.
    pub(super) is_sharded: bool,
    /// A server has refused it because another one has the slot.
    pub(super) is_redirected: bool,
}

impl Publication {
    pub(super) const fn command(&self) -> &'static str {
        if self.is_sharded { "SPUBLISH" } else { "PUBLISH" }
    }
}

/// One server. Another `BusServer` with the same address is another server: it left the layout and
/// came back.
pub(super) struct BusServer {
    pub(super) address: Address,
    /// Taken by the publisher; full means dropped and counted.
    pub(super) outgoing: Mailbox<Publication>,
    /// The subscriber has to subscribe or unsubscribe.
    pub(super) subscriptions_changed: Notify,
    pub(super) publisher_connected: AtomicBool,
    pub(super) subscriber_connected: AtomicBool,
}

impl BusServer {
    pub(super) fn new(address: Address) -> Self {
        Self {
            address,
            outgoing: Mailbox::new(ENVELOPES_MAX),
            subscriptions_changed: Notify::new(),
            publisher_connected: AtomicBool::new(false),
            subscriber_connected: AtomicBool::new(false),
        }
    }

    /// Whether both connections work.
    pub(super) fn is_up(&self) -> bool {
        self.publisher_connected.load(Ordering::Relaxed) && self.subscriber_connected.load(Ordering::Relaxed)
    }
}

/// The servers of a layout.
#[derive(Clone)]
pub(super) struct BusServers {
    pub(super) layout: Layout,
    pub(super) all: Vec<Arc<BusServer>>,
}

impl BusServers {
    pub(super) fn at(&self, address: &Address) -> Option<&Arc<BusServer>> {
        self.all.iter().find(|server| server.address == *address)
    }
}

//! The settings of WebSocket connections: how many there may be, and when one is cut.

use super::values::pause;
use super::walk::SettingsWalk;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct SessionsConfig {
    /// As configured. How many are admitted is in `Capacity`.
    pub connections_max: usize,
    pub connections_per_user: usize,
    pub connections_per_address: usize,
    pub heartbeat: Duration,
    pub heartbeat_timeout: Duration,
    pub stall_timeout: Duration,
    pub presence_grace: Duration,
}

impl Default for SessionsConfig {
    fn default() -> Self {
        Self {
            connections_max: 50_000,
            connections_per_user: 20,
            connections_per_address: 1_000,
            heartbeat: Duration::from_secs(25),
            heartbeat_timeout: Duration::from_secs(35),
            stall_timeout: Duration::from_secs(10),
            presence_grace: Duration::from_secs(15),
        }
    }
}

impl SessionsConfig {
    pub(super) fn walk(&mut self, walk: &mut SettingsWalk<'_>) {
        walk.section("Sockets", "The first three count on each node.");
        walk.bounded(
            "PARLANCE_CONNECTIONS_MAX",
            &mut self.connections_max,
            1..=1_000_000,
            "Sockets of the node at most. The limit of open files may allow fewer: a socket takes two.",
        );
        walk.bounded(
            "PARLANCE_CONNECTIONS_PER_USER",
            &mut self.connections_per_user,
            1..=100_000,
            "Sockets of one user. One more is closed with 4005.",
        );
        walk.bounded(
            "PARLANCE_CONNECTIONS_PER_ADDRESS",
            &mut self.connections_per_address,
            1..=1_000_000,
            "Sockets of one client address (IPv6: of one /64), of which guests get half. One more is closed with 4104. Behind \
             a proxy this needs `TRUSTED_PROXIES`.",
        );
        walk.bounded(
            "PARLANCE_HEARTBEAT",
            &mut self.heartbeat,
            pause(),
            "The time between two pings of the server.",
        );
        walk.bounded(
            "PARLANCE_HEARTBEAT_TIMEOUT",
            &mut self.heartbeat_timeout,
            pause(),
            "A client that is silent for this long is cut. It must be longer than `PARLANCE_HEARTBEAT`.",
        );
        walk.bounded(
            "PARLANCE_STALL_TIMEOUT",
            &mut self.stall_timeout,
            pause(),
            "A client that takes no bytes for this long, while some wait for it, is cut.",
        );
        walk.bounded(
            "PARLANCE_PRESENCE_GRACE",
            &mut self.presence_grace,
            Duration::ZERO..=*pause().end(),
            "How long a person without a connection still counts as online.",
        );
    }

    pub(super) fn check(&self, errors: &mut Vec<String>) {
        if self.heartbeat_timeout <= self.heartbeat {
            errors.push("PARLANCE_HEARTBEAT_TIMEOUT: must be longer than PARLANCE_HEARTBEAT".to_owned());
        }
    }
}

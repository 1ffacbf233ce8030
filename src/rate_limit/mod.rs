//! Rate limits: how much of the server anybody may use.
//!
//! | file | what |
//! |---|---|
//! | `window.rs` | two sliding windows of one subject; pure |
//! | `table.rs` | the windows of all subjects, in shards |
//! | `supervisor.rs` | the actor that looks after them |
//!
//! A subject is a user, over all of their connections and credentials, or the network of a client that shows none. What
//! they may use follows from their tier, which is asked anew with every request, so a changed tier counts as soon as
//! authentication knows of it.
//!
//! Bounds: 131,072 subjects, then newcomers share budgets (`table.rs`). A decision takes a fraction of a microsecond and
//! never waits.

mod supervisor;
mod table;
mod window;

pub use window::{Decision, Millis, Quota, Spans};

use crate::config::{LimitsConfig, QuotaConfig};
use crate::ids::{Tier, UserId};
use crate::supervision::ArbiterPool;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use supervisor::Supervisor;
use table::{Key, Table};

/// Where a client is, as far as limits tell addresses apart: an IPv4 address, or the first 64 bits of an IPv6 one, because
/// whoever has one of a /64 has all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(u128);

impl Network {
    /// The network of nobody, for what has no TCP connection.
    pub const NONE: Self = Self(0);
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.to_ipv6_mapped().to_bits()),
            IpAddr::V6(address) => Self(address.to_bits() >> 64 << 64),
        }
    }
}

/// Whose budget a request is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payer {
    key: Key,
    tier: Tier,
}

impl Payer {
    /// A user.
    #[must_use]
    pub const fn user(id: UserId, tier: Tier) -> Self {
        Self {
            key: Key::User(id),
            tier,
        }
    }

    /// Whoever is at this address without valid credentials: anonymous.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        Self {
            key: Key::Network(address.into()),
            tier: Tier::Anonymous,
        }
    }

    /// The tier of the quota.
    #[must_use]
    pub const fn tier(&self) -> Tier {
        self.tier
    }
}

/// The limits of this node. Cheap to clone.
#[derive(Clone)]
pub struct RateLimits {
    shared: Arc<Shared>,
}

/// What the handle and the supervisor share.
struct Shared {
    enabled: bool,
    table: Table,
    anonymous: Quota,
    regular: Quota,
    premium: Quota,
    spans: Spans,
    started: Instant,
}

impl RateLimits {
    /// Starts the supervisor, unless limits are off.
    #[must_use]
    pub fn start(config: &LimitsConfig, arbiters: &ArbiterPool) -> Self {
        let spans = Spans {
            minute: millis(config.minute),
            hour: millis(config.hour),
        };
        let shared = Arc::new(Shared {
            enabled: config.enabled,
            table: Table::new(table::SUBJECTS_MAX, spans),
            anonymous: quota(config.anonymous),
            regular: quota(config.regular),
            premium: quota(config.premium),
            spans,
            started: Instant::now(),
        });
        if config.enabled {
            Supervisor::start_supervised(&shared, arbiters);
        }
        Self { shared }
    }

    /// Whether anything is counted.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.shared.enabled
    }

    /// Counts requests of one caller, all or none of them; `None` when limits are off.
    #[must_use]
    pub fn check(&self, payer: Payer, cost: u32) -> Option<Decision> {
        let shared = &self.shared;
        if !shared.enabled {
            return None;
        }
        let (now, quota) = (shared.now(), shared.quota(payer.tier));
        let decide = |entry: &mut table::Entry| entry.window.check(cost, now, quota, shared.spans);
        Some(shared.table.with(payer.key, now, decide))
    }
}

impl Shared {
    fn now(&self) -> Millis {
        millis(self.started.elapsed())
    }

    const fn quota(&self, tier: Tier) -> Quota {
        match tier {
            Tier::Anonymous => self.anonymous,
            Tier::Regular => self.regular,
            Tier::Premium => self.premium,
        }
    }
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

fn quota(config: QuotaConfig) -> Quota {
    Quota {
        per_minute: u32::try_from(config.per_minute).unwrap_or(u32::MAX),
        per_hour: u32::try_from(config.per_hour).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_addresses_or_64s() {
        let network = |text: &str| Network::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("2001:db8:0:1::1"), network("2001:db8:0:1:ffff::9"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:2::1"));
    }
}

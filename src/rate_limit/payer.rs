//! Whose budget a request is taken from.

use super::table::SubjectKey;
use crate::ids::{Tier, UserId};
use std::net::IpAddr;

/// A user over all of their connections and credentials, or the network of a client that shows
/// none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payer {
    key: SubjectKey,
    tier: Tier,
}

impl Payer {
    #[must_use]
    pub const fn user(id: UserId, tier: Tier) -> Self {
        Self {
            key: SubjectKey::User(id),
            tier,
        }
    }

    /// Anyone who is at this address without valid credentials: anonymous.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        Self {
            key: SubjectKey::Network(address.into()),
            tier: Tier::Anonymous,
        }
    }

    /// The same caller's budget for what costs much. It is taken from besides the other.
    #[must_use]
    pub const fn expensive(self) -> Self {
        let key = match self.key {
            SubjectKey::User(id) | SubjectKey::UserExpensive(id) => SubjectKey::UserExpensive(id),
            SubjectKey::Network(network) | SubjectKey::NetworkExpensive(network) => {
                SubjectKey::NetworkExpensive(network)
            }
        };
        Self { key, ..self }
    }

    /// The tier of the quota.
    #[must_use]
    pub const fn tier(&self) -> Tier {
        self.tier
    }

    pub(super) const fn key(&self) -> SubjectKey {
        self.key
    }
}

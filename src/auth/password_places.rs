//! Places for hashing and judging passwords, divided between those who come without an account.
//!
//! A hash takes a core for some 20 ms, and anybody may ask for one. So the places are used in turns,
//! between the networks that one customer of a provider has (a /48; of IPv4 a /24), then between the
//! networks in it: as many wrong passwords as there are networks in a /48 are one share.
//!
//! Who logged in to an account before, from where they are now, has a place that nobody else can
//! take, however many networks there are: [`KNOWN_PLACES`], besides one a core. That the password is
//! right is not known yet; the login throttle bounds how often they may be wrong.
//!
//! Judging whether a new password is a common one is no hash, and has a place of its own.
//!
//! Used by `password.rs`. Bounds: [`WAITING_MAX`] callers wait, of one /48 at most
//! [`WAITING_OF_SHARE_MAX`]; who has most waiting gets `overloaded`.

use super::error::Error;
use crate::fairness::{Claimant, FairPermit, FairPermits, TurnLimits};
use crate::metrics::SharedResource;
use futures_util::FutureExt as _;
use futures_util::future::select_ok;
use std::fmt;
use std::net::IpAddr;

/// Callers that may wait for a hash: those of a few seconds.
pub(super) const WAITING_MAX: usize = 256;
/// Callers of one /48.
const WAITING_OF_SHARE_MAX: usize = 128;
/// Callers of one network.
const WAITING_OF_NETWORK_MAX: usize = 32;
/// Places for those who logged in before.
pub(super) const KNOWN_PLACES: usize = 1;

/// Where a password comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct PasswordOrigin {
    network: Claimant<NetworkPrefix, NetworkPrefix>,
    familiarity: Familiarity,
}

/// Whether the account was logged in to from there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Familiarity {
    Known,
    Unknown,
}

impl PasswordOrigin {
    pub(super) fn new(address: IpAddr, familiarity: Familiarity) -> Self {
        let (share, network) = match address.to_canonical() {
            // As mapped addresses, so that none is taken for one of IPv6.
            IpAddr::V4(address) => {
                let bits = address.to_ipv6_mapped().to_bits();
                (bits >> 8 << 8, bits)
            }
            IpAddr::V6(address) => (address.to_bits() >> 80 << 80, address.to_bits() >> 64 << 64),
        };
        Self {
            network: Claimant {
                group: NetworkPrefix(share),
                member: NetworkPrefix(network),
            },
            familiarity,
        }
    }
}

/// The first bits of addresses. Not shown: the log has no addresses of people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NetworkPrefix(u128);

impl fmt::Display for NetworkPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a network")
    }
}

/// Held while a password is hashed or judged.
pub(super) type PasswordPermit = FairPermit<NetworkPrefix, NetworkPrefix>;

/// The places of a node.
#[derive(Debug)]
pub(super) struct PasswordPlaces {
    hashes: FairPermits<NetworkPrefix, NetworkPrefix>,
    hashes_of_known: FairPermits<NetworkPrefix, NetworkPrefix>,
    judgements: FairPermits<NetworkPrefix, NetworkPrefix>,
}

impl PasswordPlaces {
    pub(super) fn new(cores: usize) -> Self {
        let places = |resource, running_max| {
            let limits = TurnLimits {
                running_max,
                // A hash is short: turns suffice.
                running_of_group_max: running_max,
                running_of_member_max: running_max,
                waiting_max: WAITING_MAX,
                waiting_of_group_max: WAITING_OF_SHARE_MAX,
                waiting_of_member_max: WAITING_OF_NETWORK_MAX,
            };
            FairPermits::new(resource, limits)
        };
        Self {
            hashes: places(SharedResource::PasswordHashes, cores),
            hashes_of_known: places(SharedResource::PasswordHashes, KNOWN_PLACES),
            judgements: places(SharedResource::PasswordJudgements, 1),
        }
    }

    /// A place for a hash.
    ///
    /// # Errors
    /// [`Error::Overloaded`].
    pub(super) async fn hash(&self, origin: PasswordOrigin) -> Result<PasswordPermit, Error> {
        let place = self.hashes.acquire(origin.network);
        let given = match origin.familiarity {
            Familiarity::Unknown => place.await,
            // Whichever comes first; the other is given back.
            Familiarity::Known => {
                let kept = self.hashes_of_known.acquire(origin.network);
                select_ok([kept.boxed(), place.boxed()]).await.map(|(permit, _)| permit)
            }
        };
        given.map_err(|_beyond| Error::Overloaded)
    }

    /// The place for a judgement.
    ///
    /// # Errors
    /// [`Error::Overloaded`].
    pub(super) async fn judge(&self, origin: PasswordOrigin) -> Result<PasswordPermit, Error> {
        let given = self.judgements.acquire(origin.network).await;
        given.map_err(|_beyond| Error::Overloaded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str, familiarity: Familiarity) -> PasswordOrigin {
        PasswordOrigin::new(address.parse().unwrap(), familiarity)
    }

    #[test]
    fn a_share_is_a_48_or_of_ipv4_a_24() {
        let share = |address| from(address, Familiarity::Unknown).network.group;
        let network = |address| from(address, Familiarity::Unknown).network.member;
        assert_eq!(share("2001:db8:0:1::1"), share("2001:db8:0:ffff::1"));
        assert_ne!(share("2001:db8:0:1::1"), share("2001:db8:1:1::1"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:2::1"));
        assert_eq!(network("2001:db8:0:1::1"), network("2001:db8:0:1::2"));
        assert_eq!(share("192.0.2.1"), share("::ffff:192.0.2.200"));
        assert_ne!(share("192.0.2.1"), share("192.0.3.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }

    /// One wrong password each from as many networks of a /48 as there are.
    #[tokio::test]
    async fn the_networks_of_a_48_are_one_share() {
        let places = PasswordPlaces::new(1);
        let running = places.hash(from("2001:db8::1", Familiarity::Unknown)).await.unwrap();
        let mut attack = Vec::new();
        let mut refused = 0;
        for n in 0..4_070 {
            let origin = from(&format!("2001:db8:0:{n:x}::1"), Familiarity::Unknown);
            let mut waits = Box::pin(places.hash(origin));
            match waits.as_mut().now_or_never() {
                None => attack.push(waits),
                Some(outcome) => {
                    assert!(matches!(outcome, Err(Error::Overloaded)));
                    refused += 1;
                }
            }
        }
        assert_eq!(
            (attack.len(), refused),
            (WAITING_OF_SHARE_MAX, 4_070 - WAITING_OF_SHARE_MAX)
        );
        let mut owner = Box::pin(places.hash(from("203.0.113.5", Familiarity::Unknown)));
        assert!(owner.as_mut().now_or_never().is_none());
        drop(running);
        assert!(owner.now_or_never().unwrap().is_ok(), "the next turn is theirs");
    }

    /// A place each from more /48s than may wait.
    #[tokio::test]
    async fn who_was_right_before_has_a_place_whoever_else_comes() {
        let places = PasswordPlaces::new(1);
        let _running = places.hash(from("2001:db8::1", Familiarity::Unknown)).await.unwrap();
        let mut attack = Vec::new();
        for n in 0..300 {
            let origin = from(&format!("2001:db8:{n:x}:1::1"), Familiarity::Unknown);
            let mut waits = Box::pin(places.hash(origin));
            if waits.as_mut().now_or_never().is_none() {
                attack.push(waits);
            }
        }
        assert_eq!(attack.len(), WAITING_MAX);
        let newcomer = places.hash(from("203.0.113.5", Familiarity::Unknown));
        assert!(newcomer.now_or_never().unwrap().is_err(), "all have one place");
        let owner = places.hash(from("203.0.113.5", Familiarity::Known));
        assert!(owner.now_or_never().unwrap().is_ok());
    }

    #[tokio::test]
    async fn who_was_right_before_takes_what_is_free_besides() {
        let places = PasswordPlaces::new(1);
        let known = from("203.0.113.5", Familiarity::Known);
        let kept = places.hash(known).await.unwrap();
        let free = places.hash(known).now_or_never().unwrap().unwrap();
        let mut waits = Box::pin(places.hash(known));
        assert!(waits.as_mut().now_or_never().is_none());
        drop(free);
        assert!(waits.as_mut().now_or_never().unwrap().is_ok());
        drop((kept, waits));
        // What was waited for twice was given back.
        let (one, two) = (places.hash(known).now_or_never(), places.hash(known).now_or_never());
        assert!(one.unwrap().is_ok() && two.unwrap().is_ok());
    }

    #[tokio::test]
    async fn judging_takes_no_place_of_a_hash_and_is_done_one_at_a_time() {
        let places = PasswordPlaces::new(1);
        let origin = from("192.0.2.1", Familiarity::Unknown);
        let judging = places.judge(origin).await.unwrap();
        assert!(places.judge(origin).now_or_never().is_none());
        assert!(places.hash(origin).now_or_never().unwrap().is_ok());
        drop(judging);
        assert!(places.judge(origin).now_or_never().unwrap().is_ok());
    }
}

//! Which connections of a node are plain (no WebSockets), whose they are, and which give way. Pure.
//!
//! Used by `deadlines.rs`, which cuts them. A connection that waits for its next request is idle:
//! it costs nothing but its place, and its client opens another without a word. So when places run
//! out, those that have been idle for longest are taken back:
//!
//! - **of one network**, beyond its share of plain connections. Proxies that are trusted have no
//!   share: everybody comes by them.
//! - **of the node**, when only the reserve is left. So a connection is always accepted, also that
//!   of a health check.
//!
//! Several at a time are taken back, so that a flood of connections costs one look for many.
//!
//! Bound: an entry for each connection, which the HTTP server bounds.

use crate::ids::Network;
use std::collections::{BTreeSet, HashMap};

/// In milliseconds of the owner's clock: not idle.
pub(super) const BUSY: u64 = u64::MAX;
/// One place in so many is kept for newcomers.
const RESERVE: usize = 16;
/// One plain connection in so many may be of one network.
const SHARE: usize = 4;
/// Plain connections that every network may have.
const SHARE_MIN: usize = 32;
/// One place in so many is taken back at once.
const BATCH: usize = 32;

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionBounds {
    /// Of the node; when so many are there, idle ones give way.
    pub(super) node: usize,
    /// Plain ones of one network.
    pub(super) network: usize,
}

impl ConnectionBounds {
    /// `all` connections are accepted, of which `sockets` may be WebSockets.
    pub(super) fn of(all: usize, sockets: usize) -> Self {
        Self {
            node: all - (all / RESERVE).max(1),
            network: (all.saturating_sub(sockets) / SHARE).max(SHARE_MIN),
        }
    }
}

/// The connections of a node by number, and the plain ones of each network.
#[derive(Debug)]
pub(super) struct ConnectionTable<T> {
    bounds: ConnectionBounds,
    all: HashMap<u64, TableEntry<T>>,
    plain: HashMap<Network, BTreeSet<u64>>,
}

#[derive(Debug)]
struct TableEntry<T> {
    connection: T,
    /// `None` for a trusted proxy, and once it is a WebSocket.
    network: Option<Network>,
}

impl<T> ConnectionTable<T> {
    pub(super) fn new(bounds: ConnectionBounds) -> Self {
        Self {
            bounds,
            all: HashMap::new(),
            plain: HashMap::new(),
        }
    }

    /// Adds a connection. Returns those that give way to it, which have no place from now on;
    /// `idle_since` says since when one has been idle, or [`BUSY`]. The newcomer itself gives way
    /// where its network has more than twice its share and nothing idle.
    pub(super) fn insert(
        &mut self,
        id: u64,
        network: Option<Network>,
        connection: T,
        idle_since: impl Fn(&T) -> u64,
    ) -> Vec<T> {
        self.all.insert(id, TableEntry { connection, network });
        let mut leaving = Vec::new();
        if let Some(network) = network {
            let own = self.plain.entry(network).or_default();
            own.insert(id);
            if own.len() > self.bounds.network {
                let others = own.iter().filter(|other| **other != id);
                let entries = others.filter_map(|other| Some((*other, self.all.get(other)?)));
                leaving = longest_idle(entries, self.bounds.network, &idle_since);
                if leaving.is_empty() && own.len() > 2 * self.bounds.network {
                    leaving.push(id);
                }
            }
        }
        if leaving.is_empty() && self.all.len() > self.bounds.node {
            let others = self.all.iter().filter(|(other, _)| **other != id);
            let entries = others.map(|(other, entry)| (*other, entry));
            leaving = longest_idle(entries, self.bounds.node, &idle_since);
        }
        leaving.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// The connection is a WebSocket from now on: the caps on sockets judge it.
    pub(super) fn upgraded(&mut self, id: u64) {
        let network = self.all.get_mut(&id).and_then(|entry| entry.network.take());
        self.leave(network, id);
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<T> {
        let entry = self.all.remove(&id)?;
        self.leave(entry.network, id);
        Some(entry.connection)
    }

    fn leave(&mut self, network: Option<Network>, id: u64) {
        if let Some(network) = network
            && let Some(own) = self.plain.get_mut(&network)
        {
            own.remove(&id);
            if own.is_empty() {
                self.plain.remove(&network);
            }
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &T> {
        self.all.values().map(|entry| &entry.connection)
    }
}

/// Some of those that have been idle for longest.
fn longest_idle<'a, T: 'a>(
    entries: impl Iterator<Item = (u64, &'a TableEntry<T>)>,
    places: usize,
    idle_since: &impl Fn(&T) -> u64,
) -> Vec<u64> {
    let since = |(id, entry): (u64, &TableEntry<T>)| (idle_since(&entry.connection), id);
    let mut idle: Vec<_> = entries.map(since).filter(|(since, _)| *since != BUSY).collect();
    let count = (places / BATCH).max(1).min(idle.len());
    if count < idle.len() {
        idle.select_nth_unstable(count);
        idle.truncate(count);
    }
    idle.into_iter().map(|(_, id)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn network(n: u8) -> Option<Network> {
        Some(Network::from(IpAddr::from([192, 0, 2, n])))
    }

    /// A table whose connections are the times since which they are idle.
    fn table(node: usize, network: usize) -> ConnectionTable<u64> {
        ConnectionTable::new(ConnectionBounds { node, network })
    }

    #[test]
    fn who_is_idle_for_longest_gives_way_within_its_network() {
        let mut table = table(100, 3);
        for (id, since) in [(1, 30), (2, 10), (3, 20)] {
            assert_eq!(table.insert(id, network(1), since, |since| *since), Vec::<u64>::new());
        }
        assert!(
            table.insert(4, network(2), 1, |since| *since).is_empty(),
            "another network"
        );
        assert!(table.insert(5, None, 1, |since| *since).is_empty(), "a proxy");
        assert_eq!(table.insert(6, network(1), 40, |since| *since), [10]);
        assert_eq!(table.remove(2), None, "it is gone");
        table.upgraded(1);
        assert!(
            table.insert(7, network(1), 50, |since| *since).is_empty(),
            "a socket is not plain"
        );
    }

    #[test]
    fn nobody_who_is_busy_gives_way_but_the_newcomer_of_a_full_network() {
        let mut table = table(100, 2);
        for id in 1..=4 {
            assert!(table.insert(id, network(1), BUSY, |since| *since).is_empty(), "{id}");
        }
        assert_eq!(table.insert(5, network(1), 7, |since| *since), [7], "itself");
    }

    #[test]
    fn a_full_node_takes_places_back_from_anybody_and_several_at_a_time() {
        let mut table = table(64, 1_000);
        for id in 0..64 {
            assert!(table.insert(id, network(1), 100 + id, |since| *since).is_empty());
        }
        let mut leaving = table.insert(64, network(2), 999, |since| *since);
        leaving.sort_unstable();
        assert_eq!(leaving, [100, 101]);
        for id in 2..65 {
            assert!(table.remove(id).is_some());
        }
        assert!(table.plain.is_empty() && table.all.is_empty(), "nothing is left");
    }

    #[test]
    fn there_is_room_beyond_the_bounds() {
        for (all, sockets) in [(33, 28), (100, 20), (1_900, 1_662), (100_064, 50_000)] {
            let bounds = ConnectionBounds::of(all, sockets);
            assert!(bounds.node < all, "{bounds:?}");
            assert!(bounds.network >= SHARE_MIN, "{bounds:?}");
        }
    }
}

//! The live connections of this node, by id and by user.
//!
//! Written when a connection comes or goes, read by notices, revocations, the sweep and the drain.
//! Nothing waits under its lock. It is the audience of the conversations: [`Audience`] is defined
//! there and implemented here, because sessions stand above conversations. Who counts as online is
//! not known here, but in `src/presence`.
//!
//! Bounds: connections of the node, of a user and of a network, from the configuration. Who is known
//! is counted by user first, and the bound of a network is far above that of a user: many people
//! share an address. Guests, whom anybody with a link can make, get at most half of it.

use super::connection::Connection;
use crate::config::SessionsConfig;
use crate::conversations::Audience;
use crate::error::CloseCode;
use crate::ids::{ConnectionId, ConversationId, Network, UserId};
use crate::wire::{Class, Frame};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;

/// Why a connection is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdmissionError {
    /// The node stops soon.
    Draining,
    /// The node has as many connections as it may.
    NodeFull,
    /// The user has as many connections as they may.
    UserFull,
    /// The client's network has as many connections as it may.
    NetworkFull,
}

impl AdmissionError {
    /// What the connection is closed with.
    pub(super) const fn close_code(self) -> CloseCode {
        match self {
            Self::UserFull => CloseCode::TooManyConnections,
            Self::NetworkFull => CloseCode::AddressFull,
            Self::NodeFull => CloseCode::Overloaded,
            Self::Draining => CloseCode::Draining,
        }
    }
}

#[derive(Debug, Default)]
struct DirectoryIndex {
    /// The node stops soon, and admits nobody any more.
    is_draining: bool,
    connections: HashMap<ConnectionId, Arc<Connection>>,
    users: HashMap<UserId, Vec<Arc<Connection>>>,
    /// How many connections there are from each network.
    networks: HashMap<Network, Neighbours>,
}

/// The connections from one network.
#[derive(Clone, Copy, Debug, Default)]
struct Neighbours {
    all: usize,
    guests: usize,
}

impl Neighbours {
    /// Whether one more finds room.
    const fn has_room(self, is_guest: bool, connections_max: usize) -> bool {
        self.all < connections_max && !(is_guest && self.guests >= connections_max.div_ceil(2))
    }
}

/// The live connections of this node.
#[derive(Debug)]
pub struct Directory {
    index: RwLock<DirectoryIndex>,
    connections_max: usize,
    connections_per_user: usize,
    connections_per_address: usize,
}

impl Directory {
    /// An empty directory with the bounds of the configuration.
    #[must_use]
    pub fn new(config: &SessionsConfig) -> Self {
        Self {
            index: RwLock::default(),
            connections_max: config.connections_max,
            connections_per_user: config.connections_per_user,
            connections_per_address: config.connections_per_address,
        }
    }

    /// Whether the node would admit a connection.
    pub(super) fn check_capacity(&self) -> Result<(), AdmissionError> {
        self.index.read().check_capacity(self.connections_max)
    }

    /// From now on nobody is admitted. Returns those who have been; in one step, so that nobody
    /// comes in unseen.
    pub(super) fn close(&self) -> Vec<Arc<Connection>> {
        let mut index = self.index.write();
        index.is_draining = true;
        index.connections.values().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.index.read().connections.len()
    }

    /// Admits a connection, if the bounds of the node, its user and its network allow it.
    pub(super) fn insert(&self, connection: &Arc<Connection>) -> Result<(), AdmissionError> {
        let mut index = self.index.write();
        index.check_capacity(self.connections_max)?;
        let user = connection.user_id;
        if index.users.get(&user).map_or(0, Vec::len) >= self.connections_per_user {
            return Err(AdmissionError::UserFull);
        }
        let neighbours = index.networks.entry(connection.network).or_default();
        if !neighbours.has_room(connection.is_guest, self.connections_per_address) {
            return Err(AdmissionError::NetworkFull);
        }
        neighbours.all += 1;
        neighbours.guests += usize::from(connection.is_guest);
        index.connections.insert(connection.id, connection.clone());
        index.users.entry(user).or_default().push(connection.clone());
        Ok(())
    }

    /// Removes a connection. False if it was not there: not admitted, or removed before.
    pub(super) fn remove(&self, connection: &Connection) -> bool {
        let mut index = self.index.write();
        if index.connections.remove(&connection.id).is_none() {
            return false;
        }
        if let Some(neighbours) = index.networks.get_mut(&connection.network) {
            neighbours.all -= 1;
            neighbours.guests -= usize::from(connection.is_guest);
            if neighbours.all == 0 {
                index.networks.remove(&connection.network);
            }
        }
        if let Some(others) = index.users.get_mut(&connection.user_id) {
            others.retain(|other| other.id != connection.id);
            if others.is_empty() {
                index.users.remove(&connection.user_id);
            }
        }
        true
    }

    pub(super) fn all(&self) -> Vec<Arc<Connection>> {
        self.index.read().connections.values().cloned().collect()
    }

    pub(super) fn of_user(&self, user: UserId) -> Vec<Arc<Connection>> {
        self.index.read().users.get(&user).cloned().unwrap_or_default()
    }
}

impl Audience for Directory {
    fn notify(
        &self,
        user: UserId,
        conversation: ConversationId,
        wanted: &dyn Fn(ConnectionId) -> bool,
        frame: &mut dyn FnMut() -> Frame,
    ) {
        // Asked for each member of an active conversation: most are not here, or subscribed, and
        // then nothing is allocated.
        let connections: Vec<_> = {
            let index = self.index.read();
            let of_user = index.users.get(&user).map(Vec::as_slice).unwrap_or_default();
            of_user.iter().filter(|other| wanted(other.id)).cloned().collect()
        };
        for connection in connections {
            // A guest who is a member of further conversations is confined to one all the same.
            if connection.principal().access().allows(conversation) {
                // A connection that overflows is cut by its outbox; there is nothing to do here.
                connection.outbox.push(frame(), Class::Durable);
            }
        }
    }
}

impl DirectoryIndex {
    fn check_capacity(&self, connections_max: usize) -> Result<(), AdmissionError> {
        if self.is_draining {
            return Err(AdmissionError::Draining);
        }
        if self.connections.len() >= connections_max {
            return Err(AdmissionError::NodeFull);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::connection::principal_for_tests as principal;
    use super::*;
    use crate::auth::Principal;
    use crate::ids::Tier;

    fn connection(user: UserId) -> Arc<Connection> {
        connection_from(user, Network::NONE)
    }

    fn connection_from(user: UserId, network: Network) -> Arc<Connection> {
        Arc::new(Connection::new(principal(user), network, true))
    }

    fn directory(connections_max: usize, connections_per_user: usize, connections_per_address: usize) -> Directory {
        Directory::new(&SessionsConfig {
            connections_max,
            connections_per_user,
            connections_per_address,
            ..SessionsConfig::default()
        })
    }

    #[test]
    fn a_network_is_bounded_and_gets_its_room_back() {
        let directory = directory(10, 10, 2);
        let here = |n| connection_from(UserId::new(), Network::from(std::net::IpAddr::from([192, 0, 2, n])));
        let (first, second, third) = (here(1), here(1), here(1));
        assert_eq!((directory.insert(&first), directory.insert(&second)), (Ok(()), Ok(())));
        assert_eq!(directory.insert(&third), Err(AdmissionError::NetworkFull));
        assert_eq!(directory.insert(&here(2)), Ok(()), "another address");
        assert!(directory.remove(&first));
        assert!(!directory.remove(&first));
        assert_eq!(directory.insert(&third), Ok(()));
        assert_eq!(directory.insert(&first), Err(AdmissionError::NetworkFull));
    }

    #[test]
    fn guests_leave_half_of_a_network_to_others() {
        let directory = directory(100, 10, 4);
        let here = Network::from(std::net::IpAddr::from([192, 0, 2, 1]));
        let guest = || {
            let principal = Principal {
                tier: Tier::Anonymous,
                ..principal(UserId::new())
            };
            Arc::new(Connection::new(principal, here, true))
        };
        let (first, second) = (guest(), guest());
        assert_eq!((directory.insert(&first), directory.insert(&second)), (Ok(()), Ok(())));
        assert_eq!(directory.insert(&guest()), Err(AdmissionError::NetworkFull));
        for _ in 0..2 {
            assert_eq!(directory.insert(&connection_from(UserId::new(), here)), Ok(()));
        }
        let member = connection_from(UserId::new(), here);
        assert_eq!(directory.insert(&member), Err(AdmissionError::NetworkFull));
        assert!(directory.remove(&first));
        assert_eq!(directory.insert(&guest()), Ok(()));
    }

    #[test]
    fn a_user_is_bounded() {
        let directory = directory(10, 2, 10);
        let user = UserId::new();
        let (first, second, third) = (connection(user), connection(user), connection(user));
        assert_eq!((directory.insert(&first), directory.insert(&second)), (Ok(()), Ok(())));
        assert_eq!(directory.insert(&third), Err(AdmissionError::UserFull));
        assert_eq!(directory.of_user(user).len(), 2);
        assert!(directory.remove(&first));
        assert_eq!(directory.insert(&third), Ok(()));
    }

    #[test]
    fn removal_is_idempotent_and_the_node_is_bounded() {
        let directory = directory(1, 20, 20);
        let first = connection(UserId::new());
        assert_eq!(directory.insert(&first), Ok(()));
        assert_eq!(
            directory.insert(&connection(UserId::new())),
            Err(AdmissionError::NodeFull)
        );
        assert!(directory.remove(&first));
        assert!(!directory.remove(&first));
        assert_eq!((directory.len(), directory.all().len()), (0, 0));
    }

    #[test]
    fn a_node_that_drains_admits_nobody_and_knows_whom_it_has() {
        let directory = directory(10, 20, 20);
        assert_eq!(directory.check_capacity(), Ok(()));
        assert_eq!(directory.insert(&connection(UserId::new())), Ok(()));
        assert_eq!(directory.close().len(), 1);
        assert_eq!(directory.check_capacity(), Err(AdmissionError::Draining));
        assert_eq!(
            directory.insert(&connection(UserId::new())),
            Err(AdmissionError::Draining)
        );
        assert_eq!(directory.len(), 1);
    }
}

//! The live connections of this node, by id and by user.
//!
//! Written when a connection comes or goes, read by notices and revocations; nothing waits under its lock. It is the
//! audience of the conversations (see [`Audience`]): defined there and implemented here, because sessions stand above
//! conversations. Who counts as online is not known here, but in `src/presence`.

use super::Connection;
use crate::config::SessionsConfig;
use crate::conversations::Audience;
use crate::error::CloseCode;
use crate::ids::{ConnectionId, Network, UserId};
use crate::wire::frames::Notice;
use crate::wire::{Class, encode};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;

/// Why a connection is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The node is going away.
    Leaving,
    /// The node has as many as it may.
    Node,
    /// The user has as many as they may.
    User,
    /// The client's network has as many as it may.
    Network,
}

impl Full {
    /// What the connection is closed with.
    pub(super) const fn close_code(self) -> CloseCode {
        match self {
            Self::User | Self::Network => CloseCode::TooManyConnections,
            Self::Node => CloseCode::Overloaded,
            Self::Leaving => CloseCode::Draining,
        }
    }
}

#[derive(Debug, Default)]
struct Table {
    /// The node is going away; nobody is taken in any more.
    is_leaving: bool,
    connections: HashMap<ConnectionId, Arc<Connection>>,
    users: HashMap<UserId, Vec<Arc<Connection>>>,
    /// How many connections there are from each network.
    networks: HashMap<Network, usize>,
}

/// The live connections of this node.
#[derive(Debug)]
pub struct Directory {
    table: RwLock<Table>,
    connections_max: usize,
    connections_per_user: usize,
    connections_per_address: usize,
}

impl Directory {
    /// An empty table with the bounds of the configuration.
    #[must_use]
    pub fn new(config: &SessionsConfig) -> Self {
        Self {
            table: RwLock::default(),
            connections_max: config.connections_max,
            connections_per_user: config.connections_per_user,
            connections_per_address: config.connections_per_address,
        }
    }

    /// Whether the node would take a connection in.
    pub(super) fn check_room(&self) -> Result<(), Full> {
        self.table.read().check_room(self.connections_max)
    }

    /// From now on nobody is taken in; those who have been. One step, so that nobody comes in unseen.
    pub(super) fn refuse_newcomers(&self) -> Vec<Arc<Connection>> {
        let mut table = self.table.write();
        table.is_leaving = true;
        table.connections.values().cloned().collect()
    }

    /// How many connections there are.
    pub(super) fn len(&self) -> usize {
        self.table.read().connections.len()
    }

    /// Takes a connection in.
    pub(super) fn insert(&self, connection: &Arc<Connection>) -> Result<(), Full> {
        let mut table = self.table.write();
        table.check_room(self.connections_max)?;
        let user = connection.user_id;
        if table.users.get(&user).map_or(0, Vec::len) >= self.connections_per_user {
            return Err(Full::User);
        }
        let neighbours = table.networks.entry(connection.network).or_default();
        if *neighbours >= self.connections_per_address {
            return Err(Full::Network);
        }
        *neighbours += 1;
        table.connections.insert(connection.id, connection.clone());
        table.users.entry(user).or_default().push(connection.clone());
        Ok(())
    }

    /// Takes a connection out; whether it was there.
    pub(super) fn remove(&self, connection: &Connection) -> bool {
        let mut table = self.table.write();
        if table.connections.remove(&connection.id).is_none() {
            return false;
        }
        if let Some(neighbours) = table.networks.get_mut(&connection.network) {
            *neighbours -= 1;
            if *neighbours == 0 {
                table.networks.remove(&connection.network);
            }
        }
        if let Some(others) = table.users.get_mut(&connection.user_id) {
            others.retain(|other| other.id != connection.id);
            if others.is_empty() {
                table.users.remove(&connection.user_id);
            }
        }
        true
    }

    /// All connections.
    pub(super) fn all(&self) -> Vec<Arc<Connection>> {
        self.table.read().connections.values().cloned().collect()
    }

    /// The connections of a user.
    pub(super) fn of_user(&self, user: UserId) -> Vec<Arc<Connection>> {
        self.table.read().users.get(&user).cloned().unwrap_or_default()
    }
}

impl Audience for Directory {
    fn notify(&self, user: UserId, notice: Notice, subscribed: &dyn Fn(ConnectionId) -> bool) {
        // `subscribed` takes another lock, and its holders look in here: it must not be called under the table's.
        let connections = self.of_user(user);
        let mut frame = None;
        for connection in connections.iter().filter(|connection| !subscribed(connection.id)) {
            let frame = frame.get_or_insert_with(|| encode(&notice));
            // A connection that overflows is cut by its outbox; there is nothing to do here.
            connection.outbox.push(frame.clone(), Class::Durable);
        }
    }
}

impl Table {
    fn check_room(&self, connections_max: usize) -> Result<(), Full> {
        if self.is_leaving {
            return Err(Full::Leaving);
        }
        if self.connections.len() >= connections_max {
            return Err(Full::Node);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::principal;
    use super::*;

    fn connection(user: UserId) -> Arc<Connection> {
        connection_from(user, Network::NONE)
    }

    fn connection_from(user: UserId, network: Network) -> Arc<Connection> {
        Arc::new(Connection::new(principal(user), network, None))
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
    fn a_network_is_bounded_and_gets_its_places_back() {
        let directory = directory(10, 10, 2);
        let here = |n| connection_from(UserId::new(), Network::from(std::net::IpAddr::from([192, 0, 2, n])));
        let (first, second, third) = (here(1), here(1), here(1));
        assert_eq!((directory.insert(&first), directory.insert(&second)), (Ok(()), Ok(())));
        assert_eq!(directory.insert(&third), Err(Full::Network));
        assert_eq!(directory.insert(&here(2)), Ok(()), "another address");
        assert!(directory.remove(&first));
        assert!(!directory.remove(&first));
        assert_eq!(directory.insert(&third), Ok(()));
        assert_eq!(directory.insert(&first), Err(Full::Network));
    }

    #[test]
    fn a_user_is_bounded() {
        let directory = directory(10, 2, 10);
        let user = UserId::new();
        let (first, second, third) = (connection(user), connection(user), connection(user));
        assert_eq!((directory.insert(&first), directory.insert(&second)), (Ok(()), Ok(())));
        assert_eq!(directory.insert(&third), Err(Full::User));
        assert_eq!(directory.of_user(user).len(), 2);
        assert!(directory.remove(&first));
        assert_eq!(directory.insert(&third), Ok(()));
    }

    #[test]
    fn removal_is_idempotent_and_the_node_is_bounded() {
        let directory = directory(1, 20, 20);
        let first = connection(UserId::new());
        assert_eq!(directory.insert(&first), Ok(()));
        assert_eq!(directory.insert(&connection(UserId::new())), Err(Full::Node));
        assert!(directory.remove(&first));
        assert!(!directory.remove(&first));
        assert_eq!((directory.len(), directory.all().len()), (0, 0));
    }

    #[test]
    fn a_node_that_goes_takes_nobody_in_and_knows_whom_it_has() {
        let directory = directory(10, 20, 20);
        assert_eq!(directory.check_room(), Ok(()));
        assert_eq!(directory.insert(&connection(UserId::new())), Ok(()));
        assert_eq!(directory.refuse_newcomers().len(), 1);
        assert_eq!(directory.check_room(), Err(Full::Leaving));
        assert_eq!(directory.insert(&connection(UserId::new())), Err(Full::Leaving));
        assert_eq!(directory.len(), 1);
    }
}

//! The table of live connections of this node, by id and by user.
//!
//! Written when a connection comes or goes, read by notices and revocations; nothing waits under its lock. It is the
//! audience that conversations speak to (see [`Audience`]), defined there and implemented here because sessions stand
//! above conversations. A user without a connection still counts as online for the grace period, so a reload is not seen.

use super::Connection;
use super::elsewhere::{Elsewhere, ROSTER_PART, Roster, Turn};
use crate::bus::{Bus, Envelope, PeerWord, To};
use crate::config::SessionsConfig;
use crate::conversations::Audience;
use crate::error::CloseCode;
use crate::ids::{ConnectionId, NodeId, UserId};
use crate::rate_limit::Network;
use crate::wire::frames::Notice;
use crate::wire::{Class, encode};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    /// Users whose last connection went, and when they count as offline.
    leaving: HashMap<UserId, Instant>,
    /// How many of this node's users have come or gone, as the other nodes are told.
    number: u64,
    /// When the whole roster was last told.
    roster_told_at: Option<Instant>,
    elsewhere: Elsewhere,
}

/// Between two tellings of the whole roster, whoever asks.
const ROSTER_INTERVAL: Duration = Duration::from_secs(1);

/// The live connections of this node.
#[derive(Debug)]
pub(super) struct Directory {
    table: RwLock<Table>,
    connections_max: usize,
    connections_per_user: usize,
    connections_per_address: usize,
    presence_grace: Duration,
}

impl Directory {
    pub(super) fn new(config: &SessionsConfig) -> Self {
        Self {
            table: RwLock::default(),
            connections_max: config.connections_max,
            connections_per_user: config.connections_per_user,
            connections_per_address: config.connections_per_address,
            presence_grace: config.presence_grace,
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

    /// Takes a connection in; true when its user was not connected to this node before. The other nodes must hear of that
    /// also when the user is connected there: each counts on how many others.
    pub(super) fn insert(&self, connection: &Arc<Connection>) -> Result<bool, Full> {
        let mut table = self.table.write();
        table.check_room(self.connections_max)?;
        let user = connection.user_id;
        let known = table.users.get(&user).map_or(0, Vec::len);
        if known >= self.connections_per_user {
            return Err(Full::User);
        }
        let neighbours = table.networks.entry(connection.network).or_default();
        if *neighbours >= self.connections_per_address {
            return Err(Full::Network);
        }
        *neighbours += 1;
        let was_leaving = table.leaving.remove(&user).is_some();
        table.connections.insert(connection.id, connection.clone());
        table.users.entry(user).or_default().push(connection.clone());
        let is_news = known == 0 && !was_leaving;
        table.number += u64::from(is_news);
        Ok(is_news)
    }

    /// Takes a connection out. Its user counts as online for a little longer.
    pub(super) fn remove(&self, connection: &Connection, now: Instant) {
        let mut table = self.table.write();
        if table.connections.remove(&connection.id).is_none() {
            return;
        }
        if let Some(neighbours) = table.networks.get_mut(&connection.network) {
            *neighbours -= 1;
            if *neighbours == 0 {
                table.networks.remove(&connection.network);
            }
        }
        let user = connection.user_id;
        let Some(others) = table.users.get_mut(&user) else {
            return;
        };
        others.retain(|other| other.id != connection.id);
        if others.is_empty() {
            table.users.remove(&user);
            table.leaving.insert(user, now + self.presence_grace);
        }
    }

    /// Users who are offline from now on, because their grace has ended.
    pub(super) fn take_departed(&self, now: Instant) -> Vec<UserId> {
        let mut table = self.table.write();
        let departed: Vec<_> = table
            .leaving
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(user, _)| *user)
            .collect();
        for user in &departed {
            table.leaving.remove(user);
        }
        table.number += departed.len() as u64;
        departed
    }

    /// Whether a user counts as connected, to whichever node.
    pub(super) fn is_online(&self, user: UserId) -> bool {
        let table = self.table.read();
        table.users.contains_key(&user) || table.leaving.contains_key(&user) || table.elsewhere.contains(user)
    }

    /// How many of this node's users have come or gone since it started.
    pub(super) fn number(&self) -> u64 {
        self.table.read().number
    }

    /// The users that count as connected to this node, and the number of changes that are in it; `None` if it has just
    /// been told.
    fn roster(&self, now: Instant) -> Option<(u64, Vec<UserId>)> {
        let mut table = self.table.write();
        let told = table.roster_told_at;
        if told.is_some_and(|at| now.duration_since(at) < ROSTER_INTERVAL) {
            return None;
        }
        table.roster_told_at = Some(now);
        let users = table.users.keys().chain(table.leaving.keys()).copied().collect();
        Some((table.number, users))
    }

    /// Takes in what another node says of its users: who turned, as seen from here, and whether to ask it for all.
    fn hear(&self, word: PeerWord, now: Instant) -> (Vec<Turn>, Option<NodeId>) {
        let (turns, ask) = match word {
            PeerWord::Changed { node, user_id, online } => {
                let (turn, ask) = self.table.write().elsewhere.changed(node, (user_id, online), now);
                (turn.into_iter().collect(), ask.then_some(node))
            }
            PeerWord::Lives { node, number } => {
                let ask = self.table.write().elsewhere.lives(node, number, now);
                (Vec::new(), ask.then_some(node))
            }
            PeerWord::Roster {
                node,
                number,
                part,
                parts,
                users,
            } => {
                let whole = self
                    .table
                    .write()
                    .elsewhere
                    .part((node, number), (part, parts), users, now);
                // Everybody who connects or is asked about waits for the table: comparing is done without it.
                let compared = whole.map(Roster::compare);
                let turns = compared.map(|compared| self.table.write().elsewhere.adopt(compared));
                (turns.unwrap_or_default(), None)
            }
            PeerWord::Ask { .. } => (Vec::new(), None),
        };
        if turns.is_empty() {
            return (turns, ask);
        }
        (self.table.read().seen_from_here(turns), ask)
    }

    /// Whether a node was heard for the first time since this was last asked.
    fn take_met(&self) -> bool {
        self.table.write().elsewhere.take_met()
    }

    /// This node could not hear the others until now.
    pub(super) fn forgive_peers(&self, now: Instant) {
        self.table.write().elsewhere.forgive(now);
    }

    /// Who turned because their node has been silent for too long.
    pub(super) fn expire_peers(&self, now: Instant) -> Vec<Turn> {
        let mut table = self.table.write();
        let turns = table.elsewhere.expire(now);
        table.seen_from_here(turns)
    }

    /// All connections.
    pub(super) fn all(&self) -> Vec<Arc<Connection>> {
        self.table.read().connections.values().cloned().collect()
    }

    /// The connections of a user.
    pub(super) fn of_user(&self, user: UserId) -> Vec<Arc<Connection>> {
        self.table.read().users.get(&user).cloned().unwrap_or_default()
    }

    /// Tells the connections of a user that are not subscribed.
    pub(super) fn tell(&self, user: UserId, notice: &Notice, subscribed: &dyn Fn(ConnectionId) -> bool) {
        // `subscribed` takes another lock, and its holders look in here: it must not be called under the table's.
        let connections = self.of_user(user);
        let mut frame = None;
        for connection in connections.iter().filter(|connection| !subscribed(connection.id)) {
            let frame = frame.get_or_insert_with(|| encode(notice));
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

    /// Of those who turned elsewhere, the ones who are not here.
    fn seen_from_here(&self, mut turns: Vec<Turn>) -> Vec<Turn> {
        turns.retain(|(user, _)| !self.users.contains_key(user) && !self.leaving.contains_key(user));
        turns
    }
}

/// The audience of the conversations: the directory, and where presence from other nodes goes.
pub(super) struct LocalAudience {
    pub(super) node: NodeId,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) directory: Arc<Directory>,
    /// Users who turned on other nodes, on their way to the conversations.
    pub(super) presences: tokio::sync::mpsc::Sender<UserId>,
}

impl Audience for LocalAudience {
    fn is_online(&self, user: UserId) -> bool {
        self.directory.is_online(user)
    }

    fn notify(&self, user: UserId, notice: Notice, subscribed: &dyn Fn(ConnectionId) -> bool) {
        self.directory.tell(user, &notice, subscribed);
    }

    fn nodes_of(&self, user: UserId) -> Vec<NodeId> {
        self.directory.table.read().elsewhere.nodes_of(user).collect()
    }

    fn hear(&self, word: PeerWord) {
        let now = Instant::now();
        if let PeerWord::Ask { node } = word {
            if node == self.node {
                self.tell_roster(now);
            }
            return;
        }
        let (turns, ask) = self.directory.hear(word, now);
        if self.directory.take_met() {
            // A node that has just come should not have to wait for our next word.
            let word = PeerWord::Lives {
                node: self.node,
                number: self.directory.number(),
            };
            self.bus.publish(self.node, To::Everybody, Envelope::Peer(word));
        }
        if let Some(node) = ask {
            let word = Envelope::Peer(PeerWord::Ask { node });
            self.bus.publish(self.node, To::Node(node), word);
        }
        for (user, _) in turns {
            if self.presences.try_send(user).is_err() {
                tracing::warn!("a presence change of another node is lost: too many wait");
            }
        }
    }
}

impl LocalAudience {
    fn tell_roster(&self, now: Instant) {
        let Some((number, users)) = self.directory.roster(now) else {
            return;
        };
        let parts = users.len().div_ceil(ROSTER_PART).max(1);
        let counted = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        for part in 0..parts {
            let users = users
                .iter()
                .skip(part * ROSTER_PART)
                .take(ROSTER_PART)
                .copied()
                .collect();
            let word = PeerWord::Roster {
                node: self.node,
                number,
                part: counted(part),
                parts: counted(parts),
                users,
            };
            self.bus.publish(self.node, To::Everybody, Envelope::Peer(word));
        }
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
            presence_grace: Duration::from_secs(15),
            ..SessionsConfig::default()
        })
    }

    #[test]
    fn a_network_is_bounded_and_gets_its_places_back() {
        let directory = directory(10, 10, 2);
        let here = |n| connection_from(UserId::new(), Network::from(std::net::IpAddr::from([192, 0, 2, n])));
        let (first, second, third) = (here(1), here(1), here(1));
        assert_eq!(
            (directory.insert(&first), directory.insert(&second)),
            (Ok(true), Ok(true))
        );
        assert_eq!(directory.insert(&third), Err(Full::Network));
        assert_eq!(directory.insert(&here(2)), Ok(true), "another address");
        directory.remove(&first, Instant::now());
        directory.remove(&first, Instant::now());
        assert_eq!(directory.insert(&third), Ok(true));
        assert_eq!(directory.insert(&first), Err(Full::Network));
    }

    #[test]
    fn presence_has_a_grace_and_counts_every_connection() {
        let directory = directory(10, 2, 10);
        let (user, now) = (UserId::new(), Instant::now());
        let (first, second, third) = (connection(user), connection(user), connection(user));
        assert_eq!(directory.insert(&first), Ok(true));
        assert_eq!(directory.insert(&second), Ok(false));
        assert_eq!(directory.insert(&third), Err(Full::User));
        directory.remove(&first, now);
        directory.remove(&second, now);
        assert!(directory.take_departed(now + Duration::from_secs(14)).is_empty());
        assert_eq!(directory.insert(&third), Ok(false), "back within the grace is not news");
        directory.remove(&third, now);
        assert_eq!(directory.take_departed(now + Duration::from_secs(15)), [user]);
        let (node, number) = (NodeId::new(), 1);
        let users = vec![user];
        let (turns, _) = directory.hear(
            PeerWord::Roster {
                node,
                number,
                part: 0,
                parts: 1,
                users,
            },
            now,
        );
        assert_eq!(turns, [(user, true)]);
        assert_eq!(
            directory.insert(&first),
            Ok(true),
            "also news when the user is elsewhere: each node counts"
        );
    }

    #[test]
    fn removal_is_idempotent_and_the_node_is_bounded() {
        let directory = directory(1, 20, 20);
        let first = connection(UserId::new());
        assert_eq!(directory.insert(&first), Ok(true));
        assert_eq!(directory.insert(&connection(UserId::new())), Err(Full::Node));
        directory.remove(&first, Instant::now());
        directory.remove(&first, Instant::now());
        assert_eq!((directory.len(), directory.all().len()), (0, 0));
    }

    #[test]
    fn a_node_that_goes_takes_nobody_in_and_knows_whom_it_has() {
        let directory = directory(10, 20, 20);
        assert_eq!(directory.check_room(), Ok(()));
        assert_eq!(directory.insert(&connection(UserId::new())), Ok(true));
        assert_eq!(directory.refuse_newcomers().len(), 1);
        assert_eq!(directory.check_room(), Err(Full::Leaving));
        assert_eq!(directory.insert(&connection(UserId::new())), Err(Full::Leaving));
        assert_eq!(directory.len(), 1);
    }
}

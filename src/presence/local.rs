//! The users who are connected to this node. Pure: the caller brings the time.
//!
//! A user counts as connected to the node while any connection is open, and for a grace after the
//! last one is gone, so that a reload is not seen. Each time that a user comes or goes raises the
//! version, which the other nodes count along.
//!
//! Bounds: as many entries as the node admits connections, and those who left within the grace.

use crate::ids::UserId;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Between two snapshots of a node, no matter who asks for them.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(1);

/// Users of this node.
#[derive(Debug, Default)]
pub(super) struct LocalPresence {
    /// How many connections each user has; at least one.
    connections: HashMap<UserId, u32>,
    /// Users whose last connection is gone, and when they count as offline.
    leaving: HashMap<UserId, Instant>,
    version: u64,
    snapshot_at: Option<Instant>,
}

impl LocalPresence {
    /// A connection has opened. True if its user was not connected to this node before.
    pub(super) fn connected(&mut self, user: UserId) -> bool {
        let connections = self.connections.entry(user).or_default();
        *connections += 1;
        if *connections > 1 {
            return false;
        }
        let is_news = self.leaving.remove(&user).is_none();
        self.version += u64::from(is_news);
        is_news
    }

    /// A connection is gone. If it was the user's last one, the user counts as offline from
    /// `offline_at`.
    pub(super) fn disconnected(&mut self, user: UserId, offline_at: Instant) {
        let Some(connections) = self.connections.get_mut(&user) else {
            return;
        };
        *connections -= 1;
        if *connections == 0 {
            self.connections.remove(&user);
            self.leaving.insert(user, offline_at);
        }
    }

    /// Takes out the users whose grace has ended.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<UserId> {
        let gone: Vec<_> = self
            .leaving
            .extract_if(|_, at| *at <= now)
            .map(|(user, _)| user)
            .collect();
        self.version += gone.len() as u64;
        gone
    }

    /// Whether a user counts as connected to this node.
    pub(super) fn contains(&self, user: UserId) -> bool {
        self.connections.contains_key(&user) || self.leaving.contains_key(&user)
    }

    /// How many users have come or gone since the node started.
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    /// All users, with the version; `None` if there was a snapshot within [`SNAPSHOT_INTERVAL`].
    pub(super) fn snapshot(&mut self, now: Instant) -> Option<(u64, Vec<UserId>)> {
        if self
            .snapshot_at
            .is_some_and(|at| now.duration_since(at) < SNAPSHOT_INTERVAL)
        {
            return None;
        }
        self.snapshot_at = Some(now);
        let users = self.connections.keys().chain(self.leaving.keys()).copied().collect();
        Some((self.version, users))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_a_grace_and_every_connection_counts() {
        let (mut local, user, now) = (LocalPresence::default(), UserId::new(), Instant::now());
        let grace = Duration::from_secs(15);
        assert!(local.connected(user));
        assert!(!local.connected(user), "a second connection");
        local.disconnected(user, now + grace);
        assert!(local.expire(now + grace).is_empty(), "one is left");
        local.disconnected(user, now + grace);
        local.disconnected(user, now + grace);
        assert!(local.expire(now + Duration::from_secs(14)).is_empty());
        assert!(!local.connected(user), "back within the grace is not news");
        assert_eq!(local.version(), 1);
        local.disconnected(user, now + grace);
        assert!(local.contains(user));
        assert_eq!(local.expire(now + grace), [user]);
        assert!(!local.contains(user));
        assert_eq!(local.version(), 2);
        assert!(local.connected(user));
    }

    #[test]
    fn a_snapshot_has_everybody_and_is_made_once_a_second() {
        let (mut local, now) = (LocalPresence::default(), Instant::now());
        let (here, leaving) = (UserId::new(), UserId::new());
        local.connected(here);
        local.connected(leaving);
        local.disconnected(leaving, now + Duration::from_secs(15));
        let (version, mut users) = local.snapshot(now).unwrap();
        users.sort();
        let mut both = [here, leaving];
        both.sort();
        assert_eq!((version, &users[..]), (2, &both[..]));
        assert!(local.snapshot(now + Duration::from_millis(999)).is_none());
        assert!(local.snapshot(now + SNAPSHOT_INTERVAL).is_some());
    }
}

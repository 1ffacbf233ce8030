//! The users who are connected to other nodes, as those say themselves. Pure: the caller brings the
//! time.
//!
//! A node publishes a delta for each user who comes or goes. Its heartbeat says how many deltas
//! there were: its version. Anyone who has counted another number asks for a snapshot. So a delta that
//! was lost, doubled or overtaken is repaired within seconds. A node that is silent for
//! [`SILENCE_MAX`] is removed together with its users: a killed node leaves no ghosts. Nothing is
//! kept outside of the nodes, so nothing is lost with Redis.
//!
//! Bounds: [`NODES_MAX`] nodes, [`NODE_USERS_MAX`] users of one, [`USERS_MAX`] of all, whatever
//! somebody publishes. What is beyond is ignored, and those users count as offline here. A snapshot
//! comes in parts of at most [`SNAPSHOT_PART_USERS`] users. Of each node, the parts of one snapshot
//! are kept until all are here.

use crate::bus::SnapshotPart;
use crate::ids::{NodeId, UserId};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A node from which nothing came for this long is gone. Six heartbeats of it may be lost. The next
/// tick notices it, and conversations say so a moment later; docs/protocol.md promises 25 s for all
/// of it.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(20);
/// How long a node that was asleep itself waits for the others: for three heartbeats, and its own
/// reconnect.
const SILENCE_FORGIVEN: Duration = Duration::from_secs(10);
/// Between two requests for the snapshot of one node.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// Users in one part of a snapshot.
pub(super) const SNAPSHOT_PART_USERS: usize = 2_000;
/// Further nodes are ignored. So many are someone's mistake.
const NODES_MAX: usize = 1_024;
/// Users of one node: four times as many as it has places for connections.
const NODE_USERS_MAX: usize = 200_000;
/// Users of all other nodes, each counted as often as there are nodes that have them.
const USERS_MAX: usize = 2_000_000;

/// A user came online or went offline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PresenceChange {
    pub(super) user_id: UserId,
    pub(super) online: bool,
}

/// What a message of another node means for this one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PresenceUpdate {
    /// Users who are on some other node now and were on none, or the other way round.
    pub(super) changes: Vec<PresenceChange>,
    /// Whether the sender should be asked for its snapshot.
    pub(super) must_sync: bool,
}

/// What is known about one other node.
#[derive(Debug)]
struct RemoteNode {
    /// Shared with a comparison that is under way.
    users: Arc<HashSet<UserId>>,
    /// How many of its deltas are in `users`; `None` until there was a snapshot.
    version: Option<u64>,
    seen_at: Instant,
    sync_requested_at: Option<Instant>,
    incoming: Option<IncomingSnapshot>,
}

/// A snapshot of which not all parts are here.
#[derive(Debug)]
struct IncomingSnapshot {
    version: u64,
    parts: HashMap<u32, Vec<UserId>>,
}

impl RemoteNode {
    /// Whether to ask for its snapshot now; then that is noted.
    fn request_sync(&mut self, now: Instant) -> bool {
        let is_due = self
            .sync_requested_at
            .is_none_or(|at| now.duration_since(at) >= SYNC_INTERVAL);
        if is_due {
            self.sync_requested_at = Some(now);
        }
        is_due
    }
}

/// A whole snapshot, and what was known before it.
#[derive(Debug)]
pub(super) struct ReceivedSnapshot {
    node: NodeId,
    version: u64,
    parts: HashMap<u32, Vec<UserId>>,
    before: Arc<HashSet<UserId>>,
}

impl ReceivedSnapshot {
    /// What is different in it. A snapshot may have fifty thousand users, so this is called outside
    /// of the lock.
    pub(super) fn compare(self) -> SnapshotDiff {
        let users: HashSet<UserId> = self.parts.into_values().flatten().collect();
        let change = |online| move |user: &UserId| PresenceChange { user_id: *user, online };
        let gone = self.before.difference(&users).map(change(false));
        let come = users.difference(&self.before).map(change(true));
        SnapshotDiff {
            node: self.node,
            version: self.version,
            changes: gone.chain(come).collect(),
            users,
            before: self.before,
        }
    }
}

/// A snapshot that has been compared with what was known.
#[derive(Debug)]
pub(super) struct SnapshotDiff {
    node: NodeId,
    version: u64,
    users: HashSet<UserId>,
    changes: Vec<PresenceChange>,
    before: Arc<HashSet<UserId>>,
}

/// Users of other nodes.
#[derive(Debug, Default)]
pub(super) struct RemotePresence {
    nodes: HashMap<NodeId, RemoteNode>,
    /// On how many nodes each user is.
    node_counts: HashMap<UserId, u32>,
    has_newcomer: bool,
}

impl RemotePresence {
    /// Whether a user is connected to another node.
    pub(super) fn contains(&self, user: UserId) -> bool {
        self.node_counts.contains_key(&user)
    }

    /// The nodes that a user is connected to.
    pub(super) fn nodes_of(&self, user: UserId) -> impl Iterator<Item = NodeId> {
        let nodes = self.nodes.iter().filter(move |(_, known)| known.users.contains(&user));
        nodes.map(|(node, _)| *node)
    }

    /// Whether a node was seen for the first time since this was last called.
    pub(super) const fn take_newcomer(&mut self) -> bool {
        std::mem::replace(&mut self.has_newcomer, false)
    }

    /// One user came or went on a node.
    pub(super) fn apply_delta(&mut self, node: NodeId, change: PresenceChange, now: Instant) -> PresenceUpdate {
        let mut update = PresenceUpdate::default();
        let has_room = !change.online || self.has_room(node, self.users_of(node) + 1);
        let Some(known) = self.node(node, now).filter(|_| has_room) else {
            return update;
        };
        let Some(version) = &mut known.version else {
            // The snapshot that is asked for may be older or newer than this delta; the next
            // heartbeat shows it.
            update.must_sync = known.request_sync(now);
            return update;
        };
        let users = Arc::make_mut(&mut known.users);
        let is_news = if change.online {
            users.insert(change.user_id)
        } else {
            users.remove(&change.user_id)
        };
        // What changes nothing was doubled or overtaken. It is not counted, so that versions agree
        // only when all is well.
        *version += u64::from(is_news);
        if is_news {
            update.changes.extend(self.count(change));
        }
        update
    }

    /// A node lives, and has published so many deltas.
    pub(super) fn apply_heartbeat(&mut self, node: NodeId, version: u64, now: Instant) -> PresenceUpdate {
        let known = self.node(node, now);
        PresenceUpdate {
            must_sync: known.is_some_and(|known| known.version != Some(version) && known.request_sync(now)),
            ..PresenceUpdate::default()
        }
    }

    /// A part of a snapshot. If it was the last one missing: the whole, to be compared and then
    /// given to [`Self::adopt`].
    pub(super) fn add_part(&mut self, part: SnapshotPart, now: Instant) -> Option<ReceivedSnapshot> {
        let known = self.node(part.node, now)?;
        let version = part.version;
        let is_odd = part.part >= part.parts || part.parts as usize > NODE_USERS_MAX / SNAPSHOT_PART_USERS;
        if known.version == Some(version) || is_odd || part.users.len() > SNAPSHOT_PART_USERS {
            return None;
        }
        let empty = || IncomingSnapshot {
            version,
            parts: HashMap::new(),
        };
        let incoming = known.incoming.get_or_insert_with(empty);
        if incoming.version != version {
            *incoming = empty();
        }
        incoming.parts.insert(part.part, part.users);
        if incoming.parts.len() < part.parts as usize {
            return None;
        }
        Some(ReceivedSnapshot {
            node: part.node,
            version,
            parts: known.incoming.take()?.parts,
            before: known.users.clone(),
        })
    }

    /// From now on these are the users of the node. Nothing changes if anything else came from it
    /// since the comparison began: then the versions differ, and it is asked again.
    pub(super) fn adopt(&mut self, diff: SnapshotDiff) -> Vec<PresenceChange> {
        if !self.has_room(diff.node, diff.users.len()) {
            return Vec::new();
        }
        let known = self.nodes.get_mut(&diff.node);
        let Some(known) = known.filter(|known| Arc::ptr_eq(&known.users, &diff.before)) else {
            return Vec::new();
        };
        known.version = Some(diff.version);
        known.users = Arc::new(diff.users);
        let changes = diff.changes.into_iter();
        changes.filter_map(|change| self.count(change)).collect()
    }

    /// This node was asleep and could receive nothing: each node has [`SILENCE_FORGIVEN`] to send
    /// something.
    pub(super) fn forgive_silence(&mut self, now: Instant) {
        let seen_at = now.checked_sub(SILENCE_MAX - SILENCE_FORGIVEN).unwrap_or(now);
        for known in self.nodes.values_mut() {
            known.seen_at = known.seen_at.max(seen_at);
        }
    }

    /// Removes the nodes that have been silent for too long.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<PresenceChange> {
        let silent = |known: &RemoteNode| now.duration_since(known.seen_at) >= SILENCE_MAX;
        let gone: Vec<RemoteNode> = self
            .nodes
            .extract_if(|_, known| silent(known))
            .map(|(_, known)| known)
            .collect();
        let users = gone.into_iter().flat_map(|known| Arc::unwrap_or_clone(known.users));
        let left = users.map(|user_id| PresenceChange { user_id, online: false });
        left.filter_map(|change| self.count(change)).collect()
    }

    fn users_of(&self, node: NodeId) -> usize {
        self.nodes.get(&node).map_or(0, |known| known.users.len())
    }

    /// Whether a node may have so many users.
    fn has_room(&self, node: NodeId, users: usize) -> bool {
        let all: usize = self.nodes.values().map(|known| known.users.len()).sum();
        users <= NODE_USERS_MAX && all - self.users_of(node) + users <= USERS_MAX
    }

    /// A node from which something came just now; `None` if there are too many.
    fn node(&mut self, node: NodeId, now: Instant) -> Option<&mut RemoteNode> {
        if self.nodes.len() >= NODES_MAX && !self.nodes.contains_key(&node) {
            return None;
        }
        let has_newcomer = &mut self.has_newcomer;
        let known = self.nodes.entry(node).or_insert_with(|| {
            *has_newcomer = true;
            RemoteNode {
                users: Arc::default(),
                version: None,
                seen_at: now,
                sync_requested_at: None,
                incoming: None,
            }
        });
        known.seen_at = now;
        Some(known)
    }

    /// Counts a user of a node in or out. Returns the change if it was the first node or the last
    /// one.
    fn count(&mut self, change: PresenceChange) -> Option<PresenceChange> {
        let nodes = self.node_counts.entry(change.user_id).or_default();
        let before = *nodes;
        *nodes = if change.online {
            before + 1
        } else {
            before.saturating_sub(1)
        };
        let after = *nodes;
        if after == 0 {
            self.node_counts.remove(&change.user_id);
        }
        ((before == 0) != (after == 0)).then_some(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Which part of how many.
    struct PartNumber(u32, u32);

    const WHOLE: PartNumber = PartNumber(0, 1);

    impl RemotePresence {
        /// A part of a snapshot, compared and adopted at once.
        fn snapshot(&mut self, node: NodeId, version: u64, users: &[UserId], now: Instant) -> Vec<PresenceChange> {
            self.part(node, version, WHOLE, users, now)
        }

        fn part(
            &mut self,
            node: NodeId,
            version: u64,
            part: PartNumber,
            users: &[UserId],
            now: Instant,
        ) -> Vec<PresenceChange> {
            let received = self.add_part(part_of(node, version, part, users), now);
            received.map_or_else(Vec::new, |received| self.adopt(received.compare()))
        }

        fn must_sync(&mut self, node: NodeId, version: u64, now: Instant) -> bool {
            self.apply_heartbeat(node, version, now).must_sync
        }
    }

    fn part_of(node: NodeId, version: u64, PartNumber(part, parts): PartNumber, users: &[UserId]) -> SnapshotPart {
        SnapshotPart {
            node,
            version,
            part,
            parts,
            users: users.to_vec(),
        }
    }

    const fn online(user_id: UserId) -> PresenceChange {
        PresenceChange { user_id, online: true }
    }

    const fn offline(user_id: UserId) -> PresenceChange {
        PresenceChange { user_id, online: false }
    }

    fn applied(change: PresenceChange) -> PresenceUpdate {
        PresenceUpdate {
            changes: vec![change],
            must_sync: false,
        }
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_node_is_asked_for_its_snapshot_once_and_then_believed() {
        let (mut remote, node, now) = (RemotePresence::default(), NodeId::new(), Instant::now());
        let (ann, bob) = (UserId::new(), UserId::new());
        assert!(remote.must_sync(node, 7, now));
        assert!(!remote.must_sync(node, 7, now), "it has just been asked");
        assert_eq!(remote.part(node, 7, PartNumber(0, 2), &[ann], now), []);
        assert!(!remote.contains(ann), "half a snapshot is none");
        let mut come = remote.part(node, 7, PartNumber(1, 2), &[bob], now);
        come.sort();
        let mut both = vec![online(ann), online(bob)];
        both.sort();
        assert_eq!(come, both);
        assert!(!remote.must_sync(node, 7, after(now, 2)), "in step");
        assert_eq!(remote.apply_delta(node, offline(ann), now), applied(offline(ann)));
        assert!(!remote.must_sync(node, 8, after(now, 3)));
        assert!(remote.must_sync(node, 10, after(now, 4)), "a delta was lost");
        assert_eq!(remote.snapshot(node, 10, &[ann], now), [offline(bob), online(ann)]);
    }

    #[test]
    fn who_is_on_two_nodes_leaves_with_the_last() {
        let (mut remote, now, ann) = (RemotePresence::default(), Instant::now(), UserId::new());
        let (one, two) = (NodeId::new(), NodeId::new());
        assert_eq!(remote.snapshot(one, 0, &[ann], now), [online(ann)]);
        assert_eq!(remote.snapshot(two, 0, &[ann], after(now, 10)), []);
        assert_eq!(remote.nodes_of(ann).count(), 2);
        assert_eq!(remote.expire(after(now, 19)), []);
        assert_eq!(remote.expire(after(now, 20)), [], "she is still on the other");
        assert_eq!(remote.nodes_of(ann).collect::<Vec<_>>(), [two]);
        assert_eq!(remote.expire(after(now, 30)), [offline(ann)]);
        assert!(!remote.contains(ann));
    }

    #[test]
    fn who_was_asleep_takes_nobody_for_gone() {
        let (mut remote, now, ann) = (RemotePresence::default(), Instant::now(), UserId::new());
        remote.snapshot(NodeId::new(), 0, &[ann], now);
        remote.forgive_silence(after(now, 60));
        assert_eq!(remote.expire(after(now, 69)), []);
        assert_eq!(remote.expire(after(now, 70)), [offline(ann)]);
    }

    #[test]
    fn a_delta_during_a_comparison_is_not_lost_by_it() {
        let (mut remote, node, now) = (RemotePresence::default(), NodeId::new(), Instant::now());
        let (ann, bob) = (UserId::new(), UserId::new());
        remote.snapshot(node, 0, &[ann], now);
        let received = remote.add_part(part_of(node, 1, WHOLE, &[ann, bob]), now).unwrap();
        assert_eq!(remote.apply_delta(node, offline(ann), now), applied(offline(ann)));
        assert_eq!(remote.adopt(received.compare()), []);
        assert!(!remote.contains(ann) && !remote.contains(bob));
        assert!(remote.must_sync(node, 2, after(now, 2)), "it is asked again");
        let received = remote.add_part(part_of(node, 2, WHOLE, &[bob]), after(now, 2)).unwrap();
        remote.expire(after(now, 60));
        assert_eq!(remote.adopt(received.compare()), [], "the node has gone meanwhile");
    }

    #[test]
    fn what_other_nodes_say_has_a_bound() {
        let (mut remote, now) = (RemotePresence::default(), Instant::now());
        let people: Vec<UserId> = std::iter::repeat_with(UserId::new).take(NODE_USERS_MAX).collect();
        let fill = |remote: &mut RemotePresence| {
            let node = NodeId::new();
            let parts = u32::try_from(NODE_USERS_MAX / SNAPSHOT_PART_USERS).unwrap();
            for (part, users) in (0..).zip(people.chunks(SNAPSHOT_PART_USERS)) {
                remote.part(node, 1, PartNumber(part, parts), users, now);
            }
            assert!(remote.node(node, now).is_some());
            node
        };
        let full = fill(&mut remote);
        assert_eq!(remote.users_of(full), NODE_USERS_MAX);
        let late = UserId::new();
        assert_eq!(remote.apply_delta(full, online(late), now), PresenceUpdate::default());
        assert!(!remote.contains(late));
        // Who leaves makes room.
        remote.apply_delta(full, offline(people[0]), now);
        assert_eq!(remote.apply_delta(full, online(late), now), applied(online(late)));
        // All of them together, too.
        for _ in 1..USERS_MAX / NODE_USERS_MAX {
            fill(&mut remote);
        }
        let beyond = fill(&mut remote);
        assert_eq!(remote.users_of(beyond), 0);
    }

    #[test]
    fn a_snapshot_that_would_never_end_is_not_begun() {
        let (mut remote, node, now) = (RemotePresence::default(), NodeId::new(), Instant::now());
        for number in [
            PartNumber(0, u32::MAX),
            PartNumber(0, 101),
            PartNumber(1, 1),
            PartNumber(0, 0),
        ] {
            assert_eq!(remote.part(node, 1, number, &[UserId::new()], now), []);
            assert!(remote.nodes[&node].incoming.is_none());
        }
    }

    proptest! {
        /// Deltas are lost, doubled and overtaken. After one more heartbeat and one more snapshot
        /// both sides agree.
        #[test]
        fn whatever_is_lost_both_agree_in_the_end(
            steps in proptest::collection::vec((0_usize..4, any::<bool>(), 0_u8..4), 0..60)
        ) {
            let (mut remote, node, start) = (RemotePresence::default(), NodeId::new(), Instant::now());
            remote.snapshot(node, 0, &[], start);
            let people: Vec<UserId> = std::iter::repeat_with(UserId::new).take(4).collect();
            let (mut there, mut version) = (HashSet::new(), 0);
            let mut seen = HashSet::new();
            let mut note = |changes: Vec<PresenceChange>| for PresenceChange { user_id, online } in changes {
                assert!(if online { seen.insert(user_id) } else { seen.remove(&user_id) }, "it changes something");
            };
            for (who, online, luck) in steps {
                let user_id = people[who];
                let is_news = if online { there.insert(user_id) } else { there.remove(&user_id) };
                if !is_news { continue; }
                version += 1;
                for _ in 0..[0, 1, 1, 2][usize::from(luck)] {
                    note(remote.apply_delta(node, PresenceChange { user_id, online }, start).changes);
                }
            }
            let late = after(start, 5);
            if remote.must_sync(node, version, late) {
                let users: Vec<_> = there.iter().copied().collect();
                note(remote.snapshot(node, version, &users, late));
            }
            prop_assert_eq!(seen, there);
        }
    }
}

//! Who is connected to other nodes, as they say themselves: pure, the caller brings the time.
//!
//! A node tells of each user who comes or goes, numbered, and every few seconds that it lives and how many changes it has
//! told of. Who has heard another number asks for the whole roster, so a lost, doubled or overtaken word costs seconds and
//! never stays wrong. A node that is silent for [`SILENCE_MAX`] is gone, and its people with it: that is how a killed
//! node leaves no ghosts. No state is kept outside the nodes, so there is none to be lost with Redis.
//!
//! Bounds: [`PEERS_MAX`] nodes; a roster comes in parts of at most [`ROSTER_PART`] users, of one roster at a time.

use crate::ids::{NodeId, UserId};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A node that has not been heard of for this long is gone. Six words of it may be lost. It is noticed by the next sweep, and
/// told a moment later; docs/protocol.md promises 25 s for all of it.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Between two words of a living node.
pub(super) const WORD_INTERVAL: Duration = Duration::from_secs(3);
/// How long a node that was asleep waits for the others' words: for three of them, its own connection made anew included.
const FORGIVEN: Duration = Duration::from_secs(10);
/// Between two requests for one node's roster.
const ASK_INTERVAL: Duration = Duration::from_secs(1);
/// Users in one part of a roster.
pub(super) const ROSTER_PART: usize = 2_000;
/// Nodes that are listened to; more is somebody's mistake.
const PEERS_MAX: usize = 1_024;

/// One other node.
#[derive(Debug)]
struct Peer {
    /// Shared with a comparison that is under way.
    users: Arc<HashSet<UserId>>,
    /// How many changes of it are in `users`; `None` until there was a roster.
    number: Option<u64>,
    heard_at: Instant,
    asked_at: Option<Instant>,
    /// A roster of which not all parts are here: its number, and which parts are.
    incoming: Option<(u64, HashMap<u32, Vec<UserId>>)>,
}

impl Peer {
    /// Whether its roster should be asked for now.
    fn ask(&mut self, now: Instant) -> bool {
        let due = self.asked_at.is_none_or(|at| now.duration_since(at) >= ASK_INTERVAL);
        if due {
            self.asked_at = Some(now);
        }
        due
    }
}

/// A whole roster, and what was known before it.
#[derive(Debug)]
pub(super) struct Roster {
    node: NodeId,
    number: u64,
    parts: HashMap<u32, Vec<UserId>>,
    before: Arc<HashSet<UserId>>,
}

impl Roster {
    /// What is different in it. A roster may have fifty thousand users: this is for outside of the directory's lock.
    pub(super) fn compare(self) -> Compared {
        let users: HashSet<UserId> = self.parts.into_values().flatten().collect();
        let gone = self.before.difference(&users).map(|user| (*user, false));
        let come = users.difference(&self.before).map(|user| (*user, true));
        Compared {
            node: self.node,
            number: self.number,
            turns: gone.chain(come).collect(),
            users,
            before: self.before,
        }
    }
}

/// A roster that has been compared with what was known.
#[derive(Debug)]
pub(super) struct Compared {
    node: NodeId,
    number: u64,
    users: HashSet<UserId>,
    turns: Vec<Turn>,
    before: Arc<HashSet<UserId>>,
}

/// Users of other nodes.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    peers: HashMap<NodeId, Peer>,
    /// On how many nodes each is.
    nodes: HashMap<UserId, u32>,
    /// A node was heard for the first time.
    met: bool,
}

/// A user who is online elsewhere now and was not, or the other way round.
pub(super) type Turn = (UserId, bool);

impl Elsewhere {
    /// Whether a user is connected to another node.
    pub(super) fn contains(&self, user: UserId) -> bool {
        self.nodes.contains_key(&user)
    }

    /// The nodes that a user is connected to.
    pub(super) fn nodes_of(&self, user: UserId) -> impl Iterator<Item = NodeId> {
        let peers = self.peers.iter().filter(move |(_, peer)| peer.users.contains(&user));
        peers.map(|(node, _)| *node)
    }

    /// Whether a node was heard for the first time since this was last asked.
    pub(super) const fn take_met(&mut self) -> bool {
        std::mem::replace(&mut self.met, false)
    }

    /// A node told of a change. Also whether its roster should be asked for.
    pub(super) fn changed(&mut self, node: NodeId, (user, online): Turn, now: Instant) -> (Option<Turn>, bool) {
        let Some(peer) = self.peer(node, now) else {
            return (None, false);
        };
        let Some(number) = &mut peer.number else {
            // The roster that is asked for may be of before or after this; the next word tells.
            return (None, peer.ask(now));
        };
        let users = Arc::make_mut(&mut peer.users);
        let news = if online {
            users.insert(user)
        } else {
            users.remove(&user)
        };
        // What changes nothing was doubled or overtaken: not counted, so that the numbers agree only when all is well.
        *number += u64::from(news);
        (news.then(|| self.count(user, online)).flatten(), false)
    }

    /// A node lives and has told of so many changes. Whether its roster should be asked for.
    pub(super) fn lives(&mut self, node: NodeId, number: u64, now: Instant) -> bool {
        self.peer(node, now)
            .is_some_and(|peer| peer.number != Some(number) && peer.ask(now))
    }

    /// A part of a node's roster. The roster, if it was the last part that was missing: to be compared, and then adopted.
    pub(super) fn part(
        &mut self,
        (node, number): (NodeId, u64),
        (part, parts): (u32, u32),
        users: Vec<UserId>,
        now: Instant,
    ) -> Option<Roster> {
        let peer = self.peer(node, now)?;
        if peer.number == Some(number) || users.len() > ROSTER_PART {
            return None;
        }
        let incoming = peer.incoming.get_or_insert_with(|| (number, HashMap::new()));
        if incoming.0 != number {
            *incoming = (number, HashMap::new());
        }
        incoming.1.insert(part, users);
        if incoming.1.len() < parts as usize {
            return None;
        }
        let (_, parts) = peer.incoming.take()?;
        Some(Roster {
            node,
            number,
            parts,
            before: peer.users.clone(),
        })
    }

    /// From now on these are the users of the node; who turned. Nobody, if something else was heard of it since: then its
    /// number is another, and it is asked again.
    pub(super) fn adopt(&mut self, compared: Compared) -> Vec<Turn> {
        let peer = self.peers.get_mut(&compared.node);
        let Some(peer) = peer.filter(|peer| Arc::ptr_eq(&peer.users, &compared.before)) else {
            return Vec::new();
        };
        peer.number = Some(compared.number);
        peer.users = Arc::new(compared.users);
        let turns = compared.turns.into_iter();
        turns.filter_map(|(user, online)| self.count(user, online)).collect()
    }

    /// Nobody could be heard until now: whoever lives has [`FORGIVEN`] to say so.
    pub(super) fn forgive(&mut self, now: Instant) {
        let last = now.checked_sub(SILENCE_MAX - FORGIVEN).unwrap_or(now);
        for peer in self.peers.values_mut() {
            peer.heard_at = peer.heard_at.max(last);
        }
    }

    /// Takes out the nodes that have been silent for too long.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Turn> {
        let silent = |peer: &Peer| now.duration_since(peer.heard_at) >= SILENCE_MAX;
        let gone: Vec<NodeId> = self
            .peers
            .iter()
            .filter(|(_, peer)| silent(peer))
            .map(|(node, _)| *node)
            .collect();
        let peers = gone.iter().filter_map(|node| self.peers.remove(node));
        let users: Vec<UserId> = peers.flat_map(|peer| Arc::unwrap_or_clone(peer.users)).collect();
        users.into_iter().filter_map(|user| self.count(user, false)).collect()
    }

    fn peer(&mut self, node: NodeId, now: Instant) -> Option<&mut Peer> {
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&node) {
            return None;
        }
        let met = &mut self.met;
        let peer = self.peers.entry(node).or_insert_with(|| {
            *met = true;
            Peer {
                users: Arc::default(),
                number: None,
                heard_at: now,
                asked_at: None,
                incoming: None,
            }
        });
        peer.heard_at = now;
        Some(peer)
    }

    /// Counts a node of a user's in or out; the turn, if it was the first or the last.
    fn count(&mut self, user: UserId, online: bool) -> Option<Turn> {
        let nodes = self.nodes.entry(user).or_default();
        let before = *nodes;
        *nodes = if online { before + 1 } else { before.saturating_sub(1) };
        let after = *nodes;
        if after == 0 {
            self.nodes.remove(&user);
        }
        ((before == 0) != (after == 0)).then_some((user, online))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Elsewhere {
        /// A part of a roster, compared and adopted at once.
        fn roster(&mut self, of: (NodeId, u64), part: (u32, u32), users: Vec<UserId>, now: Instant) -> Vec<Turn> {
            let roster = self.part(of, part, users, now);
            roster.map_or_else(Vec::new, |roster| self.adopt(roster.compare()))
        }
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_node_is_asked_for_its_roster_once_and_then_believed() {
        let (mut elsewhere, node, now) = (Elsewhere::default(), NodeId::new(), Instant::now());
        let (ann, bob) = (UserId::new(), UserId::new());
        assert!(elsewhere.lives(node, 7, now));
        assert!(!elsewhere.lives(node, 7, now), "it has just been asked");
        assert_eq!(elsewhere.roster((node, 7), (0, 2), vec![ann], now), []);
        assert!(!elsewhere.contains(ann), "half a roster is none");
        let mut come = elsewhere.roster((node, 7), (1, 2), vec![bob], now);
        come.sort();
        let mut both = vec![(ann, true), (bob, true)];
        both.sort();
        assert_eq!(come, both);
        assert!(!elsewhere.lives(node, 7, after(now, 2)), "in step");
        assert_eq!(elsewhere.changed(node, (ann, false), now), (Some((ann, false)), false));
        assert!(!elsewhere.lives(node, 8, after(now, 3)));
        // A change was lost.
        assert!(elsewhere.lives(node, 10, after(now, 4)));
        assert_eq!(
            elsewhere.roster((node, 10), (0, 1), vec![ann], now),
            [(bob, false), (ann, true)]
        );
    }

    #[test]
    fn who_is_on_two_nodes_leaves_with_the_last() {
        let (mut elsewhere, now, ann) = (Elsewhere::default(), Instant::now(), UserId::new());
        let (one, two) = (NodeId::new(), NodeId::new());
        assert_eq!(elsewhere.roster((one, 0), (0, 1), vec![ann], now), [(ann, true)]);
        assert_eq!(elsewhere.roster((two, 0), (0, 1), vec![ann], after(now, 10)), []);
        assert_eq!(elsewhere.nodes_of(ann).count(), 2);
        assert_eq!(elsewhere.expire(after(now, 19)), []);
        assert_eq!(elsewhere.expire(after(now, 20)), [], "she is still on the other");
        assert_eq!(elsewhere.nodes_of(ann).collect::<Vec<_>>(), [two]);
        assert_eq!(elsewhere.expire(after(now, 30)), [(ann, false)]);
        assert!(!elsewhere.contains(ann));
    }

    #[test]
    fn who_was_asleep_takes_nobody_for_gone() {
        let (mut elsewhere, now, ann, node) = (Elsewhere::default(), Instant::now(), UserId::new(), NodeId::new());
        elsewhere.roster((node, 0), (0, 1), vec![ann], now);
        elsewhere.forgive(after(now, 60));
        assert_eq!(elsewhere.expire(after(now, 69)), []);
        assert_eq!(elsewhere.expire(after(now, 70)), [(ann, false)]);
    }

    #[test]
    fn what_is_heard_during_a_comparison_is_not_lost_by_it() {
        let (mut elsewhere, node, now) = (Elsewhere::default(), NodeId::new(), Instant::now());
        let (ann, bob) = (UserId::new(), UserId::new());
        elsewhere.roster((node, 0), (0, 1), vec![ann], now);
        let roster = elsewhere.part((node, 1), (0, 1), vec![ann, bob], now).unwrap();
        assert_eq!(elsewhere.changed(node, (ann, false), now).0, Some((ann, false)));
        assert_eq!(elsewhere.adopt(roster.compare()), []);
        assert!(!elsewhere.contains(ann) && !elsewhere.contains(bob));
        assert!(elsewhere.lives(node, 2, after(now, 2)), "it is asked again");
        let roster = elsewhere.part((node, 2), (0, 1), vec![bob], after(now, 2)).unwrap();
        elsewhere.expire(after(now, 60));
        assert_eq!(elsewhere.adopt(roster.compare()), [], "it has gone meanwhile");
    }

    proptest! {
        /// Words are lost, doubled and overtaken; after one more word and one more roster both sides agree.
        #[test]
        fn whatever_is_lost_both_agree_in_the_end(steps in proptest::collection::vec((0_usize..4, any::<bool>(), 0_u8..4), 0..60)) {
            let (mut elsewhere, node, start) = (Elsewhere::default(), NodeId::new(), Instant::now());
            elsewhere.roster((node, 0), (0, 1), Vec::new(), start);
            let people: Vec<UserId> = std::iter::repeat_with(UserId::new).take(4).collect();
            let (mut there, mut number) = (HashSet::new(), 0);
            let mut seen = HashSet::new();
            let mut note = |turns: Vec<Turn>| for (user, online) in turns {
                assert!(if online { seen.insert(user) } else { seen.remove(&user) }, "a turn is a change");
            };
            for (who, online, luck) in steps {
                let user = people[who];
                let news = if online { there.insert(user) } else { there.remove(&user) };
                if !news { continue; }
                number += 1;
                for _ in 0..[0, 1, 1, 2][usize::from(luck)] {
                    note(elsewhere.changed(node, (user, online), start).0.into_iter().collect());
                }
            }
            let late = after(start, 5);
            if elsewhere.lives(node, number, late) {
                note(elsewhere.roster((node, number), (0, 1), there.iter().copied().collect(), late));
            }
            prop_assert_eq!(seen, there);
        }
    }
}

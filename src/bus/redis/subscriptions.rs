//! The conversations that a node wants, the server that each belongs to, and what is subscribed
//! there. Pure.
//!
//! The same conversation may be wanted twice for a moment, when it is started again while its
//! predecessor ends. So it is counted. Changes gather until the subscriber of the server takes
//! them; what is not wanted any more by then costs nothing. When slots of a cluster have moved, a
//! subscription at the wrong server is a change too.
//!
//! All of it happens under a lock that the start of a conversation waits for, and the layout is
//! read often. So the slot of a conversation is computed once. A layout that is the same costs only
//! what was lost meanwhile. Another layout costs one look at each conversation.

use crate::ids::ConversationId;
use crate::redis::{Address, Layout};
use std::collections::{HashMap, HashSet};

#[derive(Debug)]
pub(super) struct ConversationSubscriptions {
    wanted: HashMap<ConversationId, WantedConversation>,
    /// `None` until a server has replied.
    layout: Option<Layout>,
    servers: HashMap<Address, ServerSubscriptions>,
    /// The slot of a conversation's channel.
    slot: fn(i64, ConversationId) -> u16,
    database: i64,
}

#[derive(Clone, Copy, Debug)]
struct WantedConversation {
    /// How many times; at least once.
    times: u32,
    /// The slot of its channel.
    slot: u16,
}

/// What is subscribed at one server, and what may have to change.
#[derive(Debug, Default)]
struct ServerSubscriptions {
    subscribed: HashSet<ConversationId>,
    /// Where `wanted` and `subscribed` may differ.
    changed: HashSet<ConversationId>,
    /// Refused or ended by the server. They are tried again when the layout has been read.
    lost: HashSet<ConversationId>,
}

/// What the subscriber of a server has to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SubscriptionChanges {
    pub(super) subscribe: Vec<ConversationId>,
    pub(super) unsubscribe: Vec<ConversationId>,
}

impl ConversationSubscriptions {
    /// `slot` computes the slot of a conversation's channel in a database.
    pub(super) fn new(database: i64, slot: fn(i64, ConversationId) -> u16) -> Self {
        Self {
            wanted: HashMap::new(),
            layout: None,
            servers: HashMap::new(),
            slot,
            database,
        }
    }

    /// How many conversations are wanted.
    pub(super) fn len(&self) -> usize {
        self.wanted.len()
    }

    /// Adds one subscription. Returns the server where something has to change, if any.
    pub(super) fn subscribe(&mut self, id: ConversationId) -> Option<Address> {
        if let Some(wanted) = self.wanted.get_mut(&id) {
            wanted.times += 1;
            return None;
        }
        let slot = (self.slot)(self.database, id);
        self.wanted.insert(id, WantedConversation { times: 1, slot });
        self.note(id, slot)
    }

    /// Removes one subscription. Returns the server where something has to change, if any.
    pub(super) fn unsubscribe(&mut self, id: ConversationId) -> Option<Address> {
        let wanted = self.wanted.get_mut(&id)?;
        wanted.times -= 1;
        if wanted.times > 0 {
            return None;
        }
        let slot = wanted.slot;
        self.wanted.remove(&id);
        self.note(id, slot)
    }

    /// The changes for a server. They count as done.
    pub(super) fn take_changes(&mut self, server: &Address) -> SubscriptionChanges {
        let mut changes = SubscriptionChanges::default();
        let Some(there) = self.servers.get_mut(server) else {
            return changes;
        };
        for id in std::mem::take(&mut there.changed) {
            if is_wanted_at(self.layout.as_ref(), &self.wanted, server, id) {
                if there.subscribed.insert(id) {
                    changes.subscribe.push(id);
                }
            } else if there.subscribed.remove(&id) {
                changes.unsubscribe.push(id);
            }
        }
        changes
    }

    /// On a new connection nothing is subscribed.
    pub(super) fn start_over(&mut self, server: &Address) {
        let Some(there) = self.servers.get_mut(server) else {
            return;
        };
        let layout = self.layout.as_ref();
        let here = self
            .wanted
            .iter()
            .filter(|(_, wanted)| home(layout, wanted.slot) == Some(server));
        *there = ServerSubscriptions {
            changed: here.map(|(id, _)| *id).collect(),
            ..ServerSubscriptions::default()
        };
    }

    /// The server has refused or ended a subscription.
    pub(super) fn note_lost(&mut self, server: &Address, id: ConversationId) {
        if let Some(there) = self.servers.get_mut(server) {
            there.subscribed.remove(&id);
            there.lost.insert(id);
        }
    }

    /// Adapts to a layout. Afterwards every server may have changes, also if the layout is the
    /// same: what was lost is tried again.
    pub(super) fn adopt_layout(&mut self, layout: &Layout) {
        if self.layout.as_ref() == Some(layout) {
            for there in self.servers.values_mut() {
                there.changed.extend(there.lost.drain());
            }
            return;
        }
        let masters: HashSet<_> = layout.masters().into_iter().collect();
        self.servers.retain(|server, _| masters.contains(server));
        for master in masters {
            self.servers.entry(master).or_default();
        }
        self.layout = Some(layout.clone());
        for (server, there) in &mut self.servers {
            there.lost.clear();
            let is_elsewhere = |id: &&ConversationId| !is_wanted_at(Some(layout), &self.wanted, server, **id);
            there.changed = there.subscribed.iter().filter(is_elsewhere).copied().collect();
        }
        for (id, wanted) in &self.wanted {
            if let Some(there) = home(Some(layout), wanted.slot).and_then(|home| self.servers.get_mut(home))
                && !there.subscribed.contains(id)
            {
                there.changed.insert(*id);
            }
        }
    }

    fn note(&mut self, id: ConversationId, slot: u16) -> Option<Address> {
        let home = home(self.layout.as_ref(), slot)?;
        let news = self.servers.get_mut(home)?.changed.insert(id);
        news.then(|| home.clone())
    }
}

fn home(layout: Option<&Layout>, slot: u16) -> Option<&Address> {
    layout?.owner(slot)
}

fn is_wanted_at(
    layout: Option<&Layout>,
    wanted: &HashMap<ConversationId, WantedConversation>,
    server: &Address,
    id: ConversationId,
) -> bool {
    wanted
        .get(&id)
        .is_some_and(|wanted| home(layout, wanted.slot) == Some(server))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;

    /// Spread over the slots by a byte of the id that is random.
    fn slot(_: i64, id: ConversationId) -> u16 {
        u16::from(id.0.as_bytes()[15]) * 64
    }

    fn address(n: u16) -> Address {
        Address::new("redis", n)
    }

    /// Two servers that divide the slots somewhere.
    fn divided(at: u16) -> Layout {
        Layout::of_ranges([(0, at - 1, address(1)), (at, 16_383, address(2))])
    }

    thread_local! {
        static COMPUTED: Cell<usize> = const { Cell::new(0) };
    }

    /// As [`slot`], and counts.
    fn counted(database: i64, id: ConversationId) -> u16 {
        COMPUTED.set(COMPUTED.get() + 1);
        slot(database, id)
    }

    #[test]
    fn a_slot_is_computed_once_however_often_the_layout_is_read() {
        let mut subscriptions = ConversationSubscriptions::new(0, counted);
        let ids: Vec<_> = std::iter::repeat_with(ConversationId::new).take(100).collect();
        for id in ids.iter().chain(&ids) {
            subscriptions.subscribe(*id);
        }
        for boundary in [8_192, 8_192, 100, 100] {
            subscriptions.adopt_layout(&divided(boundary));
            for server in [address(1), address(2)] {
                subscriptions.take_changes(&server);
                subscriptions.start_over(&server);
            }
        }
        for id in ids.iter().chain(&ids) {
            subscriptions.unsubscribe(*id);
        }
        assert_eq!((COMPUTED.get(), subscriptions.len()), (ids.len(), 0));
    }

    #[test]
    fn a_layout_that_is_the_same_brings_back_what_was_lost_and_nothing_else() {
        let mut subscriptions = ConversationSubscriptions::new(0, slot);
        let ids: Vec<_> = std::iter::repeat_with(ConversationId::new).take(10).collect();
        ids.iter().for_each(|id| drop(subscriptions.subscribe(*id)));
        let only = Layout::of_ranges([(0, 16_383, address(1))]);
        subscriptions.adopt_layout(&only);
        assert_eq!(subscriptions.take_changes(&address(1)).subscribe.len(), 10);
        subscriptions.note_lost(&address(1), ids[3]);
        assert_eq!(
            subscriptions.take_changes(&address(1)),
            SubscriptionChanges::default(),
            "not before it is known where it is"
        );
        subscriptions.adopt_layout(&only);
        assert_eq!(subscriptions.servers[&address(1)].changed.len(), 1);
        assert_eq!(subscriptions.take_changes(&address(1)).subscribe, [ids[3]]);
        subscriptions.adopt_layout(&only);
        assert_eq!(subscriptions.take_changes(&address(1)), SubscriptionChanges::default());
    }

    proptest! {
        #[test]
        fn the_server_of_a_slot_knows_what_is_wanted(
            steps in proptest::collection::vec((0_usize..6, 0_u8..7, 1_u16..16_383), 0..80),
        ) {
            let ids: Vec<_> = std::iter::repeat_with(ConversationId::new).take(6).collect();
            let mut subscriptions = ConversationSubscriptions::new(0, slot);
            let mut at = 8_192;
            subscriptions.adopt_layout(&divided(at));
            let mut there: HashMap<Address, HashSet<ConversationId>> = HashMap::new();
            let mut wanted = [0_u32; 6];
            for (who, what, boundary) in steps {
                let server = address(1 + boundary % 2);
                match what {
                    0 | 1 => { subscriptions.subscribe(ids[who]); wanted[who] += 1; }
                    2 if wanted[who] > 0 => { subscriptions.unsubscribe(ids[who]); wanted[who] -= 1; }
                    3 => { subscriptions.start_over(&server); there.remove(&server); }
                    4 => {
                        // Slots move; servers drop what was subscribed there, and say so.
                        at = boundary;
                        for (server, subscribed) in &mut there {
                            let layout = divided(at);
                            let gone: Vec<_> =
                                subscribed.iter().filter(|id| layout.owner(slot(0, **id)) != Some(server)).copied().collect();
                            for id in gone { subscribed.remove(&id); subscriptions.note_lost(server, id); }
                        }
                        subscriptions.adopt_layout(&divided(at));
                    }
                    5 if there.get_mut(&server).is_some_and(|subscribed| subscribed.remove(&ids[who])) => {
                        subscriptions.note_lost(&server, ids[who]);
                        subscriptions.adopt_layout(&divided(at));
                    }
                    _ => {
                        for server in [address(1), address(2)] {
                            let changes = subscriptions.take_changes(&server);
                            let subscribed = there.entry(server.clone()).or_default();
                            for id in changes.unsubscribe { prop_assert!(subscribed.remove(&id)); }
                            for id in changes.subscribe { prop_assert!(subscribed.insert(id)); }
                            let layout = divided(at);
                            let here = |n: &usize| wanted[*n] > 0 && layout.owner(slot(0, ids[*n])) == Some(&server);
                            let expected: HashSet<_> = (0..6).filter(here).map(|n| ids[n]).collect();
                            prop_assert_eq!(&*subscribed, &expected);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_wanted_before_a_server_has_replied_is_subscribed_later() {
        let (mut subscriptions, id) = (ConversationSubscriptions::new(0, slot), ConversationId::new());
        assert_eq!(subscriptions.subscribe(id), None);
        subscriptions.adopt_layout(&Layout::Single(address(1)));
        assert_eq!(subscriptions.take_changes(&address(1)).subscribe, [id]);
        assert_eq!(subscriptions.unsubscribe(id), Some(address(1)));
        assert_eq!(subscriptions.take_changes(&address(1)).unsubscribe, [id]);
        assert_eq!(subscriptions.len(), 0);
    }
}

//! Which conversations the node wants to hear of, which server of Redis has to be told, and what it has been told: pure.
//!
//! The same conversation may be wanted twice for a moment, when it is started again while its predecessor ends; so it is
//! counted. Changes are gathered until the subscriber of the server takes them, and what was wanted and is not any more by
//! then costs nothing. When slots of a cluster have moved, what is heard at the wrong server is a change, too.
//!
//! All of it happens under a lock that whoever starts a conversation waits for, and the layout is read often while it does
//! not change: so a slot is computed once for each conversation, a layout that is the same costs nothing but what was lost
//! meanwhile, and one that is not costs one look at each conversation.

use crate::ids::ConversationId;
use crate::redis::{Address, Layout};
use std::collections::{HashMap, HashSet};

/// The wishes, and what has become of them.
#[derive(Debug)]
pub(super) struct Topics {
    wanted: HashMap<ConversationId, Wish>,
    /// None until a server has said how it is.
    layout: Option<Layout>,
    servers: HashMap<Address, Told>,
    /// The slot that a conversation's channel is in.
    slot: fn(i64, ConversationId) -> u16,
    database: i64,
}

/// A conversation that is wanted.
#[derive(Clone, Copy, Debug)]
struct Wish {
    /// How many times; at least once.
    times: u32,
    /// Where its channel is.
    slot: u16,
}

/// What one server was told, and what may have to be told.
#[derive(Debug, Default)]
struct Told {
    subscribed: HashSet<ConversationId>,
    /// Those of which the wishes and `subscribed` may say different things.
    changed: HashSet<ConversationId>,
    /// What the server has refused, or does not tell of any more; changes when the layout has been read.
    lost: HashSet<ConversationId>,
}

/// What a server is to be told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) subscribe: Vec<ConversationId>,
    pub(super) unsubscribe: Vec<ConversationId>,
}

impl Topics {
    /// No wishes yet; `slot` says which slot a conversation's channel is in, for the number of the database.
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

    /// Who has to be told of it, if anybody has.
    pub(super) fn follow(&mut self, id: ConversationId) -> Option<Address> {
        if let Some(wish) = self.wanted.get_mut(&id) {
            wish.times += 1;
            return None;
        }
        let slot = (self.slot)(self.database, id);
        self.wanted.insert(id, Wish { times: 1, slot });
        self.note(id, slot)
    }

    /// Who has to be told of it, if anybody has.
    pub(super) fn ignore(&mut self, id: ConversationId) -> Option<Address> {
        let wish = self.wanted.get_mut(&id)?;
        wish.times -= 1;
        if wish.times > 0 {
            return None;
        }
        let slot = wish.slot;
        self.wanted.remove(&id);
        self.note(id, slot)
    }

    /// What a server has to be told now; it counts as told.
    pub(super) fn take_changes(&mut self, server: &Address) -> Changes {
        let mut changes = Changes::default();
        let Some(told) = self.servers.get_mut(server) else {
            return changes;
        };
        for id in std::mem::take(&mut told.changed) {
            if is_wanted_at(self.layout.as_ref(), &self.wanted, server, id) {
                if told.subscribed.insert(id) {
                    changes.subscribe.push(id);
                }
            } else if told.subscribed.remove(&id) {
                changes.unsubscribe.push(id);
            }
        }
        changes
    }

    /// On a fresh connection nothing has been told.
    pub(super) fn start_over(&mut self, server: &Address) {
        let Some(told) = self.servers.get_mut(server) else {
            return;
        };
        let layout = self.layout.as_ref();
        let here = self
            .wanted
            .iter()
            .filter(|(_, wish)| home(layout, wish.slot) == Some(server));
        *told = Told {
            changed: here.map(|(id, _)| *id).collect(),
            ..Told::default()
        };
    }

    /// The server does not tell of it, or does not any more. It is tried again when the layout has been read.
    pub(super) fn lose(&mut self, server: &Address, id: ConversationId) {
        if let Some(told) = self.servers.get_mut(server) {
            told.subscribed.remove(&id);
            told.lost.insert(id);
        }
    }

    /// From now on the servers are these. All of them may have to be told something, also if nothing is new: what was
    /// lost is tried again.
    pub(super) fn rearrange(&mut self, layout: &Layout) {
        if self.layout.as_ref() == Some(layout) {
            for told in self.servers.values_mut() {
                told.changed.extend(told.lost.drain());
            }
            return;
        }
        let masters: HashSet<_> = layout.masters().into_iter().collect();
        self.servers.retain(|server, _| masters.contains(server));
        for master in masters {
            self.servers.entry(master).or_default();
        }
        self.layout = Some(layout.clone());
        for (server, told) in &mut self.servers {
            told.lost.clear();
            let is_elsewhere = |id: &&ConversationId| !is_wanted_at(Some(layout), &self.wanted, server, **id);
            told.changed = told.subscribed.iter().filter(is_elsewhere).copied().collect();
        }
        for (id, wish) in &self.wanted {
            if let Some(told) = home(Some(layout), wish.slot).and_then(|home| self.servers.get_mut(home))
                && !told.subscribed.contains(id)
            {
                told.changed.insert(*id);
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
    wanted: &HashMap<ConversationId, Wish>,
    server: &Address,
    id: ConversationId,
) -> bool {
    wanted
        .get(&id)
        .is_some_and(|wish| home(layout, wish.slot) == Some(server))
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
        let mut topics = Topics::new(0, counted);
        let ids: Vec<_> = std::iter::repeat_with(ConversationId::new).take(100).collect();
        for id in ids.iter().chain(&ids) {
            topics.follow(*id);
        }
        for boundary in [8_192, 8_192, 100, 100] {
            topics.rearrange(&divided(boundary));
            for server in [address(1), address(2)] {
                topics.take_changes(&server);
                topics.start_over(&server);
            }
        }
        for id in ids.iter().chain(&ids) {
            topics.ignore(*id);
        }
        assert_eq!((COMPUTED.get(), topics.len()), (ids.len(), 0));
    }

    #[test]
    fn a_layout_that_is_the_same_brings_back_what_was_lost_and_nothing_else() {
        let mut topics = Topics::new(0, slot);
        let ids: Vec<_> = std::iter::repeat_with(ConversationId::new).take(10).collect();
        ids.iter().for_each(|id| drop(topics.follow(*id)));
        let only = Layout::of_ranges([(0, 16_383, address(1))]);
        topics.rearrange(&only);
        assert_eq!(topics.take_changes(&address(1)).subscribe.len(), 10);
        topics.lose(&address(1), ids[3]);
        assert_eq!(
            topics.take_changes(&address(1)),
            Changes::default(),
            "not before it is known where it is"
        );
        topics.rearrange(&only);
        assert_eq!(topics.servers[&address(1)].changed.len(), 1);
        assert_eq!(topics.take_changes(&address(1)).subscribe, [ids[3]]);
        topics.rearrange(&only);
        assert_eq!(topics.take_changes(&address(1)), Changes::default());
    }

    proptest! {
        #[test]
        fn the_server_of_a_slot_knows_what_is_wanted(
            steps in proptest::collection::vec((0_usize..6, 0_u8..7, 1_u16..16_383), 0..80),
        ) {
            let ids: Vec<_> = std::iter::repeat_with(ConversationId::new).take(6).collect();
            let mut topics = Topics::new(0, slot);
            let mut at = 8_192;
            topics.rearrange(&divided(at));
            let mut there: HashMap<Address, HashSet<ConversationId>> = HashMap::new();
            let mut wanted = [0_u32; 6];
            for (who, what, boundary) in steps {
                let server = address(1 + boundary % 2);
                match what {
                    0 | 1 => { topics.follow(ids[who]); wanted[who] += 1; }
                    2 if wanted[who] > 0 => { topics.ignore(ids[who]); wanted[who] -= 1; }
                    3 => { topics.start_over(&server); there.remove(&server); }
                    4 => {
                        // Slots move; servers drop what was heard there, and say so.
                        at = boundary;
                        for (server, heard) in &mut there {
                            let layout = divided(at);
                            let gone: Vec<_> =
                                heard.iter().filter(|id| layout.owner(slot(0, **id)) != Some(server)).copied().collect();
                            for id in gone { heard.remove(&id); topics.lose(server, id); }
                        }
                        topics.rearrange(&divided(at));
                    }
                    5 if there.get_mut(&server).is_some_and(|heard| heard.remove(&ids[who])) => {
                        topics.lose(&server, ids[who]);
                        topics.rearrange(&divided(at));
                    }
                    _ => {
                        for server in [address(1), address(2)] {
                            let changes = topics.take_changes(&server);
                            let heard = there.entry(server.clone()).or_default();
                            for id in changes.unsubscribe { prop_assert!(heard.remove(&id)); }
                            for id in changes.subscribe { prop_assert!(heard.insert(id)); }
                            let layout = divided(at);
                            let here = |n: &usize| wanted[*n] > 0 && layout.owner(slot(0, ids[*n])) == Some(&server);
                            let expected: HashSet<_> = (0..6).filter(here).map(|n| ids[n]).collect();
                            prop_assert_eq!(&*heard, &expected);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_wanted_before_anybody_has_answered_is_told_later() {
        let (mut topics, id) = (Topics::new(0, slot), ConversationId::new());
        assert_eq!(topics.follow(id), None);
        topics.rearrange(&Layout::Single(address(1)));
        assert_eq!(topics.take_changes(&address(1)).subscribe, [id]);
        assert_eq!(topics.ignore(id), Some(address(1)));
        assert_eq!(topics.take_changes(&address(1)).unsubscribe, [id]);
        assert_eq!(topics.len(), 0);
    }
}

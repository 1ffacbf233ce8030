//! Who holds how many places of a table, and which entry makes room for another. Pure.
//!
//! Each entry counts for the group (tenant) and the member (user) it was made for. A member holds a
//! twentieth of the places at most. A group holds half of them, or more as long as a quarter of all
//! is free. Neither share is less than [`SHARE_MIN`].
//!
//! When all are taken, a newcomer is not refused: an entry that nobody uses goes. Which one follows
//! from the clock algorithm, which is nearly the one unused for longest: they stand in a row; the
//! first is looked at; one that was used since it was last looked at goes to the end, one that was
//! not goes.
//!
//! Used for the active conversations (`conversations/slot_table.rs`), which know what was used.
//! Bounds: those of the table. A newcomer looks at [`LOOKS_MAX`] others at most.

use super::turns::{Claimant, ShareKey};
use std::collections::{HashMap, HashSet, VecDeque};

/// A share is never less.
const SHARE_MIN: usize = 1_000;
/// How many a newcomer looks at. If all of them are used, it is refused.
const LOOKS_MAX: usize = 128;

/// Whether an entry may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryUse {
    /// Somebody is subscribed, or has used it since it was last looked at.
    Used,
    Unused,
    /// It has left the table.
    Gone,
}

#[derive(Debug)]
pub struct Holdings<G, M, K> {
    of_group_max: usize,
    of_member_max: usize,
    /// From so many taken places on the share of a group holds.
    crowded_from: usize,
    of_group: HashMap<G, usize>,
    of_member: HashMap<M, usize>,
    /// In which they are looked at.
    row: VecDeque<K>,
}

impl<G: ShareKey, M: ShareKey, K: ShareKey> Holdings<G, M, K> {
    /// Of a table with so many places.
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self {
            of_group_max: (places / 2).max(SHARE_MIN),
            of_member_max: (places / 20).max(SHARE_MIN),
            crowded_from: places - places / 4,
            of_group: HashMap::new(),
            of_member: HashMap::new(),
            row: VecDeque::new(),
        }
    }

    /// Whether one more is within the shares of its group and member, where so many are taken.
    #[must_use]
    pub fn has_room(&self, holder: &Claimant<G, M>, taken: usize) -> bool {
        let of_group = self.of_group.get(&holder.group).copied().unwrap_or_default();
        let of_member = self.of_member.get(&holder.member).copied().unwrap_or_default();
        of_member < self.of_member_max && (of_group < self.of_group_max || taken < self.crowded_from)
    }

    /// An entry was made.
    pub fn add(&mut self, id: K, holder: &Claimant<G, M>) {
        *self.of_group.entry(holder.group).or_default() += 1;
        *self.of_member.entry(holder.member).or_default() += 1;
        self.row.push_back(id);
    }

    /// It is gone; so many are left.
    pub fn remove(&mut self, holder: &Claimant<G, M>, left: usize) {
        subtract(&mut self.of_group, holder.group);
        subtract(&mut self.of_member, holder.member);
        // Those that are gone stay in the row until they are looked at, or are most of it.
        if left == 0 {
            self.row.clear();
        }
    }

    /// The one that makes room, if one of the next does.
    pub fn choose(&mut self, mut look: impl FnMut(K) -> EntryUse) -> Option<K> {
        for _ in 0..LOOKS_MAX {
            let id = self.row.pop_front()?;
            match look(id) {
                EntryUse::Gone => {}
                EntryUse::Used => self.row.push_back(id),
                EntryUse::Unused => {
                    self.row.push_back(id);
                    return Some(id);
                }
            }
        }
        None
    }

    /// Whether the row has become much longer than the `entries` that there are.
    #[must_use]
    pub fn is_stale(&self, entries: usize) -> bool {
        self.row.len() > 2 * entries + LOOKS_MAX
    }

    /// Keeps in the row what is there, once: what went and came again is there twice.
    pub fn sweep(&mut self, is_there: impl Fn(K) -> bool) {
        let mut seen = HashSet::new();
        self.row.retain(|id| is_there(*id) && seen.insert(*id));
    }
}

fn subtract<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: K) {
    if let std::collections::hash_map::Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ConversationId, TenantId, UserId};

    type Starter = Claimant<TenantId, UserId>;
    type TestHoldings = Holdings<TenantId, UserId, ConversationId>;

    fn user_of(tenant: TenantId) -> Starter {
        Claimant {
            group: tenant,
            member: UserId::new(),
        }
    }

    #[test]
    fn a_user_and_a_tenant_have_a_share_and_others_have_the_rest() {
        let mut shares = TestHoldings::new(100_000);
        let tenant = TenantId::new();
        let user = user_of(tenant);
        let fill = |shares: &mut TestHoldings, holder: &Starter, taken: usize| {
            let mut added = 0;
            while shares.has_room(holder, taken + added) {
                shares.add(ConversationId::new(), holder);
                added += 1;
            }
            added
        };
        // In a table that is nearly full.
        assert_eq!(fill(&mut shares, &user, 75_000), 5_000);
        let colleagues: usize = (0..20).map(|_| fill(&mut shares, &user_of(tenant), 75_000)).sum();
        assert_eq!(colleagues, 45_000);
        assert!(shares.has_room(&user_of(TenantId::new()), 100_000));
        shares.remove(&user, 49_999);
        assert!(shares.has_room(&user, 100_000), "a place was given back");
    }

    #[test]
    fn a_tenant_takes_more_than_its_share_of_an_empty_table_and_leaves_a_quarter() {
        let mut shares = TestHoldings::new(100_000);
        let tenant = TenantId::new();
        let mut taken = 0;
        for user in (0..100).map(|_| user_of(tenant)) {
            let before = taken;
            while shares.has_room(&user, taken) {
                shares.add(ConversationId::new(), &user);
                taken += 1;
            }
            assert!(taken - before <= 5_000);
        }
        assert_eq!(taken, 75_000);
        let neighbours: Vec<_> = (0..5).map(|_| user_of(TenantId::new())).collect();
        for _ in 0..5_000 {
            for user in &neighbours {
                assert!(shares.has_room(user, taken));
                shares.add(ConversationId::new(), user);
                taken += 1;
            }
        }
        assert_eq!(taken, 100_000, "they get all of it");
    }

    #[test]
    fn the_one_unused_for_longest_goes() {
        let mut shares = TestHoldings::new(10);
        let user = user_of(TenantId::new());
        let ids: Vec<_> = (0..4).map(|_| ConversationId::new()).collect();
        ids.iter().for_each(|id| shares.add(*id, &user));
        let mut used = HashSet::from([ids[0], ids[2]]);
        let mut choose = |used: &mut HashSet<ConversationId>| {
            shares.choose(|id| match used.remove(&id) {
                _ if id == ids[1] => EntryUse::Gone,
                true => EntryUse::Used,
                false => EntryUse::Unused,
            })
        };
        assert_eq!(choose(&mut used), Some(ids[3]), "the others were used, or are gone");
        used.insert(ids[0]);
        assert_eq!(choose(&mut used), Some(ids[2]));
        assert_eq!(shares.row.len(), 3);
        assert_eq!(shares.choose(|_| EntryUse::Used), None, "all are used");
    }

    #[test]
    fn the_row_does_not_outgrow_the_table() {
        let mut shares = TestHoldings::new(10);
        let user = user_of(TenantId::new());
        for _ in 0..1_000 {
            shares.add(ConversationId::new(), &user);
            shares.remove(&user, 1);
            if shares.is_stale(1) {
                shares.sweep(|_| false);
            }
        }
        assert!(shares.row.len() <= LOOKS_MAX + 3 && shares.of_member.is_empty());
    }
}

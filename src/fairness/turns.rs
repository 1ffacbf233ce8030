//! Turns between groups (tenants), and within a group between its members (users). Pure.
//!
//! [`Turns`] decides who uses a shared thing next, and who is not even let in to wait. Whose turn it
//! is follows from what each has used (`virtual_time.rs`), first between the groups that wait, then
//! between the members of that group. Within a member, who came first is first.
//!
//! Used by `permits.rs`, which adds the waiting. Bounds: [`TurnLimits`]. Who comes when too many wait
//! takes the place of the last of those who have most waiting ("longest queue drop"; McKenney,
//! "Stochastic Fairness Queueing", 1990), if that is not themselves. So a queue that one has filled
//! is full for that one alone. Nothing is kept of who neither waits nor has used too much.

use super::virtual_time::VirtualOrder;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

/// What a turn is expected to cost while none has been measured.
const FIRST_EXPECTED: u64 = 1_000;

/// What keys of groups and members are.
pub trait ShareKey: Copy + Ord + Hash {}

impl<K: Copy + Ord + Hash> ShareKey for K {}

/// For whom a turn is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claimant<G, M> {
    pub group: G,
    pub member: M,
}

/// How many may run and wait.
#[derive(Clone, Copy, Debug)]
pub struct TurnLimits {
    pub running_max: usize,
    pub running_of_group_max: usize,
    pub running_of_member_max: usize,
    pub waiting_max: usize,
    pub waiting_of_group_max: usize,
    pub waiting_of_member_max: usize,
}

/// Somebody was let in to wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Admitted<T> {
    /// By which they are withdrawn.
    pub(super) number: u64,
    /// Who had to go for it.
    pub(super) displaced: Option<T>,
}

/// A turn that was given.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Turn<G, M, T> {
    pub(super) claimant: Claimant<G, M>,
    pub(super) ticket: T,
    /// What it was charged with; given back with the true cost.
    pub(super) expected: u64,
}

#[derive(Debug)]
pub(super) struct Turns<G, M, T> {
    limits: TurnLimits,
    running: usize,
    waiting: usize,
    groups: HashMap<G, Group<M, T>>,
    /// Groups of which somebody may run.
    order: VirtualOrder<G>,
    /// Groups by how many of theirs wait.
    longest: BTreeSet<(usize, G)>,
    arrivals: u64,
    /// What a turn is expected to cost: a running mean.
    expected: u64,
}

#[derive(Debug)]
struct Group<M, T> {
    running: usize,
    waiting: usize,
    members: HashMap<M, Member<T>>,
    order: VirtualOrder<M>,
    longest: BTreeSet<(usize, M)>,
}

#[derive(Debug)]
struct Member<T> {
    running: usize,
    waiting: BTreeMap<u64, T>,
}

impl<G: ShareKey, M: ShareKey, T> Turns<G, M, T> {
    pub(super) fn new(limits: TurnLimits) -> Self {
        Self {
            limits,
            running: 0,
            waiting: 0,
            groups: HashMap::new(),
            order: VirtualOrder::default(),
            longest: BTreeSet::new(),
            arrivals: 0,
            expected: FIRST_EXPECTED,
        }
    }

    /// Lets somebody wait, or gives the ticket back: they have more than their share waiting.
    pub(super) fn ask(&mut self, claimant: Claimant<G, M>, ticket: T) -> Result<Admitted<T>, T> {
        let Ok(displaced) = self.make_room(claimant) else {
            return Err(ticket);
        };
        self.arrivals += 1;
        let number = self.arrivals;
        let Claimant { group, member } = claimant;
        let known = self.groups.entry(group).or_default();
        let of_member = known.members.entry(member).or_default();
        of_member.waiting.insert(number, ticket);
        self.count_waiting(claimant, 1, 0);
        self.update(claimant);
        Ok(Admitted { number, displaced })
    }

    /// The next turn, if there is room for it.
    pub(super) fn next(&mut self) -> Option<Turn<G, M, T>> {
        if self.running >= self.limits.running_max {
            return None;
        }
        let expected = self.expected;
        let group = self.order.first()?;
        let known = self.groups.get_mut(&group)?;
        let member = known.order.first()?;
        let of_member = known.members.get_mut(&member)?;
        let (_, ticket) = of_member.waiting.pop_first()?;
        of_member.running += 1;
        known.running += 1;
        self.running += 1;
        known.order.serve(member, expected);
        self.order.serve(group, expected);
        let claimant = Claimant { group, member };
        self.count_waiting(claimant, 0, 1);
        self.update(claimant);
        Some(Turn {
            claimant,
            ticket,
            expected,
        })
    }

    /// A turn is over; it was charged with `expected`.
    pub(super) fn release(&mut self, claimant: Claimant<G, M>, expected: u64, actual: u64) {
        let actual = actual.max(1);
        let Some(known) = self.groups.get_mut(&claimant.group) else {
            return;
        };
        let Some(of_member) = known.members.get_mut(&claimant.member) else {
            return;
        };
        of_member.running -= 1;
        known.running -= 1;
        self.running -= 1;
        known.order.correct(claimant.member, expected, actual);
        self.order.correct(claimant.group, expected, actual);
        self.expected = (self.expected.saturating_mul(7).saturating_add(actual) / 8).max(1);
        self.update(claimant);
    }

    /// Somebody does not wait any more.
    pub(super) fn withdraw(&mut self, claimant: Claimant<G, M>, number: u64) -> Option<T> {
        let known = self.groups.get_mut(&claimant.group)?;
        let ticket = known.members.get_mut(&claimant.member)?.waiting.remove(&number)?;
        self.count_waiting(claimant, 0, 1);
        self.update(claimant);
        Some(ticket)
    }

    /// How many wait.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Room for one more who waits; with who had to go for it.
    fn make_room(&mut self, claimant: Claimant<G, M>) -> Result<Option<T>, NoRoom> {
        let Claimant { group, member } = claimant;
        let known = self.groups.get(&group);
        let of_group = known.map_or(0, |known| known.waiting);
        let of_member = known.and_then(|known| known.members.get(&member));
        let of_member = of_member.map_or(0, |member| member.waiting.len());
        if of_member >= self.limits.waiting_of_member_max {
            return Err(NoRoom);
        }
        if of_group >= self.limits.waiting_of_group_max {
            return self.displace(group, of_member + 2).map(Some);
        }
        if self.waiting < self.limits.waiting_max {
            return Ok(None);
        }
        match self.longest.last().copied() {
            Some((longest, other)) if longest > of_group + 1 => self.displace(other, 1).map(Some),
            _ => self.displace(group, of_member + 2).map(Some),
        }
    }

    /// Takes the last ticket of the member who has most waiting in a group, if those are `at_least`
    /// so many.
    fn displace(&mut self, group: G, at_least: usize) -> Result<T, NoRoom> {
        let known = self.groups.get_mut(&group).ok_or(NoRoom)?;
        let (longest, member) = known.longest.last().copied().ok_or(NoRoom)?;
        if longest < at_least {
            return Err(NoRoom);
        }
        let of_member = known.members.get_mut(&member).ok_or(NoRoom)?;
        let (_, ticket) = of_member.waiting.pop_last().ok_or(NoRoom)?;
        let claimant = Claimant { group, member };
        self.count_waiting(claimant, 0, 1);
        self.update(claimant);
        Ok(ticket)
    }

    /// Counts who began and who ceased to wait, after it was done.
    fn count_waiting(&mut self, claimant: Claimant<G, M>, more: usize, fewer: usize) {
        let Some(known) = self.groups.get_mut(&claimant.group) else {
            return;
        };
        let Some(of_member) = known.members.get(&claimant.member) else {
            return;
        };
        let (of_group, of_member) = (known.waiting, of_member.waiting.len());
        known.longest.remove(&(of_member + fewer - more, claimant.member));
        if of_member > 0 {
            known.longest.insert((of_member, claimant.member));
        }
        known.waiting = of_group + more - fewer;
        self.longest.remove(&(of_group, claimant.group));
        if known.waiting > 0 {
            self.longest.insert((known.waiting, claimant.group));
        }
        self.waiting = self.waiting + more - fewer;
    }

    /// Puts member and group among those whose turn may come, or takes them out; forgets who has
    /// nothing here any more.
    fn update(&mut self, claimant: Claimant<G, M>) {
        let Claimant { group, member } = claimant;
        let Some(known) = self.groups.get_mut(&group) else {
            return;
        };
        let Some(of_member) = known.members.get(&member) else {
            return;
        };
        if !of_member.waiting.is_empty() && of_member.running < self.limits.running_of_member_max {
            known.order.wait(member);
        } else {
            known.order.stop_waiting(member);
        }
        if of_member.waiting.is_empty() && of_member.running == 0 {
            known.members.remove(&member);
        }
        if known.order.first().is_some() && known.running < self.limits.running_of_group_max {
            self.order.wait(group);
        } else {
            self.order.stop_waiting(group);
        }
        if known.members.is_empty() {
            self.groups.remove(&group);
        }
        if self.groups.is_empty() {
            self.order.reset();
        }
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.order.accounts() == 0 && self.longest.is_empty()
    }
}

/// Too many wait, and none has more waiting than this one.
struct NoRoom;

impl<M, T> Default for Group<M, T> {
    fn default() -> Self {
        Self {
            running: 0,
            waiting: 0,
            members: HashMap::new(),
            order: VirtualOrder::default(),
            longest: BTreeSet::new(),
        }
    }
}

impl<T> Default for Member<T> {
    fn default() -> Self {
        Self {
            running: 0,
            waiting: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;

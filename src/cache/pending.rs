//! What waits to be told to Redis: invalidations by key, removals by pattern, and the marks that follow them. Pure.
//!
//! Keys are tried in the order in which they were last tried or noted, so those whose server is away do not keep the others
//! waiting. A removal goes through all keys of every server that owes it, more than once; servers take turns, and one that is
//! away owes it for itself alone. When slots move from a server that owes a removal, who has them now owes it, too: what was
//! to be removed may have moved with them.
//!
//! Bounds: [`PENDING_MAX`] keys and [`PURGES_MAX`] patterns wait; more become one removal of everything that is ours.

use super::keys::Pattern;
use crate::redis::{Address, Layout};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Invalidations that wait for Redis.
pub(super) const PENDING_MAX: usize = 10_000;
/// Patterns that wait for Redis.
const PURGES_MAX: usize = 8;
/// Commands in one call.
pub(super) const BATCH_MAX: usize = 64;
/// How often the keys are gone through, with a pause between: a value that was on its way when the removal was announced
/// may be written behind the first pass.
const PURGE_PASSES: u32 = 2;
/// Pause between two passes, and before what Redis did not take is offered again; longer than a write can be on its way.
pub(super) const RETRY: Duration = Duration::from_millis(500);

/// What waits for Redis.
#[derive(Default)]
pub(super) struct Pending {
    /// Each with a number, by which a later invalidation of the same key is told from the one being delivered, and the
    /// order in which they are tried.
    pub(super) keys: HashMap<Arc<str>, u64>,
    /// The last number that was given, to a key or a removal.
    number: u64,
    purges: VecDeque<Purge>,
    /// The run ids that become the marks of servers when they owe nothing any more.
    pub(super) marks: HashMap<Address, String>,
    /// Who had what when it was last looked at; `None` before there was anything to remove.
    layout: Option<Arc<Layout>>,
    /// When a server is asked for its next step at the earliest; in this order they take turns.
    turns: HashMap<Address, Instant>,
}

struct Purge {
    number: u64,
    pattern: Pattern,
    /// How far the servers are that have not done it.
    owed: HashMap<Address, Scan>,
}

#[derive(Clone, Copy)]
struct Scan {
    cursor: u64,
    /// How often the keys are still to be gone through.
    passes: u32,
}

impl Scan {
    const BEGINNING: Self = Self {
        cursor: 0,
        passes: PURGE_PASSES,
    };
}

/// A part of a removal: some of the keys of one server.
#[derive(Clone, Debug)]
pub(super) struct Step {
    number: u64,
    pub(super) pattern: Pattern,
    pub(super) server: Address,
    pub(super) cursor: u64,
}

/// What is to be done for removals.
#[derive(Debug)]
pub(super) enum Next {
    Step(Step),
    /// Nothing before this has passed.
    Wait(Duration),
    Nothing,
}

impl Pending {
    /// How much waits.
    pub(super) fn len(&self) -> usize {
        self.keys.len() + self.purges.len()
    }

    /// Whether Redis has heard of everything that concerns a key; `slot` is that of its name there.
    pub(super) fn is_current(
        &mut self,
        key: &str,
        slot: impl FnOnce() -> u16,
        layout: impl FnOnce() -> Arc<Layout>,
    ) -> bool {
        if self.keys.contains_key(key) {
            return false;
        }
        if self.purges.is_empty() {
            return true;
        }
        let layout = layout();
        self.settle(&layout);
        layout.owner(slot()).is_some_and(|server| !self.owes(server))
    }

    /// Whether a server has not done all removals.
    pub(super) fn owes(&self, server: &Address) -> bool {
        self.purges.iter().any(|purge| purge.owed.contains_key(server))
    }

    /// Notes an invalidation; `false` if there are too many, and then everything has to be removed.
    pub(super) fn invalidate(&mut self, key: &Arc<str>) -> bool {
        if self.keys.len() >= PENDING_MAX && !self.keys.contains_key(key) {
            self.keys.clear();
            return false;
        }
        self.number += 1;
        self.keys.insert(key.clone(), self.number);
        true
    }

    /// Notes that a pattern is to be removed, from one server or from all.
    pub(super) fn purge(&mut self, mut pattern: Pattern, mut only: Option<&Address>, layout: &Arc<Layout>) {
        self.settle(layout);
        if self.purges.len() >= PURGES_MAX {
            self.purges.clear();
            (pattern, only) = (Pattern::everything(), None);
        }
        let mut owing = layout.masters();
        if let Some(only) = only
            && owing.contains(only)
        {
            owing.retain(|server| server == only);
        }
        self.number += 1;
        self.purges.push_back(Purge {
            number: self.number,
            pattern,
            owed: owing.into_iter().map(|server| (server, Scan::BEGINNING)).collect(),
        });
    }

    /// Some of the keys, those first that were not tried for the longest time.
    pub(super) fn next_keys(&self) -> Vec<(Arc<str>, u64)> {
        let mut keys: Vec<_> = self.keys.iter().map(|(key, number)| (key.clone(), *number)).collect();
        if keys.len() > BATCH_MAX {
            keys.select_nth_unstable_by_key(BATCH_MAX, |(_, number)| *number);
            keys.truncate(BATCH_MAX);
        }
        keys
    }

    /// Notes what became of keys; those that were delivered.
    pub(super) fn tried(&mut self, keys: Vec<(Arc<str>, u64)>, done: &[bool]) -> Vec<Arc<str>> {
        let mut delivered = Vec::new();
        for ((key, number), done) in keys.into_iter().zip(done) {
            let is_same = self.keys.get(&key) == Some(&number);
            if !done && is_same {
                self.number += 1;
                self.keys.insert(key, self.number);
            } else if *done {
                if is_same {
                    self.keys.remove(&key);
                }
                delivered.push(key);
            }
        }
        delivered
    }

    /// The next part of a removal: of the servers that owe one, that whose turn it is.
    pub(super) fn next_step(&mut self, layout: &Arc<Layout>, now: Instant) -> Next {
        self.settle(layout);
        if self.purges.is_empty() {
            self.turns.clear();
            return Next::Nothing;
        }
        let owing = layout.masters().into_iter().filter(|server| self.owes(server));
        let Some(server) = owing.min_by_key(|server| self.turns.get(server).copied()) else {
            return Next::Wait(RETRY);
        };
        let rest = self.turns.get(&server).map(|turn| turn.saturating_duration_since(now));
        if let Some(rest) = rest.filter(|rest| !rest.is_zero()) {
            return Next::Wait(rest);
        }
        let step = self.purges.iter().find_map(|purge| {
            let scan = purge.owed.get(&server)?;
            Some(Step {
                number: purge.number,
                pattern: purge.pattern.clone(),
                server: server.clone(),
                cursor: scan.cursor,
            })
        });
        step.map_or(Next::Nothing, Next::Step)
    }

    /// Notes what became of a step: where the next one begins, nowhere (0), or that it could not be done. Says whether the
    /// pattern is gone from that server; and its mark, if that was the last thing that it owed.
    pub(super) fn stepped(&mut self, step: &Step, next: Option<u64>, now: Instant) -> (bool, Option<String>) {
        let rests = !matches!(next, Some(1..));
        let turn = if rests { now + RETRY } else { now };
        self.turns.insert(step.server.clone(), turn);
        // It may have been replaced by a larger one meanwhile, or the server has gone, or has begun again.
        let purge = self.purges.iter_mut().find(|purge| purge.number == step.number);
        let scan = purge.and_then(|purge| purge.owed.get_mut(&step.server));
        let (Some(next), Some(scan)) = (next, scan.filter(|scan| scan.cursor == step.cursor)) else {
            return (false, None);
        };
        scan.cursor = next;
        if next == 0 {
            scan.passes -= 1;
        }
        if scan.passes > 0 {
            return (false, None);
        }
        for purge in self.purges.iter_mut().filter(|purge| purge.number == step.number) {
            purge.owed.remove(&step.server);
        }
        self.purges.retain(|purge| !purge.owed.is_empty());
        let mark = if self.owes(&step.server) {
            None
        } else {
            self.marks.remove(&step.server)
        };
        (true, mark)
    }

    /// From now on the servers are these: who has slots now of one that owes a removal, or of nobody, owes it.
    fn settle(&mut self, layout: &Arc<Layout>) {
        let Some(before) = self.layout.replace(layout.clone()) else {
            return;
        };
        if Arc::ptr_eq(&before, layout) || self.purges.is_empty() || before == *layout {
            return;
        }
        let moves = before.moves_to(layout);
        let masters: HashSet<_> = layout.masters().into_iter().collect();
        for purge in &mut self.purges {
            let owed = |from: &Option<Address>| from.as_ref().is_none_or(|from| purge.owed.contains_key(from));
            let gaining: Vec<_> = moves
                .iter()
                .filter(|(from, _)| owed(from))
                .map(|(_, to)| to.clone())
                .collect();
            purge.owed.extend(gaining.into_iter().map(|to| (to, Scan::BEGINNING)));
            // While nobody has the slots of one that is gone, they may yet come to somebody, with what is in them.
            purge
                .owed
                .retain(|server, _| masters.contains(server) || !layout.is_whole());
        }
        self.purges.retain(|purge| !purge.owed.is_empty());
        self.marks.retain(|server, _| masters.contains(server));
        self.turns.retain(|server, _| masters.contains(server));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_much_waiting_becomes_one_removal_of_everything() {
        let (mut pending, layout) = (Pending::default(), divided(&[8_191, 16_383]));
        for _ in 0..=PURGES_MAX {
            let users = crate::cache::keys::users_of(crate::ids::TenantId::new());
            pending.purge(users, Some(&address(0)), &layout);
        }
        assert_eq!(pending.purges.len(), 1);
        assert_eq!(pending.purges[0].pattern, Pattern::everything());
        assert_eq!(pending.purges[0].owed.len(), 2, "from all");
    }

    #[test]
    fn what_cannot_be_delivered_does_not_keep_the_rest() {
        let mut pending = Pending::default();
        let key = |n: usize| Arc::<str>::from(format!("key {n}"));
        for n in 0..BATCH_MAX * 2 {
            pending.number += 1;
            pending.keys.insert(key(n), pending.number);
        }
        // Of the first half, those with even numbers are at a server that is away.
        let is_away = |key: &Arc<str>| (0..BATCH_MAX).step_by(2).any(|n| **key == *format!("key {n}"));
        for _ in 0..3 {
            let keys = pending.next_keys();
            assert!(keys.len() <= BATCH_MAX);
            let done: Vec<_> = keys.iter().map(|(key, _)| !is_away(key)).collect();
            pending.tried(keys, &done);
        }
        assert_eq!(pending.keys.len(), BATCH_MAX / 2);
        let keys = pending.next_keys();
        pending.number += 1;
        pending.keys.insert(keys[0].0.clone(), pending.number);
        let done = vec![true; keys.len()];
        assert_eq!(pending.tried(keys, &done).len(), BATCH_MAX / 2);
        assert_eq!(pending.keys.len(), 1, "invalidated again while it was on its way");
    }

    fn address(n: u16) -> Address {
        Address::new("redis", n)
    }

    /// Servers that have the slots up to one each, the last one the rest.
    fn divided(ends: &[u16]) -> Arc<Layout> {
        let mut first = 0;
        let ranges = ends.iter().zip(0..).map(|(end, n)| {
            let range = (first, *end, address(n));
            first = end + 1;
            range
        });
        Arc::new(Layout::of_ranges(ranges.collect::<Vec<_>>()))
    }

    fn step_of(next: Next) -> Step {
        match next {
            Next::Step(step) => step,
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn a_removal_goes_through_every_server_twice_and_a_dead_one_keeps_nobody_waiting() {
        let (mut pending, layout) = (Pending::default(), divided(&[9_999, 16_383]));
        let mut now = Instant::now();
        let is_current = |pending: &mut Pending, slot| pending.is_current("key", || slot, || layout.clone());
        pending.purge(Pattern::everything(), None, &layout);
        pending.marks.insert(address(1), "run".to_owned());
        assert!(!is_current(&mut pending, 0) && !is_current(&mut pending, 16_383));
        // The first server is dead; the other one has two steps in each pass.
        let (mut steps, mut marks, mut done) = (0, Vec::new(), 0);
        while pending.owes(&address(1)) {
            let step = match pending.next_step(&layout, now) {
                Next::Step(step) => step,
                Next::Wait(rest) => {
                    now += rest;
                    continue;
                }
                Next::Nothing => unreachable!("there is something to do"),
            };
            if step.server == address(0) {
                assert_eq!(pending.stepped(&step, None, now), (false, None));
                continue;
            }
            steps += 1;
            let next = if step.cursor == 0 { 7 } else { 0 };
            let (gone, mark) = pending.stepped(&step, Some(next), now);
            done += usize::from(gone);
            marks.extend(mark);
        }
        assert_eq!((steps, done, marks), (4, 1, vec!["run".to_owned()]));
        assert!(is_current(&mut pending, 16_383), "the other one is used again");
        assert!(!is_current(&mut pending, 0), "the dead one is not");
        assert_eq!(pending.len(), 1);
        // It is back.
        for _ in 0..2 {
            now += RETRY;
            let step = step_of(pending.next_step(&layout, now));
            assert_eq!(step.server, address(0));
            pending.stepped(&step, Some(0), now);
        }
        assert!(matches!(pending.next_step(&layout, now), Next::Nothing));
        assert!(is_current(&mut pending, 0));
    }

    #[test]
    fn keys_that_wait_are_not_current_and_the_others_are() {
        let mut pending = Pending::default();
        let layout = divided(&[16_383]);
        assert!(pending.invalidate(&Arc::from("a")));
        assert!(!pending.is_current("a", || 0, || layout.clone()));
        assert!(pending.is_current("b", || 0, || layout.clone()));
        for n in 1..PENDING_MAX {
            assert!(pending.invalidate(&Arc::from(n.to_string())));
        }
        assert!(pending.invalidate(&Arc::from("a")), "it waits already");
        assert!(!pending.invalidate(&Arc::from("one too many")));
    }

    #[test]
    fn who_gets_slots_of_a_server_that_owes_a_removal_owes_it() {
        let mut pending = Pending::default();
        let (before, now) = (divided(&[5_000, 10_000, 16_383]), Instant::now());
        pending.purge(Pattern::everything(), Some(&address(0)), &before);
        pending.marks.insert(address(0), "run".to_owned());
        assert!(pending.owes(&address(0)) && !pending.owes(&address(1)));
        // Between two others: nobody's business.
        let after = divided(&[5_000, 11_000, 16_383]);
        let is_current =
            |pending: &mut Pending, slot, layout: &Arc<Layout>| pending.is_current("key", || slot, || layout.clone());
        assert!(is_current(&mut pending, 10_500, &after) && !is_current(&mut pending, 0, &after));
        // Away from it, before it is done.
        let after = divided(&[4_000, 11_000, 16_383]);
        assert!(!is_current(&mut pending, 4_500, &after) && !is_current(&mut pending, 10_500, &after));
        assert!(is_current(&mut pending, 16_383, &after));
        // A replica takes over from it.
        let successor = address(9);
        let after = Arc::new(Layout::of_ranges([
            (0, 4_000, successor.clone()),
            (4_001, 11_000, address(1)),
            (11_001, 16_383, address(2)),
        ]));
        assert!(!is_current(&mut pending, 0, &after));
        assert!(pending.owes(&successor) && !pending.owes(&address(0)) && pending.marks.is_empty());
        let mut servers = HashSet::new();
        for next in [Some(7), None] {
            let step = step_of(pending.next_step(&after, now));
            pending.stepped(&step, next, now);
            servers.insert(step.server);
        }
        assert_eq!(servers, HashSet::from([address(1), successor]));
    }
}

//! What Redis has not taken yet: invalidations of keys, removals of patterns ("purges"), and the
//! marks that follow them. Pure.
//!
//! * Keys are tried in the order in which they were last tried or noted. So keys of a server that
//!   is away do not delay the others.
//! * A purge goes through all keys of every server, more than once. Servers take turns, and one
//!   that is away delays only itself.
//! * When slots move away from a server that has not finished a purge, the new owner of the slots
//!   must do it too: keys may have moved with the slots.
//!
//! Bounds: [`PENDING_MAX`] keys and [`PURGES_MAX`] patterns. More become one purge of everything
//! that is ours.

use super::keys::Pattern;
use crate::redis::{Address, Layout};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) const PENDING_MAX: usize = 10_000;
const PURGES_MAX: usize = 8;
/// Commands in one call.
pub(super) const BATCH_MAX: usize = 64;
/// How often a purge goes through the keys, with a pause between. A value that was on its way when
/// the purge began may be written behind the first pass.
const PURGE_PASSES: u32 = 2;
/// Pause between two passes, and before Redis is tried again. Longer than a write can be on its
/// way.
pub(super) const RETRY: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(super) struct PendingInvalidations {
    /// Each with a number. It separates a later invalidation of the same key from the one being
    /// delivered, and it is the order in which keys are tried.
    pub(super) keys: HashMap<Arc<str>, u64>,
    /// The last number that was given to a key or a purge.
    number: u64,
    purges: VecDeque<Purge>,
    /// The run ids that become the marks of servers when their purges are done.
    pub(super) marks: HashMap<Address, String>,
    /// The layout that the purges were last adapted to; `None` before the first purge.
    layout: Option<Arc<Layout>>,
    /// The earliest time of a server's next step. In this order they take turns.
    next_step_at: HashMap<Address, Instant>,
}

struct Purge {
    number: u64,
    pattern: Pattern,
    /// The servers that have not finished it, and how far they are.
    remaining: HashMap<Address, ScanPosition>,
}

#[derive(Clone, Copy)]
struct ScanPosition {
    cursor: u64,
    /// Passes through the keys that are left.
    passes: u32,
}

impl ScanPosition {
    const BEGINNING: Self = Self {
        cursor: 0,
        passes: PURGE_PASSES,
    };
}

/// A part of a purge: some of the keys of one server.
#[derive(Clone, Debug)]
pub(super) struct PurgeStep {
    number: u64,
    pub(super) pattern: Pattern,
    pub(super) server: Address,
    pub(super) cursor: u64,
}

/// What to do next for the purges.
#[derive(Debug)]
pub(super) enum NextPurge {
    Step(PurgeStep),
    /// Every server rests for at least this long.
    Wait(Duration),
    Nothing,
}

/// What a step has achieved.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StepOutcome {
    Unfinished,
    /// The pattern is gone from that server. `mark` is the server's new mark, if this was its last
    /// purge.
    Finished {
        mark: Option<String>,
    },
}

impl PendingInvalidations {
    /// Keys and patterns that wait.
    pub(super) fn len(&self) -> usize {
        self.keys.len() + self.purges.len()
    }

    /// Whether nothing waits that concerns a key. `slot` is the slot of its name in Redis.
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
        self.adopt_layout(&layout);
        layout.owner(slot()).is_some_and(|server| !self.is_purging(server))
    }

    /// Whether a server has not finished all purges.
    pub(super) fn is_purging(&self, server: &Address) -> bool {
        self.purges.iter().any(|purge| purge.remaining.contains_key(server))
    }

    /// Adds a key. False if too many wait: then everything must be purged.
    pub(super) fn invalidate(&mut self, key: &Arc<str>) -> bool {
        if self.keys.len() >= PENDING_MAX && !self.keys.contains_key(key) {
            self.keys.clear();
            return false;
        }
        self.number += 1;
        self.keys.insert(key.clone(), self.number);
        true
    }

    /// Adds a purge, at one server or at all.
    pub(super) fn purge(&mut self, mut pattern: Pattern, mut only: Option<&Address>, layout: &Arc<Layout>) {
        self.adopt_layout(layout);
        if self.purges.len() >= PURGES_MAX {
            self.purges.clear();
            (pattern, only) = (Pattern::everything(), None);
        }
        let mut servers = layout.masters();
        if let Some(only) = only
            && servers.contains(only)
        {
            servers.retain(|server| server == only);
        }
        self.number += 1;
        self.purges.push_back(Purge {
            number: self.number,
            pattern,
            remaining: servers
                .into_iter()
                .map(|server| (server, ScanPosition::BEGINNING))
                .collect(),
        });
    }

    /// Some of the keys, the longest untried first.
    pub(super) fn next_keys(&self) -> Vec<(Arc<str>, u64)> {
        let mut keys: Vec<_> = self.keys.iter().map(|(key, number)| (key.clone(), *number)).collect();
        if keys.len() > BATCH_MAX {
            keys.select_nth_unstable_by_key(BATCH_MAX, |(_, number)| *number);
            keys.truncate(BATCH_MAX);
        }
        keys
    }

    /// Notes the outcome for each key. Returns those that were delivered.
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

    /// The next step of a purge, at the server whose turn it is.
    pub(super) fn next_step(&mut self, layout: &Arc<Layout>, now: Instant) -> NextPurge {
        self.adopt_layout(layout);
        if self.purges.is_empty() {
            self.next_step_at.clear();
            return NextPurge::Nothing;
        }
        let purging = layout.masters().into_iter().filter(|server| self.is_purging(server));
        let Some(server) = purging.min_by_key(|server| self.next_step_at.get(server).copied()) else {
            return NextPurge::Wait(RETRY);
        };
        let rest = self
            .next_step_at
            .get(&server)
            .map(|at| at.saturating_duration_since(now));
        if let Some(rest) = rest.filter(|rest| !rest.is_zero()) {
            return NextPurge::Wait(rest);
        }
        let step = self.purges.iter().find_map(|purge| {
            let scan = purge.remaining.get(&server)?;
            Some(PurgeStep {
                number: purge.number,
                pattern: purge.pattern.clone(),
                server: server.clone(),
                cursor: scan.cursor,
            })
        });
        step.map_or(NextPurge::Nothing, NextPurge::Step)
    }

    /// Notes the outcome of a step. `cursor` is where the next one begins: 0 at the end of a pass,
    /// `None` if the step failed.
    pub(super) fn stepped(&mut self, step: &PurgeStep, cursor: Option<u64>, now: Instant) -> StepOutcome {
        let is_within_pass = matches!(cursor, Some(1..));
        let next_at = if is_within_pass { now } else { now + RETRY };
        self.next_step_at.insert(step.server.clone(), next_at);
        // Meanwhile a larger purge may have replaced it, or the server may have gone, or begun
        // again.
        let purge = self.purges.iter_mut().find(|purge| purge.number == step.number);
        let scan = purge.and_then(|purge| purge.remaining.get_mut(&step.server));
        let (Some(cursor), Some(scan)) = (cursor, scan.filter(|scan| scan.cursor == step.cursor)) else {
            return StepOutcome::Unfinished;
        };
        scan.cursor = cursor;
        if cursor == 0 {
            scan.passes -= 1;
        }
        if scan.passes > 0 {
            return StepOutcome::Unfinished;
        }
        for purge in self.purges.iter_mut().filter(|purge| purge.number == step.number) {
            purge.remaining.remove(&step.server);
        }
        self.purges.retain(|purge| !purge.remaining.is_empty());
        let mark = if self.is_purging(&step.server) {
            None
        } else {
            self.marks.remove(&step.server)
        };
        StepOutcome::Finished { mark }
    }

    /// Adapts the purges to a layout. Who now has slots of a server that has not finished one, or
    /// slots that nobody had, must do it too.
    fn adopt_layout(&mut self, layout: &Arc<Layout>) {
        let Some(before) = self.layout.replace(layout.clone()) else {
            return;
        };
        if Arc::ptr_eq(&before, layout) || self.purges.is_empty() || before == *layout {
            return;
        }
        let moves = before.moves_to(layout);
        let masters: HashSet<_> = layout.masters().into_iter().collect();
        for purge in &mut self.purges {
            let is_unfinished =
                |from: &Option<Address>| from.as_ref().is_none_or(|from| purge.remaining.contains_key(from));
            let gaining: Vec<_> = moves
                .iter()
                .filter(|(from, _)| is_unfinished(from))
                .map(|(_, to)| to.clone())
                .collect();
            purge
                .remaining
                .extend(gaining.into_iter().map(|to| (to, ScanPosition::BEGINNING)));
            // While nobody has the slots of a server that is gone, they may still come to another,
            // with their keys.
            purge
                .remaining
                .retain(|server, _| masters.contains(server) || !layout.is_whole());
        }
        self.purges.retain(|purge| !purge.remaining.is_empty());
        self.marks.retain(|server, _| masters.contains(server));
        self.next_step_at.retain(|server, _| masters.contains(server));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_much_waiting_becomes_one_purge_of_everything() {
        let (mut pending, layout) = (PendingInvalidations::default(), divided(&[8_191, 16_383]));
        for _ in 0..=PURGES_MAX {
            let users = crate::cache::keys::users_of(crate::ids::TenantId::new());
            pending.purge(users, Some(&address(0)), &layout);
        }
        assert_eq!(pending.purges.len(), 1);
        assert_eq!(pending.purges[0].pattern, Pattern::everything());
        assert_eq!(pending.purges[0].remaining.len(), 2, "from all");
    }

    #[test]
    fn what_cannot_be_delivered_does_not_delay_the_rest() {
        let mut pending = PendingInvalidations::default();
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

    fn step_of(next: NextPurge) -> PurgeStep {
        match next {
            NextPurge::Step(step) => step,
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn a_purge_goes_through_every_server_twice_and_a_dead_one_delays_nobody() {
        let (mut pending, layout) = (PendingInvalidations::default(), divided(&[9_999, 16_383]));
        let mut now = Instant::now();
        let is_current =
            |pending: &mut PendingInvalidations, slot| pending.is_current("key", || slot, || layout.clone());
        pending.purge(Pattern::everything(), None, &layout);
        pending.marks.insert(address(1), "run".to_owned());
        assert!(!is_current(&mut pending, 0) && !is_current(&mut pending, 16_383));
        // The first server is dead; the other one has two steps in each pass.
        let (mut steps, mut marks, mut done) = (0, Vec::new(), 0);
        while pending.is_purging(&address(1)) {
            let step = match pending.next_step(&layout, now) {
                NextPurge::Step(step) => step,
                NextPurge::Wait(rest) => {
                    now += rest;
                    continue;
                }
                NextPurge::Nothing => unreachable!("there is something to do"),
            };
            if step.server == address(0) {
                assert_eq!(pending.stepped(&step, None, now), StepOutcome::Unfinished);
                continue;
            }
            steps += 1;
            let next = if step.cursor == 0 { 7 } else { 0 };
            if let StepOutcome::Finished { mark } = pending.stepped(&step, Some(next), now) {
                done += 1;
                marks.extend(mark);
            }
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
        assert!(matches!(pending.next_step(&layout, now), NextPurge::Nothing));
        assert!(is_current(&mut pending, 0));
    }

    #[test]
    fn keys_that_wait_are_not_current_and_the_others_are() {
        let mut pending = PendingInvalidations::default();
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
    fn who_gets_slots_of_a_server_that_has_not_finished_a_purge_must_do_it_too() {
        let mut pending = PendingInvalidations::default();
        let (before, now) = (divided(&[5_000, 10_000, 16_383]), Instant::now());
        pending.purge(Pattern::everything(), Some(&address(0)), &before);
        pending.marks.insert(address(0), "run".to_owned());
        assert!(pending.is_purging(&address(0)) && !pending.is_purging(&address(1)));
        // Between two others.
        let after = divided(&[5_000, 11_000, 16_383]);
        let is_current = |pending: &mut PendingInvalidations, slot, layout: &Arc<Layout>| {
            pending.is_current("key", || slot, || layout.clone())
        };
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
        assert!(pending.is_purging(&successor) && !pending.is_purging(&address(0)) && pending.marks.is_empty());
        let mut servers = HashSet::new();
        for next in [Some(7), None] {
            let step = step_of(pending.next_step(&after, now));
            pending.stepped(&step, next, now);
            servers.insert(step.server);
        }
        assert_eq!(servers, HashSet::from([address(1), successor]));
    }
}

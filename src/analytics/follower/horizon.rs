//! Up to when everything is committed. Pure.
//!
//! The task notes a moment, and who was changing something then. Once all of them have ended,
//! everything with an earlier time is committed, and visible to who looks from then on. So a commit
//! that takes long holds the moment back, and nothing is missed.
//!
//! Bound: [`NOTES_MAX`] notes; when it is full, no further one is taken until the first is settled.

use std::collections::{HashSet, VecDeque};

/// At a note each second: more than a minute.
const NOTES_MAX: usize = 128;

#[derive(Debug, Default)]
pub(super) struct Horizon {
    notes: VecDeque<Note>,
}

#[derive(Debug)]
struct Note {
    through: i64,
    /// Who may still commit something from before, by virtual transaction.
    writers: HashSet<String>,
}

impl Horizon {
    /// Notes a moment and who is writing. Returns the latest noted moment up to which everything is
    /// committed, if there is a later one than before.
    pub(super) fn note(&mut self, through: i64, writers: Vec<String>) -> Option<i64> {
        let writers: HashSet<String> = writers.into_iter().collect();
        for note in &mut self.notes {
            note.writers.retain(|writer| writers.contains(writer));
        }
        if self.notes.len() < NOTES_MAX {
            self.notes.push_back(Note { through, writers });
        }
        let settled = self.notes.iter().rposition(|note| note.writers.is_empty())?;
        let reached = self.notes.get(settled).map(|note| note.through);
        self.notes.drain(..=settled);
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(horizon: &mut Horizon, through: i64, writers: &[&str]) -> Option<i64> {
        horizon.note(through, writers.iter().map(|&writer| writer.to_owned()).collect())
    }

    #[test]
    fn who_was_writing_holds_it_back_and_nobody_else_does() {
        let mut horizon = Horizon::default();
        assert_eq!(note(&mut horizon, 1, &[]), Some(1));
        assert_eq!(note(&mut horizon, 2, &["a"]), None);
        assert_eq!(note(&mut horizon, 3, &["a", "b"]), None);
        // Others write now, but `a` has ended.
        assert_eq!(note(&mut horizon, 4, &["b", "c"]), Some(2));
        assert_eq!(note(&mut horizon, 5, &["c", "d"]), Some(3));
        assert_eq!(note(&mut horizon, 6, &["d"]), Some(4));
        assert_eq!(note(&mut horizon, 7, &[]), Some(7));
    }

    #[test]
    fn one_who_never_ends_costs_a_bounded_number_of_notes() {
        let mut horizon = Horizon::default();
        for through in 0..1_000 {
            assert_eq!(note(&mut horizon, through, &["stuck"]), None);
        }
        assert_eq!(horizon.notes.len(), NOTES_MAX);
        assert_eq!(note(&mut horizon, 1_000, &[]), Some(NOTES_MAX as i64 - 1));
        assert_eq!(note(&mut horizon, 1_001, &[]), Some(1_001));
    }
}

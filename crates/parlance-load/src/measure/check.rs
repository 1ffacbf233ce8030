//! Whether every reader saw every message exactly once, in the one order: the guarantees of the
//! protocol as arithmetic.
//!
//! A room keeps a log by revision. The first to report a revision (a reader, or the
//! acknowledgement) says what it holds, and everybody after must agree. A reader is one number, the
//! highest revision applied, and the holes that it has at the moment. So a delivery costs one
//! comparison and one look-up, and still nothing that is lost, doubled, reordered or swapped stays
//! unseen. Pure.

/// Revisions that a room's log holds; a later one is nonsense. This bounds the memory at 800 MB.
const LOG_MAX: i64 = 100_000_000;
/// Holes remembered per reader; more are still counted as lost at the end.
const HOLES_MAX: usize = 65_536;

/// What stands at a revision: the stamp's writer and counter. `None` until known.
type Content = Option<(u32, u32)>;

/// Stands in the log for a change that is not a message of ours.
pub(crate) const OTHER_CHANGE: (u32, u32) = (u32::MAX, u32::MAX);

/// What went wrong, in counts. All zero means that every guarantee held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Revisions that a reader should have and never got.
    pub lost: u64,
    /// Revisions that a reader got again.
    pub duplicate: u64,
    /// Revisions that a reader got after a later one.
    pub out_of_order: u64,
    /// Two parties disagree what a revision holds, or a message reached the wrong room.
    pub mismatched: u64,
}

impl Faults {
    pub(crate) fn total(&self) -> u64 {
        self.lost + self.duplicate + self.out_of_order + self.mismatched
    }
}

/// One conversation: what each revision holds, as far as anybody has said.
#[derive(Debug, Default)]
pub(crate) struct RoomLog {
    base: Option<i64>,
    entries: Vec<Content>,
    /// The highest revision known to exist.
    pub rev_max: i64,
}

impl RoomLog {
    /// A reader starts here; the lowest start is where the log begins.
    pub(crate) fn start(&mut self, rev: i64) {
        self.rev_max = self.rev_max.max(rev);
        match self.base {
            None => self.base = Some(rev),
            Some(base) if rev < base => {
                self.entries
                    .splice(0..0, std::iter::repeat_n(None, (base - rev) as usize));
                self.base = Some(rev);
            }
            Some(_) => {}
        }
    }

    /// Records what `rev` holds, or checks it against what is known. False when they differ or the
    /// revision is nonsense.
    #[inline]
    pub(crate) fn agree(&mut self, rev: i64, what: (u32, u32)) -> bool {
        let Some(base) = self.base else {
            return true;
        };
        if rev <= base {
            return true;
        }
        let at = (rev - base - 1) as usize;
        if let Some(Some(known)) = self.entries.get(at) {
            return *known == what;
        }
        if rev - base > LOG_MAX {
            return false;
        }
        if at >= self.entries.len() {
            self.entries.resize(at + 1, None);
        }
        self.entries[at] = Some(what);
        self.rev_max = self.rev_max.max(rev);
        true
    }
}

/// One connection's view of its room.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// The highest revision applied; what a resume asks for.
    pub rev: i64,
    holes: Vec<i64>,
    holes_forgotten: u64,
}

impl Reader {
    /// Starts at the revision of `subscribed`.
    pub(crate) fn start(&mut self, rev: i64) {
        self.rev = rev;
    }

    /// Takes one frame that carries a revision. True when it is new to this reader.
    #[inline]
    pub(crate) fn take(&mut self, room: &mut RoomLog, rev: i64, what: (u32, u32), faults: &mut Faults) -> bool {
        if !room.agree(rev, what) {
            faults.mismatched += 1;
            return false;
        }
        if rev == self.rev + 1 {
            self.rev = rev;
            return true;
        }
        self.take_unexpected(rev, faults)
    }

    #[cold]
    fn take_unexpected(&mut self, rev: i64, faults: &mut Faults) -> bool {
        if rev > self.rev {
            for hole in self.rev + 1..rev {
                if self.holes.len() < HOLES_MAX {
                    self.holes.push(hole);
                } else {
                    self.holes_forgotten += 1;
                }
            }
            self.rev = rev;
            return true;
        }
        if let Some(at) = self.holes.iter().position(|hole| *hole == rev) {
            self.holes.swap_remove(at);
            faults.out_of_order += 1;
            return true;
        }
        faults.duplicate += 1;
        false
    }

    /// How many revisions this reader has not got although the room has them.
    pub(crate) fn missing(&self, room: &RoomLog) -> u64 {
        self.holes.len() as u64 + self.holes_forgotten + (room.rev_max - self.rev).max(0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds one reader beside a faultless one; returns the faults, with what the first is missing
    /// at the end as lost.
    fn run(deliveries: &[(i64, u32)]) -> Faults {
        let mut room = RoomLog::default();
        let (mut faultless, mut reader, mut faults) = (Reader::default(), Reader::default(), Faults::default());
        for each in [&mut faultless, &mut reader] {
            room.start(10);
            each.start(10);
        }
        for rev in 11..=15 {
            assert!(faultless.take(&mut room, rev, (0, rev as u32), &mut faults));
        }
        assert_eq!((faults, faultless.missing(&room)), (Faults::default(), 0));
        for (rev, counter) in deliveries {
            reader.take(&mut room, *rev, (0, *counter), &mut faults);
        }
        faults.lost = reader.missing(&room);
        faults
    }

    #[test]
    fn a_correct_stream_has_no_faults() {
        assert_eq!(
            run(&[(11, 11), (12, 12), (13, 13), (14, 14), (15, 15)]),
            Faults::default()
        );
    }

    #[test]
    fn a_planted_loss_is_found_in_the_middle_and_at_the_end() {
        let lost = Faults {
            lost: 1,
            ..Faults::default()
        };
        assert_eq!(run(&[(11, 11), (12, 12), (14, 14), (15, 15)]), lost);
        assert_eq!(run(&[(11, 11), (12, 12), (13, 13), (14, 14)]), lost);
        assert_eq!(run(&[]).lost, 5);
    }

    #[test]
    fn a_planted_duplicate_is_found() {
        let faults = run(&[(11, 11), (12, 12), (12, 12), (13, 13), (14, 14), (15, 15), (11, 11)]);
        assert_eq!(
            faults,
            Faults {
                duplicate: 2,
                ..Faults::default()
            }
        );
    }

    #[test]
    fn a_planted_disorder_is_found_and_is_not_a_loss() {
        let faults = run(&[(11, 11), (13, 13), (12, 12), (14, 14), (15, 15)]);
        assert_eq!(
            faults,
            Faults {
                out_of_order: 1,
                ..Faults::default()
            }
        );
    }

    #[test]
    fn two_readers_who_see_different_messages_at_one_revision_are_found() {
        let faults = run(&[(11, 11), (12, 99), (13, 13), (14, 14), (15, 15)]);
        assert_eq!(
            faults,
            Faults {
                mismatched: 1,
                lost: 1,
                ..Faults::default()
            }
        );
    }

    #[test]
    fn an_acknowledged_message_that_nobody_gets_is_lost() {
        let mut room = RoomLog::default();
        room.start(3);
        let mut reader = Reader::default();
        reader.start(3);
        assert!(room.agree(4, (1, 1)));
        assert_eq!(reader.missing(&room), 1);
        assert!(reader.take(&mut room, 4, (1, 1), &mut Faults::default()));
        assert_eq!(reader.missing(&room), 0);
        assert!(!room.agree(4, (1, 2)), "the acknowledgement names another message");
    }

    #[test]
    fn an_earlier_start_shifts_the_log() {
        let mut room = RoomLog::default();
        room.start(10);
        assert!(room.agree(11, (0, 1)));
        room.start(7);
        assert!(room.agree(8, (0, 0)));
        assert!(room.agree(11, (0, 1)));
        assert!(!room.agree(11, (0, 2)));
        assert!(!room.agree(10 + LOG_MAX, (0, 2)));
    }
}

//! A block: the counts of some messages of one tenant and day (UTC), packed. Pure.
//!
//! Written by the follower and by a rebuild, read by every question. A day has several blocks until
//! they are merged; they add up. Two parts, because few questions need the second:
//!
//! * *cells*: how many messages a user posted in a conversation in a quarter of an hour, and when the
//!   last. Quarters of UTC are parts of the hours and days of every zone (since 1972 all are whole
//!   quarters away from UTC).
//! * *delays*: the reply delay of each message that has one, by quarter, in milliseconds. Not a
//!   histogram, because a median has to be exact.
//!
//! Numbers are LEB128; ids stand once in a list at the beginning. A cell takes some 8 bytes, a delay
//! some 3. Bounds: [`BLOCK_BYTES_MAX`]; what would be larger is not merged.

use super::error::Error;
use crate::ids::{ConversationId, UserId, UserKind};
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// A quarter of an hour.
pub(super) const QUARTER_MS: i64 = 900_000;
/// Quarters of a day.
pub(super) const QUARTERS_OF_DAY: i64 = 96;
/// Blocks beyond are not merged with others.
pub(super) const BLOCK_BYTES_MAX: usize = 4 << 20;

/// The form of the bytes.
const VERSION: u8 = 1;

/// Who posted where, and when, in quarters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct CellKey {
    /// The number of the quarter since 1970.
    pub(super) quarter: i64,
    pub(super) conversation: ConversationId,
    pub(super) user: UserId,
    pub(super) kind: UserKind,
}

/// What they posted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CellCount {
    pub(super) messages: u64,
    /// When the last was posted, in milliseconds of Unix time.
    pub(super) last_at: i64,
}

impl CellCount {
    pub(super) fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.last_at = self.last_at.max(other.last_at);
    }
}

/// Counts, before they are packed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) cells: BTreeMap<CellKey, CellCount>,
    /// By quarter.
    pub(super) delays: BTreeMap<i64, Vec<i64>>,
}

/// The bytes of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    pub(super) cells: Vec<u8>,
    pub(super) delays: Vec<u8>,
}

impl Counts {
    /// Counts a message.
    pub(super) fn add(&mut self, key: CellKey, at: i64, delay: Option<i64>) {
        let one = CellCount {
            messages: 1,
            last_at: at,
        };
        self.cells.entry(key).and_modify(|count| count.add(one)).or_insert(one);
        if let Some(delay) = delay {
            self.delays.entry(key.quarter).or_default().push(delay);
        }
    }

    /// Adds what a block has.
    pub(super) fn add_packed(&mut self, cells: &[u8], delays: &[u8]) -> Result<(), Error> {
        let block = CellBlock::read(cells)?;
        for cell in block.cells() {
            let cell = cell?;
            let key = CellKey {
                quarter: cell.quarter,
                conversation: block.conversation(cell.conversation)?,
                user: block.user(cell.user)?,
                kind: cell.kind,
            };
            self.cells
                .entry(key)
                .and_modify(|count| count.add(cell.count))
                .or_insert(cell.count);
        }
        for_each_delay(delays, |quarter, delay| {
            self.delays.entry(quarter).or_default().push(delay);
        })
    }

    pub(super) fn pack(&mut self) -> Packed {
        Packed {
            cells: pack_cells(&self.cells),
            delays: pack_delays(&mut self.delays),
        }
    }
}

fn pack_cells(cells: &BTreeMap<CellKey, CellCount>) -> Vec<u8> {
    let (mut conversations, mut users) = (IdList::default(), IdList::default());
    let mut body = Vec::with_capacity(cells.len() * 10);
    let mut quarter = 0;
    for (key, count) in cells {
        put(&mut body, zigzag(key.quarter - quarter));
        quarter = key.quarter;
        put(&mut body, conversations.place(key.conversation.0));
        put(&mut body, users.place(key.user.0) * 4 + kind_code(key.kind));
        put(&mut body, count.messages);
        put(&mut body, zigzag(count.last_at - quarter * QUARTER_MS));
    }
    let mut bytes = vec![VERSION];
    for list in [&conversations, &users] {
        put(&mut bytes, list.ids.len() as u64);
        for id in &list.ids {
            bytes.extend_from_slice(id.as_bytes());
        }
    }
    bytes.extend_from_slice(&body);
    bytes
}

fn pack_delays(delays: &mut BTreeMap<i64, Vec<i64>>) -> Vec<u8> {
    if delays.is_empty() {
        return Vec::new();
    }
    let mut bytes = vec![VERSION];
    let mut before = 0;
    for (quarter, delays) in delays {
        put(&mut bytes, zigzag(*quarter - before));
        before = *quarter;
        put(&mut bytes, delays.len() as u64);
        // In order, so that equal counts are equal bytes.
        delays.sort_unstable();
        for delay in delays {
            put(&mut bytes, zigzag(*delay));
        }
    }
    bytes
}

/// Calls `each` with the quarter and the milliseconds of every delay.
pub(super) fn for_each_delay(bytes: &[u8], mut each: impl FnMut(i64, i64)) -> Result<(), Error> {
    if bytes.is_empty() {
        return Ok(());
    }
    let mut reader = Reader::begin(bytes)?;
    let mut quarter = 0;
    while !reader.is_at_end() {
        quarter += reader.signed()?;
        for _ in 0..reader.number()? {
            each(quarter, reader.signed()?);
        }
    }
    Ok(())
}

/// The cells of a block, with the places of their ids in its lists.
pub(super) struct CellBlock<'a> {
    conversations: &'a [[u8; 16]],
    users: &'a [[u8; 16]],
    body: Reader<'a>,
}

/// A cell of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct PackedCell {
    pub(super) quarter: i64,
    /// The place in the block's list.
    pub(super) conversation: usize,
    /// The place in the block's list.
    pub(super) user: usize,
    pub(super) kind: UserKind,
    pub(super) count: CellCount,
}

impl<'a> CellBlock<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut body = Reader::begin(bytes)?;
        let conversations = body.ids()?;
        let users = body.ids()?;
        Ok(Self {
            conversations,
            users,
            body,
        })
    }

    pub(super) fn conversations(&self) -> impl Iterator<Item = ConversationId> + '_ {
        self.conversations
            .iter()
            .map(|id| ConversationId(Uuid::from_bytes(*id)))
    }

    pub(super) fn users(&self) -> impl Iterator<Item = UserId> + '_ {
        self.users.iter().map(|id| UserId(Uuid::from_bytes(*id)))
    }

    fn conversation(&self, place: usize) -> Result<ConversationId, Error> {
        let id = self
            .conversations
            .get(place)
            .ok_or(Error::Unreadable("a conversation"))?;
        Ok(ConversationId(Uuid::from_bytes(*id)))
    }

    fn user(&self, place: usize) -> Result<UserId, Error> {
        let id = self.users.get(place).ok_or(Error::Unreadable("a user"))?;
        Ok(UserId(Uuid::from_bytes(*id)))
    }

    /// The cells, by quarter.
    pub(super) fn cells(&self) -> CellIterator<'a> {
        CellIterator {
            reader: self.body,
            quarter: 0,
        }
    }
}

pub(super) struct CellIterator<'a> {
    reader: Reader<'a>,
    quarter: i64,
}

impl Iterator for CellIterator<'_> {
    type Item = Result<PackedCell, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.reader.is_at_end()).then(|| self.cell())
    }
}

impl CellIterator<'_> {
    fn cell(&mut self) -> Result<PackedCell, Error> {
        let reader = &mut self.reader;
        self.quarter += reader.signed()?;
        let place = |number: u64| usize::try_from(number).map_err(|_too_large| Error::Unreadable("a place"));
        let conversation = place(reader.number()?)?;
        let user = reader.number()?;
        Ok(PackedCell {
            quarter: self.quarter,
            conversation,
            user: place(user / 4)?,
            kind: kind_of(user % 4),
            count: CellCount {
                messages: reader.number()?,
                last_at: self.quarter * QUARTER_MS + reader.signed()?,
            },
        })
    }
}

/// Ids in the order in which they come first.
#[derive(Default)]
struct IdList {
    ids: Vec<Uuid>,
    places: HashMap<Uuid, u64>,
}

impl IdList {
    fn place(&mut self, id: Uuid) -> u64 {
        *self.places.entry(id).or_insert_with(|| {
            self.ids.push(id);
            self.ids.len() as u64 - 1
        })
    }
}

const fn kind_code(kind: UserKind) -> u64 {
    match kind {
        UserKind::Person => 0,
        UserKind::Agent => 1,
        UserKind::System => 2,
    }
}

const fn kind_of(code: u64) -> UserKind {
    match code {
        0 => UserKind::Person,
        1 => UserKind::Agent,
        _ => UserKind::System,
    }
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

const fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn begin(bytes: &'a [u8]) -> Result<Self, Error> {
        match bytes.split_first() {
            Some((&VERSION, bytes)) => Ok(Self { bytes }),
            _ => Err(Error::Unreadable("its version")),
        }
    }

    const fn is_at_end(&self) -> bool {
        self.bytes.is_empty()
    }

    fn number(&mut self) -> Result<u64, Error> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.bytes.split_first().ok_or(Error::Unreadable("a number"))?;
            self.bytes = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Error::Unreadable("a number"))
    }

    fn signed(&mut self) -> Result<i64, Error> {
        let number = self.number()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    fn ids(&mut self) -> Result<&'a [[u8; 16]], Error> {
        let wrong = || Error::Unreadable("its list of ids");
        let length = usize::try_from(self.number()?).map_err(|_too_large| wrong())?;
        let length = length.checked_mul(16).ok_or_else(wrong)?;
        let (ids, rest) = self.bytes.split_at_checked(length).ok_or_else(wrong)?;
        self.bytes = rest;
        Ok(ids.as_chunks().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(quarter: i64, conversation: u128, user: u128, kind: UserKind) -> CellKey {
        CellKey {
            quarter,
            conversation: ConversationId(Uuid::from_u128(conversation)),
            user: UserId(Uuid::from_u128(user)),
            kind,
        }
    }

    fn message() -> impl Strategy<Value = (i64, u128, u128, UserKind, Option<i64>)> {
        let kind = prop_oneof![Just(UserKind::Person), Just(UserKind::Agent), Just(UserKind::System)];
        let at = prop_oneof![1_700_000_000_000..1_700_090_000_000_i64, -90_000_000..90_000_000_i64];
        (
            at,
            0..5_u128,
            0..200_u128,
            kind,
            prop::option::of(-1_000..86_400_000_i64),
        )
    }

    fn counts(messages: &[(i64, u128, u128, UserKind, Option<i64>)]) -> Counts {
        let mut counts = Counts::default();
        for (at, conversation, user, kind, delay) in messages {
            counts.add(key(at.div_euclid(QUARTER_MS), *conversation, *user, *kind), *at, *delay);
        }
        counts
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn blocks_add_up(one in prop::collection::vec(message(), 0..60), other in prop::collection::vec(message(), 0..60)) {
            let mut merged = Counts::default();
            for part in [&one, &other] {
                let packed = counts(part).pack();
                merged.add_packed(&packed.cells, &packed.delays).unwrap();
            }
            let mut all = counts(&[one, other].concat());
            prop_assert_eq!(merged.pack(), all.pack());
        }
    }

    #[test]
    fn broken_bytes_are_an_error() {
        let mut counts = Counts::default();
        counts.add(key(7, 1, 2, UserKind::Agent), 7 * QUARTER_MS + 5, Some(9));
        let packed = counts.pack();
        for end in 0..packed.cells.len() {
            let cut = &packed.cells[..end];
            // A cut right behind the lists is a block without cells.
            let is_empty = CellBlock::read(cut).is_ok_and(|block| block.cells().next().is_none());
            assert!(is_empty || Counts::default().add_packed(cut, &[]).is_err(), "{end}");
        }
        assert!(Counts::default().add_packed(&[9, 0, 0], &[]).is_err());
    }
}

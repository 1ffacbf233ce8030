//! Blocks and cut quarters against a naive count of the same messages, for random messages, zones
//! and ranges.

use super::active::ActiveTally;
use super::block::{CellKey, Counts, QUARTER_MS, for_each_delay};
use super::period::{Granularity, Period};
use super::question::{ConversationOrder, GroupBy, SeriesKey};
use super::replies::{Replies, delay};
use super::series::{GroupTally, SeriesTally};
use super::summary::SummaryTally;
use super::tally::{Cell, Ids, RawMessage, Scan};
use super::tops::{ConversationsTally, HeatmapTally, UsersTally};
use super::zone::Zone;
use crate::ids::{ConversationId, UserId, UserKind};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use uuid::Uuid;

const DAY: i64 = 86_400_000;
/// 2010-10-20, 1971-12-20, 2026-03-20: clocks change in the weeks after.
const STARTS: [i64; 3] = [1_287_532_800_000, 62_035_200_000, 1_773_964_800_000];
const ZONES: [&str; 9] = [
    "UTC",
    "Europe/Berlin",
    "America/St_Johns",
    "Africa/Monrovia",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Chatham",
    "America/Havana",
    "Asia/Kolkata",
];

/// All messages in the order of their conversations, and what is made of them.
struct World {
    raw: Vec<RawMessage>,
    blocks: Vec<(Vec<u8>, Vec<u8>)>,
}

fn user(n: u8) -> UserId {
    UserId(Uuid::from_u128(u128::from(n)))
}

fn world(mut drawn: Vec<(i64, u8, u8, usize)>) -> World {
    drawn.sort_unstable();
    let mut replies: HashMap<u8, Replies> = HashMap::new();
    let mut blocks: BTreeMap<(i64, usize), Counts> = BTreeMap::new();
    let mut raw: Vec<RawMessage> = Vec::new();
    for (at, author, conversation, part) in drawn {
        let kind = if author < 5 { UserKind::Person } else { UserKind::Agent };
        let own = ConversationId(Uuid::from_u128(u128::from(conversation)));
        let mine = |one: &&RawMessage| one.conversation == own && one.user != user(author);
        let before = raw.iter().rev().find(mine).map(|one| one.at);
        let counted = replies.entry(conversation).or_default().next(user(author), kind, at);
        assert_eq!(counted, delay(kind, at, before), "by steps as by looking back");
        let key = CellKey {
            quarter: at.div_euclid(QUARTER_MS),
            conversation: own,
            user: user(author),
            kind,
        };
        blocks
            .entry((at.div_euclid(DAY), part))
            .or_default()
            .add(key, at, counted);
        raw.push(RawMessage {
            at,
            user: user(author),
            conversation: own,
            kind,
            before,
        });
    }
    let blocks = blocks.into_values().map(|mut counts| {
        let packed = counts.pack();
        (packed.cells, packed.delays)
    });
    World {
        raw,
        blocks: blocks.collect(),
    }
}

impl World {
    fn within(&self, from: i64, to: i64) -> impl Iterator<Item = &RawMessage> {
        self.raw.iter().filter(move |message| (from..to).contains(&message.at))
    }

    fn people(&self, from: i64, to: i64) -> BTreeSet<UserId> {
        let people = self.within(from, to).filter(|one| one.kind == UserKind::Person);
        people.map(|one| one.user).collect()
    }

    /// What a question reads.
    fn read(&self, scan: &Scan, ids: &mut Ids, mut each: impl FnMut(&Cell)) {
        for (from, to) in scan.raw_ranges() {
            for message in self.within(from, to) {
                each(&message.cell(ids));
            }
        }
        for (cells, _) in &self.blocks {
            scan.read_block(cells, ids, &mut each).unwrap();
        }
    }
}

fn period() -> impl Strategy<Value = (usize, Period)> {
    let moment = prop_oneof![0..60 * DAY, (0..60 * 96_i64).prop_map(|quarter| quarter * QUARTER_MS)];
    (0..STARTS.len(), 0..ZONES.len(), moment, 1..25 * DAY, any::<bool>()).prop_map(
        |(start, zone, from, length, whole)| {
            let zone = Zone::find(ZONES[zone]).unwrap();
            let (mut from, mut to) = (STARTS[start] + from, STARTS[start] + from + length);
            if whole {
                let (first, last) = (zone.day(from), zone.day(to));
                (from, to) = (zone.first_instant(first), zone.first_instant(last + 1));
            }
            (start, Period { from, to, zone })
        },
    )
}

fn messages() -> impl Strategy<Value = Vec<(i64, u8, u8, usize)>> {
    let at = (0..90_i64, 0..8_i64, 0..4_000_000_i64).prop_map(|(day, crowd, ms)| day * DAY + crowd * 10_800_000 + ms);
    prop::collection::vec((at, 0..6_u8, 0..3_u8, 0..3_usize), 0..250)
}

fn counts<K: Ord>(keys: impl Iterator<Item = K>) -> BTreeMap<K, u64> {
    let mut counts = BTreeMap::new();
    keys.for_each(|key| *counts.entry(key).or_insert(0) += 1);
    counts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn answers_are_what_a_naive_count_says((start, period) in period(), drawn in messages()) {
        // Thirty days before the range, too.
        let moved = drawn.into_iter().map(|(at, author, conversation, part)| (STARTS[start] - 20 * DAY + at, author, conversation, part));
        let world = world(moved.collect());
        let (from, to) = (period.from, period.to);
        for granularity in [Granularity::Hour, Granularity::Day, Granularity::Week, Granularity::Month] {
            let buckets = period.buckets(granularity).unwrap();
            prop_assert_eq!((buckets[0].from, buckets.last().unwrap().to), (from, to));
            prop_assert!(buckets.windows(2).all(|two| two[0].to == two[1].from && two[0].at < two[1].at));
            let scan = Scan::new(from, to, buckets.iter().map(|bucket| bucket.from));
            let mut ids = Ids::default();
            let mut groups = GroupTally::new(GroupBy::User);
            world.read(&scan, &mut ids, |cell| groups.add(cell));
            let (keys, _) = groups.largest(2, &ids);
            let mut tally = SeriesTally::new(GroupBy::User, &buckets, &keys, &ids);
            world.read(&scan, &mut ids, |cell| tally.add(cell));
            let naive = counts(world.within(from, to).map(|message| message.user));
            let mut largest: Vec<_> = naive.iter().map(|(user, count)| (std::cmp::Reverse(*count), *user)).collect();
            largest.sort_unstable();
            let named: Vec<_> = largest.iter().take(2).map(|(_, user)| SeriesKey::User(*user)).collect();
            prop_assert_eq!(&keys, &named);
            for series in tally.finish() {
                let values: Vec<u64> = buckets.iter().map(|bucket| {
                    world.within(bucket.from, bucket.to).filter(|message| match series.key {
                        SeriesKey::User(user) => message.user == user,
                        _ => !named.contains(&SeriesKey::User(message.user)),
                    }).count() as u64
                }).collect();
                prop_assert_eq!(&series.values, &values, "{:?} {:?}", series.key, granularity);
                prop_assert_eq!(series.total, values.iter().sum::<u64>());
            }
        }
        let days = period.buckets(Granularity::Day).unwrap();
        let mut tally = ActiveTally::new(&period, &days);
        let scan = Scan::new(tally.from(), to, tally.boundaries().iter().copied());
        world.read(&scan, &mut Ids::default(), |cell| tally.add(cell));
        let person = |message: &&RawMessage| message.kind == UserKind::Person;
        let people = |from, to| world.people(from, to);
        let mut firsts: BTreeMap<UserId, i64> = BTreeMap::new();
        for message in world.raw.iter().filter(person) {
            firsts.entry(message.user).or_insert(message.at);
        }
        let mut first_posts: Vec<i64> = firsts.values().copied().filter(|at| (from..to).contains(at)).collect();
        first_posts.sort_unstable();
        for (bucket, counts) in days.iter().zip(tally.finish(&first_posts)) {
            let active = people(bucket.from, bucket.to);
            prop_assert_eq!(counts.active, active.len() as u64);
            let before = people(i64::MIN, bucket.from);
            prop_assert_eq!(counts.new, active.difference(&before).count() as u64);
            let last = period.zone.day(bucket.to - 1);
            for (window, days) in [(counts.weekly, 7), (counts.monthly, 30)] {
                let from = period.zone.first_instant(last - days + 1);
                prop_assert_eq!(window, people(from, bucket.to).len() as u64);
            }
        }
    }

    #[test]
    fn summaries_are_what_a_naive_count_says((start, period) in period(), drawn in messages()) {
        let moved = drawn.into_iter().map(|(at, author, conversation, part)| (STARTS[start] - 20 * DAY + at, author, conversation, part));
        let world = world(moved.collect());
        let (from, to) = (period.from, period.to);
        let people = |from, to| world.people(from, to);
        let before = period.previous();
        prop_assert_eq!(before.to, from);
        let scan = Scan::new(before.from, to, [from]);
        let mut tally = SummaryTally::new(from);
        world.read(&scan, &mut Ids::default(), |cell| tally.add(cell));
        for (_, delays) in &world.blocks {
            for_each_delay(delays, |quarter, delay| if scan.takes(quarter) { tally.add_delay(quarter * QUARTER_MS, delay) }).unwrap();
        }
        for (since, until) in scan.raw_ranges() {
            for message in world.within(since, until) {
                if let Some(delay) = delay(message.kind, message.at, message.before) {
                    tally.add_delay(message.at, delay);
                }
            }
        }
        for (totals, (from, to)) in tally.finish().into_iter().zip([(before.from, from), (from, to)]) {
            prop_assert_eq!(totals.messages, world.within(from, to).count() as u64);
            prop_assert_eq!(totals.active_users, people(from, to).len() as u64);
            let mut delays: Vec<i64> = world.within(from, to).filter_map(|one| delay(one.kind, one.at, one.before)).collect();
            delays.sort_unstable();
            let median = delays.len().checked_sub(1).map(|last| delays[last / 2]);
            prop_assert_eq!(totals.reply_delay_p50_ms, median);
        }
    }

    #[test]
    fn tops_and_hours_are_what_a_naive_count_says((start, period) in period(), drawn in messages()) {
        let moved = drawn.into_iter().map(|(at, author, conversation, part)| (STARTS[start] + at, author, conversation, part));
        let world = world(moved.collect());
        let (from, to) = (period.from, period.to);
        let mut tally = UsersTally::new(&period);
        let scan = Scan::new(from, to, tally.boundaries().iter().copied());
        let mut ids = Ids::default();
        world.read(&scan, &mut ids, |cell| tally.add(cell));
        let tops = tally.finish(50, &ids);
        let naive = counts(world.within(from, to).map(|message| message.user));
        prop_assert_eq!(tops.len(), naive.len());
        for top in tops {
            let own: Vec<_> = world.within(from, to).filter(|message| message.user == top.user).collect();
            prop_assert_eq!(top.messages, own.len() as u64);
            prop_assert_eq!(top.conversations, counts(own.iter().map(|one| one.conversation)).len() as u64);
            prop_assert_eq!(top.active_days, counts(own.iter().map(|one| period.zone.day(one.at))).len() as u64);
            prop_assert_eq!(Some(top.last_at), own.iter().map(|one| one.at).max());
        }
        let mut tally = ConversationsTally::default();
        let mut ids = Ids::default();
        world.read(&Scan::new(from, to, []), &mut ids, |cell| tally.add(cell));
        let mut last = (i64::MAX, None);
        for top in tally.finish(ConversationOrder::Recent, 50, &ids) {
            let own: Vec<_> = world.within(from, to).filter(|one| one.conversation == top.conversation).collect();
            prop_assert_eq!(top.messages, own.len() as u64);
            let people = own.iter().filter(|one| one.kind == UserKind::Person).map(|one| one.user);
            prop_assert_eq!(top.participants, counts(people).len() as u64);
            prop_assert_eq!(Some(top.last_at), own.iter().map(|one| one.at).max());
            prop_assert!(top.last_at < last.0 || (top.last_at == last.0 && Some(top.conversation) > last.1));
            last = (top.last_at, Some(top.conversation));
        }
        let mut hours = BTreeSet::new();
        let mut at = period.zone.hour_start(from);
        while at < to {
            hours.insert(at);
            at = period.zone.hour_end(at);
        }
        let cuts: Vec<i64> = if period.zone.has_whole_quarters(from, to) { Vec::new() } else { hours.into_iter().collect() };
        let mut tally = HeatmapTally::new(period.zone.clone());
        world.read(&Scan::new(from, to, cuts), &mut Ids::default(), |cell| tally.add(cell));
        let naive = counts(world.within(from, to).map(|message| period.zone.weekday_and_hour(message.at)));
        for (weekday, row) in tally.finish().iter().enumerate() {
            for (hour, count) in row.iter().enumerate() {
                prop_assert_eq!(*count, naive.get(&(weekday, hour)).copied().unwrap_or(0));
            }
        }
    }
}

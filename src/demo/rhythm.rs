//! When something is said, and by whom: days of a week, hours of a day, and talk that goes to and
//! fro for some minutes. Pure.

use super::cast::Person;
use super::plan::DemoPlan;
use super::rooms::Room;
use chrono::{Datelike as _, NaiveDate, TimeDelta, Weekday};
use rand::RngExt as _;
use rand::rngs::Xoshiro256PlusPlus;

/// How much is said in each hour of the author's day.
const HOURS: [f64; 24] = [
    1.2, 0.7, 0.4, 0.3, 0.3, 0.6, 2.0, 7.0, 19.0, 35.0, 39.0, 36.0, 23.0, 27.0, 37.0, 39.0, 34.0, 25.0, 14.0, 9.0, 7.0,
    5.0, 4.0, 2.0,
];
/// Others who join a talk, at most.
const COMPANIONS_MAX: usize = 4;
/// How often a beginning is looked for; then it is taken as it is.
const TRIES_MAX: usize = 200;

/// Something said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    pub(super) at_ms: i64,
    /// The number of a person.
    pub(super) author: usize,
}

/// Choices by weight: the sums up to each.
struct Weighted(Vec<f64>);

impl Weighted {
    fn new(weights: impl Iterator<Item = f64>) -> Self {
        let mut sum = 0.0;
        Self(
            weights
                .map(|weight| {
                    sum += weight;
                    sum
                })
                .collect(),
        )
    }

    fn pick(&self, rng: &mut Xoshiro256PlusPlus) -> usize {
        let at = rng.random::<f64>() * self.0.last().copied().unwrap_or(0.0);
        self.0
            .partition_point(|sum| *sum <= at)
            .min(self.0.len().saturating_sub(1))
    }
}

/// How much is said on a day, beside other days.
fn day_weight(date: NaiveDate, day: i32) -> f64 {
    let week = match date.weekday() {
        Weekday::Mon | Weekday::Thu => 1.0,
        Weekday::Tue | Weekday::Wed => 1.1,
        Weekday::Fri => 0.85,
        Weekday::Sat => 0.07,
        Weekday::Sun => 0.05,
    };
    let season = match (date.month(), date.day()) {
        (12, 24..) | (1, 1) | (5, 1) => 0.08,
        (8, _) => 0.75,
        _ => 1.0,
    };
    // The workspace grows.
    week * season * (0.6 + 0.4 * f64::from(day) / 365.0)
}

/// Everything that is said in a conversation, in the order of time.
pub(super) fn talk(plan: &DemoPlan, people: &[Person], room: &Room, rng: &mut Xoshiro256PlusPlus) -> Vec<Said> {
    let first = plan.first_day();
    let days = Weighted::new(
        room.days
            .clone()
            .map(|day| day_weight(first + TimeDelta::days(i64::from(day)), day)),
    );
    let hours = Weighted::new(HOURS.into_iter());
    let authors = Weighted::new(room.members.iter().map(|n| people[*n].talk));
    let wanted = usize::try_from(room.messages).unwrap_or(usize::MAX);
    let mut said = Vec::with_capacity(wanted);
    while said.len() < wanted {
        let start = begin(
            plan,
            people,
            room,
            &Beginnings {
                days: &days,
                hours: &hours,
                authors: &authors,
            },
            rng,
        );
        let others = companions(plan, people, room, start, rng);
        let length = (1 + geometric(if room.members.len() > 1 { 0.85 } else { 0.4 }, 40, rng)).min(wanted - said.len());
        to_and_fro(start, &others, length, plan.until.timestamp_millis(), rng, &mut said);
    }
    said.sort_by_key(|one| one.at_ms);
    said
}

/// What a beginning is drawn from.
struct Beginnings<'a> {
    days: &'a Weighted,
    hours: &'a Weighted,
    authors: &'a Weighted,
}

/// Somebody who is there says something at an hour of theirs.
fn begin(plan: &DemoPlan, people: &[Person], room: &Room, from: &Beginnings<'_>, rng: &mut Xoshiro256PlusPlus) -> Said {
    let until = plan.until.timestamp_millis();
    for _ in 0..TRIES_MAX {
        let day = room.days.start + i32::try_from(from.days.pick(rng)).unwrap_or(0);
        let author = room.members[from.authors.pick(rng)];
        let person = &people[author];
        let hour = match person.is_agent() {
            true => rng.random_range(0..24),
            false => from.hours.pick(rng),
        };
        let in_hour = rng.random_range(0..3_600_000);
        let local = plan.day_ms(day) + i64::try_from(hour).unwrap_or(0) * 3_600_000 + in_hour;
        let at_ms = local - i64::from(person.offset_min) * 60_000;
        if person.is_there(day) && at_ms > room.created_ms.max(person.since_ms) && at_ms < until {
            return Said { at_ms, author };
        }
    }
    // The founder is in it from its first moment.
    let span = (until - room.created_ms).max(2);
    Said {
        at_ms: room.created_ms + rng.random_range(1..span),
        author: room.members[0],
    }
}

/// Who is drawn into a talk that begins: people who are there and awake.
fn companions(
    plan: &DemoPlan,
    people: &[Person],
    room: &Room,
    start: Said,
    rng: &mut Xoshiro256PlusPlus,
) -> Vec<usize> {
    let day = plan.day_of(start.at_ms);
    let mut others = Vec::new();
    for _ in 0..2 * COMPANIONS_MAX {
        let n = room.members[rng.random_range(0..room.members.len())];
        let person = &people[n];
        let could = person.is_there(day) && person.since_ms < start.at_ms && person.is_awake(start.at_ms);
        if could && !person.is_agent() && n != start.author && !others.contains(&n) && others.len() < COMPANIONS_MAX {
            others.push(n);
        }
    }
    others
}

fn to_and_fro(
    start: Said,
    others: &[usize],
    length: usize,
    until_ms: i64,
    rng: &mut Xoshiro256PlusPlus,
    said: &mut Vec<Said>,
) {
    let Said { mut at_ms, mut author } = start;
    for n in 0..length {
        if n > 0 {
            let same = others.is_empty() || rng.random_bool(0.3);
            if !same {
                let pick = rng.random_range(0..=others.len());
                author = others.get(pick).copied().unwrap_or(start.author);
            }
            let mean_ms = if same { 20_000.0 } else { 75_000.0 };
            at_ms += 700 + (-mean_ms * (1.0 - rng.random::<f64>()).ln()) as i64;
        }
        said.push(Said {
            // What would be said after the end is said at it.
            at_ms: at_ms.min(until_ms - 1),
            author,
        });
    }
}

/// How often something goes on, each time with `p`, at most `most` times.
pub(super) fn geometric(p: f64, most: usize, rng: &mut Xoshiro256PlusPlus) -> usize {
    let mut n = 0;
    while n < most && rng.random_bool(p) {
        n += 1;
    }
    n
}

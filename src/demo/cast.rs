//! The people of a demo: where they live, when they came, when they are away. Pure.

use super::plan::{DAYS, DemoPlan, EMAIL};
use crate::ids::{Role, UserId, UserKind};
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, RngExt as _};
use std::ops::Range;
use uuid::{Builder, Uuid};

const FIRST: [&str; 36] = [
    "Ada",
    "Bo",
    "Chidi",
    "Dilnoza",
    "Emre",
    "Farida",
    "Giulia",
    "Haruto",
    "Ines",
    "Jakub",
    "Kavya",
    "Lucía",
    "Mateus",
    "Naledi",
    "Olivia",
    "Priya",
    "Quentin",
    "Rosa",
    "Søren",
    "Tomoko",
    "Uchenna",
    "Valentina",
    "Wanjiru",
    "Ximena",
    "Yusuf",
    "Zofia",
    "Anders",
    "Beatriz",
    "Claire",
    "Daichi",
    "Elif",
    "Felix",
    "Grace",
    "Hugo",
    "Irina",
    "Jun",
];
const LAST: [&str; 29] = [
    "Lovelace",
    "Almeida",
    "Banerjee",
    "Castillo",
    "Demir",
    "Eriksen",
    "Fujimoto",
    "García",
    "Horvat",
    "Ibrahim",
    "Jensen",
    "Kowalska",
    "Lindqvist",
    "Mbeki",
    "Nakamura",
    "Okafor",
    "Petrov",
    "Quiroga",
    "Rossi",
    "Schäfer",
    "Tanaka",
    "Ueda",
    "Vargas",
    "Weber",
    "Xu",
    "Yılmaz",
    "Zhang",
    "Novak",
    "Martin",
];
/// Where people are, as minutes east of UTC, and how many of them in a hundred. The clocks of a demo
/// are not changed in summer.
const ZONES: [(i32, u32); 7] = [
    (60, 34),
    (-300, 22),
    (-480, 12),
    (330, 14),
    (540, 8),
    (-180, 6),
    (600, 4),
];
/// One in so many is an agent.
const AGENT_EVERY: usize = 24;

/// Somebody who talks.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) id: UserId,
    pub(super) name: String,
    /// Agents have none.
    pub(super) email: Option<String>,
    pub(super) kind: UserKind,
    pub(super) role: Role,
    /// Minutes east of UTC.
    pub(super) offset_min: i32,
    /// The day on which they came, and the moment of it.
    pub(super) since_day: i32,
    pub(super) since_ms: i64,
    /// The day from which on they are not there any more.
    pub(super) gone_day: i32,
    /// How much they say, beside others.
    pub(super) talk: f64,
    away: Vec<Range<i32>>,
}

impl Person {
    pub(super) fn is_agent(&self) -> bool {
        self.kind == UserKind::Agent
    }

    /// Whether they may say something on a day.
    pub(super) fn is_there(&self, day: i32) -> bool {
        (self.since_day..self.gone_day).contains(&day) && !self.away.iter().any(|away| away.contains(&day))
    }

    /// Whether they are awake at a moment.
    pub(super) fn is_awake(&self, at_ms: i64) -> bool {
        let minute = (at_ms / 60_000 + i64::from(self.offset_min)).rem_euclid(1_440);
        self.is_agent() || (7 * 60..23 * 60).contains(&minute)
    }
}

/// An id of version 7 from a moment, always the same for the same numbers.
pub(super) fn id_at(at_ms: i64, rng: &mut Xoshiro256PlusPlus) -> Uuid {
    let mut random = [0; 10];
    rng.fill_bytes(&mut random);
    Builder::from_unix_timestamp_millis(u64::try_from(at_ms).unwrap_or(0), &random).into_uuid()
}

/// The people. The first owns the workspace, and is there all year.
pub(super) fn make(plan: &DemoPlan, rng: &mut Xoshiro256PlusPlus) -> Vec<Person> {
    let mut names: Vec<(usize, usize)> = (0..FIRST.len() * LAST.len())
        .map(|n| (n % FIRST.len(), n / FIRST.len()))
        .collect();
    names.shuffle(rng);
    names.retain(|name| *name != (0, 0));
    names.insert(0, (0, 0));
    (0..plan.people.max(2))
        .map(|n| {
            let (first, last) = names[n % names.len()];
            one(plan, rng, n, FIRST[first], LAST[last])
        })
        .collect()
}

fn one(plan: &DemoPlan, rng: &mut Xoshiro256PlusPlus, n: usize, first: &str, last: &str) -> Person {
    let is_agent = n % AGENT_EVERY == AGENT_EVERY - 1;
    // Two thirds are there from the beginning, as far as a year knows.
    let since_day = match n {
        0 => 0,
        _ if rng.random_bool(0.66) => rng.random_range(0..3),
        _ => rng.random_range(3..DAYS - 5),
    };
    let leaves = n > 0 && !is_agent && rng.random_bool(0.06);
    let gone_day = match leaves {
        true => rng.random_range(since_day + 2..=DAYS),
        false => DAYS,
    };
    let since_ms = plan.day_ms(since_day) + rng.random_range(0..3_600_000) + i64::from(n == 0) * -3_600_000;
    let offset_min = match n {
        0 => 60,
        _ => zone(rng.random_range(0..100)),
    };
    let name = match is_agent {
        true => format!("{first} (agent)"),
        false => format!("{first} {last}"),
    };
    let email = (!is_agent).then(|| match n {
        0 => EMAIL.to_owned(),
        n => format!("user{n}@demo.example"),
    });
    Person {
        id: UserId(id_at(since_ms, rng)),
        name,
        email,
        kind: if is_agent { UserKind::Agent } else { UserKind::Person },
        role: match n {
            0 => Role::Owner,
            1 => Role::Admin,
            _ => Role::Member,
        },
        offset_min,
        since_day,
        since_ms,
        gone_day,
        // A few say most of it.
        talk: 0.1 + 3.0 * rng.random::<f64>().powi(3),
        away: if is_agent { Vec::new() } else { holidays(rng) },
    }
}

fn zone(mut of_hundred: u32) -> i32 {
    for (offset, share) in ZONES {
        if of_hundred < share {
            return offset;
        }
        of_hundred -= share;
    }
    0
}

/// Two to four times a year, some days to some weeks.
fn holidays(rng: &mut Xoshiro256PlusPlus) -> Vec<Range<i32>> {
    (0..rng.random_range(2..5))
        .map(|_| {
            let first = rng.random_range(0..DAYS);
            first..first + rng.random_range(3..19)
        })
        .collect()
}

//! The conversations of a demo: who is in them, and how many messages each has. Pure.

use super::cast::{Person, id_at};
use super::plan::{DAYS, DemoPlan};
use crate::ids::ConversationId;
use rand::RngExt as _;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::{IteratorRandom as _, SliceRandom as _};
use std::ops::Range;

const TEAMS: [&str; 10] = [
    "Platform",
    "Design",
    "Support",
    "Sales",
    "Mobile",
    "Data",
    "Finance",
    "Marketing",
    "Research",
    "People",
];
const TOPICS: [&str; 22] = [
    "Spring release",
    "Billing migration",
    "On call",
    "Website",
    "Hiring",
    "Offsite",
    "Accessibility",
    "Search quality",
    "Customer interviews",
    "Security review",
    "Mobile beta",
    "Localisation",
    "Quarterly goals",
    "Partner portal",
    "Documentation",
    "Data warehouse",
    "Office move",
    "Autumn release",
    "Incident review",
    "Brand refresh",
    "Reading group",
    "Lunch",
];

/// A conversation before anything is said in it.
#[derive(Clone, Debug)]
pub(super) struct Room {
    pub(super) id: ConversationId,
    pub(super) title: String,
    /// Its later title, and the day of it.
    pub(super) renamed: Option<(String, i32)>,
    /// Numbers of people; the first made it.
    pub(super) members: Vec<usize>,
    /// The days on which something is said.
    pub(super) days: Range<i32>,
    pub(super) created_ms: i64,
    pub(super) messages: u64,
}

/// What is decided before ids and shares are.
struct Sketch {
    title: String,
    members: Vec<usize>,
    days: Range<i32>,
    /// Its share of what is said, beside the others'.
    weight: f64,
}

/// Conversations of every size; together they have exactly the messages of the plan.
pub(super) fn make(plan: &DemoPlan, people: &[Person], rng: &mut Xoshiro256PlusPlus) -> Vec<Room> {
    let mut sketches = large(people, rng);
    sketches.extend(topics(people, rng));
    sketches.extend(pairs(people, rng));
    let total: f64 = sketches.iter().map(|sketch| sketch.weight).sum();
    let mut left = plan.messages;
    let mut rooms = Vec::with_capacity(sketches.len());
    for sketch in sketches.into_iter().rev() {
        // At least one message each, while there are any; the rest goes to the last, which has everybody.
        let share = (plan.messages as f64 * sketch.weight / total) as u64;
        let messages = share.max(1).min(left);
        left -= messages;
        let founder = &people[sketch.members[0]];
        let created_ms = (plan.day_ms(sketch.days.start)).max(founder.since_ms) + rng.random_range(0..600_000);
        let renamed = rng.random_bool(0.08).then(|| {
            let day = rng.random_range(sketch.days.clone());
            (format!("{} (new)", sketch.title), day)
        });
        rooms.push(Room {
            id: ConversationId(id_at(created_ms, rng)),
            title: sketch.title,
            renamed,
            members: sketch.members,
            days: sketch.days,
            created_ms,
            messages,
        });
    }
    if let Some(everybody) = rooms.last_mut() {
        everybody.messages += left;
    }
    rooms
}

/// Everybody's, and those of teams.
fn large(people: &[Person], rng: &mut Xoshiro256PlusPlus) -> Vec<Sketch> {
    let everybody: Vec<usize> = (0..people.len()).collect();
    let whole = |title: &str, weight| Sketch {
        title: title.to_owned(),
        members: everybody.clone(),
        days: 0..DAYS,
        weight,
    };
    let mut sketches = vec![whole("General", 14.0), whole("Random", 9.0)];
    for title in TEAMS {
        let size = rng.random_range(6..=20).min(people.len());
        sketches.push(Sketch {
            title: title.to_owned(),
            members: some(people, size, 0, rng),
            days: 0..DAYS,
            weight: rng.random_range(3.0..8.0),
        });
    }
    sketches
}

/// What is talked about for some weeks or months.
fn topics(people: &[Person], rng: &mut Xoshiro256PlusPlus) -> Vec<Sketch> {
    TOPICS
        .iter()
        .map(|title| {
            let first = rng.random_range(0..DAYS - 30);
            let days = first..(first + rng.random_range(25..220)).min(DAYS);
            let size = rng.random_range(3..=9).min(people.len());
            Sketch {
                title: (*title).to_owned(),
                members: some(people, size, days.start, rng),
                weight: rng.random_range(0.2..2.5),
                days,
            }
        })
        .collect()
}

/// Between two, and notes of one.
fn pairs(people: &[Person], rng: &mut Xoshiro256PlusPlus) -> Vec<Sketch> {
    let mut sketches = Vec::new();
    for n in 0..people.len() * 3 / 2 {
        let (one, other) = (n % people.len(), rng.random_range(0..people.len()));
        let members = if one == other { vec![one] } else { vec![one, other] };
        let title = members
            .iter()
            .map(|n| people[*n].name.as_str())
            .collect::<Vec<_>>()
            .join(" and ");
        let since = members.iter().map(|n| people[*n].since_day).max().unwrap_or(0);
        let gone = members.iter().map(|n| people[*n].gone_day).min().unwrap_or(DAYS);
        if since + 1 < gone && !people[one].is_agent() {
            sketches.push(Sketch {
                title,
                members,
                days: since..gone,
                weight: 0.01 + 0.8 * rng.random::<f64>().powi(4),
            });
        }
    }
    sketches
}

/// Some people, first one who is there on a day and stays.
fn some(people: &[Person], size: usize, day: i32, rng: &mut Xoshiro256PlusPlus) -> Vec<usize> {
    let stays = |n: &usize| people[*n].since_day <= day && people[*n].gone_day == DAYS && !people[*n].is_agent();
    let founder = (0..people.len()).filter(stays).choose(rng).unwrap_or(0);
    let mut others: Vec<usize> = (0..people.len()).filter(|n| *n != founder).collect();
    others.shuffle(rng);
    others.truncate(size.saturating_sub(1));
    std::iter::once(founder).chain(others).collect()
}

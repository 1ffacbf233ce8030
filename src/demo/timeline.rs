//! One conversation as the rows that the server would have left: what was said is numbered, edited,
//! reacted to and deleted in the order of time, and every change takes the next revision. Pure.
//!
//! Bound: one conversation at a time is in memory, of a year of a million messages 150,000 at most.

use super::cast::{Person, id_at};
use super::phrases::{self, EMOJI};
use super::plan::DemoPlan;
use super::rhythm::{Said, geometric};
use super::rooms::Room;
use crate::commit::digest;
use crate::ids::{ConversationId, MessageId, Rev, Seq, UserId, UserKind};
use crate::wire::frames::Timestamp;
use chrono::DateTime;
use rand::RngExt as _;
use rand::rngs::Xoshiro256PlusPlus;
use std::collections::{HashMap, HashSet};

pub(super) struct MessageRow {
    pub(super) seq: Seq,
    pub(super) id: MessageId,
    pub(super) author: UserId,
    pub(super) kind: UserKind,
    /// `None` once deleted.
    pub(super) body: Option<String>,
    pub(super) reply_to: Option<MessageId>,
    pub(super) posted_rev: Rev,
    pub(super) rev: Rev,
    /// That of the latest edit or deletion.
    pub(super) text_rev: Option<Rev>,
    /// Of what was first sent.
    pub(super) digest: [u8; 32],
    pub(super) created_at: Timestamp,
    pub(super) edited_at: Option<Timestamp>,
    pub(super) deleted_at: Option<Timestamp>,
}

pub(super) struct MemberRow {
    pub(super) user: UserId,
    pub(super) role: &'static str,
    pub(super) read_seq: Seq,
    pub(super) joined_rev: Rev,
    pub(super) joined_at: Timestamp,
}

pub(super) struct ReactionRow {
    pub(super) seq: Seq,
    pub(super) emoji: &'static str,
    pub(super) user: UserId,
    pub(super) created_at: Timestamp,
}

/// A conversation and everything that hangs on it.
pub(super) struct Timeline {
    pub(super) id: ConversationId,
    pub(super) founder: UserId,
    pub(super) title: String,
    pub(super) last_seq: Seq,
    pub(super) rev: Rev,
    pub(super) properties_rev: Rev,
    pub(super) created_at: Timestamp,
    pub(super) last_message_at: Option<Timestamp>,
    pub(super) members: Vec<MemberRow>,
    pub(super) messages: Vec<MessageRow>,
    pub(super) reactions: Vec<ReactionRow>,
}

/// What happens, in the order in which it is applied when it happens at one moment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// Somebody is added: the number of a person.
    Join(usize),
    /// The next message is posted.
    Post,
    Rename,
    /// Changes of a message, by its place in the order of posts.
    Edit(usize),
    React(usize, usize, &'static str),
    Delete(usize),
}

struct Moment {
    at_ms: i64,
    event: Event,
}

/// Tells a conversation from its first moment to its last.
pub(super) fn tell(
    plan: &DemoPlan,
    people: &[Person],
    room: &Room,
    said: &[Said],
    rng: &mut Xoshiro256PlusPlus,
) -> Timeline {
    let moments = moments(plan, people, room, said, rng);
    let mut teller = Teller::new(people, room, said);
    for Moment { at_ms, event } in moments {
        match event {
            Event::Join(person) => teller.join(person, at_ms),
            Event::Post => teller.post(rng),
            Event::Rename => {
                if let Some((title, _)) = &room.renamed {
                    teller.timeline.title.clone_from(title);
                    teller.timeline.properties_rev = teller.next_rev();
                }
            }
            Event::Edit(message) => teller.edit(message, at_ms),
            Event::React(message, person, emoji) => teller.react(message, person, emoji, at_ms),
            Event::Delete(message) => teller.delete(message, at_ms),
        }
    }
    teller.finish(rng)
}

/// Everything that happens, in its order. Nothing happens after the end of the plan.
fn moments(
    plan: &DemoPlan,
    people: &[Person],
    room: &Room,
    said: &[Said],
    rng: &mut Xoshiro256PlusPlus,
) -> Vec<Moment> {
    let until_ms = plan.until.timestamp_millis();
    let mut moments = Vec::with_capacity(said.len() + said.len() / 4 + room.members.len());
    for person in &room.members {
        let at_ms = people[*person].since_ms.max(room.created_ms);
        moments.push(Moment {
            at_ms,
            event: Event::Join(*person),
        });
    }
    if let Some((_, day)) = &room.renamed {
        let at_ms = (plan.day_ms(*day) + 39_600_000).max(room.created_ms);
        moments.push(Moment {
            at_ms,
            event: Event::Rename,
        });
    }
    for (n, Said { at_ms, .. }) in said.iter().enumerate() {
        moments.push(Moment {
            at_ms: *at_ms,
            event: Event::Post,
        });
        let mut later = |within_ms: i64, event| {
            let at_ms = at_ms + rng.random_range(800..within_ms);
            moments.push(Moment { at_ms, event });
        };
        let dice: f64 = f64::from(u32::try_from(n.wrapping_mul(2_654_435_761) % 10_000).unwrap_or(0)) / 10_000.0;
        if dice < 0.02 {
            later(240_000, Event::Edit(n));
        } else if dice < 0.026 {
            later(1_800_000, Event::Delete(n));
        } else if dice < 0.12 {
            for _ in 0..1 + geometric(0.45, 8, rng) {
                let person = room.members[rng.random_range(0..room.members.len())];
                let emoji = EMOJI[rng.random_range(0..EMOJI.len())];
                let at_ms = at_ms + rng.random_range(800..5_400_000);
                moments.push(Moment {
                    at_ms,
                    event: Event::React(n, person, emoji),
                });
            }
        }
    }
    moments.retain(|moment| moment.at_ms < until_ms);
    moments.sort_by_key(|moment| (moment.at_ms, moment.event));
    moments
}

/// The state of a conversation while it is told.
struct Teller<'a> {
    people: &'a [Person],
    room: &'a Room,
    said: &'a [Said],
    timeline: Timeline,
    /// Where each member is in the rows.
    places: HashMap<usize, usize>,
    reacted: HashSet<(usize, usize, &'static str)>,
}

fn at(ms: i64) -> Timestamp {
    DateTime::from_timestamp_millis(ms).unwrap_or_default()
}

impl<'a> Teller<'a> {
    fn new(people: &'a [Person], room: &'a Room, said: &'a [Said]) -> Self {
        let timeline = Timeline {
            id: room.id,
            founder: people[room.members[0]].id,
            title: room.title.clone(),
            last_seq: Seq::ZERO,
            rev: Rev::ZERO,
            properties_rev: Rev::ZERO,
            created_at: at(room.created_ms),
            last_message_at: None,
            members: Vec::with_capacity(room.members.len()),
            messages: Vec::with_capacity(said.len()),
            reactions: Vec::new(),
        };
        let mut teller = Self {
            people,
            room,
            said,
            timeline,
            places: HashMap::new(),
            reacted: HashSet::new(),
        };
        // The first revision is the founder's.
        teller.join(room.members[0], room.created_ms);
        teller
    }

    fn next_rev(&mut self) -> Rev {
        self.timeline.rev = self.timeline.rev.next();
        self.timeline.rev
    }

    fn join(&mut self, person: usize, at_ms: i64) {
        if self.places.contains_key(&person) {
            return;
        }
        let joined_rev = self.next_rev();
        self.places.insert(person, self.timeline.members.len());
        self.timeline.members.push(MemberRow {
            user: self.people[person].id,
            role: match person == self.room.members[0] {
                true => "owner",
                false => "member",
            },
            read_seq: self.timeline.last_seq,
            joined_rev,
            joined_at: at(at_ms),
        });
    }

    fn post(&mut self, rng: &mut Xoshiro256PlusPlus) {
        let Some(Said { at_ms, author }) = self.said.get(self.timeline.messages.len()).copied() else {
            return;
        };
        self.join(author, at_ms);
        let person = &self.people[author];
        let body = match person.is_agent() {
            true => phrases::of_agent(rng),
            false => phrases::of_person(rng),
        };
        let reply_to = match self.timeline.messages.len() {
            // Most are about one of the last few.
            known @ 1.. if rng.random_bool(0.16) => {
                let back = 1 + geometric(0.5, 12, rng).min(known - 1);
                self.timeline.messages.get(known - back).map(|message| message.id)
            }
            _ => None,
        };
        let (rev, seq) = (self.next_rev(), self.timeline.last_seq.next());
        self.timeline.last_seq = seq;
        self.timeline.last_message_at = Some(at(at_ms));
        if let Some(member) = self
            .places
            .get(&author)
            .and_then(|place| self.timeline.members.get_mut(*place))
        {
            member.read_seq = seq;
        }
        self.timeline.messages.push(MessageRow {
            seq,
            id: MessageId(id_at(at_ms, rng)),
            author: person.id,
            kind: person.kind,
            digest: digest(&body, reply_to),
            body: Some(body),
            reply_to,
            posted_rev: rev,
            rev,
            text_rev: None,
            created_at: at(at_ms),
            edited_at: None,
            deleted_at: None,
        });
    }

    fn edit(&mut self, message: usize, at_ms: i64) {
        let rev = self.timeline.rev.next();
        let Some(row) = self.timeline.messages.get_mut(message) else {
            return;
        };
        if let Some(body) = &mut row.body {
            body.push_str(" (edited)");
            (row.rev, row.text_rev, row.edited_at) = (rev, Some(rev), Some(at(at_ms)));
            self.timeline.rev = rev;
        }
    }

    fn react(&mut self, message: usize, person: usize, emoji: &'static str, at_ms: i64) {
        let rev = self.timeline.rev.next();
        let Some(row) = self.timeline.messages.get_mut(message) else {
            return;
        };
        let may = self.places.contains_key(&person) && row.deleted_at.is_none();
        if !may || !self.reacted.insert((message, person, emoji)) {
            return;
        }
        row.rev = rev;
        self.timeline.reactions.push(ReactionRow {
            seq: row.seq,
            emoji,
            user: self.people[person].id,
            created_at: at(at_ms),
        });
        self.timeline.rev = rev;
    }

    fn delete(&mut self, message: usize, at_ms: i64) {
        let rev = self.timeline.rev.next();
        let Some(row) = self.timeline.messages.get_mut(message) else {
            return;
        };
        (row.body, row.rev, row.text_rev, row.deleted_at) = (None, rev, Some(rev), Some(at(at_ms)));
        self.timeline.rev = rev;
    }

    /// Most have read most of it.
    fn finish(mut self, rng: &mut Xoshiro256PlusPlus) -> Timeline {
        let last = self.timeline.last_seq.0;
        for member in &mut self.timeline.members {
            let unread = match rng.random_range(0..10) {
                0..6 => 0,
                6..9 => i64::try_from(geometric(0.8, 40, rng)).unwrap_or(0),
                _ => last / 10,
            };
            member.read_seq = member.read_seq.max(Seq(last - unread));
        }
        self.timeline
    }
}

#[cfg(test)]
mod tests {
    use super::super::{cast, rhythm, rooms};
    use super::*;
    use rand::SeedableRng as _;
    use std::collections::BTreeSet;

    fn plan_of(seed: u64, messages: u64) -> (DemoPlan, Xoshiro256PlusPlus) {
        let plan = DemoPlan {
            seed,
            messages,
            people: 30,
            until: DateTime::from_timestamp(1_795_000_000, 0).unwrap(),
        };
        (plan, Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    fn year(seed: u64, messages: u64) -> Vec<Timeline> {
        let (plan, mut rng) = plan_of(seed, messages);
        let people = cast::make(&plan, &mut rng);
        let rooms = rooms::make(&plan, &people, &mut rng);
        rooms
            .iter()
            .map(|room| {
                let said = rhythm::talk(&plan, &people, room, &mut rng);
                tell(&plan, &people, room, &said, &mut rng)
            })
            .collect()
    }

    #[test]
    fn every_number_is_there_once_and_in_the_order_of_time() {
        let year = year(7, 4_000);
        assert_eq!(year.iter().map(|one| one.messages.len()).sum::<usize>(), 4_000);
        for one in &year {
            let members: BTreeSet<_> = one.members.iter().map(|member| member.user).collect();
            assert_eq!(members.len(), one.members.len());
            assert_eq!(one.members[0].role, "owner");
            let mut latest: BTreeSet<i64> = one.members.iter().map(|member| member.joined_rev.0).collect();
            for (n, message) in one.messages.iter().enumerate() {
                assert_eq!(message.seq.0, i64::try_from(n).unwrap() + 1);
                assert!(message.rev >= message.posted_rev && members.contains(&message.author));
                assert!(latest.insert(message.rev.0), "two things with one revision");
                assert_eq!(message.deleted_at.is_some(), message.body.is_none());
                assert!(n == 0 || one.messages[n - 1].created_at <= message.created_at);
                assert!(n == 0 || one.messages[n - 1].posted_rev < message.posted_rev);
                let earlier = &one.messages[..n];
                assert!(
                    message
                        .reply_to
                        .is_none_or(|id| earlier.iter().any(|other| other.id == id))
                );
            }
            if one.properties_rev > Rev::ZERO {
                assert!(latest.insert(one.properties_rev.0));
            }
            assert!(latest.last().is_some_and(|last| *last <= one.rev.0));
            assert_eq!(one.last_seq.0, i64::try_from(one.messages.len()).unwrap());
            assert_eq!(
                one.last_message_at,
                one.messages.last().map(|message| message.created_at)
            );
            assert!(one.members.iter().all(|member| member.read_seq <= one.last_seq));
            let posted = one.messages.len() + one.members.len() + one.reactions.len();
            assert!(one.rev.0 >= i64::try_from(posted).unwrap() - one.messages.len() as i64 / 10);
        }
    }

    #[test]
    fn the_same_seed_is_the_same_year() {
        let bodies = |seed| -> Vec<_> {
            let timelines = year(seed, 800).into_iter();
            timelines
                .flat_map(|one| one.messages)
                .map(|message| (message.id, message.body))
                .collect()
        };
        assert_eq!(bodies(1), bodies(1));
        assert_ne!(bodies(1), bodies(2));
    }

    #[test]
    fn nights_and_weekends_are_quiet() {
        use chrono::{Datelike as _, TimeDelta, Timelike as _};
        let (plan, mut rng) = plan_of(3, 6_000);
        let people = cast::make(&plan, &mut rng);
        let local = |message: &MessageRow| {
            let author = people.iter().find(|person| person.id == message.author).unwrap();
            let offset = TimeDelta::minutes(i64::from(author.offset_min));
            (!author.is_agent()).then(|| message.created_at + offset)
        };
        let times: Vec<_> = year(3, 6_000)
            .iter()
            .flat_map(|one| &one.messages)
            .filter_map(local)
            .collect();
        let share = |wanted: &dyn Fn(&Timestamp) -> bool| {
            times.iter().filter(|at| wanted(at)).count() as f64 / times.len() as f64
        };
        assert!(share(&|at| at.weekday().number_from_monday() > 5) < 0.1);
        assert!(share(&|at| at.hour() < 6) < 0.1);
        assert!(share(&|at| (9..18).contains(&at.hour())) > 0.5);
    }
}

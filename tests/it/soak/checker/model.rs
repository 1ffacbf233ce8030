//! A server as it should be, in memory: it makes valid histories, with everything that faults may leave open.
//!
//! Answers get lost and are asked for again, clients give up, sendings without an answer take effect late, readers break
//! off in the middle of a replay, and holes are filled with later states. The checker must find nothing in it, whatever
//! the order; `planted.rs` takes such a history and puts one wrong thing into it.

use super::super::history::{
    Attempt, Change, Event, History, Message, Operation, Outcome, Page, Reader, Room, Row, Stamp, Truth,
};
use super::check;
use parlance::ids::{MessageId, UserId};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// What becomes of a sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Plain,
    /// Done, but the answer is lost; asked for again.
    AnswerLost,
    /// Never arrives; sent again.
    FrameLost,
    /// Done, and the client never asks again.
    DoneAndAbandoned,
    /// Neither done nor asked for again.
    LostAndAbandoned,
}

impl Fate {
    const ALL: [Self; 5] = [
        Self::Plain,
        Self::AnswerLost,
        Self::FrameLost,
        Self::DoneAndAbandoned,
        Self::LostAndAbandoned,
    ];
}

#[derive(Default)]
struct Conversation {
    rows: Vec<Row>,
    /// What each revision changed: a message, by its place, or something else.
    log: Vec<Option<usize>>,
}

impl Conversation {
    fn rev(&self) -> i64 {
        i64::try_from(self.log.len()).unwrap()
    }
}

/// The server, and those who use it.
pub(super) struct Model {
    conversations: Vec<Conversation>,
    people: Vec<UserId>,
    /// How far each reader is, by reader and room.
    revs: Vec<Vec<i64>>,
    clock: Stamp,
    pub(super) history: History,
}

impl Model {
    pub(super) fn new(rooms: usize, readers: usize) -> Self {
        // As a new conversation with two members is.
        let conversation = || Conversation {
            log: vec![None, None],
            ..Conversation::default()
        };
        let reader = |number| Reader {
            name: format!("reader {number}"),
            rooms: (0..rooms).collect(),
            events: Vec::new(),
        };
        let mut model = Self {
            conversations: (0..rooms).map(|_| conversation()).collect(),
            people: (0..3).map(|_| UserId::new()).collect(),
            revs: vec![vec![0; rooms]; readers],
            clock: 0,
            history: History {
                readers: (0..readers).map(reader).collect(),
                ..History::default()
            },
        };
        for (reader, room) in (0..readers).flat_map(|reader| (0..rooms).map(move |room| (reader, room))) {
            model.resume(reader, room);
        }
        model
    }

    fn now(&mut self) -> Stamp {
        self.clock += 1;
        self.clock
    }

    /// Asks for a new message; its operation's number.
    pub(super) fn post(&mut self, author: usize, room: Room, fate: Fate) -> usize {
        let body = format!("text {}", self.history.operations.len());
        self.ask(author, room, MessageId::new(), Change::Post { body }, fate)
    }

    /// Asks for a change of a message, named by the operation that posted it.
    pub(super) fn change(&mut self, author: usize, post: usize, change: Change, fate: Fate) -> usize {
        let (room, message) = (
            self.history.operations[post].room,
            self.history.operations[post].message,
        );
        self.ask(author, room, message, change, fate)
    }

    pub(super) fn edit(&mut self, author: usize, post: usize, fate: Fate) -> usize {
        let body = format!("edited {}", self.history.operations.len());
        self.change(author, post, Change::Edit { body }, fate)
    }

    fn ask(&mut self, author: usize, room: Room, message: MessageId, change: Change, fate: Fate) -> usize {
        let author = self.people[author];
        let mut operation = Operation {
            author,
            room,
            message,
            change,
            attempts: Vec::new(),
            outcome: Outcome::Abandoned,
        };
        let rounds: &[(bool, bool)] = match fate {
            Fate::Plain => &[(true, true)],
            Fate::AnswerLost => &[(true, false), (true, true)],
            Fate::FrameLost => &[(false, false), (true, true)],
            Fate::DoneAndAbandoned => &[(true, false)],
            Fate::LostAndAbandoned => &[(false, false)],
        };
        for (arrives, settled) in rounds {
            let sent = self.now();
            operation.attempts.push(Attempt {
                connection: sent,
                sent,
                settled: *settled,
            });
            let answer = arrives.then(|| self.apply(room, author, message, &operation.change));
            if *settled {
                let at = self.now();
                operation.outcome = answer.unwrap().map_or(
                    Outcome::Refused {
                        code: "conflict".to_owned(),
                    },
                    |(seq, rev)| Outcome::Done { seq, rev, at },
                );
            }
        }
        self.history.operations.push(operation);
        self.history.operations.len() - 1
    }

    /// A sending that was never answered arrives now.
    pub(super) fn arrive_late(&mut self, operation: usize) {
        let Operation {
            author,
            room,
            message,
            change,
            ..
        } = self.history.operations[operation].clone();
        if self.history.operations[operation].is_uncertain() {
            self.apply(room, author, message, &change);
        }
    }

    /// Does what is asked for: the number and revision, or nothing in case of a conflict.
    fn apply(&mut self, room: Room, author: UserId, id: MessageId, change: &Change) -> Option<(Option<i64>, i64)> {
        let conversation = &mut self.conversations[room];
        let rev = conversation.rev() + 1;
        let found = conversation.rows.iter().position(|row| row.message.id == id);
        let Some(at) = found else {
            let Change::Post { body } = change else { return None };
            let seq = i64::try_from(conversation.rows.len()).unwrap() + 1;
            conversation.log.push(Some(conversation.rows.len()));
            conversation.rows.push(Row {
                message: Message {
                    id,
                    seq,
                    author,
                    body: Some(body.clone()),
                    edited: false,
                    deleted: false,
                    reactions: BTreeMap::new(),
                },
                rev,
                posted: rev,
                reacted: BTreeSet::new(),
            });
            return Some((Some(seq), rev));
        };
        let row = &mut conversation.rows[at];
        if let Change::Post { .. } = change {
            return Some((Some(row.message.seq), row.posted));
        }
        if row.message.deleted && *change != Change::Delete {
            return None;
        }
        let before = row.clone();
        match change {
            Change::Post { .. } => {}
            Change::Edit { body } if row.message.body.as_ref() == Some(body) => {}
            Change::Edit { body } => {
                (row.message.body, row.message.edited) = (Some(body.clone()), true);
            }
            Change::Delete => {
                (row.message.body, row.message.deleted) = (None, true);
                row.reacted.clear();
            }
            Change::React { emoji, on: true } => {
                row.reacted.insert((emoji.clone(), author));
            }
            Change::React { emoji, on: false } => {
                row.reacted.remove(&(emoji.clone(), author));
            }
        }
        row.message.reactions.clear();
        for (emoji, _) in &row.reacted {
            *row.message.reactions.entry(emoji.clone()).or_default() += 1;
        }
        if *row != before {
            row.rev = rev;
            conversation.log.push(Some(at));
        }
        Some((None, row.rev))
    }

    /// A reader is shown the next revisions, in the state that things are in now.
    pub(super) fn follow(&mut self, reader: usize, room: Room, count: usize) {
        let conversation = &self.conversations[room];
        for _ in 0..count {
            let rev = self.revs[reader][room] + 1;
            let Some(item) = conversation.log.get(usize::try_from(rev).unwrap() - 1) else {
                return;
            };
            let event = match item {
                None => Event::Passed { room, rev },
                Some(at) => Event::Shown {
                    room,
                    rev,
                    fresh: conversation.rows[*at].posted == rev,
                    message: conversation.rows[*at].message.clone(),
                },
            };
            self.history.readers[reader].events.push(event);
            self.revs[reader][room] = rev;
        }
    }

    /// A reader resumes, and is shown the net effect of what it missed.
    pub(super) fn resume(&mut self, reader: usize, room: Room) {
        if self.replay(reader, room, usize::MAX) {
            let rev = self.conversations[room].rev();
            self.revs[reader][room] = rev;
            self.history.readers[reader]
                .events
                .push(Event::Subscribed { room, rev });
        }
    }

    /// The same, or only its beginning; whether that was all.
    pub(super) fn replay(&mut self, reader: usize, room: Room, count: usize) -> bool {
        let conversation = &self.conversations[room];
        let (after, events) = (self.revs[reader][room], &mut self.history.readers[reader].events);
        events.push(Event::Subscribe { room });
        let mut latest = BTreeMap::new();
        for (item, rev) in conversation.log.iter().zip(1..).filter(|(_, rev)| *rev > after) {
            latest.insert(*item, rev);
        }
        let mut latest: Vec<(i64, Option<usize>)> = latest.into_iter().map(|(item, rev)| (rev, item)).collect();
        latest.sort_unstable();
        for (rev, item) in latest.iter().take(count) {
            let rev = *rev;
            events.push(match item {
                None => Event::Passed { room, rev },
                Some(at) => Event::Shown {
                    room,
                    rev,
                    fresh: conversation.rows[*at].posted > after,
                    message: conversation.rows[*at].message.clone(),
                },
            });
            self.revs[reader][room] = rev;
        }
        latest.len() <= count
    }

    /// Somebody reads the newest messages.
    pub(super) fn page(&mut self, room: Room) {
        let began = self.now();
        let rows = &self.conversations[room].rows;
        let newest = &rows[rows.len().saturating_sub(5)..];
        self.history.pages.push(Page {
            reader: "somebody".to_owned(),
            room,
            began,
            newest: true,
            messages: newest.iter().map(|row| row.message.clone()).collect(),
        });
    }

    /// Everybody becomes whole, and the database is looked at.
    pub(super) fn finish(mut self) -> History {
        let (readers, rooms) = (self.revs.len(), self.conversations.len());
        for (reader, room) in (0..readers).flat_map(|reader| (0..rooms).map(move |room| (reader, room))) {
            self.resume(reader, room);
        }
        self.look()
    }

    /// The database is looked at as everybody is now.
    pub(super) fn look(self) -> History {
        let truth = self.conversations.into_iter().map(|conversation| Truth {
            rev: conversation.rev(),
            last_seq: i64::try_from(conversation.rows.len()).unwrap(),
            rows: conversation.rows,
        });
        History {
            truth: truth.collect(),
            ..self.history
        }
    }

    /// Something happens, as a few random numbers say.
    fn step(&mut self, [what, who, how, more]: [usize; 4]) {
        const ROOMS: usize = 2;
        const READERS: usize = 2;
        let (room, reader, fate) = (who % ROOMS, more % READERS, Fate::ALL[how % Fate::ALL.len()]);
        let is_post = |operation: &Operation| matches!(operation.change, Change::Post { .. }) && operation.is_done();
        let posts: Vec<usize> = (0..self.history.operations.len())
            .filter(|number| is_post(&self.history.operations[*number]))
            .collect();
        let any = (!posts.is_empty()).then(|| posts[who % posts.len().max(1)]);
        let author_of = |model: &Self, post: usize| {
            let author = model.history.operations[post].author;
            model.people.iter().position(|person| *person == author).unwrap()
        };
        match (what % 14, any) {
            (0..=3, _) => {
                self.post(more % 3, room, fate);
            }
            (4..=5, Some(post)) => {
                self.edit(author_of(self, post), post, fate);
            }
            (6, Some(post)) => {
                self.change(author_of(self, post), post, Change::Delete, fate);
            }
            (7..=8, Some(post)) => {
                let (emoji, on) = ("👍".to_owned(), how % 2 == 0);
                self.change(more % 3, post, Change::React { emoji, on }, fate);
            }
            (9, Some(_)) => self.arrive_late(who % self.history.operations.len()),
            (10, _) => self.page(room),
            (11, _) => self.follow(reader, room, how % 7),
            (12, _) => self.resume(reader, room),
            _ => {
                // Broken off; it begins again where it was.
                if !self.replay(reader, room, how % 4) || how % 4 == 0 {
                    self.resume(reader, room);
                } else {
                    let rev = self.conversations[room].rev();
                    self.revs[reader][room] = rev;
                    self.history.readers[reader]
                        .events
                        .push(Event::Subscribed { room, rev });
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn valid_histories_pass(steps in prop::collection::vec([0..1_000_usize, 0..1_000, 0..1_000, 0..1_000], 0..120)) {
        let mut model = Model::new(2, 2);
        for step in &steps {
            model.step(*step);
        }
        let verdict = check(&model.finish());
        prop_assert!(verdict.violations.is_empty(), "{:#?}", verdict.violations);
    }
}

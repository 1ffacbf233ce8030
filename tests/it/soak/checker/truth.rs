//! What the database holds at the end, against what clients asked for and were told.

use super::super::history::{Change, History, Operation, Outcome, Row, Truth};
use super::{Book, Kind, Verdict};
use parlance::ids::{MessageId, UserId};
use std::collections::{BTreeMap, HashMap, HashSet};

pub(super) fn check(history: &History, book: &Book<'_>, verdict: &mut Verdict) {
    let mut places: HashMap<MessageId, usize> = HashMap::new();
    for (room, truth) in history.truth.iter().enumerate() {
        check_numbers(room, truth, verdict);
        for row in &truth.rows {
            let places = places.entry(row.message.id).or_default();
            *places += 1;
            if *places == 2 {
                verdict.add(Kind::Doubled, format!("{} is there twice", row.message.id));
            }
            check_row(room, row, book, verdict);
        }
    }
    for operation in &history.operations {
        check_outcome(operation, book, verdict);
    }
    check_order(history, verdict);
}

/// `seq` counts, and revisions grow with it.
fn check_numbers(room: usize, truth: &Truth, verdict: &mut Verdict) {
    let mut posted = 0;
    for (row, expected) in truth.rows.iter().zip(1..) {
        if row.message.seq != expected || row.posted <= posted || row.rev < row.posted || row.rev > truth.rev {
            let (seq, rev) = (row.message.seq, row.posted);
            verdict.add(
                Kind::SeqHole,
                format!("room {room} has number {seq} (revision {rev}) in place {expected}"),
            );
            return;
        }
        posted = row.posted;
    }
    if truth.last_seq != i64::try_from(truth.rows.len()).unwrap() {
        let (last, count) = (truth.last_seq, truth.rows.len());
        verdict.add(
            Kind::SeqHole,
            format!("room {room} counts {last} messages and has {count}"),
        );
    }
}

/// A message is what somebody wanted it to be.
fn check_row(room: usize, row: &Row, book: &Book<'_>, verdict: &mut Verdict) {
    let message = &row.message;
    let id = message.id;
    let Some(post) = book.post(id) else {
        return verdict.add(Kind::Phantom, format!("nobody sent {id} in room {room}"));
    };
    if (post.author, post.room) != (message.author, room) {
        return verdict.add(
            Kind::Phantom,
            format!("{id} was sent by another, or to another room than {room}"),
        );
    }
    let about = book.about(id);
    if message.deleted {
        if !book.knows_delete(id) || message.body.is_some() || !row.reacted.is_empty() {
            verdict.add(
                Kind::Phantom,
                format!("{id} is deleted, but by nobody, or not altogether"),
            );
        }
        return;
    }
    if about
        .iter()
        .any(|operation| operation.change == Change::Delete && operation.is_done())
    {
        return verdict.add(Kind::ChangeLost, format!("{id} was deleted and is there"));
    }
    check_body(row, about, book, verdict);
    check_reactions(row, about, verdict);
}

/// The text is that of the last acknowledged edit, unless one that was never answered came later.
fn check_body(row: &Row, about: &[&Operation], book: &Book<'_>, verdict: &mut Verdict) {
    let (id, found) = (row.message.id, row.message.body.as_deref().unwrap_or_default());
    if !book.knows_body(id, found) {
        return verdict.add(Kind::Phantom, format!("nobody wrote what {id} says: {found:?}"));
    }
    let (mut last, mut possible, mut edits, mut acknowledged) = ("", Vec::new(), 0, 0);
    for operation in about {
        match &operation.change {
            Change::Post { body } => last = body,
            Change::Edit { body } => {
                edits += 1;
                if operation.is_done() {
                    acknowledged += 1;
                    last = body;
                }
                if operation.is_uncertain() || !operation.is_done() {
                    possible.push(body.as_str());
                }
            }
            _ => {}
        }
    }
    if found != last && !possible.contains(&found) {
        verdict.add(
            Kind::ChangeLost,
            format!("{id} says {found:?}; acknowledged was {last:?}"),
        );
    } else if acknowledged > 0 && !row.message.edited {
        verdict.add(Kind::ChangeLost, format!("{id} was edited and does not say so"));
    } else if edits == 0 && row.message.edited {
        verdict.add(Kind::Phantom, format!("{id} is edited, by nobody"));
    }
}

fn check_reactions(row: &Row, about: &[&Operation], verdict: &mut Verdict) {
    let id = row.message.id;
    let mut wanted: BTreeMap<(String, UserId), Vec<(&Operation, bool)>> = BTreeMap::new();
    for operation in about {
        if let Change::React { emoji, on } = &operation.change {
            let key = (emoji.clone(), operation.author);
            wanted.entry(key).or_default().push((operation, *on));
        }
    }
    for key in &row.reacted {
        let wanted = wanted.get(key).is_some_and(|list| list.iter().any(|(_, on)| *on));
        if !wanted {
            verdict.add(Kind::Phantom, format!("{id} has a reaction of nobody: {key:?}"));
        }
    }
    for (key, list) in &wanted {
        let there = row.reacted.contains(key);
        let last = list.iter().rfind(|(operation, _)| operation.is_done());
        let as_acknowledged = last.is_some_and(|(_, on)| *on) == there;
        let possible = list
            .iter()
            .any(|(operation, on)| *on == there && (operation.is_uncertain() || !operation.is_done()));
        let never_wanted = there && !list.iter().any(|(_, on)| *on);
        if !as_acknowledged && !possible && !never_wanted {
            verdict.add(
                Kind::ChangeLost,
                format!("{id}: the reaction {key:?} is not as it was acknowledged"),
            );
        }
    }
}

/// What was acknowledged is there as it was said; nothing is left without an answer; refusals have a reason.
fn check_outcome(operation: &Operation, book: &Book<'_>, verdict: &mut Verdict) {
    let id = operation.message;
    let row = book.rows.get(&(operation.room, id));
    match &operation.outcome {
        Outcome::Open => verdict.add(
            Kind::Unanswered,
            format!("{id}: {:?} was never answered", operation.change),
        ),
        Outcome::Abandoned => {}
        Outcome::Refused { code } => {
            let of_the_deleted = matches!(operation.change, Change::Edit { .. } | Change::React { .. })
                && code == "conflict"
                && book.knows_delete(id);
            if !of_the_deleted {
                verdict.add(
                    Kind::WronglyRefused,
                    format!("{id}: {:?} was refused: {code}", operation.change),
                );
            }
        }
        Outcome::Done { seq, rev, .. } => match (row, seq) {
            (None, Some(seq)) => verdict.add(
                Kind::Lost,
                format!("{id}, acknowledged as {seq} of room {}", operation.room),
            ),
            (None, None) => {}
            (Some(row), Some(seq)) => {
                if (row.message.seq, row.posted) != (*seq, *rev) {
                    let found = (row.message.seq, row.posted);
                    verdict.add(
                        Kind::WrongReceipt,
                        format!("{id} is {found:?} and was acknowledged as {:?}", (seq, rev)),
                    );
                }
            }
            (Some(row), None) => {
                if *rev > row.rev {
                    verdict.add(
                        Kind::ChangeLost,
                        format!(
                            "{id}: {:?} was revision {rev}, but {} is the last",
                            operation.change, row.rev
                        ),
                    );
                }
            }
        },
    }
}

/// What was acknowledged before something was sent stands before it, and so does what one connection sent before.
fn check_order(history: &History, verdict: &mut Verdict) {
    let mut moments = Vec::new();
    let mut of_connections: HashMap<_, Vec<_>> = HashMap::new();
    for operation in &history.operations {
        let Outcome::Done { seq: Some(seq), at, .. } = operation.outcome else {
            continue;
        };
        moments.push((operation.began(), operation.room, seq, false));
        moments.push((at, operation.room, seq, true));
        if let [attempt] = operation.attempts[..] {
            let key = (operation.room, attempt.connection);
            of_connections.entry(key).or_default().push((attempt.sent, seq));
        }
    }
    moments.sort_unstable();
    let mut highest: HashMap<usize, i64> = HashMap::new();
    // Named once, by its own number, whatever shows it.
    let mut overtaking = HashSet::new();
    for (_, room, seq, is_receipt) in moments {
        let highest = highest.entry(room).or_default();
        if is_receipt {
            *highest = seq.max(*highest);
        } else if seq < *highest {
            overtaking.insert((room, seq));
        }
    }
    for ((room, _), mut sends) in of_connections {
        sends.sort_unstable();
        let back = sends.windows(2).filter(|pair| pair[1].1 < pair[0].1);
        overtaking.extend(back.map(|pair| (room, pair[1].1)));
    }
    for (room, seq) in overtaking {
        verdict.add(
            Kind::Overtaken,
            format!("number {seq} of room {room} stands before something older"),
        );
    }
}

//! What readers were shown, step by step and at the end, against what the database holds.

use super::super::history::{Event, History, Message, Outcome, Reader, Room};
use super::{Book, Kind, Verdict};
use parlance::ids::MessageId;
use std::collections::{HashMap, HashSet};

/// How far a reader is with a room.
#[derive(Default)]
struct Cursor<'a> {
    rev: i64,
    /// Whether the replay is over; then revisions have no holes.
    live: bool,
    /// Messages as they were shown last, and with which revision.
    known: HashMap<MessageId, (&'a Message, i64)>,
    seqs: HashSet<i64>,
    /// It has all numbers up to this.
    complete_to: i64,
    /// Something was wrong already, which is enough about this room.
    judged: bool,
}

pub(super) fn check_reader<'a>(reader: &'a Reader, book: &Book<'a>, verdict: &mut Verdict) {
    let mut cursors: HashMap<Room, Cursor<'a>> = HashMap::new();
    for event in &reader.events {
        let (Event::Subscribe { room }
        | Event::Subscribed { room, .. }
        | Event::Shown { room, .. }
        | Event::Passed { room, .. }) = event;
        let cursor = cursors.entry(*room).or_default();
        match event {
            Event::Subscribe { .. } => cursor.live = false,
            Event::Subscribed { rev, .. } => subscribed(reader, *room, *rev, cursor, book, verdict),
            Event::Passed { rev, .. } => advance(reader, *room, *rev, cursor, verdict),
            Event::Shown {
                rev, fresh, message, ..
            } => {
                advance(reader, *room, *rev, cursor, verdict);
                check_message(&reader.name, *room, message, book, verdict);
                let known = cursor.known.insert(message.id, (message, *rev)).is_some();
                cursor.seqs.insert(message.seq);
                // A replay repeats a message that changes while it lasts.
                if *fresh && cursor.live && known {
                    verdict.add(
                        Kind::Doubled,
                        format!("{} was shown {} as new twice", reader.name, message.id),
                    );
                }
            }
        }
    }
    for room in &reader.rooms {
        let cursor = cursors.entry(*room).or_default();
        if !cursor.judged {
            check_end(reader, *room, cursor, book, verdict);
        }
    }
}

/// Takes a revision in.
fn advance(reader: &Reader, room: Room, rev: i64, cursor: &mut Cursor<'_>, verdict: &mut Verdict) {
    let name = &reader.name;
    let before = cursor.rev;
    if rev <= before {
        verdict.add(
            Kind::Backwards,
            format!("{name} was shown revision {rev} of room {room} after {before}"),
        );
        cursor.judged = true;
    } else if cursor.live && rev != before + 1 {
        verdict.add(
            Kind::Gap,
            format!("{name} was shown revision {rev} of room {room} after {before}"),
        );
        cursor.judged = true;
    }
    cursor.rev = rev.max(before);
}

/// The end of a replay: now everything up to a revision is there.
fn subscribed(reader: &Reader, room: Room, rev: i64, cursor: &mut Cursor<'_>, book: &Book<'_>, verdict: &mut Verdict) {
    let name = &reader.name;
    if rev < cursor.rev {
        let before = cursor.rev;
        verdict.add(
            Kind::Backwards,
            format!("{name} resumed room {room} at {rev}, after {before}"),
        );
        cursor.judged = true;
    }
    (cursor.live, cursor.rev) = (true, rev.max(cursor.rev));
    while cursor.seqs.contains(&(cursor.complete_to + 1)) {
        cursor.complete_to += 1;
    }
    let posted = book.history.truth[room].rows.partition_point(|row| row.posted <= rev);
    let posted = i64::try_from(posted).unwrap();
    if cursor.complete_to < posted && !cursor.judged {
        let missing = cursor.complete_to + 1;
        verdict.add(
            Kind::MissedByResume,
            format!("{name} resumed room {room} at {rev} without number {missing} of {posted}"),
        );
        cursor.judged = true;
    }
}

fn check_end(reader: &Reader, room: Room, cursor: &Cursor<'_>, book: &Book<'_>, verdict: &mut Verdict) {
    let truth = &book.history.truth[room];
    let mut not_whole = |what: String| {
        verdict.add(Kind::NotWhole, format!("{} in room {room}: {what}", reader.name));
    };
    if !cursor.live || cursor.rev != truth.rev {
        let (rev, live) = (cursor.rev, cursor.live);
        return not_whole(format!("it has revision {rev} of {} (live: {live})", truth.rev));
    }
    for row in &truth.rows {
        let id = row.message.id;
        match cursor.known.get(&id) {
            Some((message, rev)) if **message == row.message && *rev == row.rev => {}
            // Said already.
            Some((message, _)) if message.seq != row.message.seq => {}
            Some((message, rev)) => {
                return not_whole(format!("it has {message:?} of revision {rev}, and there is {row:?}"));
            }
            None => return not_whole(format!("{id} is missing, number {}", row.message.seq)),
        }
    }
}

/// What is shown is there, where it is shown, and says what somebody wrote.
fn check_message(who: &str, room: Room, message: &Message, book: &Book<'_>, verdict: &mut Verdict) {
    let id = message.id;
    let Some(row) = book.rows.get(&(room, id)) else {
        let acknowledged = book.post(id).is_some_and(|post| post.is_done() && post.room == room);
        if !acknowledged {
            verdict.add(
                Kind::Phantom,
                format!("{who} was shown {id} in room {room}, which is not there"),
            );
        }
        return;
    };
    if message.seq != row.message.seq {
        let (seq, there) = (message.seq, row.message.seq);
        return verdict.add(
            Kind::Misplaced,
            format!("{who} was shown {id} as {seq} of room {room}; it is {there}"),
        );
    }
    let wanted = match &message.body {
        Some(body) => book.knows_body(id, body) && !message.deleted,
        None => message.deleted && book.knows_delete(id),
    };
    if !wanted || message.author != row.message.author {
        verdict.add(
            Kind::Phantom,
            format!("{who} was shown {message:?}, which nobody wrote so"),
        );
    }
}

pub(super) fn check_pages(history: &History, book: &Book<'_>, verdict: &mut Verdict) {
    // For each room, when which number had been acknowledged.
    let mut receipts: HashMap<Room, Vec<(u64, i64)>> = HashMap::new();
    for operation in &history.operations {
        if let Outcome::Done { seq: Some(_), at, .. } = operation.outcome
            && let Some(row) = book.rows.get(&(operation.room, operation.message))
        {
            receipts.entry(operation.room).or_default().push((at, row.message.seq));
        }
    }
    for list in receipts.values_mut() {
        list.sort_unstable();
        let mut highest = 0;
        for (_, seq) in list {
            highest = highest.max(*seq);
            *seq = highest;
        }
    }
    for page in &history.pages {
        for message in &page.messages {
            check_message(&page.reader, page.room, message, book, verdict);
        }
        let torn = page.messages.windows(2).any(|pair| pair[1].seq != pair[0].seq + 1);
        let before = receipts.get(&page.room).map_or(&[][..], Vec::as_slice);
        let at = before.partition_point(|(at, _)| *at < page.began);
        let acknowledged = before[..at].last().map_or(0, |(_, seq)| *seq);
        let newest = page.messages.last().map_or(0, |message| message.seq);
        if torn || (page.newest && newest < acknowledged) {
            verdict.add(
                Kind::StalePage,
                format!(
                    "{} read a page of room {} that ends at {newest} (holes: {torn}), after {acknowledged} was acknowledged",
                    page.reader, page.room
                ),
            );
        }
    }
}

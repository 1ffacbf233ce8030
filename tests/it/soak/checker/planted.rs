//! Planted violations: a valid history with one thing wrong in it, of every kind; the checker names that, and nothing else.

use super::super::history::{Change, Event, History, Operation, Outcome};
use super::model::{Fate, Model};
use super::{Kind, check};
use parlance::ids::MessageId;
use std::collections::BTreeSet;

/// Two rooms, some messages and changes, and so many readers that follow live.
fn usual(readers: usize) -> History {
    let mut model = Model::new(2, readers);
    let first = model.post(0, 0, Fate::Plain);
    model.post(1, 0, Fate::AnswerLost);
    model.post(0, 1, Fate::Plain);
    let third = model.post(2, 0, Fate::Plain);
    follow(&mut model, readers);
    model.edit(0, first, Fate::Plain);
    follow(&mut model, readers);
    let emoji = "👍".to_owned();
    model.change(1, third, Change::React { emoji, on: true }, Fate::Plain);
    model.post(1, 0, Fate::Plain);
    follow(&mut model, readers);
    model.page(0);
    model.look()
}

fn follow(model: &mut Model, readers: usize) {
    for reader in 0..readers {
        model.follow(reader, 0, 100);
        model.follow(reader, 1, 100);
    }
}

/// The number of the first operation that is like this.
fn first(history: &History, like: impl Fn(&Operation) -> bool) -> usize {
    history.operations.iter().position(like).unwrap()
}

fn is_edit(operation: &Operation) -> bool {
    matches!(operation.change, Change::Edit { .. })
}

fn is_reaction(operation: &Operation) -> bool {
    matches!(operation.change, Change::React { .. })
}

/// The place of the first frame that is like this in what the first reader was shown.
fn frame(history: &History, like: impl Fn(&Event) -> bool) -> usize {
    history.readers[0].events.iter().position(like).unwrap()
}

fn is_update(event: &Event) -> bool {
    matches!(event, Event::Shown { fresh: false, .. })
}

fn lost() -> Vec<History> {
    let mut history = usual(1);
    let mut post = history.operations[0].clone();
    post.message = MessageId::new();
    let at = 1_000;
    post.attempts[0].sent = 999;
    post.outcome = Outcome::Done {
        seq: Some(5),
        rev: 9,
        at,
    };
    history.operations.push(post);
    vec![history]
}

fn doubled() -> Vec<History> {
    let mut twice_there = usual(0);
    let truth = &mut twice_there.truth[0];
    let mut row = truth.rows[1].clone();
    (row.message.seq, row.posted, row.rev) = (5, truth.rev + 1, truth.rev + 1);
    truth.rows.push(row);
    (truth.last_seq, truth.rev) = (5, truth.rev + 1);

    let mut shown_twice = usual(1);
    let at = frame(&shown_twice, is_update);
    if let Event::Shown { fresh, .. } = &mut shown_twice.readers[0].events[at] {
        *fresh = true;
    }
    vec![twice_there, shown_twice]
}

fn phantom() -> Vec<History> {
    let mut nobody_sent = usual(0);
    nobody_sent.operations.remove(1);

    let mut sent_elsewhere = usual(0);
    sent_elsewhere.operations[1].room = 1;
    sent_elsewhere.operations[1].outcome = Outcome::Abandoned;

    let mut other_text = usual(0);
    other_text.pages.clear();
    other_text.truth[0].rows[1].message.body = Some("never said".to_owned());

    let mut shown_other_text = usual(1);
    let at = frame(&shown_other_text, |event| matches!(event, Event::Shown { .. }));
    if let Event::Shown { message, .. } = &mut shown_other_text.readers[0].events[at] {
        assert_eq!(message.seq, 1, "it is edited later");
        message.body = Some("never said".to_owned());
    }

    let mut shown_uncommitted = usual(1);
    let at = frame(&shown_uncommitted, is_update);
    if let Event::Shown { message, .. } = &mut shown_uncommitted.readers[0].events[at] {
        message.id = MessageId::new();
    }
    // It sees the right one after all.
    let last = shown_uncommitted.truth[0].rev;
    shown_uncommitted.readers[0].events.push(Event::Subscribe { room: 0 });
    shown_uncommitted.truth[0].rev = last + 1;
    let row = &mut shown_uncommitted.truth[0].rows[0];
    row.rev = last + 1;
    let shown = Event::Shown {
        room: 0,
        rev: last + 1,
        fresh: false,
        message: row.message.clone(),
    };
    let over = Event::Subscribed { room: 0, rev: last + 1 };
    shown_uncommitted.readers[0].events.extend([shown, over]);

    let mut deleted_by_nobody = usual(0);
    deleted_by_nobody.pages.clear();
    let message = &mut deleted_by_nobody.truth[0].rows[1].message;
    (message.deleted, message.body) = (true, None);

    let mut edited_by_nobody = usual(0);
    edited_by_nobody.truth[0].rows[1].message.edited = true;

    let mut reaction_of_nobody = usual(0);
    let author = reaction_of_nobody.operations[0].author;
    let row = &mut reaction_of_nobody.truth[0].rows[1];
    row.reacted.insert(("👎".to_owned(), author));
    vec![
        nobody_sent,
        sent_elsewhere,
        other_text,
        shown_other_text,
        shown_uncommitted,
        deleted_by_nobody,
        edited_by_nobody,
        reaction_of_nobody,
    ]
}

fn misplaced() -> Vec<History> {
    let mut history = usual(1);
    let at = frame(&history, is_update);
    if let Event::Shown { message, .. } = &mut history.readers[0].events[at] {
        message.seq += 1;
    }
    vec![history]
}

fn seq_hole() -> Vec<History> {
    let mut model = Model::new(1, 0);
    model.post(0, 0, Fate::Plain);
    model.post(0, 0, Fate::DoneAndAbandoned);
    model.post(0, 0, Fate::Plain);
    let mut hole = model.look();
    hole.truth[0].rows.remove(1);
    let mut miscounted = usual(0);
    miscounted.truth[0].last_seq += 1;
    let mut against_revisions = usual(0);
    // Not the receipts' fault.
    against_revisions.pages.clear();
    against_revisions.operations.retain(|operation| !is_edit(operation));
    let rows = &mut against_revisions.truth[0].rows;
    (rows[0].message.edited, rows[0].message.body) = (false, Some("text 0".to_owned()));
    let (first, second) = (rows[0].posted, rows[1].posted);
    (rows[0].posted, rows[1].posted) = (second, first);
    (rows[0].rev, rows[1].rev) = (second, first);
    for operation in &mut against_revisions.operations[..2] {
        if let Outcome::Done { rev, .. } = &mut operation.outcome {
            *rev = if *rev == first { second } else { first };
        }
    }
    vec![hole, miscounted, against_revisions]
}

fn wrong_receipt() -> Vec<History> {
    let (mut of_rev, mut of_seq) = (usual(1), usual(1));
    if let Outcome::Done { rev, .. } = &mut of_rev.operations[0].outcome {
        *rev += 1;
    }
    let last = of_seq.operations.len() - 1;
    if let Outcome::Done { seq: Some(seq), .. } = &mut of_seq.operations[last].outcome {
        *seq += 1;
    }
    vec![of_rev, of_seq]
}

fn overtaken() -> Vec<History> {
    let mut by_receipt = usual(1);
    by_receipt.operations[0].attempts[0].sent = 900;
    if let Outcome::Done { at, .. } = &mut by_receipt.operations[0].outcome {
        *at = 901;
    }
    // Both under way at the same time, so that only their connection gives an order.
    let mut by_sending = usual(1);
    let others = [0, 3];
    for (number, sent) in others.into_iter().zip([901, 900]) {
        let operation = &mut by_sending.operations[number];
        (operation.attempts[0].sent, operation.attempts[0].connection) = (sent, 7);
        if let Outcome::Done { at, .. } = &mut operation.outcome {
            *at = 910;
        }
    }
    for operation in &mut by_sending.operations {
        // Nothing else was acknowledged before.
        if let Outcome::Done { at, .. } = &mut operation.outcome {
            *at = 910;
        }
    }
    by_sending.pages.clear();
    vec![by_receipt, by_sending]
}

fn change_lost() -> Vec<History> {
    let mut edit = usual(0);
    edit.truth[0].rows[0].message.body = Some("text 0".to_owned());

    let mut mark = usual(0);
    mark.truth[0].rows[0].message.edited = false;

    let mut earlier_edit_holds = Model::new(1, 0);
    let post = earlier_edit_holds.post(0, 0, Fate::Plain);
    earlier_edit_holds.edit(0, post, Fate::Plain);
    earlier_edit_holds.edit(0, post, Fate::Plain);
    let mut earlier_edit_holds = earlier_edit_holds.look();
    earlier_edit_holds.truth[0].rows[0].message.body = Some("edited 1".to_owned());

    let mut deletion = Model::new(1, 0);
    let post = deletion.post(0, 0, Fate::Plain);
    deletion.change(0, post, Change::Delete, Fate::Plain);
    let mut deletion = deletion.look();
    let message = &mut deletion.truth[0].rows[0].message;
    (message.deleted, message.body) = (false, Some("text 0".to_owned()));

    let mut reaction = usual(0);
    reaction.truth[0].rows[2].reacted = BTreeSet::new();

    let mut withdrawn = Model::new(1, 0);
    let post = withdrawn.post(0, 0, Fate::Plain);
    for on in [true, false] {
        let emoji = "👍".to_owned();
        withdrawn.change(1, post, Change::React { emoji, on }, Fate::Plain);
    }
    let mut withdrawn = withdrawn.look();
    let author = withdrawn.operations[1].author;
    withdrawn.truth[0].rows[0].reacted.insert(("👍".to_owned(), author));

    let mut revision = usual(0);
    let number = first(&revision, is_reaction);
    if let Outcome::Done { rev, .. } = &mut revision.operations[number].outcome {
        *rev += 1;
    }
    vec![edit, mark, earlier_edit_holds, deletion, reaction, withdrawn, revision]
}

fn gap() -> Vec<History> {
    let (mut of_message, mut of_update) = (usual(2), usual(2));
    let at = frame(&of_message, |event| matches!(event, Event::Shown { fresh: true, .. }));
    of_message.readers[0].events.remove(at);
    let at = frame(&of_update, is_update);
    of_update.readers[0].events.remove(at);
    vec![of_message, of_update]
}

fn backwards() -> Vec<History> {
    let mut repeated = usual(1);
    let at = frame(&repeated, is_update);
    let event = repeated.readers[0].events[at].clone();
    repeated.readers[0].events.insert(at, event);
    let mut resumed_earlier = usual(1);
    let rev = resumed_earlier.truth[0].rev - 1;
    let events = &mut resumed_earlier.readers[0].events;
    events.extend([Event::Subscribe { room: 0 }, Event::Subscribed { room: 0, rev }]);
    vec![repeated, resumed_earlier]
}

fn missed_by_resume() -> Vec<History> {
    let mut model = Model::new(1, 1);
    for _ in 0..3 {
        model.post(0, 0, Fate::Plain);
    }
    model.resume(0, 0);
    let mut history = model.look();
    let at = frame(&history, |event| matches!(event, Event::Shown { rev: 4, .. }));
    history.readers[0].events.remove(at);
    vec![history]
}

fn not_whole() -> Vec<History> {
    let (mut behind, mut old_state, mut never_came) = (usual(2), usual(1), usual(1));
    behind.readers[1].events.pop();
    let at = frame(&old_state, is_update);
    if let Event::Shown { message, .. } = &mut old_state.readers[0].events[at] {
        message.body = Some("text 0".to_owned());
    }
    never_came.readers[0].events.push(Event::Subscribe { room: 1 });
    vec![behind, old_state, never_came]
}

fn unanswered() -> Vec<History> {
    let mut history = usual(1);
    let number = first(&history, is_reaction);
    history.operations[number].outcome = Outcome::Open;
    vec![history]
}

fn wrongly_refused() -> Vec<History> {
    let (mut edit, mut post) = (usual(1), Model::new(1, 1));
    let number = first(&edit, is_edit);
    let conflict = Outcome::Refused {
        code: "conflict".to_owned(),
    };
    edit.operations[number].outcome = conflict.clone();
    let refused = post.post(0, 0, Fate::LostAndAbandoned);
    let mut post = post.look();
    post.operations[refused].outcome = conflict;
    vec![edit, post]
}

fn stale_page() -> Vec<History> {
    let (mut old, mut torn) = (usual(1), usual(1));
    old.pages[0].messages.pop();
    torn.pages[0].messages.remove(1);
    vec![old, torn]
}

fn plants(kind: Kind) -> Vec<History> {
    match kind {
        Kind::Lost => lost(),
        Kind::Doubled => doubled(),
        Kind::Phantom => phantom(),
        Kind::Misplaced => misplaced(),
        Kind::SeqHole => seq_hole(),
        Kind::WrongReceipt => wrong_receipt(),
        Kind::Overtaken => overtaken(),
        Kind::ChangeLost => change_lost(),
        Kind::Gap => gap(),
        Kind::Backwards => backwards(),
        Kind::MissedByResume => missed_by_resume(),
        Kind::NotWhole => not_whole(),
        Kind::Unanswered => unanswered(),
        Kind::WronglyRefused => wrongly_refused(),
        Kind::StalePage => stale_page(),
    }
}

#[track_caller]
fn is_named_alone(kind: Kind) {
    for (number, history) in plants(kind).iter().enumerate() {
        let verdict = check(history);
        let kinds: Vec<_> = verdict.kinds().into_keys().collect();
        assert_eq!(kinds, [kind], "plant {number}: {:#?}", verdict.violations);
    }
}

#[test]
fn the_soil_is_clean() {
    for readers in 0..3 {
        let verdict = check(&usual(readers));
        assert!(verdict.violations.is_empty(), "{:#?}", verdict.violations);
    }
    assert!(Kind::ALL.iter().all(|kind| !plants(*kind).is_empty()));
}

macro_rules! planted {
    ($($test:ident: $kind:ident),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                is_named_alone(Kind::$kind);
            }
        )*
    };
}

planted! {
    a_lost_message_is_named: Lost,
    a_doubled_message_is_named: Doubled,
    a_phantom_is_named: Phantom,
    a_misplaced_message_is_named: Misplaced,
    a_hole_in_the_numbers_is_named: SeqHole,
    a_wrong_receipt_is_named: WrongReceipt,
    an_overtaken_message_is_named: Overtaken,
    a_lost_change_is_named: ChangeLost,
    a_gap_is_named: Gap,
    a_step_back_is_named: Backwards,
    a_message_that_a_replay_missed_is_named: MissedByResume,
    a_reader_who_is_not_whole_is_named: NotWhole,
    a_missing_answer_is_named: Unanswered,
    a_wrong_refusal_is_named: WronglyRefused,
    a_stale_page_is_named: StalePage,
}

//! What passes and is not stored, and what is said once: typing, read markers, notices, farewells.

use super::*;

fn ticked(state: &mut ConversationState, now: Millis) -> Vec<Effect> {
    let mut effects = Vec::new();
    state.tick(now, &mut effects);
    effects
}

#[test]
fn typing_is_passed_on_every_three_seconds_and_expires_after_twelve() {
    let model = Model::new();
    let (mut state, user) = (model.state(), model.users[0]);
    let said = |state: &mut ConversationState, on, now| {
        let mut effects = Vec::new();
        state.typing(user, on, now, &mut effects);
        effects
    };
    assert_eq!(said(&mut state, true, 0), [Effect::BroadcastTyping { user, on: true }]);
    assert_eq!(said(&mut state, true, 2_999), []);
    assert_eq!(
        said(&mut state, true, 3_000),
        [Effect::BroadcastTyping { user, on: true }]
    );
    assert_eq!(state.next_deadline(), Some(15_000));
    assert_eq!(
        ticked(&mut state, 15_000),
        [Effect::BroadcastTyping { user, on: false }]
    );
    assert_eq!(state.next_deadline(), None);
    assert_eq!(
        said(&mut state, true, 16_000),
        [Effect::BroadcastTyping { user, on: true }]
    );
    assert_eq!(
        said(&mut state, false, 16_100),
        [Effect::BroadcastTyping { user, on: false }]
    );
    assert_eq!(said(&mut state, false, 16_100), []);
    assert_eq!(said(&mut state, true, 16_200), [], "flicker is not passed on");
    assert_eq!(ticked(&mut state, 19_000), []);
    assert_eq!(
        said(&mut state, true, 19_000),
        [Effect::BroadcastTyping { user, on: true }]
    );
}

#[test]
fn read_markers_go_forward_are_clamped_and_pushed_once_a_second() {
    let mut model = Model::new();
    let mut state = model.state();
    let user = model.users[1];
    let mut effects = Vec::new();
    let posts = (0..3).map(|_| model.post(0)).collect();
    state.committed(posts, Rev::ZERO, 0, &mut effects);
    effects.clear();
    state.read(user, Seq(99), 0, &mut effects);
    assert!(effects.contains(&Effect::MarkRead { user, seq: Seq(3) }));
    effects.clear();
    state.read(user, Seq(2), 0, &mut effects);
    assert!(effects.is_empty());
    let effects = ticked(&mut state, 100);
    assert!(effects.contains(&Effect::BroadcastRead { user, seq: Seq(3) }));
    assert_eq!(state.subscribed(user, None, true).read_seq, Seq(3));
}

fn notified(effects: &[Effect]) -> Option<&NoticeRecipients> {
    effects.iter().find_map(|effect| match effect {
        Effect::Notify(recipients) => Some(recipients),
        _ => None,
    })
}

#[test]
fn notices_go_to_everybody_at_most_once_a_second() {
    let mut model = Model::new();
    let mut state = model.state();
    let mut effects = Vec::new();
    state.committed(vec![model.post(0), model.post(0)], Rev::ZERO, 0, &mut effects);
    let ticked_effects = ticked(&mut state, 100);
    assert!(notified(&ticked_effects).is_some_and(|recipients| recipients.all));
    let mut unread = HashMap::new();
    state.each_recipient(notified(&ticked_effects).unwrap(), |user, count| {
        unread.insert(user, count);
    });
    assert_eq!(
        (unread.len(), unread[&model.users[0]], unread[&model.users[1]]),
        (4, 0, 2)
    );
    state.committed(vec![model.post(0), model.post(1)], Rev::ZERO, 200, &mut effects);
    assert_eq!(ticked(&mut state, 1_000), []);
    assert!(notified(&ticked(&mut state, 1_100)).is_some());
    assert_eq!(ticked(&mut state, 10_000), []);
}

#[test]
fn lists_learn_of_what_they_show_and_of_nothing_else() {
    let mut model = Model::new();
    let mut state = model.state();
    let mut now = 0;
    // Whether a change is worth a notice to everybody.
    let mut tells_all = |state: &mut ConversationState, change: Change| {
        now += 10_000;
        state.committed(vec![change], Rev::ZERO, now, &mut Vec::new());
        now += 10_000;
        notified(&ticked(state, now)).is_some_and(|recipients| recipients.all)
    };
    let first = model.post(0);
    let last = model.post(1);
    assert!(tells_all(&mut state, first.clone()) && tells_all(&mut state, last.clone()));
    let of = |change: &Change| match change {
        Change::Message(message) => (**message).clone(),
        _ => panic!("not a message"),
    };
    let mut again = |message: &Message| {
        let rev = model.rev().next();
        model.commit(Change::Message(Arc::new(Message { rev, ..message.clone() })))
    };
    let edited = |message: &Message| Message {
        body: Some("edited".into()),
        ..message.clone()
    };
    let earlier = again(&edited(&of(&first)));
    assert!(!tells_all(&mut state, earlier), "an earlier message is not shown");
    let reacted = again(&of(&last));
    assert!(!tells_all(&mut state, reacted), "reactions are not shown");
    let latest = again(&edited(&of(&last)));
    assert!(tells_all(&mut state, latest));
    let deleted = again(&Message {
        body: None,
        deleted_at: Some(AT),
        ..of(&last)
    });
    assert!(tells_all(&mut state, deleted));
    assert_eq!(state.notice().last_message.map(|last| last.body), Some(None));
    let renamed = model.rename();
    assert!(tells_all(&mut state, renamed));
    assert_eq!(state.notice().title, state.title);
}

#[test]
fn a_successor_tells_everybody_what_its_predecessor_may_not_have_told() {
    let model = Model::new();
    let mut state = model.state();
    state.succeeds(0);
    assert!(notified(&ticked(&mut state, 1_000)).is_some_and(|recipients| recipients.all));
}

#[test]
fn a_deleted_conversation_sends_no_notice_of_its_last_message() {
    let mut model = Model::new();
    let mut state = model.state();
    let posted = model.post(0);
    let deleted = model.commit(Change::Properties(Arc::new(ConversationChanged {
        conversation: model.id,
        rev: model.rev().next(),
        title: "title".into(),
        deleted_at: Some(AT),
    })));
    state.committed(vec![posted, deleted], Rev::ZERO, 0, &mut Vec::new());
    assert_eq!(ticked(&mut state, 10_000), []);
    assert_eq!(state.next_deadline(), None);
}

#[test]
fn someone_removed_gets_the_farewell_and_then_nothing() {
    let mut model = Model::new();
    let mut state = model.state();
    let mut effects = Vec::new();
    let user = model.users[0];
    state.committed(vec![model.toggle_member(0)], Rev::ZERO, 0, &mut effects);
    let broadcast = effects.iter().position(|effect| matches!(effect, Effect::Broadcast(_)));
    let detached = effects
        .iter()
        .position(|effect| matches!(effect, Effect::Detach { user: gone, .. } if *gone == user));
    assert!(broadcast < detached && detached.is_some());
    assert_eq!(state.role_of(user), None);
}

/// A message of the gap was edited while the gap was read, and so is not in what was read.
#[test]
fn a_hole_is_never_filled_with_a_message_that_was_posted_later() {
    let mut model = Model::new();
    let mut state = model.state();
    let (lost, found) = (model.post(1), model.post(2));
    let mut effects = Vec::new();
    state.caught_up(std::slice::from_ref(&found), found.rev(), 0, &mut effects);
    let shown: Vec<Change> = effects
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Broadcast(change) => Some(change),
            _ => None,
        })
        .collect();
    assert_eq!(
        shown.iter().map(Change::rev).collect::<Vec<_>>(),
        [lost.rev(), found.rev()]
    );
    assert_eq!(shown[0].thing(), Thing::Properties);
    assert_eq!(shown[1], found);
}

/// Whoever can publish to the bus may name any revision.
#[test]
fn a_revision_that_nobody_committed_is_asked_for_once() {
    let mut model = Model::new();
    let mut state = model.state();
    let (mut now, mut asked, mut effects) = (0, Vec::new(), Vec::new());
    let mut run = |state: &mut ConversationState, model: &Model, until: Millis, observed: &[Rev]| {
        for rev in observed {
            state.committed(Vec::new(), *rev, now, &mut effects);
        }
        while now < until {
            now += 10;
            state.tick(now, &mut effects);
            for effect in std::mem::take(&mut effects) {
                if let Effect::CatchUp { after } = effect {
                    asked.push(now);
                    let found = model.net_effect(after, model.rev());
                    state.caught_up(&found, model.rev(), now, &mut effects);
                }
            }
        }
        std::mem::take(&mut asked)
    };
    assert_eq!(run(&mut state, &model, 60_000, &[Rev(i64::MAX)]).len(), 1);
    assert_eq!(state.next_deadline(), None);
    // Named again and again, it is asked for once a second at most.
    let mut times = Vec::new();
    for round in 1..=500 {
        times.extend(run(&mut state, &model, 60_000 + 20 * round, &[Rev(i64::MAX)]));
    }
    assert!((8..=11).contains(&times.len()), "{times:?}");
    run(&mut state, &model, 75_000, &[]);
    // What is there is found all the same, and the next at once again.
    for (began, patience) in [(80_000, 1_010), (90_000, 60)] {
        let rev = model.post(1).rev();
        assert!(run(&mut state, &model, began, &[]).is_empty());
        let times = run(&mut state, &model, began + 5_000, &[rev]);
        assert!(times.len() == 1 && times[0] <= began + patience, "{times:?}");
        assert_eq!(state.rev, rev);
    }
}

//! The state against a model: a sequencer that knows everything, commits that are lost, late and
//! doubled, and readers that come and go. Whatever the interleaving, a live reader sees every
//! revision once and in order, and at the end every reader's view is what the sequencer holds.

use super::*;
use crate::conversations::change_log::latest_of_each;
use crate::conversations::effects::NoticeRecipients;
use crate::conversations::replay_plan::ReplayPlan;
use crate::ids::{MessageId, UserKind};
use crate::wire::Thing;
use crate::wire::frames::MemberUser;
use proptest::prelude::*;
use std::collections::HashSet;

const AT: Timestamp = Timestamp::UNIX_EPOCH;

/// Everything that was ever committed, in order.
struct Model {
    id: ConversationId,
    history: Vec<Change>,
    users: Vec<UserId>,
    posted: Vec<MessageId>,
}

impl Model {
    fn new() -> Self {
        Self {
            id: ConversationId::new(),
            history: Vec::new(),
            users: (0..4).map(|_| UserId::new()).collect(),
            posted: Vec::new(),
        }
    }

    fn rev(&self) -> Rev {
        Rev(self.history.len() as i64)
    }

    fn message(&self, id: MessageId) -> Arc<Message> {
        let found = self.history.iter().rev().find_map(|change| match change {
            Change::Message(message) if message.id == id => Some(message.clone()),
            _ => None,
        });
        found.unwrap()
    }

    fn commit(&mut self, change: Change) -> Change {
        assert_eq!(change.rev(), self.rev().next());
        self.history.push(change.clone());
        change
    }

    fn post(&mut self, author: usize) -> Change {
        let (id, rev) = (MessageId::new(), self.rev().next());
        self.posted.push(id);
        self.commit(Change::Message(Arc::new(Message {
            conversation: self.id,
            rev,
            seq: Seq(self.posted.len() as i64),
            id,
            author: self.users[author % self.users.len()],
            kind: UserKind::Person,
            body: Some(format!("message {rev}").into()),
            reply_to: None,
            created_at: AT,
            edited_at: None,
            deleted_at: None,
            reactions: Vec::new(),
            posted_rev: rev,
        })))
    }

    fn edit(&mut self, which: usize) -> Option<Change> {
        let id = *self.posted.get(which % self.posted.len().max(1))?;
        let rev = self.rev().next();
        let known = self.message(id);
        let body = Some(format!("edited at {rev}").into());
        Some(self.commit(Change::Message(Arc::new(Message {
            rev,
            body,
            edited_at: Some(AT),
            ..(*known).clone()
        }))))
    }

    fn toggle_member(&mut self, which: usize) -> Change {
        let user = self.users[which % self.users.len()];
        let rev = self.rev().next();
        let known = self.history.iter().rev().find_map(|change| match change {
            Change::Member(member) if member.user.id == user => Some(member.clone()),
            _ => None,
        });
        let was_member = known
            .as_ref()
            .is_none_or(|member| member.change != MemberChange::Removed);
        let joined_rev = if was_member {
            known.map_or(Rev::ZERO, |member| member.joined_rev)
        } else {
            rev
        };
        self.commit(Change::Member(Arc::new(MemberChanged {
            conversation: self.id,
            rev,
            user: MemberUser {
                id: user,
                name: "x".into(),
                kind: UserKind::Person,
                role: MemberRole::Member,
            },
            change: if was_member {
                MemberChange::Removed
            } else {
                MemberChange::Added
            },
            joined_rev,
        })))
    }

    fn rename(&mut self) -> Change {
        let rev = self.rev().next();
        let title = format!("title {rev}").into();
        self.commit(Change::Properties(Arc::new(ConversationChanged {
            conversation: self.id,
            rev,
            title,
            deleted_at: None,
        })))
    }

    /// What the database answers to "what changed after `after`, up to `through`".
    fn net_effect(&self, after: Rev, through: Rev) -> Vec<Change> {
        let latest = latest_of_each(self.history.iter().rev());
        latest
            .into_iter()
            .filter(|change| change.rev() > after && change.rev() <= through)
            .collect()
    }

    fn state(&self) -> ConversationState {
        let member = |user: &UserId| {
            let name = ByteString::from("x");
            let member = Member {
                name,
                kind: UserKind::Person,
                role: MemberRole::Member,
                read_seq: Seq::ZERO,
                online: false,
            };
            (*user, member)
        };
        ConversationState::new(LoadedConversation {
            id: self.id,
            tenant_id: TenantId::new(),
            title: "title".into(),
            rev: Rev::ZERO,
            last_seq: Seq::ZERO,
            deleted_at: None,
            members: self.users.iter().map(member).collect(),
            recent: Vec::new(),
        })
    }
}

/// One reader: what it has, and whether it is live.
#[derive(Default)]
struct Reader {
    view: HashMap<Thing, Change>,
    rev: Rev,
    live: bool,
    /// A replay has brought it this far, and the state is behind.
    waits: Option<Rev>,
}

impl Reader {
    fn upsert(&mut self, change: &Change) {
        // Content only: a hole that was filled has the present content under an earlier revision.
        self.view.insert(change.thing(), change.with_rev(Rev::ZERO));
    }

    fn receive(&mut self, change: &Change) {
        if self.live {
            assert_eq!(
                change.rev(),
                self.rev.next(),
                "a live reader sees every revision once and in order"
            );
            self.upsert(change);
            self.rev = change.rev();
        }
    }
}

struct World {
    model: Model,
    state: ConversationState,
    readers: Vec<Reader>,
    /// Commits on their way to the state.
    on_the_way: Vec<Change>,
    now: Millis,
}

impl World {
    fn new() -> Self {
        let model = Model::new();
        let state = model.state();
        Self {
            model,
            state,
            readers: (0..3).map(|_| Reader::default()).collect(),
            on_the_way: Vec::new(),
            now: 0,
        }
    }

    fn run(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Broadcast(change) => self.readers.iter_mut().for_each(|reader| reader.receive(&change)),
                Effect::CatchUp { after } => {
                    let found = self.model.net_effect(after, self.model.rev());
                    let mut effects = Vec::new();
                    self.state.caught_up(&found, self.now, &mut effects);
                    self.run(effects);
                }
                _ => {}
            }
        }
        for reader in 0..self.readers.len() {
            if let Some(through) = self.readers[reader].waits {
                self.finish(reader, through);
            }
        }
    }

    fn deliver(&mut self, index: usize, observed: Rev) {
        let mut effects = Vec::new();
        let change = self.on_the_way.swap_remove(index % self.on_the_way.len());
        self.state.committed(vec![change], observed, self.now, &mut effects);
        self.run(effects);
    }

    fn tick(&mut self, milliseconds: Millis) {
        self.now += milliseconds;
        let mut effects = Vec::new();
        self.state.tick(self.now, &mut effects);
        self.run(effects);
    }

    fn subscribe(&mut self, index: usize) {
        let reader = &mut self.readers[index];
        reader.live = false;
        reader.waits = None;
        let after = reader.rev;
        match self.state.plan_replay(Some(after)) {
            ReplayPlan::Memory { changes, .. } => self.take_rest(index, &changes),
            ReplayPlan::Database => {
                let through = self.model.rev();
                let page = self.model.net_effect(after, through);
                page.iter().for_each(|change| self.readers[index].upsert(change));
                self.finish(index, through);
            }
        }
    }

    fn finish(&mut self, index: usize, through: Rev) {
        if through > self.state.rev {
            self.readers[index].waits = Some(through);
            let mut effects = Vec::new();
            self.state.committed(Vec::new(), through, self.now, &mut effects);
            assert!(effects.is_empty());
            return;
        }
        self.readers[index].waits = None;
        match self.state.plan_replay(Some(through)) {
            ReplayPlan::Memory { changes, .. } => self.take_rest(index, &changes),
            ReplayPlan::Database => {
                let page = self.model.net_effect(through, self.model.rev());
                page.iter().for_each(|change| self.readers[index].upsert(change));
                self.finish(index, self.model.rev());
            }
        }
    }

    fn take_rest(&mut self, index: usize, changes: &[Change]) {
        let things: HashSet<_> = changes.iter().map(Change::thing).collect();
        assert_eq!(
            things.len(),
            changes.len(),
            "a replay has at most one frame for each thing"
        );
        assert!(changes.is_sorted_by_key(Change::rev));
        let reader = &mut self.readers[index];
        changes.iter().for_each(|change| reader.upsert(change));
        reader.rev = self.state.rev;
        reader.live = true;
    }
}

#[derive(Clone, Debug)]
enum Step {
    Post(usize),
    Edit(usize),
    Toggle(usize),
    Rename,
    Deliver(usize),
    Double(usize),
    Lose(usize),
    Subscribe(usize),
    Leave(usize),
    Tick(Millis),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4_usize).prop_map(Step::Post),
        3 => (0..64_usize).prop_map(Step::Edit),
        1 => (0..4_usize).prop_map(Step::Toggle),
        1 => Just(Step::Rename),
        10 => (0..64_usize).prop_map(Step::Deliver),
        1 => (0..64_usize).prop_map(Step::Double),
        1 => (0..64_usize).prop_map(Step::Lose),
        3 => (0..3_usize).prop_map(Step::Subscribe),
        1 => (0..3_usize).prop_map(Step::Leave),
        2 => (1..200_u64).prop_map(Step::Tick),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn readers_see_one_order_without_gaps_whatever_is_lost_or_late(steps in proptest::collection::vec(step(), 1..250)) {
        let mut world = World::new();
        for step in steps {
            let change = match step {
                Step::Post(author) => Some(world.model.post(author)),
                Step::Edit(which) => world.model.edit(which),
                Step::Toggle(which) => Some(world.model.toggle_member(which)),
                Step::Rename => Some(world.model.rename()),
                Step::Deliver(index) if !world.on_the_way.is_empty() => { world.deliver(index, Rev::ZERO); None }
                Step::Double(index) if !world.on_the_way.is_empty() => {
                    let double = world.on_the_way[index % world.on_the_way.len()].clone();
                    Some(double).inspect(|double| world.on_the_way.push(double.clone())).and(None)
                }
                Step::Lose(index) if !world.on_the_way.is_empty() => {
                    let index = index % world.on_the_way.len();
                    world.on_the_way.swap_remove(index);
                    None
                }
                Step::Subscribe(reader) => { world.subscribe(reader); None }
                Step::Leave(reader) => {
                    world.readers[reader].live = false;
                    world.readers[reader].waits = None;
                    None
                }
                Step::Tick(milliseconds) => { world.tick(milliseconds); None }
                _ => None,
            };
            world.on_the_way.extend(change);
        }
        // The comparison of revisions says how far the database is; then everything comes to rest.
        let mut effects = Vec::new();
        let latest = world.model.rev();
        world.state.committed(Vec::new(), latest, world.now, &mut effects);
        world.run(effects);
        for _ in 0..4 {
            world.tick(1_000);
        }
        prop_assert_eq!(world.state.rev, latest);
        for reader in 0..world.readers.len() {
            if !world.readers[reader].live {
                world.subscribe(reader);
            }
        }
        let expected: HashMap<_, _> =
            latest_of_each(world.model.history.iter().rev()).into_iter().map(|c| (c.thing(), c.with_rev(Rev::ZERO))).collect();
        for reader in &world.readers {
            prop_assert!(reader.live);
            prop_assert_eq!(reader.rev, latest);
            prop_assert_eq!(&reader.view, &expected);
        }
    }

    #[test]
    fn a_restarted_state_has_every_revision_its_readers_missed(
        posts in 1_usize..40,
        served in 0_usize..40,
        edits in proptest::collection::vec(0_usize..40, 0..40),
    ) {
        let mut model = Model::new();
        (0..posts).for_each(|author| drop(model.post(author)));
        edits.into_iter().for_each(|which| drop(model.edit(which)));
        let served = Rev((served as i64).min(model.rev().0));
        let mut state = model.state();
        state.rev = model.rev();
        state.prefill(served, &model.net_effect(served, model.rev()));
        let missed = state.changes_after(served);
        if served < model.rev() {
            let revs: Vec<_> = missed.into_iter().flatten().map(|change| change.rev().0).collect();
            prop_assert_eq!(revs, (served.0 + 1..=model.rev().0).collect::<Vec<_>>());
        }
    }
}

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
    state.caught_up(std::slice::from_ref(&found), 0, &mut effects);
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

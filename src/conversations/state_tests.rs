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

#[path = "state_ephemeral_tests.rs"]
mod ephemeral;

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
            mine: None,
            cause: None,
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
        let properties = self.properties(rev, title);
        self.commit(properties)
    }

    /// What the conversation was made with.
    fn first_properties(&self) -> Change {
        self.properties(Rev::ZERO, "title".into())
    }

    fn properties(&self, rev: Rev, title: ByteString) -> Change {
        Change::Properties(Arc::new(ConversationChanged {
            conversation: self.id,
            rev,
            title,
            deleted_at: None,
        }))
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
                    self.state.caught_up(&found, self.model.rev(), self.now, &mut effects);
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
            ReplayPlan::Newest { .. } => panic!("only without a revision"),
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
            ReplayPlan::Newest { .. } => panic!("only without a revision"),
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
        let mut expected: HashMap<_, _> =
            latest_of_each(world.model.history.iter().rev()).into_iter().map(|c| (c.thing(), c.with_rev(Rev::ZERO))).collect();
        // They are there from the start: a hole may bring them to a reader though nobody renamed.
        let first = world.model.first_properties();
        expected.entry(Thing::Properties).or_insert_with(|| first.clone());
        for reader in &mut world.readers {
            prop_assert!(reader.live);
            prop_assert_eq!(reader.rev, latest);
            reader.view.entry(Thing::Properties).or_insert_with(|| first.clone());
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

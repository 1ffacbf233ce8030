//! What a message costs in the pure cores between the socket and the database: grouping for a
//! commit, judging the commit, and handing it to everybody who is subscribed.
//!
//! Nothing here waits. `deliver` is given per delivery: the frame is encoded once, and each reader
//! costs a push of shared bytes.

mod room;

use bytestring::ByteString;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use parlance::commit::{Grouped, Queue};
use parlance::config::{LimitsConfig, QuotaConfig};
use parlance::ids::{ConversationId, MessageId, Tier, UserId};
use parlance::rate_limit::{Payer, RateLimitHandle};
use parlance::supervision::ArbiterPool;
use room::Room;

/// Users who send in turn.
const USERS: usize = 10_000;

/// Operations that wait when a lane takes its next group, as under load.
const WAITING: usize = 500;

/// As little as the grouping must know.
#[derive(Clone)]
struct Waiting {
    conversation: ConversationId,
    post: Option<(MessageId, Option<MessageId>)>,
}

impl Grouped for Waiting {
    fn conversation(&self) -> ConversationId {
        self.conversation
    }

    fn post(&self) -> Option<(MessageId, Option<MessageId>)> {
        self.post
    }

    fn bytes(&self) -> usize {
        128
    }
}

fn grouping(criterion: &mut Criterion) {
    let conversations: Vec<_> = (0..100).map(|_| ConversationId::new()).collect();
    let posts = conversations.iter().cycle().take(WAITING).map(|conversation| Waiting {
        conversation: *conversation,
        post: Some((MessageId::new(), None)),
    });
    let posts: Vec<_> = posts.collect();
    // Every tenth is another change, so that posts behind it wait for later groups.
    let mixed = posts
        .iter()
        .cloned()
        .enumerate()
        .map(|(index, waiting)| match index % 10 {
            0 => Waiting { post: None, ..waiting },
            _ => waiting,
        });
    let mixed: Vec<_> = mixed.collect();
    let mut group = criterion.benchmark_group("group");
    group.throughput(Throughput::Elements(WAITING as u64));
    for (name, operations) in [("500 posts", &posts), ("500 operations, each tenth a change", &mixed)] {
        group.bench_function(name, |bencher| {
            let full = || {
                let mut queue = Queue::default();
                operations.iter().cloned().for_each(|operation| queue.push(operation));
                queue
            };
            let empty = |mut queue: Queue<Waiting>| while !queue.next_group().is_empty() {};
            bencher.iter_batched(full, empty, BatchSize::SmallInput);
        });
    }
    group.finish();
}

fn judging(criterion: &mut Criterion) {
    let body = ByteString::from("x".repeat(128));
    let mut group = criterion.benchmark_group("conversation");
    for members in [2, 100, 1_000] {
        let mut room = Room::new(members);
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("apply a message, {members} members"), |bencher| {
            bencher.iter(|| {
                let change = room.next_message(&body);
                room.apply(change)
            });
        });
        group.throughput(Throughput::Elements(members as u64));
        group.bench_function(format!("deliver a message to {members} readers"), |bencher| {
            bencher.iter(|| {
                let change = room.next_message(&body);
                room.apply(change);
                room.deliver();
                room.drain()
            });
        });
    }
    group.finish();
}

/// What a frame pays for being counted: a user in turn with many others, and one who is refused.
fn limits(criterion: &mut Criterion) {
    let with_quota = |per_minute| {
        let quota = QuotaConfig {
            per_minute,
            per_hour: 1_000_000_000,
        };
        let config = LimitsConfig {
            regular: quota,
            ..LimitsConfig::default()
        };
        actix::System::new().block_on(async move { RateLimitHandle::start(&config, None, &ArbiterPool::start(1)) })
    };
    let payers: Vec<_> = (0..USERS).map(|_| Payer::user(UserId::new(), Tier::Regular)).collect();
    let mut group = criterion.benchmark_group("limits");
    group.throughput(Throughput::Elements(1));
    let limits = with_quota(1_000_000_000);
    let mut turns = payers.iter().cycle();
    group.bench_function("admitted", |bencher| {
        bencher.iter(|| turns.next().map(|payer| limits.try_check(*payer, 1)));
    });
    let limits = with_quota(100);
    group.bench_function("refused", |bencher| bencher.iter(|| limits.try_check(payers[0], 1)));
    group.finish();
}

criterion_group!(benches, grouping, judging, limits);
criterion_main!(benches);

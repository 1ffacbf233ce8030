//! Facts about actix that the design answers. When an upgrade changes one, a test here says so, and the part of the design
//! that answers it can be thought over. What a stalled reader does to its session is in `slow_reader.rs`.

use actix::prelude::*;
use parlance::supervision::{Death, DeathGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

#[derive(Message)]
#[rtype(result = "()")]
struct Count;

#[derive(Message)]
#[rtype(result = "()")]
struct Panic;

/// Counts messages once it is released.
struct Counter {
    release: Arc<Notify>,
    count: Arc<AtomicUsize>,
    /// Only held: its drop is the point.
    _guard: Option<DeathGuard>,
}

impl Counter {
    fn start_with(guard: Option<DeathGuard>) -> (Addr<Self>, Arc<Notify>, Arc<AtomicUsize>) {
        let (release, count) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let counter = Self {
            release: release.clone(),
            count: count.clone(),
            _guard: guard,
        };
        (counter.start(), release, count)
    }
}

impl Actor for Counter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1);
        let release = self.release.clone();
        ctx.wait(async move { release.notified().await }.into_actor(self));
    }
}

impl Handler<Count> for Counter {
    type Result = ();

    fn handle(&mut self, _: Count, _: &mut Self::Context) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }
}

impl Handler<Panic> for Counter {
    type Result = ();

    #[allow(clippy::panic, reason = "the subject of the test")]
    fn handle(&mut self, _: Panic, _: &mut Self::Context) {
        panic!("on purpose");
    }
}

impl Supervised for Counter {}

/// So real bounds live in our handles, and `do_send` is banned.
#[actix_web::test]
#[allow(clippy::disallowed_methods, reason = "the fact is about the banned method")]
async fn do_send_does_not_respect_the_capacity_of_a_mailbox() {
    let (addr, release, count) = Counter::start_with(None);
    for _ in 0..1_000 {
        addr.do_send(Count);
    }
    release.notify_one();
    addr.send(Count).await.expect("the actor lives");
    assert_eq!(count.load(Ordering::SeqCst), 1_001, "a mailbox of one took a thousand");
}

/// So supervision is ours: a guard that is dropped, whatever the reason.
#[actix_web::test]
async fn a_panic_ends_an_actor_and_its_guard_tells() {
    let (guard, death) = DeathGuard::new();
    let (addr, release, _) = Counter::start_with(Some(guard));
    release.notify_one();
    assert!(addr.send(Panic).await.is_err());
    assert_eq!(
        tokio::time::timeout(Duration::from_secs(5), death)
            .await
            .expect("in time"),
        Ok(Death::Crashed)
    );
}

/// So `actix::Supervisor` is of no use against panics.
#[actix_web::test]
async fn the_supervisor_of_actix_does_not_survive_a_panic() {
    let (release, count) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    release.notify_one();
    let addr = Supervisor::start(move |_| Counter {
        release,
        count,
        _guard: None,
    });
    assert!(addr.send(Panic).await.is_err());
    assert!(addr.send(Count).await.is_err(), "nobody started it again");
}

/// So conversations are placed on arbiters by us.
#[actix_web::test]
async fn an_actor_runs_on_the_arbiter_it_is_started_on() {
    #[derive(Message)]
    #[rtype(result = "std::thread::ThreadId")]
    struct Thread;
    struct Here;
    impl Actor for Here {
        type Context = Context<Self>;
    }
    impl Handler<Thread> for Here {
        type Result = MessageResult<Thread>;
        fn handle(&mut self, _: Thread, _: &mut Self::Context) -> Self::Result {
            MessageResult(std::thread::current().id())
        }
    }
    let here = Here.start().send(Thread).await.expect("the actor lives");
    assert_eq!(here, std::thread::current().id());
    let arbiter = Arbiter::new();
    let there = Here::start_in_arbiter(&arbiter.handle(), |_| Here)
        .send(Thread)
        .await
        .expect("the actor lives");
    assert_ne!(there, here);
    arbiter.stop();
}

//! When many sockets of one worker are written to often, each waits a few milliseconds between two
//! writes, so that several frames share one.
//!
//! A write costs the worker far more than another frame in it does: at 360,000 deliveries a second
//! two fifths of the server's time were spent in the kernel's `send`. In a conversation where
//! everybody gets four hundred messages a second, writing each at once keeps all cores busy with
//! writes, and then *everything* waits. Below [`BUSY_WRITES`] small writes per [`WINDOW`] on a
//! worker, nothing is delayed. Above it, a socket that was written to less than [`PAUSE`] ago is
//! drained when the pause is over. Large writes do not count and are not delayed: they share
//! already.
//!
//! One [`Pacer`] a worker thread, no lock. A socket waits once for each pause, and what has been
//! woken is gone a pause later. So the list is bounded by twice the worker's sockets.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

/// Between two small writes to one socket of a busy worker.
const PAUSE: Duration = Duration::from_millis(6);
/// How often those whose pause is over are woken.
const TICK: Duration = Duration::from_millis(1);
/// Over which writes are counted.
const WINDOW: Duration = Duration::from_millis(10);
/// Small writes of one worker in a window from which it counts as busy: 40,000 a second, nearly
/// half of a core.
const BUSY_WRITES: u32 = 400;
/// A write of this many bytes has more than a few frames in it.
const SMALL_BYTES: usize = 2 * 1024;

thread_local! {
    static PACER: Rc<Pacer> = Rc::default();
}

/// What the sockets of a worker share.
#[derive(Default)]
struct Pacer {
    window_since: Cell<Option<Instant>>,
    writes: Cell<u32>,
    is_busy: Cell<bool>,
    /// In the order in which they began to wait, which is nearly that in which their pauses end: a
    /// wake may be late by one.
    waiting: RefCell<VecDeque<(Instant, Waker)>>,
    is_ticking: Cell<bool>,
}

impl Pacer {
    fn count(&self, now: Instant) {
        let fresh = self
            .window_since
            .get()
            .is_none_or(|since| now.duration_since(since) >= WINDOW);
        if fresh {
            self.is_busy
                .set(self.writes.get() >= BUSY_WRITES && !self.is_stale(now));
            self.window_since.set(Some(now));
            self.writes.set(0);
        }
        self.writes.set(self.writes.get() + 1);
    }

    /// The writes that were counted are not of the window just over, but of some time ago.
    fn is_stale(&self, now: Instant) -> bool {
        self.window_since
            .get()
            .is_some_and(|since| now.duration_since(since) >= 2 * WINDOW)
    }

    fn is_busy(&self, now: Instant) -> bool {
        self.is_busy.get() && !self.is_stale(now)
    }

    fn wait(self: &Rc<Self>, until: Instant, waker: Waker) {
        self.waiting.borrow_mut().push_back((until, waker));
        if !self.is_ticking.replace(true) {
            actix::spawn(self.clone().tick());
        }
    }

    /// Wakes those whose pause is over, until nobody waits.
    async fn tick(self: Rc<Self>) {
        while !self.waiting.borrow().is_empty() {
            tokio::time::sleep(TICK).await;
            self.wake(Instant::now());
        }
        self.is_ticking.set(false);
    }

    fn wake(&self, now: Instant) {
        loop {
            let mut waiting = self.waiting.borrow_mut();
            let Some((_, waker)) = waiting.pop_front_if(|(until, _)| *until <= now) else {
                return;
            };
            drop(waiting);
            waker.wake();
        }
    }
}

/// The pauses of one socket.
#[derive(Default)]
pub(super) struct Pace {
    /// When the last small write was handed over.
    written: Option<Instant>,
    /// Who waits for the end of the pause.
    waiting: Option<Waker>,
}

impl Pace {
    /// So many bytes have been taken from the outbox.
    pub(super) fn taken(&mut self, bytes: usize) {
        self.taken_at(bytes, Instant::now());
    }

    fn taken_at(&mut self, bytes: usize, now: Instant) {
        self.written = (bytes < SMALL_BYTES).then_some(now);
        if self.written.is_some() {
            PACER.with(|pacer| pacer.count(now));
        }
    }

    /// Whether the outbox should be left alone for now; then the task is woken when that is over.
    pub(super) fn must_wait(&mut self, cx: &Context<'_>) -> bool {
        self.written.is_some() && self.must_wait_at(cx, Instant::now())
    }

    fn must_wait_at(&mut self, cx: &Context<'_>, now: Instant) -> bool {
        let Some(written) = self.written else { return false };
        let until = written + PAUSE;
        let must = now < until && PACER.with(|pacer| pacer.is_busy(now));
        if !must {
            self.waiting = None;
        } else if self.waiting.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
            self.waiting = Some(cx.waker().clone());
            PACER.with(|pacer| pacer.wait(until, cx.waker().clone()));
        }
        must
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_busy_while_it_writes_often() {
        let (pacer, start) = (Pacer::default(), Instant::now());
        let write = |count: u32, at: Instant| (0..count).for_each(|_| pacer.count(at));
        write(BUSY_WRITES - 1, start);
        write(1, start + WINDOW);
        assert!(!pacer.is_busy(start + WINDOW), "not often enough");
        write(BUSY_WRITES, start + WINDOW);
        write(1, start + 2 * WINDOW);
        assert!(pacer.is_busy(start + 2 * WINDOW));
        assert!(!pacer.is_busy(start + 5 * WINDOW), "that was some time ago");
        write(BUSY_WRITES, start + 5 * WINDOW);
        write(1, start + 60 * WINDOW);
        assert!(!pacer.is_busy(start + 60 * WINDOW), "also when counting goes on");
    }

    #[actix_web::test]
    async fn a_socket_of_a_busy_worker_waits_for_the_end_of_its_pause_once() {
        let wakes = std::sync::Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        let cx = Context::from_waker(&waker);
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert!(!pace.must_wait_at(&cx, now), "nothing was written yet");
        (0..BUSY_WRITES).for_each(|_| pace.taken_at(10, now - WINDOW));
        pace.taken_at(10, now);
        assert!(pace.must_wait_at(&cx, now) && pace.must_wait_at(&cx, now));
        wakes.woken.notified().await;
        assert!(!pace.must_wait_at(&cx, now + PAUSE), "the pause is over");
        pace.taken_at(SMALL_BYTES, now);
        assert!(!pace.must_wait_at(&cx, now), "a large write is not followed by a pause");
    }

    #[derive(Default)]
    struct Wakes {
        woken: tokio::sync::Notify,
    }

    impl std::task::Wake for Wakes {
        fn wake(self: std::sync::Arc<Self>) {
            self.woken.notify_one();
        }
    }
}

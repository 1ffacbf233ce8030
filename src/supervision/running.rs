//! Who runs on a thread at this moment, so that a panic is logged with a name.
//!
//! An arbiter runs hundreds of actors and a worker thousands of sockets, so the name of a thread
//! says nothing. An actor started with [`start`], a task wrapped with [`named`], and what runs
//! under [`enter`] put their name into a cell of the thread while they are polled. The panic hook
//! reads it before anything is unwound. It costs two writes of the cell per poll.

use actix::{Actor, Context};
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use uuid::Uuid;

/// An actor or task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its name in logs and metrics.
    pub name: &'static str,
    /// Which one of that name, where there are several.
    pub id: Option<Uuid>,
}

thread_local! {
    static CURRENT: Cell<Option<Running>> = const { Cell::new(None) };
}

/// Who runs on this thread, if it is known.
#[must_use]
pub fn current() -> Option<Running> {
    // A thread that is ending runs nobody.
    CURRENT.try_with(Cell::get).unwrap_or_default()
}

/// Makes `running` the one who runs on this thread, until the guard is dropped.
#[must_use]
pub fn enter(running: Running) -> Entered {
    Entered {
        before: CURRENT
            .try_with(|current| current.replace(Some(running)))
            .unwrap_or_default(),
    }
}

/// The guard of [`enter`].
#[derive(Debug)]
pub struct Entered {
    before: Option<Running>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.try_with(|current| current.set(self.before)).unwrap_or_default();
    }
}

/// Starts an actor on this arbiter under a name.
pub fn start<A: Actor<Context = Context<A>>>(name: &'static str, id: Option<Uuid>, actor: A) {
    actix::spawn(named(name, id, Context::new().into_future(actor)));
}

/// A future that runs under a name.
pub fn named<F: Future>(name: &'static str, id: Option<Uuid>, future: F) -> Named<F> {
    Named {
        running: Running { name, id },
        future: Box::pin(future),
    }
}

/// The future of [`named`].
#[derive(Debug)]
pub struct Named<F> {
    running: Running,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Named<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        let _entered = enter(self.running);
        self.future.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_stands_while_its_future_is_polled_and_not_between() {
        let name = || current().map(|running| running.name);
        let inner = named("inner", None, async { name() });
        let outer = named("outer", Some(Uuid::nil()), async {
            let before = (name(), current().and_then(|running| running.id));
            tokio::task::yield_now().await;
            (before, inner.await, name())
        });
        let mut outer = Box::pin(outer);
        assert!(futures_util::poll!(&mut outer).is_pending());
        assert_eq!(current(), None);
        assert_eq!(
            outer.await,
            ((Some("outer"), Some(Uuid::nil())), Some("inner"), Some("outer"))
        );
    }

    #[tokio::test]
    async fn a_panic_sees_the_name_and_leaves_none_behind() {
        let dies = named("dies", None, async {
            panic!("on purpose: {:?}", current().map(|r| r.name))
        });
        let error = tokio::spawn(dies).await.unwrap_err().into_panic();
        let said = error.downcast::<String>().unwrap();
        assert_eq!(*said, "on purpose: Some(\"dies\")");
        assert_eq!(current(), None);
    }
}

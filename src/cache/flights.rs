//! One load at a time for each key, however many wait for it.
//!
//! A flight is a future that everybody who waits polls. It goes on when the one who began it goes
//! away, and it ends when nobody waits any more. An error reaches all who wait, and it is not kept.
//! Bounded by the requests that wait: a flight that nobody holds leaves the table by its own drop.

use super::local::CacheEntry;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;
use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

type Load<T, E> = BoxFuture<'static, Result<Arc<CacheEntry<T>>, Arc<E>>>;
/// A load under way.
pub(super) type Flight<T, E> = Shared<Load<T, E>>;

/// The flight of a key.
pub(super) enum FlightJoin<T, E, S> {
    /// One that was under way. The means to begin one comes back unused.
    Other(Flight<T, E>, S),
    /// One begun for this caller.
    Own(Flight<T, E>),
}

#[derive(Default)]
pub(super) struct Flights {
    table: Mutex<FlightTable>,
}

#[derive(Default)]
struct FlightTable {
    /// Tells a flight from a later one of the same key.
    number: u64,
    /// Each a weak `Flight` of its key's type.
    flights: HashMap<Arc<str>, (u64, Box<dyn Any + Send>)>,
}

impl Flights {
    /// The flight under way for a key, or the one that `start` begins.
    pub(super) fn join<T, E, S, F>(self: &Arc<Self>, key: &Arc<str>, start: S) -> FlightJoin<T, E, S>
    where
        T: Send + Sync + 'static,
        E: Send + Sync + 'static,
        S: FnOnce() -> F,
        F: Future<Output = Result<Arc<CacheEntry<T>>, Arc<E>>> + Send + 'static,
    {
        let mut table = self.table.lock();
        if let Some((_, flight)) = table.flights.get(key)
            && let Some(flight) = flight.downcast_ref::<WeakShared<Load<T, E>>>()
            && let Some(flight) = flight.upgrade()
            && flight.peek().is_none()
        {
            return FlightJoin::Other(flight, start);
        }
        table.number += 1;
        let number = table.number;
        let guard = FlightGuard {
            flights: self.clone(),
            key: key.clone(),
            number,
        };
        let load = start();
        let flight = async move {
            let _guard = guard;
            load.await
        };
        let flight = flight.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            table.flights.insert(key.clone(), (number, Box::new(weak)));
        }
        FlightJoin::Own(flight)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.table.lock().flights.len()
    }
}

/// Takes a flight out of the table when it ends, or when nobody is left who waits for it.
struct FlightGuard {
    flights: Arc<Flights>,
    key: Arc<str>,
    number: u64,
}

impl Drop for FlightGuard {
    fn drop(&mut self) {
        let mut table = self.flights.table.lock();
        if table.flights.get(&self.key).is_some_and(|(n, _)| *n == self.number) {
            table.flights.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use tokio::sync::oneshot;

    type TestResult = Result<Arc<CacheEntry<String>>, Arc<&'static str>>;

    fn key() -> (Arc<Flights>, Arc<str>) {
        (Arc::default(), "key".into())
    }

    #[tokio::test]
    async fn many_wait_for_one_and_its_beginner_may_go_away() {
        let (flights, key) = key();
        let begun = Cell::new(0);
        let (land, landed) = oneshot::channel::<()>();
        let landed = Cell::new(Some(landed));
        let join = || {
            let start = || {
                begun.set(begun.get() + 1);
                let landed = landed.take();
                async move {
                    landed.unwrap().await.unwrap();
                    TestResult::Err(Arc::new("refused"))
                }
            };
            match flights.join(&key, start) {
                FlightJoin::Other(flight, _) | FlightJoin::Own(flight) => flight,
            }
        };
        let first = tokio::spawn(join());
        let others: Vec<_> = (0..100).map(|_| tokio::spawn(join())).collect();
        tokio::task::yield_now().await;
        first.abort();
        assert!(first.await.is_err_and(|error| error.is_cancelled()));
        land.send(()).unwrap();
        for other in others {
            assert!(other.await.unwrap().is_err(), "an error reaches all");
        }
        assert_eq!((begun.get(), flights.len()), (1, 0));
    }

    #[tokio::test]
    async fn a_flight_that_nobody_waits_for_ends_and_the_next_begins_anew() {
        let (flights, key) = key();
        let FlightJoin::Own(never) = flights.join(&key, std::future::pending::<TestResult>) else {
            panic!("there was no other");
        };
        assert!(never.clone().now_or_never().is_none());
        assert_eq!(flights.len(), 1);
        drop(never);
        assert_eq!(flights.len(), 0);
        let next = flights.join(&key, || async { TestResult::Err(Arc::new("refused")) });
        let again = flights.join(&key, std::future::pending::<TestResult>);
        let (FlightJoin::Own(next), FlightJoin::Other(again, _)) = (next, again) else {
            panic!("the second joins the first");
        };
        assert!(next.await.is_err() && again.await.is_err());
        assert_eq!(flights.len(), 0);
    }
}

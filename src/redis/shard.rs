//! One server: a pool of connections to it, a deadline for everything, and a circuit breaker in front.
//!
//! Each server of a cluster has all of this for itself, so that one that is dead or frozen costs those who ask it, and after
//! four failures nobody, while the others are asked as ever.

use super::breaker::{Breaker, BreakerState, Change, Outcome, Ticket};
use super::connection::{self, LastError, Manager};
use super::topology::Address;
use super::{Command, Error};
use crate::metrics::metrics;
use bb8_redis::bb8::{Pool, RunError};
use parking_lot::Mutex;
use redis::{Client, ErrorKind, FromRedisValue, RedisError};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// A connection that nobody has used for this long is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// What servers have in common.
#[derive(Clone)]
pub(super) struct Terms {
    /// Connections to one of them.
    pub(super) pool_size: u32,
    pub(super) deadline: Duration,
    /// Where connections live.
    pub(super) runtime: Handle,
}

/// The way to one server.
pub(super) struct Shard {
    pub(super) address: Address,
    pool: Pool<Manager>,
    deadline: Duration,
    breaker: Mutex<Breaker>,
    openings: AtomicU64,
    failures: AtomicU64,
    connect_error: LastError,
}

impl Shard {
    /// Opens no connection; the first call does.
    pub(super) fn new(address: Address, client: Client, terms: &Terms) -> Self {
        let connect_error = LastError::default();
        let pool = Pool::builder()
            .max_size(terms.pool_size)
            .max_lifetime(None)
            .idle_timeout(IDLE_TIMEOUT)
            .connection_timeout(connection::CONNECT_TIMEOUT)
            // The breaker says when to try again.
            .retry_connection(false)
            .error_sink(Box::new(connect_error.clone()))
            .build_unchecked(Manager::new(client, terms.runtime.clone()));
        Self {
            address,
            pool,
            deadline: terms.deadline,
            breaker: Mutex::new(Breaker::new()),
            openings: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            connect_error,
        }
    }

    pub(super) async fn run<T: FromRedisValue + Send>(
        &self,
        name: &'static str,
        command: &impl Command,
    ) -> Result<T, Error> {
        let pass = Pass::enter(self).ok_or(Error::Open)?;
        let result = match tokio::time::timeout(self.deadline, self.ask(command)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(RunError::User(source))) => Err(Error::Failed { command: name, source }),
            Ok(Err(RunError::TimedOut)) | Err(_) => Err(Error::Timeout {
                command: name,
                deadline: self.deadline,
                cause: self.connect_error.take(),
            }),
        };
        pass.settle(result.as_ref().err());
        result
    }

    pub(super) fn breaker(&self) -> BreakerState {
        self.breaker.lock().state()
    }

    /// How often the breaker has opened, and how many calls had no usable answer.
    pub(super) fn troubles(&self) -> (u64, u64) {
        (
            self.openings.load(Ordering::Relaxed),
            self.failures.load(Ordering::Relaxed),
        )
    }

    /// How many connections there are, and how many of them nobody uses.
    pub(super) fn connections(&self) -> (u32, u32) {
        let pool = self.pool.state();
        (pool.connections, pool.idle_connections)
    }

    async fn ask<T: FromRedisValue + Send>(&self, command: &impl Command) -> Result<T, RunError<RedisError>> {
        let mut connection = self.pool.get().await?;
        let answer = command.send(connection.begin()).await;
        let understood =
            |error: &RedisError| matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::UnexpectedReturnType);
        if answer.as_ref().err().is_none_or(understood) {
            connection.settled();
        }
        answer.map_err(RunError::User)
    }
}

/// A call that the breaker has let pass; tells it what became of the call, also when the caller drops it.
struct Pass<'a> {
    shard: &'a Shard,
    ticket: Ticket,
    settled: bool,
}

impl<'a> Pass<'a> {
    fn enter(shard: &'a Shard) -> Option<Self> {
        let ticket = shard.breaker.lock().admit(Instant::now())?;
        Some(Self {
            shard,
            ticket,
            settled: false,
        })
    }

    fn settle(mut self, error: Option<&Error>) {
        self.settled = true;
        // Who says that another server has the key is well.
        let failed = error.filter(|error| error.redirection().is_none());
        let outcome = if failed.is_none() {
            Outcome::Success
        } else {
            Outcome::Failure
        };
        match self.tell(outcome) {
            Some(Change::Opened(pause)) => {
                self.shard.openings.fetch_add(1, Ordering::Relaxed);
                metrics().cache_l2_breaker_opened();
                let cause = error.map(ToString::to_string).unwrap_or_default();
                tracing::warn!(
                    address = %self.shard.address,
                    pause_ms = pause.as_secs_f64() * 1e3,
                    cause,
                    "Redis is not asked for a while"
                );
            }
            Some(Change::Closed) => tracing::info!(address = %self.shard.address, "Redis answers again"),
            None => {}
        }
        if failed.is_some() {
            self.shard.failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn tell(&self, outcome: Outcome) -> Option<Change> {
        let jitter = rand::random_range(0.0..=1.0);
        self.shard
            .breaker
            .lock()
            .settle(self.ticket, outcome, Instant::now(), jitter)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.tell(Outcome::Abandoned);
        }
    }
}

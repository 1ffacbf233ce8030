//! The way to one server: a pool of connections, a deadline for each call, and a circuit breaker in
//! front.
//!
//! Each server of a cluster has its own. So a server that is dead or frozen delays only those who
//! ask it, and after four failures nobody.

use super::breaker::{Breaker, BreakerChange, BreakerPermit, BreakerState, CallOutcome};
use super::command::RedisCommand;
use super::connection::{self, ConnectionManager, Generation, LastError};
use super::endpoint::RedisEndpoint;
use super::error::Error;
use super::layout::Address;
use crate::metrics::metrics;
use bb8_redis::bb8::{Pool, RunError};
use parking_lot::Mutex;
use redis::{ErrorKind, FromRedisValue, RedisError};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// A connection that nobody has used for this long is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// Settings that are the same for all servers.
#[derive(Clone)]
pub(super) struct ServerSettings {
    /// Connections to each server.
    pub(super) pool_size: u32,
    pub(super) deadline: Duration,
    /// The runtime whose tasks drive the connections.
    pub(super) runtime: Handle,
}

pub(super) struct ServerPool {
    pub(super) address: Address,
    pool: Pool<ConnectionManager>,
    deadline: Duration,
    breaker: Mutex<Breaker>,
    openings: AtomicU64,
    failures: AtomicU64,
    connect_error: LastError,
    generation: Generation,
}

impl ServerPool {
    /// Opens no connection. The first call does.
    pub(super) fn new(address: Address, endpoint: RedisEndpoint, settings: &ServerSettings) -> Self {
        let (connect_error, generation) = (LastError::default(), Generation::default());
        let pool = Pool::builder()
            .max_size(settings.pool_size)
            .max_lifetime(None)
            .idle_timeout(IDLE_TIMEOUT)
            .connection_timeout(connection::CONNECT_TIMEOUT)
            // The breaker says when to try again.
            .retry_connection(false)
            .error_sink(Box::new(connect_error.clone()))
            .build_unchecked(ConnectionManager::new(
                endpoint,
                settings.runtime.clone(),
                generation.clone(),
            ));
        Self {
            address,
            pool,
            deadline: settings.deadline,
            breaker: Mutex::new(Breaker::new()),
            openings: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            connect_error,
            generation,
        }
    }

    pub(super) async fn run<T: FromRedisValue + Send>(
        &self,
        name: &'static str,
        command: &impl RedisCommand,
    ) -> Result<T, Error> {
        let call = GuardedCall::begin(self).ok_or(Error::BreakerOpen)?;
        let result = match tokio::time::timeout(self.deadline, self.ask(command)).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(RunError::User(source))) => Err(Error::Failed { command: name, source }),
            Ok(Err(RunError::TimedOut)) | Err(_) => Err(Error::Timeout {
                command: name,
                deadline: self.deadline,
                cause: self.connect_error.take(),
            }),
        };
        call.complete(result.as_ref().err());
        result
    }

    pub(super) fn breaker(&self) -> BreakerState {
        self.breaker.lock().state()
    }

    /// How often the breaker has opened.
    pub(super) fn openings(&self) -> u64 {
        self.openings.load(Ordering::Relaxed)
    }

    /// Calls without a usable reply.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// All connections, and the idle ones among them.
    pub(super) fn connections(&self) -> (u32, u32) {
        let pool = self.pool.state();
        (pool.connections, pool.idle_connections)
    }

    async fn ask<T: FromRedisValue + Send>(&self, command: &impl RedisCommand) -> Result<T, RunError<RedisError>> {
        let mut connection = self.pool.get().await?;
        let reply = command.send(connection.begin()).await;
        let is_complete =
            |error: &RedisError| matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::UnexpectedReturnType);
        if reply.as_ref().err().is_none_or(is_complete) {
            connection.completed();
        }
        reply.map_err(RunError::User)
    }
}

/// A call that the breaker has let pass. Records its outcome, also when the caller drops it.
struct GuardedCall<'a> {
    pool: &'a ServerPool,
    permit: BreakerPermit,
    is_complete: bool,
}

impl<'a> GuardedCall<'a> {
    fn begin(pool: &'a ServerPool) -> Option<Self> {
        let permit = pool.breaker.lock().admit(Instant::now())?;
        Some(Self {
            pool,
            permit,
            is_complete: false,
        })
    }

    fn complete(mut self, error: Option<&Error>) {
        self.is_complete = true;
        // A server that redirects is well.
        let failure = error.filter(|error| error.redirection().is_none());
        let outcome = if failure.is_none() {
            CallOutcome::Success
        } else {
            CallOutcome::Failure
        };
        match self.record(outcome) {
            Some(BreakerChange::Opened(pause)) => {
                self.pool.generation.advance();
                self.pool.openings.fetch_add(1, Ordering::Relaxed);
                metrics().cache_l2_breaker_opened();
                let cause = error.map(ToString::to_string).unwrap_or_default();
                tracing::warn!(
                    address = %self.pool.address,
                    pause_ms = pause.as_secs_f64() * 1e3,
                    cause,
                    "Redis is not asked for a while"
                );
            }
            Some(BreakerChange::Closed) => tracing::info!(address = %self.pool.address, "Redis replies again"),
            None => {}
        }
        if failure.is_some() {
            self.pool.failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn record(&self, outcome: CallOutcome) -> Option<BreakerChange> {
        let random = rand::random_range(0.0..=1.0);
        self.pool
            .breaker
            .lock()
            .record(self.permit, outcome, Instant::now(), random)
    }
}

impl Drop for GuardedCall<'_> {
    fn drop(&mut self) {
        if !self.is_complete {
            self.record(CallOutcome::Cancelled);
        }
    }
}

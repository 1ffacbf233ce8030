//! The way to Redis: a pool of connections, a deadline for everything, and a circuit breaker in front.
//!
//! Redis makes the server faster and lets nodes share what they know; nothing depends on it. So whoever asks gets an
//! answer soon, or an error soon: [`Redis::run`] waits for its deadline at most, a free connection and the making of one
//! included, and while the breaker is open it does not wait at all. What to do without an answer is the caller's business,
//! and each caller has something: load from PostgreSQL, count on this node alone.
//!
//! Bounds: `REDIS_POOL_SIZE` connections with one call at a time on each; a caller that finds none free waits within its
//! deadline. An answer of the wrong type, or one that is an error, is a failure like no answer: a Redis that talks
//! nonsense is as little use as one that is away.
//!
//! There is no actor here: the breaker is a few words under a lock, judged by pure code, and connections drive themselves.

mod breaker;
mod connection;

pub use breaker::BreakerState;

use crate::config::RedisConfig;
use crate::error::Code;
use crate::metrics::metrics;
use bb8_redis::bb8::{Pool, RunError};
use breaker::{Breaker, Change, Outcome, Ticket};
use connection::{LastError, Manager};
use parking_lot::Mutex;
use redis::aio::ConnectionLike;
use redis::{Client, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, ScriptInvocation};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A connection that nobody has used for this long is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// Why Redis gave no answer. Nothing was necessarily left undone: a command whose deadline passed may have been carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `REDIS_URL` cannot be used. Its text is not repeated: there may be a password in it.
    #[error("REDIS_URL cannot be used")]
    Url,
    /// The breaker is open: Redis was not asked.
    #[error("Redis is not asked for now, after it failed several times in a row")]
    Open,
    /// No answer within the deadline.
    #[error("Redis gave no answer to {command} within {deadline:?}{}", because(.cause.as_deref()))]
    Timeout {
        /// The name the caller gave.
        command: &'static str,
        /// How long was waited.
        deadline: Duration,
        /// Why no connection could be made, if that was it.
        cause: Option<String>,
    },
    /// The connection broke, or the answer was an error or of another type than expected.
    #[error("Redis failed at {command}: {source}")]
    Failed {
        /// The name the caller gave.
        command: &'static str,
        /// What the client library says.
        source: RedisError,
    },
}

impl Error {
    /// The public code. Callers have a way to go on without Redis, so hardly anybody sees it.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Url => Code::Internal,
            Self::Open | Self::Timeout { .. } | Self::Failed { .. } => Code::Unavailable,
        }
    }
}

fn because(cause: Option<&str>) -> String {
    cause.map_or_else(String::new, |cause| format!(": {cause}"))
}

/// What can be asked in one call: a command, a pipeline, or a script with its arguments.
///
/// A script is sent by its hash first, and once more with its text if Redis does not know it; both within the deadline.
pub trait Command: Sync {
    /// Sends it and reads the answer.
    fn send<T: FromRedisValue + Send>(
        &self,
        link: &mut (impl ConnectionLike + Send),
    ) -> impl Future<Output = RedisResult<T>> + Send;
}

impl Command for Cmd {
    async fn send<T: FromRedisValue + Send>(&self, link: &mut (impl ConnectionLike + Send)) -> RedisResult<T> {
        self.query_async(link).await
    }
}

impl Command for Pipeline {
    async fn send<T: FromRedisValue + Send>(&self, link: &mut (impl ConnectionLike + Send)) -> RedisResult<T> {
        self.query_async(link).await
    }
}

impl Command for ScriptInvocation<'_> {
    async fn send<T: FromRedisValue + Send>(&self, link: &mut (impl ConnectionLike + Send)) -> RedisResult<T> {
        self.invoke_async(link).await
    }
}

/// What an operator may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether Redis is asked.
    pub breaker: BreakerState,
    /// How often the breaker has opened, a failed probe included.
    pub openings: u64,
    /// Calls that had no usable answer, those of [`Error::Open`] not counted.
    pub failures: u64,
    /// Connections there are.
    pub connections: u32,
    /// Connections nobody uses at the moment.
    pub idle: u32,
}

/// The handle. Cheap to clone; there is one only where `REDIS_URL` is set.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    pool: Pool<Manager>,
    deadline: Duration,
    breaker: Mutex<Breaker>,
    openings: AtomicU64,
    failures: AtomicU64,
    connect_error: LastError,
}

impl Redis {
    /// A handle to the Redis of the configuration, if it names one. Opens no connection: the first call does, so that a
    /// Redis that is away does not keep a node from starting. Must be called within a runtime, on which the connections
    /// will live.
    ///
    /// # Errors
    /// [`Error::Url`].
    pub fn open(config: &RedisConfig) -> Result<Option<Self>, Error> {
        let Some(url) = &config.url else { return Ok(None) };
        let client = Client::open(url.expose()).map_err(|_| Error::Url)?;
        let connect_error = LastError::default();
        let pool = Pool::builder()
            .max_size(u32::try_from(config.pool_size).unwrap_or(u32::MAX))
            .max_lifetime(None)
            .idle_timeout(IDLE_TIMEOUT)
            .connection_timeout(connection::CONNECT_TIMEOUT)
            // The breaker says when to try again.
            .retry_connection(false)
            .error_sink(Box::new(connect_error.clone()))
            .build_unchecked(Manager::new(client));
        Ok(Some(Self {
            shared: Arc::new(Shared {
                pool,
                deadline: config.timeout,
                breaker: Mutex::new(Breaker::new()),
                openings: AtomicU64::new(0),
                failures: AtomicU64::new(0),
                connect_error,
            }),
        }))
    }

    /// Asks Redis, within the deadline. `name` is for the log and must not contain what people wrote.
    ///
    /// Dropping the future gives the call up; it may have been carried out all the same.
    ///
    /// # Errors
    /// [`Error::Open`] at once, [`Error::Timeout`] after the deadline, [`Error::Failed`].
    pub async fn run<T: FromRedisValue + Send>(&self, name: &'static str, command: &impl Command) -> Result<T, Error> {
        let pass = Pass::enter(&self.shared).ok_or(Error::Open)?;
        let result = match tokio::time::timeout(self.shared.deadline, self.shared.ask(command)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(RunError::User(source))) => Err(Error::Failed { command: name, source }),
            Ok(Err(RunError::TimedOut)) | Err(_) => Err(Error::Timeout {
                command: name,
                deadline: self.shared.deadline,
                cause: self.shared.connect_error.take(),
            }),
        };
        pass.settle(result.as_ref().err());
        result
    }

    /// Whether it answers.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn ping(&self) -> Result<(), Error> {
        // Read as a text, so that an answer that is none is a failure.
        let pong: String = self.run("ping", &redis::cmd("PING")).await?;
        if pong == "PONG" {
            return Ok(());
        }
        Err(Error::Failed {
            command: "ping",
            source: (ErrorKind::UnexpectedReturnType, "not a pong").into(),
        })
    }

    /// How it is; asks nobody.
    #[must_use]
    pub fn status(&self) -> Status {
        let pool = self.shared.pool.state();
        Status {
            breaker: self.shared.breaker.lock().state(),
            openings: self.shared.openings.load(Ordering::Relaxed),
            failures: self.shared.failures.load(Ordering::Relaxed),
            connections: pool.connections,
            idle: pool.idle_connections,
        }
    }
}

impl Shared {
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
    shared: &'a Shared,
    ticket: Ticket,
    settled: bool,
}

impl<'a> Pass<'a> {
    fn enter(shared: &'a Shared) -> Option<Self> {
        let ticket = shared.breaker.lock().admit(Instant::now())?;
        Some(Self {
            shared,
            ticket,
            settled: false,
        })
    }

    fn settle(mut self, error: Option<&Error>) {
        self.settled = true;
        let outcome = if error.is_none() {
            Outcome::Success
        } else {
            Outcome::Failure
        };
        match self.tell(outcome) {
            Some(Change::Opened(pause)) => {
                self.shared.openings.fetch_add(1, Ordering::Relaxed);
                metrics().cache_l2_breaker_opened();
                let cause = error.map(ToString::to_string).unwrap_or_default();
                tracing::warn!(
                    pause_ms = pause.as_secs_f64() * 1e3,
                    cause,
                    "Redis is not asked for a while"
                );
            }
            Some(Change::Closed) => tracing::info!("Redis answers again"),
            None => {}
        }
        if error.is_some() {
            self.shared.failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn tell(&self, outcome: Outcome) -> Option<Change> {
        let jitter = rand::random_range(0.0..=1.0);
        self.shared
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

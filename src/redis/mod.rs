//! The way to Redis: one server, or the shards of a cluster, each with a pool, a deadline and a circuit breaker.
//!
//! | file | what |
//! |---|---|
//! | `shard.rs` | the way to one server: pool, deadline, breaker |
//! | `connection.rs` | connections, and how a broken one is known without asking |
//! | `breaker.rs` | whether a server is asked at all; pure |
//! | `servers.rs` | the servers of `REDIS_URL`, and the question who has what |
//! | `map.rs` | the servers as they are known, and the task that keeps that true |
//! | `topology.rs` | which server has which key; pure |
//!
//! Redis makes the server faster and lets nodes share what they know; nothing depends on it. So whoever asks gets an
//! answer soon, or an error soon: a call waits for its deadline at most, a free connection and the making of one included,
//! and while the breaker is open it does not wait at all. What to do without an answer is the caller's business, and each
//! caller has something: load from PostgreSQL, count on this node alone.
//!
//! On a cluster a command goes to the shard of its key ([`Redis::run_for`]). A shard that has given the key away says where
//! it is now (`MOVED`, `ASK`): there it is asked once more, and the layout is read anew by a task in the background, which
//! also finds a replica that has taken over. So no command may name keys of different slots.
//!
//! Bounds: `REDIS_POOL_SIZE` connections to each server with one call at a time on each; a caller that finds none free waits
//! within its deadline. A redirected call has the deadline twice. An answer of the wrong type, or one that is an error, is a
//! failure like no answer: a Redis that talks nonsense is as little use as one that is away.
//!
//! There is no actor here: the breaker is a few words under a lock, judged by pure code, and connections drive themselves.

mod breaker;
mod connection;
mod error;
mod map;
mod servers;
mod shard;
mod topology;

pub use breaker::BreakerState;
pub use error::Error;
pub use servers::Servers;
pub use topology::{Address, Layout, slot};

use crate::config::RedisConfig;
use ::redis::aio::ConnectionLike;
use ::redis::{Client, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisResult, ScriptInvocation, ServerErrorKind};
use futures_util::future::try_join_all;
use futures_util::{StreamExt as _, stream};
use map::{Map, watch};
use parking_lot::RwLock;
use shard::{Shard, Terms};
use std::future::Future;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::Notify;

/// Commands of one call that are under way at the same time on a cluster.
const AT_ONCE: usize = 8;
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

/// A command that a server is asked for though the key is on its way to it.
struct Asking<'a, C>(&'a C);

impl<C: Command> Command for Asking<'_, C> {
    async fn send<T: FromRedisValue + Send>(&self, link: &mut (impl ConnectionLike + Send)) -> RedisResult<T> {
        ::redis::cmd("ASKING").query_async::<()>(link).await?;
        self.0.send(link).await
    }
}

/// What an operator may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether Redis is asked; of several servers, the one that is worst off.
    pub breaker: BreakerState,
    /// How often a breaker has opened, a failed probe included.
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
    servers: Servers,
    terms: Terms,
    map: RwLock<Arc<Map>>,
    /// The layout may have changed.
    look: Arc<Notify>,
}

impl Redis {
    /// A handle to the Redis of the configuration, if it names one. Opens no connection: the first call does, so that a
    /// Redis that is away does not keep a node from starting. Must be called within a runtime, on which the connections
    /// will live.
    ///
    /// # Errors
    /// [`Error::Url`].
    pub fn open(config: &RedisConfig) -> Result<Option<Self>, Error> {
        if config.url.is_none() {
            return Ok(None);
        }
        let servers = Servers::of(config).ok_or(Error::Url)?;
        let terms = Terms {
            pool_size: u32::try_from(config.pool_size).unwrap_or(u32::MAX),
            deadline: config.timeout,
            runtime: Handle::current(),
        };
        // Until it is known better, the first is asked for everything; if it is of a cluster, it says so.
        let first = servers.first();
        let client = Client::open(servers.connection_info(&first)).map_err(|_| Error::Url)?;
        let map = Map {
            layout: Arc::new(Layout::Single(first.clone())),
            shards: vec![Arc::new(Shard::new(first, client, &terms))],
        };
        let look = Arc::new(Notify::new());
        look.notify_one();
        let shared = Arc::new(Shared {
            servers,
            terms,
            map: RwLock::new(Arc::new(map)),
            look: look.clone(),
        });
        shared.terms.runtime.spawn(watch(Arc::downgrade(&shared), look));
        Ok(Some(Self { shared }))
    }

    /// Asks the server that has `key`, within the deadline. All keys of the command have to be in the slot of that one.
    /// `name` is for the log and must not contain what people wrote.
    ///
    /// Dropping the future gives the call up; it may have been carried out all the same.
    ///
    /// # Errors
    /// [`Error::Open`] at once, [`Error::Timeout`] after the deadline, [`Error::Failed`]; [`Error::Nobody`] if no server has
    /// it.
    pub async fn run_for<T: FromRedisValue + Send>(
        &self,
        key: &str,
        name: &'static str,
        command: &impl Command,
    ) -> Result<T, Error> {
        let Some(shard) = self.map().owner(key) else {
            return self.noted(Err(Error::Nobody));
        };
        let answer = self.noted(shard.run(name, command).await);
        let Err(error) = &answer else { return answer };
        let there = error.redirection().and_then(|text| shard.address.redirected(text));
        let Some(there) = there.and_then(|address| self.shared.way_to(address)) else {
            return answer;
        };
        if matches!(error, Error::Failed { source, .. } if source.kind() == ErrorKind::Server(ServerErrorKind::Ask)) {
            return there.run(name, &Asking(command)).await;
        }
        there.run(name, command).await
    }

    /// Carries out commands that have nothing to do with each other, each with its key: in one round trip where there is
    /// one server, each by itself on a cluster. Says which of them were carried out.
    ///
    /// # Errors
    /// That of the first that was not; the others are tried all the same.
    pub async fn run_all(&self, name: &'static str, commands: &[(String, Cmd)]) -> (Vec<bool>, Result<(), Error>) {
        let map = self.map();
        if let ([only], false) = (map.shards.as_slice(), map.layout.is_cluster()) {
            let mut all = ::redis::pipe();
            for (_, command) in commands {
                all.add_command(command.clone()).ignore();
            }
            let done = self.noted(only.run::<()>(name, &all).await);
            return (vec![done.is_ok(); commands.len()], done);
        }
        let each = commands
            .iter()
            .map(|(key, command)| self.run_for::<::redis::Value>(key, name, command));
        let answers: Vec<_> = stream::iter(each).buffered(AT_ONCE).collect().await;
        let done = answers.iter().map(Result::is_ok).collect();
        (done, answers.into_iter().try_for_each(|answer| answer.map(drop)))
    }

    /// Whether it is a cluster, as far as is known.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        self.map().layout.is_cluster()
    }

    /// Which server has what, as far as is known. Another value only when that has changed.
    #[must_use]
    pub fn layout(&self) -> Arc<Layout> {
        self.map().layout.clone()
    }

    /// Every server, to be asked for what is its own ([`Self::run_on`]).
    #[must_use]
    pub fn addresses(&self) -> Vec<Address> {
        self.map().shards.iter().map(|shard| shard.address.clone()).collect()
    }

    /// The server that has a key.
    #[must_use]
    pub fn owner(&self, key: &str) -> Option<Address> {
        Some(self.map().owner(key)?.address.clone())
    }

    /// As [`Self::run_for`], a certain server.
    ///
    /// # Errors
    /// As [`Self::run_for`], and [`Error::Nobody`] if it is not there any more.
    pub async fn run_on<T: FromRedisValue + Send>(
        &self,
        address: &Address,
        name: &'static str,
        command: &impl Command,
    ) -> Result<T, Error> {
        let Some(shard) = self.map().at(address) else {
            return self.noted(Err(Error::Nobody));
        };
        self.noted(shard.run(name, command).await)
    }

    /// Whether it answers, all of it.
    ///
    /// # Errors
    /// As [`Self::run_for`].
    pub async fn ping(&self) -> Result<(), Error> {
        let map = self.map();
        let pings = map.shards.iter().map(|shard| async {
            // Read as a text, so that an answer that is none is a failure.
            let pong: String = self.noted(shard.run("ping", &::redis::cmd("PING")).await)?;
            if pong == "PONG" {
                return Ok(());
            }
            Err(Error::Failed {
                command: "ping",
                source: (ErrorKind::UnexpectedReturnType, "not a pong").into(),
            })
        });
        try_join_all(pings).await.map(drop)
    }

    /// How it is; asks nobody.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut status = Status {
            breaker: BreakerState::Closed,
            openings: 0,
            failures: 0,
            connections: 0,
            idle: 0,
        };
        for shard in &self.map().shards {
            status.breaker = match (status.breaker, shard.breaker()) {
                (BreakerState::Open, _) | (_, BreakerState::Open) => BreakerState::Open,
                (BreakerState::HalfOpen, _) => BreakerState::HalfOpen,
                (BreakerState::Closed, other) => other,
            };
            let ((openings, failures), (connections, idle)) = (shard.troubles(), shard.connections());
            status.openings += openings;
            status.failures += failures;
            status.connections += connections;
            status.idle += idle;
        }
        status
    }

    fn map(&self) -> Arc<Map> {
        self.shared.map.read().clone()
    }

    /// Has the layout read anew, if the answer is a sign that it has changed.
    fn noted<T>(&self, answer: Result<T, Error>) -> Result<T, Error> {
        if answer.as_ref().is_err_and(Error::is_of_another_layout) {
            self.shared.look.notify_one();
        }
        answer
    }
}

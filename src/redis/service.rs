//! The service: runs commands at the server that has the key. Cheap to clone.
//!
//! Used by cache and rate_limit. There is one only where `REDIS_URL` is set.

use super::breaker::BreakerState;
use super::command::{Asking, RedisCommand};
use super::error::Error;
use super::layout::{Address, Layout};
use super::server_pool::{ServerPool, ServerSettings};
use super::servers::RedisServers;
use super::topology::{self, ServerMap, Topology};
use crate::config::RedisConfig;
use futures_util::future::try_join_all;
use futures_util::{StreamExt as _, stream};
use parking_lot::RwLock;
use redis::{Cmd, ErrorKind, FromRedisValue, ServerErrorKind};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::Notify;

/// Commands of one call that are under way at the same time on a cluster.
const CONCURRENT_MAX: usize = 8;

/// The state of all servers, for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedisStatus {
    /// Of several servers, the worst.
    pub breaker: BreakerState,
    /// How often a breaker has opened, a failed probe included.
    pub openings: u64,
    /// Calls without a usable reply, not counting [`Error::BreakerOpen`].
    pub failures: u64,
    pub connections: u32,
    /// Connections that nobody uses at the moment.
    pub idle: u32,
}

/// The way to Redis.
#[derive(Clone)]
pub struct Redis {
    topology: Arc<Topology>,
}

impl Redis {
    /// The Redis of the configuration, if it names one. Opens no connection, so a node starts
    /// although Redis is away. Must be called within a runtime; the connections live on it.
    ///
    /// # Errors
    /// [`Error::Settings`].
    pub fn open(config: &RedisConfig) -> Result<Option<Self>, Error> {
        let Some(servers) = RedisServers::of(config)? else {
            return Ok(None);
        };
        let settings = ServerSettings {
            pool_size: u32::try_from(config.pool_size).unwrap_or(u32::MAX),
            deadline: config.timeout,
            runtime: Handle::current(),
        };
        // Until more is known, the first server is asked for everything. If it belongs to a
        // cluster, it says so.
        let first = servers.first();
        let endpoint = servers.endpoint(&first);
        let map = ServerMap {
            layout: Arc::new(Layout::Single(first.clone())),
            pools: vec![Arc::new(ServerPool::new(first, endpoint, &settings))],
        };
        let refresh = Arc::new(Notify::new());
        refresh.notify_one();
        let topology = Arc::new(Topology {
            servers,
            settings,
            map: RwLock::new(Arc::new(map)),
            refresh: refresh.clone(),
        });
        let watch = topology::watch(Arc::downgrade(&topology), refresh);
        topology.settings.runtime.spawn(watch);
        Ok(Some(Self { topology }))
    }

    /// Runs a command at the server that has `key`, within the deadline. All keys of the command
    /// must be in the same slot. `name` is for the log and must not contain what people wrote.
    ///
    /// A call whose future is dropped may still have been carried out.
    ///
    /// # Errors
    /// [`Error::BreakerOpen`] at once, [`Error::Timeout`] after the deadline, [`Error::Failed`],
    /// and [`Error::NoOwner`] if no server has the key.
    pub async fn run_for<T: FromRedisValue + Send>(
        &self,
        key: &str,
        name: &'static str,
        command: &impl RedisCommand,
    ) -> Result<T, Error> {
        let Some(pool) = self.map().owner(key) else {
            return self.refresh_if_moved(Err(Error::NoOwner));
        };
        let reply = self.refresh_if_moved(pool.run(name, command).await);
        let Err(error) = &reply else { return reply };
        let target = error.redirection().and_then(|text| pool.address.redirected(text));
        let Some(target) = target.and_then(|address| self.topology.pool_of(address)) else {
            return reply;
        };
        if matches!(error, Error::Failed { source, .. } if source.kind() == ErrorKind::Server(ServerErrorKind::Ask)) {
            return target.run(name, &Asking(command)).await;
        }
        target.run(name, command).await
    }

    /// Runs commands that are independent of each other, each with its key: in one round trip where
    /// there is one server, each by itself on a cluster. Says which of them were carried out.
    ///
    /// # Errors
    /// That of the first that failed. The others are tried all the same.
    pub async fn run_all(&self, name: &'static str, commands: &[(String, Cmd)]) -> (Vec<bool>, Result<(), Error>) {
        let map = self.map();
        if let ([only], false) = (map.pools.as_slice(), map.layout.is_cluster()) {
            let mut all = redis::pipe();
            for (_, command) in commands {
                all.add_command(command.clone()).ignore();
            }
            let done = self.refresh_if_moved(only.run::<()>(name, &all).await);
            return (vec![done.is_ok(); commands.len()], done);
        }
        let each = commands
            .iter()
            .map(|(key, command)| self.run_for::<redis::Value>(key, name, command));
        let replies: Vec<_> = stream::iter(each).buffered(CONCURRENT_MAX).collect().await;
        let done = replies.iter().map(Result::is_ok).collect();
        (done, replies.into_iter().try_for_each(|reply| reply.map(drop)))
    }

    /// Whether it is a cluster, as far as is known.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        self.map().layout.is_cluster()
    }

    /// Which server has which slot, as far as is known. It is another `Arc` only when that has
    /// changed.
    #[must_use]
    pub fn layout(&self) -> Arc<Layout> {
        self.map().layout.clone()
    }

    /// Every server; for [`Self::run_on`].
    #[must_use]
    pub fn addresses(&self) -> Vec<Address> {
        self.map().pools.iter().map(|pool| pool.address.clone()).collect()
    }

    /// The server that has a key.
    #[must_use]
    pub fn owner(&self, key: &str) -> Option<Address> {
        Some(self.map().owner(key)?.address.clone())
    }

    /// As [`Self::run_for`], at a certain server.
    ///
    /// # Errors
    /// As [`Self::run_for`], and [`Error::NoOwner`] if the server is gone.
    pub async fn run_on<T: FromRedisValue + Send>(
        &self,
        address: &Address,
        name: &'static str,
        command: &impl RedisCommand,
    ) -> Result<T, Error> {
        let Some(pool) = self.map().at(address) else {
            return self.refresh_if_moved(Err(Error::NoOwner));
        };
        self.refresh_if_moved(pool.run(name, command).await)
    }

    /// Whether every server replies.
    ///
    /// # Errors
    /// As [`Self::run_for`].
    pub async fn ping(&self) -> Result<(), Error> {
        let map = self.map();
        let pings = map.pools.iter().map(|pool| async {
            // Read as text, so that any other reply is a failure.
            let pong: String = self.refresh_if_moved(pool.run("ping", &redis::cmd("PING")).await)?;
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

    /// The state of all servers. Asks nobody.
    #[must_use]
    pub fn status(&self) -> RedisStatus {
        let mut status = RedisStatus {
            breaker: BreakerState::Closed,
            openings: 0,
            failures: 0,
            connections: 0,
            idle: 0,
        };
        for pool in &self.map().pools {
            status.breaker = match (status.breaker, pool.breaker()) {
                (BreakerState::Open, _) | (_, BreakerState::Open) => BreakerState::Open,
                (BreakerState::HalfOpen, _) => BreakerState::HalfOpen,
                (BreakerState::Closed, other) => other,
            };
            let (connections, idle) = pool.connections();
            status.openings += pool.openings();
            status.failures += pool.failures();
            status.connections += connections;
            status.idle += idle;
        }
        status
    }

    fn map(&self) -> Arc<ServerMap> {
        self.topology.map.read().clone()
    }

    /// Has the layout read anew, if the reply is a sign that it has changed.
    fn refresh_if_moved<T>(&self, reply: Result<T, Error>) -> Result<T, Error> {
        if reply.as_ref().is_err_and(Error::is_of_another_layout) {
            self.topology.refresh.notify_one();
        }
        reply
    }
}

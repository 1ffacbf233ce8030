//! The connections of a pool, and how the pool knows without asking that one is of no use.
//!
//! A connection has a task that drives it, on the runtime that opened [`super::Redis`]. A worker
//! thread that opened one would carry everyone's traffic on it, and end it when it stops. Before
//! each use the pool checks whether that task still runs ([`ConnectionManager::is_valid`]). So a
//! connection that Redis has closed is replaced before a call fails, and no round trip is spent on
//! it.
//!
//! A connection on which a call did not end well (no reply in time, or a broken one) is not used
//! again: what may still arrive on it belongs to someone who has gone. When the server is given up
//! for a while, all that were made before are replaced ([`Generation`]): if the network has
//! forgotten them, each would cost a call and lengthen the pause.

use super::endpoint::{RedisEndpoint, RedisLink};
use bb8_redis::bb8::{ErrorSink, ManageConnection};
use parking_lot::Mutex;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, ErrorKind, RedisError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;

/// How long the making of one connection may take. A caller waits only for its own deadline; the
/// connection is made in a task of its own, for the next caller.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Counts how often a server was given up. Connections of an earlier count are not used again.
#[derive(Clone, Debug, Default)]
pub(super) struct Generation(Arc<AtomicU64>);

impl Generation {
    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// All connections that exist are not used again.
    pub(super) fn advance(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Makes connections for the pool.
pub(super) struct ConnectionManager {
    endpoint: RedisEndpoint,
    runtime: Handle,
    generation: Generation,
}

impl ConnectionManager {
    /// `runtime` will carry the traffic.
    pub(super) const fn new(endpoint: RedisEndpoint, runtime: Handle, generation: Generation) -> Self {
        Self {
            endpoint,
            runtime,
            generation,
        }
    }
}

/// A connection of the pool.
pub(super) struct PooledConnection {
    link: RedisLink,
    generation: u64,
    /// A call is under way, or did not end well.
    in_doubt: bool,
}

impl PooledConnection {
    /// The connection for one call. It counts as broken until [`Self::completed`].
    pub(super) fn begin(&mut self) -> &mut (impl ConnectionLike + use<>) {
        self.in_doubt = true;
        let connection: &mut MultiplexedConnection = &mut self.link;
        connection
    }

    /// The call has had its reply, of whatever kind.
    pub(super) const fn completed(&mut self) {
        self.in_doubt = false;
    }
}

impl ManageConnection for ConnectionManager {
    type Connection = PooledConnection;
    type Error = RedisError;

    async fn connect(&self) -> Result<PooledConnection, RedisError> {
        let (endpoint, generation) = (self.endpoint.clone(), self.generation.now());
        let opening = async move { endpoint.open(AsyncConnectionConfig::new(), CONNECT_TIMEOUT).await };
        match self.runtime.spawn(opening).await {
            Ok(opened) => Ok(PooledConnection {
                link: opened?,
                generation,
                in_doubt: false,
            }),
            Err(_) => Err((ErrorKind::Client, "the runtime is stopping").into()),
        }
    }

    async fn is_valid(&self, connection: &mut PooledConnection) -> Result<(), RedisError> {
        if self.has_broken(connection) {
            return Err((ErrorKind::Io, "the connection is closed or of no use any more").into());
        }
        Ok(())
    }

    fn has_broken(&self, connection: &mut PooledConnection) -> bool {
        connection.in_doubt || connection.link.is_closed() || connection.generation != self.generation.now()
    }
}

/// Remembers why no connection could be made: callers see only that none came in time.
#[derive(Clone, Debug, Default)]
pub(super) struct LastError(Arc<Mutex<Option<String>>>);

impl LastError {
    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().take()
    }
}

impl ErrorSink<RedisError> for LastError {
    fn sink(&self, error: RedisError) {
        *self.0.lock() = Some(error.to_string());
    }

    fn boxed_clone(&self) -> Box<dyn ErrorSink<RedisError>> {
        Box::new(self.clone())
    }
}

//! Connections to Redis, and how the pool knows without asking that one is broken.
//!
//! A connection has a task that drives it, on the runtime that opened [`super::Redis`]. A worker
//! thread that opened one would carry everyone's traffic on it, and end it when it stops. Before
//! each use the pool checks whether that task still runs ([`ConnectionManager::is_valid`]). So a
//! connection that Redis has closed is replaced before a call fails, and no round trip is spent on
//! it.
//!
//! A connection on which a call did not end well (no reply in time, or a broken one) is not used
//! again: what may still arrive on it belongs to someone who has gone.

use bb8_redis::bb8::{ErrorSink, ManageConnection};
use parking_lot::Mutex;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, RedisError, RedisResult};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

/// How long the making of one connection may take. A caller waits only for its own deadline; the
/// connection is made in a task of its own, for the next caller.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Makes connections for the pool.
pub(super) struct ConnectionManager {
    client: Client,
    runtime: Handle,
}

impl ConnectionManager {
    /// `runtime` will carry the traffic.
    pub(super) const fn new(client: Client, runtime: Handle) -> Self {
        Self { client, runtime }
    }
}

/// A connection of the pool.
pub(super) struct PooledConnection {
    link: MultiplexedConnection,
    driver: AbortHandle,
    /// A call is under way, or did not end well.
    in_doubt: bool,
}

impl PooledConnection {
    /// The connection for one call. It counts as broken until [`Self::completed`].
    pub(super) const fn begin(&mut self) -> &mut (impl ConnectionLike + use<>) {
        self.in_doubt = true;
        &mut self.link
    }

    /// The call has had its reply, of whatever kind.
    pub(super) const fn completed(&mut self) {
        self.in_doubt = false;
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl ManageConnection for ConnectionManager {
    type Connection = PooledConnection;
    type Error = RedisError;

    async fn connect(&self) -> Result<PooledConnection, RedisError> {
        let client = self.client.clone();
        let opened = self
            .runtime
            .spawn(async move { tokio::time::timeout(CONNECT_TIMEOUT, open(&client)).await });
        match opened.await {
            Ok(Ok(opened)) => opened,
            Ok(Err(_)) => Err((ErrorKind::Io, "no connection in time").into()),
            Err(_) => Err((ErrorKind::Client, "the runtime is stopping").into()),
        }
    }

    async fn is_valid(&self, connection: &mut PooledConnection) -> Result<(), RedisError> {
        if connection.driver.is_finished() {
            return Err((ErrorKind::Io, "Redis has closed the connection").into());
        }
        Ok(())
    }

    fn has_broken(&self, connection: &mut PooledConnection) -> bool {
        connection.in_doubt || connection.driver.is_finished()
    }
}

async fn open(client: &Client) -> RedisResult<PooledConnection> {
    match client.get_connection_info().addr() {
        ConnectionAddr::Tcp(host, port) => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            greet(client, stream).await
        }
        ConnectionAddr::Unix(path) => greet(client, UnixStream::connect(path).await?).await,
        _ => Err((ErrorKind::InvalidClientConfig, "this kind of address is not supported").into()),
    }
}

async fn greet<S>(client: &Client, stream: S) -> RedisResult<PooledConnection>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let settings = client.get_connection_info().redis_settings();
    let (link, driver) = MultiplexedConnection::new_with_config(settings, stream, AsyncConnectionConfig::new()).await?;
    Ok(PooledConnection {
        link,
        driver: tokio::spawn(driver).abort_handle(),
        in_doubt: false,
    })
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

//! How a connection to one server is opened: its socket, and the task that drives it.
//!
//! Used by the pools, by the question for the layout, and by the bus. The task runs on the runtime
//! that opens the connection, and ends with it.
//!
//! A network that swallows packets, or a firewall that has forgotten an idle connection, is noticed
//! by the kernel within half a minute. Whoever waits for a reply has an earlier end of its own.

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, ErrorKind, ProtocolVersion, RedisResult};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

/// Nothing is heard of a connection for so long before the kernel asks, and how often it asks then.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
/// How long what was sent may stay unacknowledged by the other kernel: as long as keep-alives take.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

/// Where a server is, and how to speak to it.
#[derive(Clone)]
pub struct RedisEndpoint {
    info: ConnectionInfo,
    tls: Option<Arc<ClientConfig>>,
}

impl RedisEndpoint {
    pub(super) const fn new(info: ConnectionInfo, tls: Option<Arc<ClientConfig>>) -> Self {
        Self { info, tls }
    }

    /// The same in RESP3, which tells pushes from replies.
    #[must_use]
    pub fn with_pushes(self) -> Self {
        let settings = self.info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        Self {
            info: self.info.set_redis_settings(settings),
            ..self
        }
    }

    /// Opens a connection, within `patience`.
    ///
    /// # Errors
    /// That of the connection, or that it took too long.
    pub async fn open(&self, config: AsyncConnectionConfig, patience: Duration) -> RedisResult<RedisLink> {
        let late = || (ErrorKind::Io, "no connection in time").into();
        let opened = tokio::time::timeout(patience, self.open_stream(config)).await;
        opened.unwrap_or_else(|_elapsed| Err(late()))
    }

    async fn open_stream(&self, config: AsyncConnectionConfig) -> RedisResult<RedisLink> {
        match self.info.addr() {
            ConnectionAddr::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                set_up(&stream)?;
                let Some(tls) = &self.tls else {
                    return self.greet(stream, config).await;
                };
                let name = ServerName::try_from(host.clone()).map_err(|_| {
                    (
                        ErrorKind::InvalidClientConfig,
                        "no certificate is made out to such a name",
                    )
                })?;
                let stream = TlsConnector::from(tls.clone()).connect(name, stream).await?;
                self.greet(stream, config).await
            }
            ConnectionAddr::Unix(path) => self.greet(UnixStream::connect(path).await?, config).await,
            _ => Err((ErrorKind::InvalidClientConfig, "this kind of address is not supported").into()),
        }
    }

    async fn greet<S>(&self, stream: S, config: AsyncConnectionConfig) -> RedisResult<RedisLink>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let settings = self.info.redis_settings();
        let (connection, driver) = MultiplexedConnection::new_with_config(settings, stream, config).await?;
        Ok(RedisLink {
            connection,
            driver: tokio::spawn(driver).abort_handle(),
        })
    }
}

fn set_up(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    Ok(())
}

/// An open connection. It ends when dropped.
pub struct RedisLink {
    connection: MultiplexedConnection,
    driver: AbortHandle,
}

impl RedisLink {
    /// Whether the connection has ended. Asks nobody.
    pub(super) fn is_closed(&self) -> bool {
        self.driver.is_finished()
    }
}

impl Deref for RedisLink {
    type Target = MultiplexedConnection;

    fn deref(&self) -> &MultiplexedConnection {
        &self.connection
    }
}

impl DerefMut for RedisLink {
    fn deref_mut(&mut self) -> &mut MultiplexedConnection {
        &mut self.connection
    }
}

impl Drop for RedisLink {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

//! How a connection to PostgreSQL is opened, and where its task runs.
//!
//! A connection's socket lives in the runtime that opened it. Every worker thread of the server has
//! a runtime. A worker that opened a connection of the pool would carry everyone's traffic on it,
//! and end it when it stops. So the pool opens its connections on the runtime that opened the
//! database. A dedicated connection runs where its owner runs, without a hop between threads.

use super::address::ServerAddress;
use super::error::{Brief, Error};
use deadpool_postgres::ClientWrapper;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::tls::{NoTls, TlsStream};
use tokio_postgres::{Config, Connection};

/// Opens a connection whose task runs on the present runtime.
pub(super) async fn connect(address: &ServerAddress, timeout: Duration) -> Result<ClientWrapper, Error> {
    match tokio::time::timeout(timeout, open(address)).await {
        Ok(Ok((client, task))) => Ok(ClientWrapper::new(client, task)),
        Ok(Err(error)) => Err(Error::Connect(error)),
        Err(_) => Err(Error::ConnectTimeout(timeout)),
    }
}

type Opened = (tokio_postgres::Client, JoinHandle<()>);

async fn open(address: &ServerAddress) -> Result<Opened, tokio_postgres::Error> {
    if let Some(tls) = &address.tls {
        match address.driver.connect(tls.clone()).await {
            Ok((client, connection)) => return Ok((client, drive(connection))),
            Err(error) if address.is_plain_allowed && is_of_handshake(&error) => {
                tracing::debug!("no TLS with the database: {}", Brief(&error));
            }
            Err(error) => return Err(error),
        }
    }
    let (client, connection) = address.driver.connect(NoTls).await?;
    Ok((client, drive(connection)))
}

fn drive<S, T>(connection: Connection<S, T>) -> JoinHandle<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: TlsStream + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::warn!("Database connection lost: {}", Brief(&error));
        }
    })
}

/// Whether a handshake of TLS failed, or was broken off by the other side.
pub(super) fn is_of_handshake(error: &tokio_postgres::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|source| matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof))
}

/// Opens the pool's connections, all on one runtime.
pub(super) struct OnRuntime {
    pub(super) runtime: Handle,
    pub(super) address: ServerAddress,
}

impl deadpool_postgres::Connect for OnRuntime {
    fn connect(&self, _: &Config) -> Pin<Box<dyn Future<Output = Result<Opened, tokio_postgres::Error>> + Send + '_>> {
        let address = self.address.clone();
        Box::pin(async move {
            // A caller that gives up drops this future. Then the task still finishes, and its
            // connection closes with its client.
            match self.runtime.spawn(async move { open(&address).await }).await {
                Ok(opened) => opened,
                // The runtime is stopping, so there is nothing to connect for.
                Err(_) => std::future::pending().await,
            }
        })
    }
}

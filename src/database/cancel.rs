//! Ends a statement in PostgreSQL when nobody waits for it any more.
//!
//! A request whose client has gone is dropped, and the driver then only ignores the reply; the server
//! would work on. So a borrowed connection can be armed ([`Client::cancel_if_dropped`]). Dropped while
//! armed, it asks the server to break off, over a connection of its own as the protocol wants it, and
//! is closed: a request that comes late must not hit the next borrower's statement.
//!
//! Bound: [`TIMEOUT`]. When the server cannot be asked, `statement_timeout` ends the statement.
//!
//! [`Client::cancel_if_dropped`]: super::Client::cancel_if_dropped

use super::address::ServerAddress;
use super::connect::is_of_handshake;
use super::error::Brief;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio_postgres::tls::NoTls;
use tokio_postgres::{CancelToken, Error};

/// For the whole request.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How the statement of a connection is broken off.
#[derive(Clone)]
pub(super) struct Cancellation {
    pub(super) address: ServerAddress,
    pub(super) token: CancelToken,
    pub(super) runtime: Handle,
}

impl std::fmt::Debug for Cancellation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cancellation").finish_non_exhaustive()
    }
}

impl Cancellation {
    /// Asks the server, on a task that nobody waits for.
    pub(super) fn send(self) {
        let runtime = self.runtime.clone();
        runtime.spawn(async move {
            match tokio::time::timeout(TIMEOUT, self.ask()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!("a statement could not be broken off: {}", Brief(&error)),
                Err(_elapsed) => tracing::debug!("a statement could not be broken off in time"),
            }
        });
    }

    async fn ask(&self) -> Result<(), Error> {
        if let Some(tls) = &self.address.tls {
            match self.token.cancel_query(tls.clone()).await {
                Err(error) if self.address.is_plain_allowed && is_of_handshake(&error) => {}
                asked => return asked,
            }
        }
        self.token.cancel_query(NoTls).await
    }
}

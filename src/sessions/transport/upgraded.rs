//! A connection that has become a socket, on its way from the HTTP server to the task that runs it.
//!
//! The HTTP server's own code ends with the handshake: it would keep buffers of 8 KiB and more in
//! both directions for as long as the socket lives, and copy everything once more. So the handler
//! of the handshake leaves a [`Takeover`] in its response. The server (`http/server/upgrade.rs`)
//! calls it with the connection, and awaits what it returns in the place of its own work.

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use tokio::net::TcpStream;

/// The connection after the handshake.
pub struct Upgraded {
    pub stream: TcpStream,
    /// What the client has sent after its request.
    pub received: Bytes,
    /// The head of the response, which is to be written first.
    pub head: Bytes,
}

/// Runs a socket for as long as it lives. Left in the response to its handshake.
pub struct Takeover(Box<dyn FnOnce(Upgraded) -> LocalBoxFuture<'static, ()>>);

impl Takeover {
    #[must_use]
    pub fn new<F: Future<Output = ()> + 'static>(run: impl FnOnce(Upgraded) -> F + 'static) -> Self {
        Self(Box::new(|upgraded| Box::pin(run(upgraded))))
    }

    /// What runs the socket.
    pub fn run(self, upgraded: Upgraded) -> LocalBoxFuture<'static, ()> {
        (self.0)(upgraded)
    }
}

//! The addresses that a node listens on.

use std::net::{SocketAddr, TcpListener};

/// Connections that the kernel keeps while workers are busy.
const BACKLOG: i32 = 4_096;

/// That a node cannot listen on an address; for the operator.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ListenError {
    pub address: SocketAddr,
    pub source: std::io::Error,
}

/// A bound address. Connections wait in the kernel until it is served.
pub struct Listener {
    pub(super) socket: TcpListener,
    /// Where it really is: port 0 has become another.
    pub address: SocketAddr,
}

impl Listener {
    /// Binds `address`.
    ///
    /// # Errors
    /// [`ListenError`] if it is taken, or may not be taken.
    pub fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        let bound = bind(address).and_then(|socket| Ok((socket.local_addr()?, socket)));
        match bound {
            Ok((address, socket)) => Ok(Self { socket, address }),
            Err(source) => Err(ListenError { address, source }),
        }
    }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    // A restarted server takes its port back from connections that linger.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

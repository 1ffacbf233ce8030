//! HTTP as bytes: for requests that no client library would send, and for clients that stop in the middle.

use super::PATIENCE;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// What came back until the server closed the connection.
#[derive(Debug)]
pub struct Exchange {
    pub text: String,
    /// The statuses, in order, those of 1xx left out.
    pub statuses: Vec<u16>,
}

impl Exchange {
    fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let heads = text
            .match_indices("HTTP/1.1 ")
            .map(|(at, mark)| &text[at + mark.len()..]);
        let statuses = heads
            .filter_map(|rest| rest.get(..3)?.parse().ok())
            .filter(|status| *status >= 200)
            .collect();
        Self { text, statuses }
    }

    /// The value of a header, of the first answer that has it.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// A connection that says exactly what it is told to.
pub struct RawConnection(TcpStream);

impl RawConnection {
    pub async fn open(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    /// With a receive buffer so small that the server soon has to wait for us.
    pub async fn open_narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        Self(socket.connect(address).await.unwrap())
    }

    /// From another address of loopback, as another client would.
    pub async fn open_from(source: Ipv4Addr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        Self(socket.connect(address).await.unwrap())
    }

    /// Sends; a server that has closed already is no failure, as its answer is what counts.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).await.is_ok()
    }

    /// What has come, once something has.
    pub async fn read_piece(&mut self) -> String {
        let mut piece = vec![0; 16 * 1_024];
        let read = tokio::time::timeout(PATIENCE, self.0.read(&mut piece)).await;
        let count = read.expect("nothing came").unwrap_or(0);
        String::from_utf8_lossy(&piece[..count]).into_owned()
    }

    /// Says that nothing more will come.
    pub async fn end(&mut self) {
        // The server may have closed before.
        let _: Result<(), _> = self.0.shutdown().await;
    }

    /// Reads until the server closes the connection, which it must.
    pub async fn read_to_end(&mut self) -> Exchange {
        self.read_to_end_slowly(Duration::ZERO).await
    }

    /// The same, taking its time for the first megabytes.
    pub async fn read_to_end_slowly(&mut self, time: Duration) -> Exchange {
        const PAUSES: u32 = 80;
        let mut bytes = Vec::new();
        let mut read = async || {
            let mut piece = vec![0; 64 * 1_024];
            let mut pauses = 0;
            loop {
                if !time.is_zero() && pauses < PAUSES {
                    pauses += 1;
                    tokio::time::sleep(time / PAUSES).await;
                }
                match self.0.read(&mut piece).await {
                    // A reset, too, is an end: the server does not read what it does not want.
                    Ok(0) | Err(_) => return,
                    Ok(count) => bytes.extend_from_slice(&piece[..count]),
                }
            }
        };
        let ended = tokio::time::timeout(PATIENCE, read()).await;
        let exchange = Exchange::of(&bytes);
        assert!(ended.is_ok(), "the connection was left open after {:?}", exchange.text);
        exchange
    }
}

/// Sends bytes and reads until the server closes the connection.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> Exchange {
    let mut connection = RawConnection::open(address).await;
    connection.send(bytes).await;
    connection.read_to_end().await
}

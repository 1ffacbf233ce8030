//! `parlance health`: asks the node on this machine how it is, and says so with the exit code.
//!
//! It is for anyone who starts nodes and can only run a command: an image without a shell has no curl.
//! It asks the address of `BIND` over plain HTTP, as any client would, and gives up after
//! [`TIME_MAX`].
//!
//! One small request with nothing beside the standard library: this runs every few seconds on every
//! node, and should cost a connection and no more. It trusts nobody: what it reads is bounded, and
//! control characters in it are replaced.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Longest wait to connect, for each write, and for each read.
const TIME_MAX: Duration = Duration::from_secs(3);
/// Longest response that is read; a real one has some hundred bytes.
const RESPONSE_BYTES_MAX: u64 = 16 * 1_024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthQuestion {
    /// `/health/live`: whether the process responds. Who fails it should be restarted.
    Live,
    /// `/health/ready`: whether the node should get work. Who fails it should get none, and not be
    /// restarted for it.
    Ready,
}

/// Why a node is not well; for the operator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing came, or not in time.
    #[error("{0} does not answer: {1}")]
    Silent(SocketAddr, #[source] io::Error),
    /// What came is no HTTP.
    #[error("{0} does not answer as Parlance does")]
    Stranger(SocketAddr),
    /// The node says that it is not well.
    #[error("{status}: {text}")]
    Unwell {
        status: u16,
        /// The body of the response.
        text: String,
    },
}

/// Asks the node that listens on `bind`. Returns what it said.
///
/// # Errors
/// [`Error`] unless the node says that it is well.
pub fn ask(bind: SocketAddr, question: HealthQuestion) -> Result<String, Error> {
    let address = reachable(bind);
    let response = exchange(address, question).map_err(|error| Error::Silent(address, error))?;
    let (status, text) = parse(&response).ok_or(Error::Stranger(address))?;
    if status == 200 {
        Ok(text)
    } else {
        Err(Error::Unwell { status, text })
    }
}

/// Where a node that listens on `bind` is reached from the same machine: "all addresses" is none to
/// connect to.
fn reachable(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bind.port())
}

fn exchange(address: SocketAddr, question: HealthQuestion) -> io::Result<Vec<u8>> {
    let path = match question {
        HealthQuestion::Live => "/health/live",
        HealthQuestion::Ready => "/health/ready",
    };
    let mut stream = TcpStream::connect_timeout(&address, TIME_MAX)?;
    stream.set_read_timeout(Some(TIME_MAX))?;
    stream.set_write_timeout(Some(TIME_MAX))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut response = Vec::new();
    stream.take(RESPONSE_BYTES_MAX).read_to_end(&mut response)?;
    Ok(response)
}

/// The status and the body of a response.
fn parse(response: &[u8]) -> Option<(u16, String)> {
    let response = String::from_utf8_lossy(response);
    let (head, body) = response.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    Some((status, body.trim().chars().map(shown).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_are_reached_at_loopback() {
        for (bind, address) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("192.0.2.1:80", "192.0.2.1:80"),
        ] {
            assert_eq!(reachable(bind.parse().unwrap()), address.parse().unwrap());
        }
    }

    #[test]
    fn only_responses_of_http_count() {
        let parsed = |text: &str| parse(text.as_bytes());
        assert_eq!(
            parsed("HTTP/1.1 200 OK\r\nA: b\r\n\r\n{}\n"),
            Some((200, "{}".to_owned()))
        );
        assert_eq!(
            parsed("HTTP/1.1 503 x\r\n\r\na\u{1b}[1mb"),
            Some((503, "a\u{fffd}[1mb".to_owned()))
        );
        for strange in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 \r\n\r\n",
            "HTTP/1.1 2é\r\n\r\n",
        ] {
            assert_eq!(parsed(strange), None, "{strange:?}");
        }
    }

    #[test]
    fn who_is_not_there_is_silent() {
        let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        assert!(matches!(ask(address, HealthQuestion::Live), Err(Error::Silent(..))));
    }
}

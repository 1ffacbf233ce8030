//! `parlance health`: asks the node on this machine how it is, and says so with the exit code.
//!
//! For whoever starts nodes and can only run a command: an image without a shell has no curl to do it with. It asks the
//! address of `BIND`, as any client would, over plain HTTP, and gives up after [`PATIENCE`]. One small request with
//! nothing beside the standard library: this runs every few seconds on every node, and should cost a connection and no
//! more. It trusts nobody: what it reads is bounded, and shown with control characters escaped.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Longest wait to connect, for each write, and for each read.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest answer that is read; a real one has some hundred bytes.
const ANSWER_BYTES_MAX: u64 = 16 * 1_024;

/// Which question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// `/health/live`: whether the process answers. Who fails it should be restarted.
    Live,
    /// `/health/ready`: whether the node should get work. Who fails it should get none, and not be restarted for it.
    Ready,
}

/// Why a node is not well; for the operator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not answer.
    #[error("{0} does not answer: {1}")]
    Silent(SocketAddr, #[source] io::Error),
    /// It does not speak HTTP.
    #[error("{0} does not answer as Parlance does")]
    Stranger(SocketAddr),
    /// It says that it is not well: the status, and what it said.
    #[error("{status}: {text}")]
    Unwell {
        /// The status of HTTP.
        status: u16,
        /// The answer's body.
        text: String,
    },
}

/// Asks the node that listens on `bind`; answers what it said.
///
/// # Errors
/// [`Error`] unless the node says that it is well.
pub fn ask(bind: SocketAddr, question: Question) -> Result<String, Error> {
    let address = reachable(bind);
    let answer = exchange(address, question).map_err(|error| Error::Silent(address, error))?;
    let (status, text) = parse(&answer).ok_or(Error::Stranger(address))?;
    if status == 200 {
        Ok(text)
    } else {
        Err(Error::Unwell { status, text })
    }
}

/// Where one that listens on `bind` is reached from the same machine: "all addresses" is none to connect to.
fn reachable(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bind.port())
}

fn exchange(address: SocketAddr, question: Question) -> io::Result<Vec<u8>> {
    let path = match question {
        Question::Live => "/health/live",
        Question::Ready => "/health/ready",
    };
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}

/// The status and the body of an answer.
fn parse(answer: &[u8]) -> Option<(u16, String)> {
    let answer = String::from_utf8_lossy(answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
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
    fn only_answers_of_http_count() {
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
        assert!(matches!(ask(address, Question::Live), Err(Error::Silent(..))));
    }
}

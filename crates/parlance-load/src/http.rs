//! Requests, one after another over one blocking connection kept alive: those of the set-up, and the REST profile's.
//!
//! Written out rather than taken from an HTTP client crate, because the tool is a binary of the server's own package
//! and would make that crate a dependency of the server. Answers must have a `Content-Length` and fit the limit
//! below.

use crate::error::{Error, Result, io};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How many addresses have been taken, from a random one on, so that runs against one server do not share them.
static CLIENTS: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(rand::random()));

/// Another address each time, for `X-Forwarded-For`: a server that trusts this one (`TRUSTED_PROXIES=127.0.0.1`) then takes
/// the run for as many clients as it stands for, so that its limits can be measured; others take no notice.
pub(crate) fn another_client() -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 | (CLIENTS.fetch_add(1, Ordering::Relaxed) & 0x00ff_ffff))
}

/// Longest answer taken, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection for requests, one after another.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Client {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT).map_err(io("connect"))?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(io("connect"))?;
        stream.set_nodelay(true).map_err(io("connect"))?;
        Ok(Self {
            stream: BufReader::new(stream),
            host: address.to_string(),
        })
    }

    /// `POST` with a JSON body; anything but 2xx is an error.
    pub(crate) fn post(&mut self, path: &str, token: Option<&str>, body: &Value) -> Result<Value> {
        let (status, text) = self.request("POST", path, token, &body.to_string())?;
        if !(200..300).contains(&status) {
            return Err(Error::Http {
                request: format!("POST {path}"),
                status,
                body: text,
            });
        }
        serde_json::from_str(&text).map_err(|e| Error::Protocol(format!("POST {path}: {e}")))
    }

    /// The status of a `GET`.
    pub(crate) fn status_of(&mut self, path: &str) -> Result<u16> {
        self.request("GET", path, None, "").map(|(status, _)| status)
    }

    /// A request and its answer, whatever its status.
    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: &str,
    ) -> Result<(u16, String)> {
        let authorization = token
            .map(|token| format!("Authorization: Bearer {token}\r\n"))
            .unwrap_or_default();
        let client = another_client();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nX-Forwarded-For: {client}\r\n{authorization}Content-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        self.stream
            .get_mut()
            .write_all(request.as_bytes())
            .map_err(io("request"))?;
        let mut line = String::new();
        self.stream.read_line(&mut line).map_err(io("answer"))?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| Error::Protocol(format!("not an HTTP answer: {line:?}")))?;
        let mut length = 0;
        loop {
            line.clear();
            self.stream.read_line(&mut line).map_err(io("answer"))?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap_or(usize::MAX);
            }
        }
        if length > ANSWER_BYTES_MAX {
            return Err(Error::Protocol(format!(
                "{method} {path}: an answer of unknown or too great length"
            )));
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).map_err(io("answer"))?;
        Ok((status, String::from_utf8_lossy(&answer).into_owned()))
    }
}

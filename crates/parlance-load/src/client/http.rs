//! Requests, one after another over one blocking connection kept alive: those of the set-up, and
//! the REST profile's.
//!
//! Written out and not taken from a client crate: a request is one write and a few reads on the
//! caller's thread. A crate brings a runtime or a pool along, whose time would be taken from the
//! cores that the server is measured on. Responses must have a `Content-Length` and fit the limit
//! below.

use crate::error::{Error, Result, io};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Counts addresses up, from a random one on, so that runs against one server do not share them.
static CLIENTS: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(rand::random()));

/// Another address each time, for `X-Forwarded-For`: a server that trusts this one
/// (`TRUSTED_PROXIES=127.0.0.1`) then takes the run for as many clients as it stands for, so that
/// its limits can be measured; others take no notice.
pub(crate) fn another_client() -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 | (CLIENTS.fetch_add(1, Ordering::Relaxed) & 0x00ff_ffff))
}

/// Longest response, in bytes.
const RESPONSE_BYTES_MAX: usize = 2 << 20;
/// How long a connect or a read may take.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection that is kept alive.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    host: String,
    /// From where its requests seem to come; from somewhere else each, if not said.
    origin: Option<IpAddr>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, RESPONSE_TIMEOUT).map_err(io("connect"))?;
        stream.set_read_timeout(Some(RESPONSE_TIMEOUT)).map_err(io("connect"))?;
        stream.set_nodelay(true).map_err(io("connect"))?;
        Ok(Self {
            stream: BufReader::new(stream),
            host: address.to_string(),
            origin: None,
        })
    }

    /// The same, for one client address (see [`another_client`]).
    pub(crate) fn connect_from(address: SocketAddr, origin: IpAddr) -> Result<Self> {
        let mut client = Self::connect(address)?;
        client.origin = Some(origin);
        Ok(client)
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

    /// The status and body of a request, whatever the status.
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
        let client = self.origin.unwrap_or_else(|| another_client().into());
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
        self.stream.read_line(&mut line).map_err(io("response"))?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| Error::Protocol(format!("not an HTTP response: {line:?}")))?;
        let mut length = 0;
        loop {
            line.clear();
            self.stream.read_line(&mut line).map_err(io("response"))?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap_or(usize::MAX);
            }
        }
        if length > RESPONSE_BYTES_MAX {
            return Err(Error::Protocol(format!(
                "{method} {path}: a response of unknown or too great length"
            )));
        }
        let mut response = vec![0; length];
        self.stream.read_exact(&mut response).map_err(io("response"))?;
        Ok((status, String::from_utf8_lossy(&response).into_owned()))
    }
}

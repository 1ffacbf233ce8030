//! A server of the tool's own: started on a free port with its data in a given folder, watched until it is ready,
//! stopped.
//!
//! The suite measures a fresh server so that a number does not depend on what ran before. The child is stopped by
//! SIGTERM (its drain is part of what is tested); only if it does not end in time is it killed, which is reported.

use crate::error::{Error, Result, errno, io};
use crate::http::Client;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to be ready; the first start makes a database cluster.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a server may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(40);
/// How often readiness is asked for; it is the resolution of the start time.
const POLL: Duration = Duration::from_millis(2);

/// A running server.
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// From the start of the process until it said that it is ready.
    pub ready_after: Duration,
}

impl Server {
    /// Starts `binary` with its data in `data_dir` and waits until it is ready. Its log goes to `server.log` beside
    /// the data.
    pub(crate) fn start(binary: &Path, data_dir: &Path) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|l| l.local_addr())
            .map_err(io("free port"))?
            .port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let log_path = log_path(data_dir);
        let log = File::options()
            .create(true)
            .append(true)
            .open(&log_path)
            .map_err(io("server.log"))?;
        let started = Instant::now();
        let child = Command::new(binary)
            .arg("serve")
            .env("BIND", address.to_string())
            .env("DATA_DIR", data_dir)
            .env("RATE_LIMIT_ENABLED", "false")
            // Everybody comes from here.
            .env("PARLANCE_CONNECTIONS_PER_ADDRESS", "1000000")
            .env_remove("DATABASE_URL")
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(io("server.log"))?)
            .stderr(log)
            .spawn()
            .map_err(io("start the server"))?;
        let mut server = Self {
            child,
            address,
            ready_after: Duration::ZERO,
        };
        while !is_ready(address) {
            if let Some(status) = server.child.try_wait().map_err(io("wait"))? {
                return Err(Error::Protocol(format!(
                    "the server ended with {status}; see {}",
                    log_path.display()
                )));
            }
            if started.elapsed() > READY_TIMEOUT {
                return Err(Error::Timeout(
                    format!("readiness (see {})", log_path.display()),
                    READY_TIMEOUT.as_secs(),
                ));
            }
            pause();
        }
        server.ready_after = started.elapsed();
        Ok(server)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).map_err(errno("SIGTERM"))?;
        let asked = Instant::now();
        while asked.elapsed() < STOP_TIMEOUT {
            if let Some(status) = self.child.try_wait().map_err(io("wait"))? {
                let clean = Error::Protocol(format!("the server stopped with {status}"));
                return if status.success() { Ok(()) } else { Err(clean) };
            }
            pause();
        }
        Err(Error::Timeout("the server's stop".into(), STOP_TIMEOUT.as_secs()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Only a server that was not stopped (a failed run) is still there; it must not outlive the tool. PostgreSQL
        // sees its parent gone or is taken over by the next start.
        if matches!(self.child.try_wait(), Ok(None)) {
            let pid = rustix::process::Pid::from_child(&self.child);
            if rustix::process::kill_process(pid, rustix::process::Signal::TERM).is_ok() {
                let asked = Instant::now();
                while asked.elapsed() < STOP_TIMEOUT && matches!(self.child.try_wait(), Ok(None)) {
                    pause();
                }
            }
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the tool has one thread and nothing else to do while it waits"
)]
fn pause() {
    std::thread::sleep(POLL);
}

fn log_path(data_dir: &Path) -> PathBuf {
    data_dir.with_extension("log")
}

fn is_ready(address: SocketAddr) -> bool {
    Client::connect(address)
        .and_then(|mut client| client.status_of("/health/ready"))
        .is_ok_and(|status| status == 200)
}

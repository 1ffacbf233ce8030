//! A server of the tool's own: started on a free port with its data in a given folder, watched until it is ready,
//! stopped.
//!
//! The suite measures a fresh server so that a number does not depend on what ran before. A server is stopped by SIGTERM
//! (its drain is part of what is tested) unless a profile kills it; one that does not end in time is killed, which is
//! reported.

use crate::child::{Owned, pause};
use crate::error::{Error, Result, io};
use crate::http::Client;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to be ready; the first start makes a database cluster.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// How a server is started.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The program.
    pub binary: PathBuf,
    /// Its data; its log goes to a file of that name with `.log`.
    pub data_dir: PathBuf,
    /// Where it listens; a free port unless said.
    pub address: Option<SocketAddr>,
    /// Settings beside those that every measured server has.
    pub settings: Vec<(&'static str, String)>,
}

/// A running server.
pub(crate) struct Server {
    process: Owned,
    log: PathBuf,
    started: Instant,
    /// Where it listens.
    pub address: SocketAddr,
    /// From the start of the process until it said that it is ready.
    pub ready_after: Duration,
}

impl Plan {
    /// A server by itself, with a database of its own and no limits.
    pub(crate) fn alone(binary: &Path, data_dir: &Path) -> Self {
        Self {
            binary: binary.to_owned(),
            data_dir: data_dir.to_owned(),
            address: None,
            settings: Vec::new(),
        }
    }

    /// The program with the settings of every measured server, and where its output goes.
    pub(crate) fn command(&self, what: &str) -> Result<Command> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .map_err(io("the server's log"))?;
        let mut command = Command::new(&self.binary);
        command
            .arg(what)
            .env("DATA_DIR", &self.data_dir)
            .env("RATE_LIMIT_ENABLED", "false")
            // Everybody comes from here.
            .env("PARLANCE_CONNECTIONS_PER_ADDRESS", "1000000")
            .env_remove("DATABASE_URL")
            .env_remove("REDIS_URL")
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(io("the server's log"))?)
            .stderr(log);
        Ok(command)
    }

    fn log(&self) -> PathBuf {
        self.data_dir.with_extension("log")
    }
}

impl Server {
    /// Starts a server and waits until it is ready.
    pub(crate) fn start(plan: &Plan) -> Result<Self> {
        let mut server = Self::begin(plan)?;
        server.wait()?;
        Ok(server)
    }

    /// Starts a server without waiting.
    pub(crate) fn begin(plan: &Plan) -> Result<Self> {
        let address = match plan.address {
            Some(address) => address,
            None => free_address()?,
        };
        let mut command = plan.command("serve")?;
        command.env("BIND", address.to_string());
        let started = Instant::now();
        Ok(Self {
            process: Owned::start("the server", &mut command)?,
            log: plan.log(),
            started,
            address,
            ready_after: Duration::ZERO,
        })
    }

    /// Waits until it is ready.
    pub(crate) fn wait(&mut self) -> Result<()> {
        while !is_ready(self.address) {
            self.process
                .check()
                .map_err(|error| Error::Protocol(format!("{error}; see {}", self.log.display())))?;
            if self.started.elapsed() > READY_TIMEOUT {
                return Err(Error::Timeout(
                    format!("readiness (see {})", self.log.display()),
                    READY_TIMEOUT.as_secs(),
                ));
            }
            pause();
        }
        self.ready_after = self.started.elapsed();
        Ok(())
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Asks it to stop and waits until it has.
    pub(crate) fn stop(self) -> Result<()> {
        self.process.stop()
    }

    /// `kill -9`.
    pub(crate) fn kill(self) -> Result<()> {
        self.process.kill()
    }
}

/// An address on which nothing listens.
pub(crate) fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(io("free port"))?;
    listener.local_addr().map_err(io("free port"))
}

fn is_ready(address: SocketAddr) -> bool {
    Client::connect(address)
        .and_then(|mut client| client.status_of("/health/ready"))
        .is_ok_and(|status| status == 200)
}

//! A server that the tool starts on a free port, with its data in a given folder, and stops again.
//!
//! The suite measures fresh servers, so that a number does not depend on what ran before. A server
//! is stopped by SIGTERM, because its drain is part of what is tested, unless a profile kills it.
//! One that does not end in time is killed, which is an error.

use crate::client::http::Client;
use crate::error::{Error, Result, io};
use crate::installation::child::{ChildProcess, pause};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to be ready; the first start makes a database cluster.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// How a server is started.
#[derive(Clone, Debug)]
pub(crate) struct ServerPlan {
    pub binary: PathBuf,
    /// Its data; its log goes to a file of that name with `.log`.
    pub data_dir: PathBuf,
    /// Where it listens; a free port unless said.
    pub address: Option<SocketAddr>,
    /// Settings beside those that every measured server has.
    pub settings: Vec<(&'static str, String)>,
}

/// Stopped when it is dropped.
pub(crate) struct Server {
    process: ChildProcess,
    log: PathBuf,
    started: Instant,
    pub address: SocketAddr,
    /// From the start of the process until it said that it is ready.
    pub ready_after: Duration,
}

impl ServerPlan {
    /// A server by itself, with a database of its own and no limits.
    pub(crate) fn alone(binary: &Path, data_dir: &Path) -> Self {
        Self {
            binary: binary.to_owned(),
            data_dir: data_dir.to_owned(),
            address: None,
            settings: Vec::new(),
        }
    }

    /// A subcommand of the program with the settings of every measured server; its output goes to
    /// the log.
    pub(crate) fn command(&self, subcommand: &str) -> Result<Command> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .map_err(io("the server's log"))?;
        let mut command = Command::new(&self.binary);
        command
            .arg(subcommand)
            .env("DATA_DIR", &self.data_dir)
            .env("RATE_LIMIT_ENABLED", "false")
            // Everybody comes from this machine.
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
    pub(crate) fn start(plan: &ServerPlan) -> Result<Self> {
        let mut server = Self::spawn(plan)?;
        server.wait_until_ready()?;
        Ok(server)
    }

    /// Starts a server without waiting.
    pub(crate) fn spawn(plan: &ServerPlan) -> Result<Self> {
        let address = match plan.address {
            Some(address) => address,
            None => free_address()?,
        };
        let mut command = plan.command("serve")?;
        command.env("BIND", address.to_string());
        let started = Instant::now();
        Ok(Self {
            process: ChildProcess::start("the server", &mut command)?,
            log: plan.log(),
            started,
            address,
            ready_after: Duration::ZERO,
        })
    }

    pub(crate) fn wait_until_ready(&mut self) -> Result<()> {
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

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) fn stop(self) -> Result<()> {
        self.process.stop()
    }

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

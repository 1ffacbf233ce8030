//! An installation of several nodes: one PostgreSQL that outlives them (`parlance database`), one
//! private Redis, and the nodes, each with a folder of its own.
//!
//! Redis listens on a free port of this machine, keeps nothing on disk, and ends with the tool.
//! `scripts/load.sh` says which program it is.

use crate::context::Context;
use crate::error::{Error, Result, io};
use crate::installation::child::{ChildProcess, pause};
use crate::installation::server::{Server, ServerPlan, free_address};
use crate::measure::process::{Processes, postmaster_of};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How long Redis may take to listen.
const REDIS_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that the database is made for: pools, overflow and lanes of both nodes.
const POOL: &str = "90";

/// One PostgreSQL, perhaps one Redis, and the nodes on them.
pub(crate) struct Installation {
    /// By number; an entry is empty while a node is killed.
    pub nodes: Vec<Option<Server>>,
    plans: Vec<ServerPlan>,
    addresses: Vec<SocketAddr>,
    redis: Option<ChildProcess>,
    database: ChildProcess,
    postgres: Option<u32>,
}

/// What an installation has.
#[derive(Clone, Debug)]
pub(crate) struct Layout<'a> {
    /// The program of the server.
    pub binary: &'a Path,
    /// A folder for all of it, made if missing.
    pub folder: PathBuf,
    /// The number of nodes.
    pub nodes: usize,
    /// The program of their Redis, if they have one.
    pub redis: Option<&'a Path>,
    /// Settings of the nodes, beside those of every measured server.
    pub settings: Vec<(&'static str, String)>,
}

impl Installation {
    /// Starts all of it and waits until it is ready.
    pub(crate) fn start(layout: &Layout<'_>) -> Result<Self> {
        std::fs::create_dir_all(&layout.folder).map_err(io("data folder"))?;
        let mut plan = ServerPlan::alone(layout.binary, &layout.folder.join("database"));
        plan.settings.push(("DATABASE_POOL_SIZE", POOL.into()));
        let (database, database_url) = start_database(&plan)?;
        let postgres = postmaster_of(database.pid());
        let redis = layout
            .redis
            .map(|program| start_redis(program, &layout.folder))
            .transpose()?;
        // Each node accepts the tokens of the others.
        let secret = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let (mut plans, mut nodes, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..layout.nodes {
            let mut plan = ServerPlan::alone(layout.binary, &layout.folder.join(format!("node-{number}")));
            plan.address = Some(free_address()?);
            plan.settings = vec![("DATABASE_URL", database_url.clone()), ("JWT_SECRET", secret.clone())];
            if let Some((_, address)) = &redis {
                plan.settings.push(("REDIS_URL", format!("redis://{address}/0")));
            }
            plan.settings.extend(layout.settings.iter().cloned());
            let node = Server::start(&plan)?;
            addresses.push(node.address);
            nodes.push(Some(node));
            plans.push(plan);
        }
        Ok(Self {
            nodes,
            plans,
            addresses,
            redis: redis.map(|(redis, _)| redis),
            database,
            postgres,
        })
    }

    /// The same context with these nodes as its target; load goes to those whose numbers are given.
    pub(crate) fn context(&self, template: &Context, numbers: &[usize]) -> Context {
        let pid = |node: &Server| node.pid();
        Context {
            addresses: numbers.iter().map(|number| self.addresses[*number]).collect(),
            processes: Processes {
                servers: self.nodes.iter().flatten().map(pid).collect(),
                postgres: self.postgres,
                redis: self.redis.as_ref().map(ChildProcess::pid),
                proxy: None,
            },
            ..template.clone()
        }
    }

    /// `kill -9` of a node.
    pub(crate) fn kill(&mut self, number: usize) -> Result<()> {
        self.nodes[number].take().map_or(Ok(()), Server::kill)
    }

    /// Starts a killed node again, at the same address and without waiting for it.
    pub(crate) fn restart(&mut self, number: usize) -> Result<()> {
        self.nodes[number] = Some(Server::spawn(&self.plans[number])?);
        Ok(())
    }

    /// Waits until a node that was started again is ready.
    pub(crate) fn wait_until_ready(&mut self, number: usize) -> Result<()> {
        self.nodes[number].as_mut().map_or(Ok(()), Server::wait_until_ready)
    }

    /// Stops everything in order.
    pub(crate) fn stop(self) -> Result<()> {
        for node in self.nodes.into_iter().flatten() {
            node.stop()?;
        }
        if let Some(redis) = self.redis {
            redis.stop()?;
        }
        self.database.stop()
    }
}

/// PostgreSQL by itself, and its address.
fn start_database(plan: &ServerPlan) -> Result<(ChildProcess, String)> {
    let mut command = plan.command("database")?;
    command.stdout(Stdio::piped());
    let mut database = ChildProcess::start("parlance database", &mut command)?;
    let mut address = String::new();
    if let Some(output) = database.child().stdout.take() {
        BufReader::new(output)
            .read_line(&mut address)
            .map_err(io("parlance database"))?;
    }
    database.check()?;
    match address.trim() {
        "" => Err(Error::Protocol("parlance database did not print its address".into())),
        address => Ok((database, address.to_owned())),
    }
}

fn start_redis(program: &Path, folder: &Path) -> Result<(ChildProcess, SocketAddr)> {
    let address = free_address()?;
    let mut command = Command::new(program);
    command
        .args(["--bind", "127.0.0.1", "--port", &address.port().to_string()])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let mut redis = ChildProcess::start("redis-server", &mut command)?;
    let started = Instant::now();
    while TcpStream::connect(address).is_err() {
        redis.check()?;
        if started.elapsed() > REDIS_TIMEOUT {
            return Err(Error::Timeout("Redis listening".into(), REDIS_TIMEOUT.as_secs()));
        }
        pause();
    }
    Ok((redis, address))
}

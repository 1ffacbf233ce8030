//! The installation that is soaked: nginx, two nodes, PostgreSQL, Redis, and a proxy on each link between them.
//!
//! Everything is real and the soak's own: its PostgreSQL is a cluster made for it, whose data lies on a small file system
//! of its own where we may mount one (so that it can be filled), nginx runs with the configuration that is shipped, the
//! nodes are the program under test. Ports are taken outside the range the kernel gives away, because a node that is down
//! must find its own again.

use super::daemon::{Account, Daemon, Guardian, Recipe, children};
use crate::support::chaos::{Proxy, Upstream};
use crate::support::{PATIENCE, TempDir, db, environment, pace};
use parking_lot::Mutex;
use parlance::ids::ConversationId;
use rustix::process::{Pid, Signal};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many nodes there are.
pub const NODES: usize = 2;

/// The file system of PostgreSQL's data.
const DISK_BYTES: u64 = 600_000_000;

/// How long a node that is started may look for its database before it ends.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// A connection between two parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    ClientNginx,
    NginxNode(usize),
    NodePostgres(usize),
    NodeRedis(usize),
}

impl Link {
    pub const ALL: [Self; 7] = [
        Self::ClientNginx,
        Self::NginxNode(0),
        Self::NginxNode(1),
        Self::NodePostgres(0),
        Self::NodePostgres(1),
        Self::NodeRedis(0),
        Self::NodeRedis(1),
    ];
}

/// A node, and what only it has.
pub struct Node {
    pub daemon: Daemon,
    /// Not through nginx, and not through a proxy.
    pub address: SocketAddr,
    pub metrics: SocketAddr,
    /// What its clock is ahead by, for libfaketime, if it runs under it.
    pub clock: Option<PathBuf>,
}

/// PostgreSQL.
pub struct Postgres {
    pub daemon: Daemon,
    /// Where its data is; a file system of its own, if it could be mounted.
    pub disk: PathBuf,
    pub disk_is_its_own: Result<(), String>,
    socket_directory: PathBuf,
}

/// All of it.
pub struct World {
    pub nodes: Vec<Node>,
    pub nginx: Daemon,
    pub redis: Daemon,
    pub postgres: Postgres,
    pub links: BTreeMap<Link, Proxy>,
    redis_socket: PathBuf,
    pub guardian: Arc<Guardian>,
    /// A fault is between the nodes and PostgreSQL: one that starts may end, and is started again.
    pub postgres_is_away: bool,
    /// What went wrong that no fault explains.
    pub complaints: Mutex<Vec<String>>,
    /// Last, so that it is there until all processes are gone.
    _directory: TempDir,
}

impl World {
    /// Starts everything, and returns when both nodes are ready.
    pub async fn start() -> Self {
        let directory = TempDir::new("soak");
        let guardian = Guardian::start();
        guardian.tell("directory", directory.path().display());
        let path = directory.path();
        let mut postgres = Postgres::make(path, &guardian);
        postgres.start().await;
        postgres.create_database().await;
        let redis_socket = path.join("redis.sock");
        let mut redis = redis(path, &redis_socket, &guardian);
        redis.start();
        let mut links = BTreeMap::new();
        let mut nodes = Vec::new();
        let secret = uuid::Uuid::new_v4().to_string();
        for number in 0..NODES {
            let to_postgres = Proxy::start(&postgres.url()).await;
            let to_redis = Proxy::to(Upstream::Unix(redis_socket.clone())).await;
            let recipe = node_recipe(path, number, &to_postgres.url(), &to_redis.redis_url(), &secret);
            let node = Node::new(number, recipe, path, &guardian);
            links.insert(Link::NodePostgres(number), to_postgres);
            links.insert(Link::NodeRedis(number), to_redis);
            links.insert(Link::NginxNode(number), Proxy::to(node.address).await);
            nodes.push(node);
        }
        let behind: Vec<_> = (0..NODES)
            .map(|number| links[&Link::NginxNode(number)].address())
            .collect();
        let front = free_address();
        let nginx = nginx(path, front, &behind, &guardian);
        links.insert(Link::ClientNginx, Proxy::to(front).await);
        let mut world = Self {
            nodes,
            nginx,
            redis,
            postgres,
            links,
            redis_socket,
            guardian,
            postgres_is_away: false,
            complaints: Mutex::default(),
            _directory: directory,
        };
        // The first one migrates.
        world.nodes[0].daemon.start();
        world.wait_ready(0).await;
        world.nodes[1].daemon.start();
        world.wait_ready(1).await;
        world.nginx.start();
        world
    }

    /// Where clients go.
    pub fn front(&self) -> SocketAddr {
        self.links[&Link::ClientNginx].address()
    }

    async fn wait_ready(&self, node: usize) {
        let deadline = Instant::now() + PATIENCE * 4;
        while let Err(lacking) = self.health(node).await {
            assert!(
                Instant::now() < deadline,
                "node {}: {lacking}\n{}",
                node + 1,
                self.nodes[node].daemon.log()
            );
            pace(Duration::from_millis(50)).await;
        }
    }

    /// What a node says of itself; an error is what is not well.
    pub async fn health(&self, node: usize) -> Result<(), String> {
        let url = format!("http://{}/health/ready", self.nodes[node].address);
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(3))
            .build();
        let answer = http
            .unwrap()
            .get(url)
            .send()
            .await
            .map_err(|error| format!("no answer: {error}"))?;
        let body = answer.text().await.map_err(|error| error.to_string())?;
        let body: serde_json::Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
        if body["status"] == "ok" {
            Ok(())
        } else {
            Err(body.to_string())
        }
    }

    /// A connection to Redis past everything.
    pub async fn redis(&self) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
        let client = redis::Client::open(format!("unix://{}", self.redis_socket.display()))?;
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
        client.get_multiplexed_async_connection_with_config(&config).await
    }

    pub fn daemons(&mut self) -> impl Iterator<Item = &mut Daemon> {
        let nodes = self.nodes.iter_mut().map(|node| &mut node.daemon);
        nodes.chain([&mut self.nginx, &mut self.redis, &mut self.postgres.daemon])
    }

    /// Notes who has ended without being asked to, and starts it again.
    pub fn look_after_everybody(&mut self) {
        let mut complaints = Vec::new();
        let away = self.postgres_is_away;
        for daemon in self.daemons() {
            if daemon.may_end {
                continue;
            }
            if let Some(status) = daemon.ended() {
                if !(away && daemon.started.elapsed() < START_PATIENCE) {
                    complaints.push(format!("{} ended by itself: {status}", daemon.name));
                }
                daemon.start();
            }
        }
        for complaint in complaints {
            self.complain(complaint);
        }
    }

    pub fn complain(&self, what: impl Into<String>) {
        let what = what.into();
        eprintln!("  !! {what}");
        self.complaints.lock().push(what);
    }

    /// Lets time pass, and looks after everybody meanwhile.
    pub async fn watch(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            pace(Duration::from_millis(100).min(deadline - Instant::now())).await;
            self.look_after_everybody();
        }
    }

    /// The revisions of conversations, as the database has them; nothing when it does not answer.
    pub async fn revisions(&self, rooms: &[ConversationId]) -> Option<Vec<i64>> {
        let ask = async {
            let (client, connection) = tokio_postgres::connect(&self.postgres.url(), tokio_postgres::NoTls)
                .await
                .ok()?;
            tokio::spawn(connection);
            let rows = client.query("SELECT id, rev FROM conversations", &[]).await.ok()?;
            let found: BTreeMap<uuid::Uuid, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
            rooms.iter().map(|room| found.get(&room.0).copied()).collect()
        };
        tokio::time::timeout(Duration::from_secs(5), ask).await.ok()?
    }
}

impl Node {
    fn new(number: usize, recipe: Recipe, directory: &Path, guardian: &Arc<Guardian>) -> Self {
        let (address, metrics) = (free_address(), free_address());
        let name = format!("node {}", number + 1);
        let mut recipe = recipe.with("BIND", address).with("METRICS_BIND", metrics);
        // Only one of them, so that the other shows what has nothing to do with it.
        let mut clock = None;
        if number == 1
            && let Some(library) = environment("FAKETIME_LIBRARY")
        {
            let file = directory.join("clock");
            std::fs::write(&file, "+0\n").unwrap();
            recipe = recipe
                .with("LD_PRELOAD", library)
                .with("FAKETIME_TIMESTAMP_FILE", file.display())
                .with("FAKETIME_NO_CACHE", 1)
                // Only the wall clock jumps, as when an administrator sets it.
                .with("FAKETIME_DONT_FAKE_MONOTONIC", 1)
                .with("DONT_FAKE_MONOTONIC", 1)
                .with("NO_FAKE_STAT", 1);
            clock = Some(file);
        }
        Self {
            daemon: Daemon::new(&name, recipe, directory, guardian),
            address,
            metrics,
            clock,
        }
    }
}

fn node_recipe(directory: &Path, number: usize, database: &str, redis: &str, secret: &str) -> Recipe {
    Recipe::new(env!("CARGO_BIN_EXE_parlance"))
        .arguments(["serve"])
        .with("DATABASE_URL", database)
        .with("REDIS_URL", redis)
        .with("JWT_SECRET", secret)
        .with("DATA_DIR", directory.join(format!("data-{number}")).display())
        .with("TRUSTED_PROXIES", "127.0.0.1")
        .with("DATABASE_POOL_SIZE", 10)
        .with("DATABASE_MAX_OVERFLOW", 5)
        .with("LOG_FORMAT", "json")
        .with("RUST_LOG", environment("SOAK_LOG").unwrap_or_else(|| "info".to_owned()))
        // All clients are at one address and in a hurry, and old connections die in black holes.
        .with("RATE_LIMIT_ENABLED", "false")
        .with("PARLANCE_CONNECTIONS_PER_ADDRESS", 100_000)
        .with("PARLANCE_CONNECTIONS_PER_USER", 200)
        // A clock that jumps by an hour is not about tokens that run out.
        .with("ACCESS_TOKEN_TTL", "1d")
        // Dead lines are noticed while the soak lasts.
        .with("PARLANCE_HEARTBEAT", "5s")
        .with("PARLANCE_HEARTBEAT_TIMEOUT", "12s")
        .with("PARLANCE_SHUTDOWN_TIMEOUT", "20s")
}

/// An address that nobody listens on, and that the kernel gives to nobody.
pub fn free_address() -> SocketAddr {
    loop {
        let port = rand::random_range(12_000..32_000);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

fn redis(directory: &Path, socket: &Path, guardian: &Arc<Guardian>) -> Daemon {
    let program = environment("REDIS_SERVER").unwrap_or_else(|| "redis-server".to_owned());
    let recipe = Recipe::new(program)
        .arguments(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no"])
        .arguments(["--dir".to_owned(), directory.display().to_string()])
        .arguments(["--unixsocket".to_owned(), socket.display().to_string()]);
    Daemon::new("redis", recipe, directory, guardian)
}

/// nginx with the files that are shipped.
pub fn nginx(directory: &Path, front: SocketAddr, nodes: &[SocketAddr], guardian: &Arc<Guardian>) -> Daemon {
    let program = environment("NGINX_SERVER").unwrap_or_else(|| "nginx".to_owned());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (files, run) = (directory.join("nginx"), directory.join("nginx-run"));
    let nodes: Vec<_> = nodes.iter().map(ToString::to_string).collect();
    let rendered = Command::new(root.join("nginx/render"))
        .arg(&files)
        .env("NGINX_LISTEN", front.to_string())
        .env("NGINX_NODES", nodes.join(" "))
        .env("NGINX_RUN_DIR", &run)
        .env("NGINX_STATUS_LISTEN", "")
        .env("NGINX_ACCESS_LOG", "off")
        .env("NGINX_LIMITS", "off")
        .env("NGINX_WORKERS", "2")
        .env("NGINX_WORKER_CONNECTIONS", "2048")
        .env("NGINX_SHUTDOWN_TIMEOUT", "10s")
        .env("NGINX_CONNECTIONS_PER_ADDRESS", "10000")
        .status();
    assert!(rendered.unwrap().success(), "nginx/render failed");
    let recipe = Recipe::new(program)
        .arguments(["-c".to_owned(), files.join("nginx.conf").display().to_string()])
        .arguments(["-g", "daemon off;"]);
    Daemon::new("nginx", recipe, directory, guardian)
}

impl Postgres {
    fn make(directory: &Path, guardian: &Arc<Guardian>) -> Self {
        let account = Account::unprivileged();
        let bin = environment("POSTGRES_BIN_DIR").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join(".dev/postgres/bin"),
            PathBuf::from,
        );
        let (disk, socket_directory) = (directory.join("disk"), directory.join("run"));
        std::fs::create_dir(&disk).unwrap();
        std::fs::create_dir(&socket_directory).unwrap();
        let mounted = mount(&disk);
        if mounted.is_ok() {
            guardian.tell("mount", disk.display());
        }
        for path in [&disk, &socket_directory] {
            if let Some(account) = account {
                std::os::unix::fs::chown(path, Some(account.uid), Some(account.gid)).unwrap();
            }
        }
        let data = disk.join("data");
        let made = Recipe::new(bin.join("initdb"))
            .arguments([
                "--pgdata",
                data.to_str().unwrap(),
                "--username",
                "parlance",
                "--auth=trust",
            ])
            // A short log of changes, so that a full disk is felt soon.
            .arguments(["--encoding=UTF8", "--locale=C", "--no-instructions", "--wal-segsize=1"])
            .account(account)
            .command()
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let settings = [
            "listen_addresses=",
            &format!("unix_socket_directories={}", socket_directory.display()),
            "max_connections=120",
            "shared_buffers=64MB",
            "min_wal_size=4MB",
            "max_wal_size=128MB",
            "synchronous_commit=on",
            "log_min_error_statement=panic",
            "log_error_verbosity=terse",
            "log_line_prefix=%m [%p] ",
            "jit=off",
        ]
        .map(str::to_owned);
        let mut recipe = Recipe::new(bin.join("postgres"))
            .arguments(["-D".to_owned(), data.display().to_string()])
            .account(account);
        for setting in settings {
            recipe = recipe.arguments(["-c".to_owned(), setting]);
        }
        Self {
            daemon: Daemon::new("postgres", recipe, directory, guardian),
            disk,
            disk_is_its_own: mounted,
            socket_directory,
        }
    }

    fn address(&self, database: &str) -> String {
        let directory = self.socket_directory.to_string_lossy().replace('/', "%2F");
        format!("postgres://parlance@{directory}:5432/{database}")
    }

    /// Past the proxies.
    pub fn url(&self) -> String {
        self.address("parlance")
    }

    /// Starts it, also where its predecessor was killed and is not quite gone, and waits until it answers.
    pub async fn start(&mut self) {
        let deadline = Instant::now() + PATIENCE * 4;
        if !self.daemon.runs() {
            self.daemon.start();
        }
        while tokio_postgres::connect(&self.address("postgres"), tokio_postgres::NoTls)
            .await
            .is_err()
        {
            assert!(Instant::now() < deadline, "PostgreSQL: {}", self.daemon.log());
            pace(Duration::from_millis(100)).await;
            // It refuses to start beside processes of its predecessor.
            if self.daemon.ended().is_some() {
                self.daemon.start();
            }
        }
    }

    async fn create_database(&self) {
        let client = db::connect(&self.address("postgres")).await;
        client.batch_execute("CREATE DATABASE parlance").await.unwrap();
    }

    /// The processes that serve nodes.
    pub async fn backends(&self) -> Result<Vec<Pid>, String> {
        let rows = self
            .ask(
                "SELECT pid FROM pg_stat_activity WHERE datname = 'parlance' AND pid <> pg_backend_pid() \
                 AND backend_type = 'client backend' ORDER BY pid",
            )
            .await?;
        Ok(rows.iter().filter_map(|row| Pid::from_raw(row.get(0))).collect())
    }

    /// Its main process and all it has started.
    pub fn processes(&self) -> Vec<Pid> {
        let mut all = vec![self.daemon.pid()];
        all.extend(children(self.daemon.pid()));
        all
    }

    /// Asks it something, past everything.
    pub async fn ask(&self, sql: &str) -> Result<Vec<tokio_postgres::Row>, String> {
        let ask = async {
            let (client, connection) = tokio_postgres::connect(&self.url(), tokio_postgres::NoTls).await?;
            tokio::spawn(connection);
            client.query(sql, &[]).await
        };
        let answer = tokio::time::timeout(Duration::from_secs(10), ask).await;
        answer
            .map_err(|_| format!("no answer to {sql}"))?
            .map_err(|error| format!("{sql}: {error}"))
    }

    /// Stops it in order, but does not wait for clients.
    pub async fn stop_fast(&mut self) {
        self.daemon.signal(Signal::INT);
        let deadline = Instant::now() + PATIENCE * 2;
        while self.daemon.runs() && self.daemon.ended().is_none() {
            if Instant::now() > deadline {
                self.daemon.kill_9();
            }
            pace(Duration::from_millis(50)).await;
        }
    }
}

/// Puts a file system into a directory; an error is why not.
fn mount(directory: &Path) -> Result<(), String> {
    let output = Command::new("mount")
        .args(["-t", "tmpfs", "-o", &format!("size={DISK_BYTES},mode=0700"), "tmpfs"])
        .arg(directory)
        .output()
        .map_err(|error| format!("mount: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

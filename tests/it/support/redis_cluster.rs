//! A real Redis Cluster for each test that wants one: three masters, and a replica of the first, on ports of their own.
//!
//! It is put together by commands, without redis-cli, and stays where a shard is away (`cluster-require-full-coverage no`),
//! as the operator's document recommends. A replica takes over by itself; half a minute is what that may take here.

use super::redis::{Redises, tls_arguments};
use super::tls::{TestAuthority, TestIdentity};
use super::{PATIENCE, TempDir, eventually, eventually_within};
use parlance::config::{RedisConfig, Secret};
use parlance::redis::slot;
use redis::{FromRedisValue, Value};
use rustix::process::{Pid, Signal, kill_process};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Masters; what follows them is a replica of the first.
pub const MASTERS: usize = 3;
/// The replica of the first master.
pub const REPLICA: usize = MASTERS;
/// The slots of each master: nearly a third.
const SLOTS_EACH: u16 = 16_384 / 3;

struct Server {
    child: Option<Child>,
    port: u16,
    bus_port: u16,
    tls_port: u16,
    id: String,
}

/// Four redis-servers.
pub struct TestRedisCluster {
    servers: Vec<Server>,
    directory: TempDir,
    /// Its certificate and the authority of it, where it speaks TLS too.
    tls: Option<(TestIdentity, PathBuf)>,
}

impl Redises for TestRedisCluster {
    fn config(&self) -> RedisConfig {
        RedisConfig {
            url: Some(Secret::new(self.url())),
            ..RedisConfig::default()
        }
    }
}

impl TestRedisCluster {
    /// Starts one and returns when all of its servers agree.
    pub async fn start() -> Self {
        Self::start_as(None).await
    }

    /// One that speaks TLS, within itself and with nodes. The test goes past it.
    pub async fn start_with_tls(identity: &TestIdentity, authority: &TestAuthority) -> Self {
        Self::start_as(Some((identity.clone(), authority.file()))).await
    }

    async fn start_as(tls: Option<(TestIdentity, PathBuf)>) -> Self {
        let mut cluster = Self {
            servers: free_ports(MASTERS + 1),
            directory: TempDir::new("redis-cluster"),
            tls,
        };
        for n in 0..cluster.servers.len() {
            cluster.launch(n).await;
            cluster.servers[n].id = cluster.ask(n, &["CLUSTER", "MYID"]).await;
            let epoch = (n + 1).to_string();
            cluster.ask::<()>(n, &["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await;
        }
        for n in 0..MASTERS {
            let (first, last) = range(n);
            let (first, last) = (first.to_string(), last.to_string());
            cluster.ask::<()>(n, &["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await;
        }
        for n in 1..cluster.servers.len() {
            let (port, bus_port) = (
                cluster.advertised_port(n).to_string(),
                cluster.servers[n].bus_port.to_string(),
            );
            cluster
                .ask::<()>(0, &["CLUSTER", "MEET", "127.0.0.1", &port, &bus_port])
                .await;
        }
        let master = cluster.servers[0].id.clone();
        eventually("the replica follows its master", async || {
            let replicate = ["CLUSTER", "REPLICATE", &master];
            cluster.try_ask::<()>(REPLICA, &replicate).await.is_ok()
        })
        .await;
        eventually("the cluster is whole", async || cluster.is_whole().await).await;
        cluster
    }

    /// The addresses of its masters, as `REDIS_URL` takes them.
    pub fn url(&self) -> String {
        let seeds = (0..MASTERS).map(|n| format!("127.0.0.1:{}", self.advertised_port(n)));
        let seeds: Vec<_> = seeds.collect();
        let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://{}", seeds.join(","))
    }

    /// The port at which nodes, and the others of the cluster, speak to one.
    fn advertised_port(&self, n: usize) -> u16 {
        let server = &self.servers[n];
        if self.tls.is_some() {
            server.tls_port
        } else {
            server.port
        }
    }

    /// The address of one of them alone.
    pub fn url_of(&self, n: usize) -> String {
        format!("redis://127.0.0.1:{}", self.servers[n].port)
    }

    /// The master that had a key or a channel at the beginning.
    pub fn home(key: &str) -> usize {
        usize::from(slot(key) / SLOTS_EACH).min(MASTERS - 1)
    }

    /// `kill -9`; the others find out.
    pub fn kill_9(&mut self, n: usize) {
        let Some(mut child) = self.servers[n].child.take() else {
            return;
        };
        kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
        child.wait().unwrap();
    }

    /// Stops one in its tracks.
    pub fn freeze(&self, n: usize) {
        self.signal(n, Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self, n: usize) {
        self.signal(n, Signal::CONT);
    }

    fn signal(&self, n: usize, signal: Signal) {
        let child = self.servers[n].child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    /// Starts one that was killed, with what it knew of the cluster and without any data.
    pub async fn restart(&mut self, n: usize) {
        self.launch(n).await;
    }

    async fn launch(&mut self, n: usize) {
        let program = super::environment("REDIS_SERVER").unwrap_or_else(|| "redis-server".to_owned());
        let server = &mut self.servers[n];
        let nodes = format!("nodes-{n}.conf");
        let tls = self.tls.as_ref().map(|(identity, authority)| {
            let mut all = tls_arguments(server.tls_port, identity, authority);
            let settings = [
                "--tls-auth-clients",
                "no",
                "--tls-cluster",
                "yes",
                "--tls-replication",
                "yes",
            ];
            all.extend(settings.map(str::to_owned));
            all
        });
        let (port, bus_port) = (server.port.to_string(), server.bus_port.to_string());
        let settings = [
            ("--port", port.as_str()),
            ("--cluster-port", &bus_port),
            ("--bind", "127.0.0.1"),
            ("--cluster-enabled", "yes"),
            ("--cluster-config-file", &nodes),
            ("--cluster-node-timeout", "2000"),
            ("--cluster-require-full-coverage", "no"),
            ("--cluster-allow-replica-migration", "no"),
            ("--cluster-replica-validity-factor", "0"),
            ("--repl-diskless-sync-delay", "0"),
            ("--save", ""),
            ("--appendonly", "no"),
            ("--daemonize", "no"),
        ];
        let child = Command::new(&program)
            .args(settings.iter().flat_map(|(name, value)| [*name, *value]))
            .arg("--dir")
            .arg(self.directory.path())
            .args(tls.unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{program}: {error}; `scripts/redis.sh` fetches one, REDIS_SERVER names one")
            });
        server.child = Some(child);
        eventually("Redis answers", async || {
            self.try_ask::<Value>(n, &["PING"]).await.is_ok()
        })
        .await;
    }

    async fn is_whole(&self) -> bool {
        for n in 0..self.servers.len() {
            let Ok(info) = self.try_ask::<String>(n, &["CLUSTER", "INFO"]).await else {
                return false;
            };
            let known = format!("cluster_known_nodes:{}", self.servers.len());
            if ![known.as_str(), "cluster_state:ok", "cluster_slots_ok:16384"]
                .iter()
                .all(|line| info.contains(line))
            {
                return false;
            }
        }
        let nodes: String = self.ask(1, &["CLUSTER", "NODES"]).await;
        let replication: String = self.ask(REPLICA, &["INFO", "replication"]).await;
        nodes.contains("slave") && replication.contains("master_link_status:up")
    }

    /// Waits until a server says that it is a master.
    pub async fn until_master(&self, n: usize) {
        // The others have to notice, and to vote.
        eventually_within(2 * PATIENCE, "a server becomes a master", async || {
            let role: Vec<Value> = self.ask(n, &["ROLE"]).await;
            role.first() == Some(&Value::BulkString(b"master".to_vec()))
        })
        .await;
    }

    /// Says that a slot is to move: until [`Self::finish_move`], the one server tells who asks for a key that it has not
    /// to ask the other.
    pub async fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let (slot, source, target) = (slot.to_string(), &self.servers[from].id, &self.servers[to].id);
        self.ask::<()>(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", source])
            .await;
        self.ask::<()>(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", target])
            .await;
    }

    /// Moves the keys of a slot, and then the slot.
    pub async fn finish_move(&self, slot: u16, from: usize, to: usize) {
        let (slot, port, target) = (
            slot.to_string(),
            self.servers[to].port.to_string(),
            &self.servers[to].id,
        );
        let keys: Vec<String> = self.ask(from, &["CLUSTER", "GETKEYSINSLOT", &slot, "1000"]).await;
        for key in keys {
            self.ask::<String>(from, &["MIGRATE", "127.0.0.1", &port, &key, "0", "5000", "REPLACE"])
                .await;
        }
        for n in [to, from]
            .into_iter()
            .chain((0..MASTERS).filter(|n| *n != to && *n != from))
        {
            self.ask::<()>(n, &["CLUSTER", "SETSLOT", &slot, "NODE", target]).await;
        }
    }

    /// How often a server has carried out a command.
    pub async fn calls(&self, n: usize, command: &str) -> u64 {
        let stats: String = self.ask(n, &["INFO", "commandstats"]).await;
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
    }

    /// How many listen to a sharded channel at a server.
    pub async fn listeners(&self, n: usize, channel: &str) -> u64 {
        let answer: (String, u64) = self.ask(n, &["PUBSUB", "SHARDNUMSUB", channel]).await;
        answer.1
    }

    /// Asks a server something past ours.
    pub async fn ask<T: FromRedisValue>(&self, n: usize, words: &[&str]) -> T {
        let answer = self.try_ask(n, words).await;
        answer.unwrap_or_else(|error| panic!("{words:?} of server {n}: {error}"))
    }

    async fn try_ask<T: FromRedisValue>(&self, n: usize, words: &[&str]) -> redis::RedisResult<T> {
        let client = redis::Client::open(self.url_of(n))?;
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut command = redis::Cmd::new();
        command.arg(words);
        command.query_async(&mut connection).await
    }
}

impl Drop for TestRedisCluster {
    fn drop(&mut self) {
        for n in 0..self.servers.len() {
            self.kill_9(n);
        }
    }
}

/// The slots of a master at the beginning.
fn range(n: usize) -> (u16, u16) {
    let first = SLOTS_EACH * u16::try_from(n).unwrap();
    let last = if n + 1 == MASTERS {
        16_383
    } else {
        first + SLOTS_EACH - 1
    };
    (first, last)
}

/// Ports that nobody had a moment ago; all are held until all are known.
fn free_ports(count: usize) -> Vec<Server> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let held: Vec<_> = (0..count).map(|_| [bind(), bind(), bind()]).collect();
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    held.iter()
        .map(|[own, bus, tls]| Server {
            child: None,
            port: port(own),
            bus_port: port(bus),
            tls_port: port(tls),
            id: String::new(),
        })
        .collect()
}

//! A real Redis for each test that wants one: private, on a socket of its own, and open to every fault.
//!
//! The program is the one that `scripts/redis.sh` finds or fetches; `scripts/test.sh` passes it on as `REDIS_SERVER`. It
//! keeps nothing on disk, so a restart loses everything, as losing a cache does. It ends with the test.

use super::tls::{TestAuthority, TestIdentity};
use super::{PATIENCE, TempDir};
use parlance::config::{RedisConfig, Secret};
use redis::FromRedisValue;
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What nodes can be started on: a Redis, or a cluster of them.
pub trait Redises {
    /// A configuration that names it.
    fn config(&self) -> RedisConfig;
}

impl Redises for TestRedis {
    fn config(&self) -> RedisConfig {
        Self::config(self)
    }
}

/// A redis-server.
pub struct TestRedis {
    child: Option<Child>,
    directory: TempDir,
    /// Over TCP, for who knows the password.
    tcp: Option<(u16, String)>,
    tls: Option<RedisTls>,
}

/// A port with TLS.
struct RedisTls {
    port: u16,
    identity: TestIdentity,
    /// Clients need a certificate that is signed by this one.
    clients: Option<PathBuf>,
}

impl TestRedis {
    /// Starts one and returns when it answers.
    pub async fn start() -> Self {
        Self::launch(None, None).await
    }

    /// Starts one with a port for TLS too. Clients need a certificate of an authority, if one is named.
    pub async fn start_with_tls(identity: &TestIdentity, clients: Option<&TestAuthority>) -> Self {
        let tls = RedisTls {
            port: free_port(),
            identity: identity.clone(),
            clients: clients.map(TestAuthority::file),
        };
        Self::launch(None, Some(tls)).await
    }

    /// Starts one on a TCP port, for which a password is needed.
    pub async fn start_with_password(password: &str) -> Self {
        Self::launch(Some((free_port(), password.to_owned())), None).await
    }

    async fn launch(tcp: Option<(u16, String)>, tls: Option<RedisTls>) -> Self {
        let mut redis = Self {
            child: None,
            directory: TempDir::new("redis"),
            tcp,
            tls,
        };
        redis.restart().await;
        redis
    }

    /// Its address.
    pub fn url(&self) -> String {
        match &self.tcp {
            Some((port, password)) => {
                let password = password.replace(',', "%2C");
                format!("redis://:{password}@127.0.0.1:{port}/2")
            }
            None => format!("unix://{}", self.socket().display()),
        }
    }

    /// Its port without TLS.
    pub fn port(&self) -> u16 {
        self.tcp.as_ref().expect("it listens on a port").0
    }

    /// Its port with TLS.
    pub fn tls_port(&self) -> u16 {
        self.tls.as_ref().expect("it speaks TLS").port
    }

    /// A configuration that names it.
    pub fn config(&self) -> RedisConfig {
        RedisConfig {
            url: Some(Secret::new(self.url())),
            ..RedisConfig::default()
        }
    }

    /// The socket it listens on.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("Redis runs"))
    }

    /// `kill -9`; the address stays.
    pub fn kill_9(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
        child.wait().unwrap();
    }

    /// Stops it in its tracks: connections stay open, and nothing is answered.
    pub fn freeze(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    /// Starts it, again after a kill, empty and at the same address; returns when it answers.
    pub async fn restart(&mut self) {
        self.kill_9();
        let program = super::environment("REDIS_SERVER").unwrap_or_else(|| "redis-server".to_owned());
        // Left over from a kill; Redis would take it for another's.
        let _: Result<(), _> = std::fs::remove_file(self.socket());
        let (port, password) = self.tcp.clone().unwrap_or_default();
        let child = Command::new(&program)
            .args(["--port", &port.to_string(), "--requirepass", &password])
            .args([
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--daemonize",
                "no",
            ])
            .arg("--dir")
            .arg(self.directory.path())
            .arg("--unixsocket")
            .arg(self.socket())
            .args(self.tls.iter().flat_map(RedisTls::arguments))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{program}: {error}; `scripts/redis.sh` fetches one, REDIS_SERVER names one")
            });
        self.child = Some(child);
        super::eventually("Redis answers", async || self.connect().await.is_ok()).await;
    }

    async fn connect(&self) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
        let client = redis::Client::open(self.url())?;
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
        client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Asks it something past the server: `["GET", "key"]`.
    pub async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut connection = self.connect().await.unwrap();
        let mut command = redis::Cmd::new();
        command.arg(words);
        command
            .query_async(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Publishes something past the server; how many have heard it.
    pub async fn publish(&self, channel: &str, bytes: &[u8]) -> u64 {
        let mut connection = self.connect().await.unwrap();
        let mut command = redis::cmd("PUBLISH");
        command.arg(channel).arg(bytes);
        command.query_async(&mut connection).await.unwrap()
    }

    /// Everything in it is gone.
    pub async fn flush(&self) {
        self.ask::<()>(&["FLUSHALL"]).await;
    }

    /// The keys that match a pattern.
    pub async fn keys(&self, pattern: &str) -> Vec<String> {
        self.ask(&["KEYS", pattern]).await
    }
}

impl RedisTls {
    fn arguments(&self) -> Vec<String> {
        let clients = self.clients.as_ref();
        let mut all = tls_arguments(self.port, &self.identity, clients.unwrap_or(&self.identity.certificate));
        all.extend([
            "--tls-auth-clients".to_owned(),
            clients.map_or("no", |_| "yes").to_owned(),
        ]);
        all
    }
}

/// What a redis-server needs to speak TLS.
pub fn tls_arguments(port: u16, identity: &TestIdentity, authority: &Path) -> Vec<String> {
    let path = |path: &Path| path.display().to_string();
    let settings = [
        ("--tls-port", port.to_string()),
        ("--tls-cert-file", path(&identity.certificate)),
        ("--tls-key-file", path(&identity.key)),
        ("--tls-ca-cert-file", path(authority)),
    ];
    settings
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
}

/// A port that nobody had a moment ago.
fn free_port() -> u16 {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}

impl Drop for TestRedis {
    fn drop(&mut self) {
        self.kill_9();
    }
}

/// How long something took, in full.
pub async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    let result = work.await;
    (result, start.elapsed())
}

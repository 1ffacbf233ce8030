//! A real Redis for each test that wants one: private, on a socket of its own, and open to every fault.
//!
//! The program is the one that `scripts/redis.sh` finds or fetches; `scripts/test.sh` passes it on as `REDIS_SERVER`. It
//! keeps nothing on disk, so a restart loses everything, as losing a cache does. It ends with the test.

use super::{PATIENCE, TempDir};
use parlance::config::{RedisConfig, Secret};
use redis::FromRedisValue;
use rustix::process::{Pid, Signal, kill_process};
use std::path::PathBuf;
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
}

impl TestRedis {
    /// Starts one and returns when it answers.
    pub async fn start() -> Self {
        Self::launch(None).await
    }

    /// Starts one on a TCP port, for which a password is needed.
    pub async fn start_with_password(password: &str) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        Self::launch(Some((port, password.to_owned()))).await
    }

    async fn launch(tcp: Option<(u16, String)>) -> Self {
        let mut redis = Self {
            child: None,
            directory: TempDir::new("redis"),
            tcp,
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

    /// Everything in it is gone.
    pub async fn flush(&self) {
        self.ask::<()>(&["FLUSHALL"]).await;
    }

    /// The keys that match a pattern.
    pub async fn keys(&self, pattern: &str) -> Vec<String> {
        self.ask(&["KEYS", pattern]).await
    }
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

//! `Config`: everything an operator may set, put together from its sections.

use super::auth::AuthConfig;
use super::cache::CacheConfig;
use super::conversations::ConversationsConfig;
use super::database::DatabaseConfig;
use super::http::HttpConfig;
use super::limits::LimitsConfig;
use super::metrics::MetricsConfig;
use super::redis::RedisConfig;
use super::replica::ReplicaConfig;
use super::sessions::SessionsConfig;
use super::values::{LogFormat, seconds};
use super::walk::SettingsWalk;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Everything an operator may set. What each field means stands beside its name in a `walk`.
#[derive(Clone, Debug)]
pub struct Config {
    pub bind: SocketAddr,
    pub data_dir: PathBuf,
    pub log_format: LogFormat,
    pub log_filter: String,
    pub shutdown_timeout: Duration,
    pub drain_delay: Duration,
    pub database: DatabaseConfig,
    pub replica: ReplicaConfig,
    pub redis: RedisConfig,
    pub cache: CacheConfig,
    pub auth: AuthConfig,
    pub http: HttpConfig,
    pub conversations: ConversationsConfig,
    pub sessions: SessionsConfig,
    pub limits: LimitsConfig,
    pub metrics: MetricsConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            data_dir: PathBuf::from("./data"),
            log_format: LogFormat::Pretty,
            log_filter: "info".to_owned(),
            shutdown_timeout: Duration::from_secs(30),
            drain_delay: Duration::ZERO,
            database: DatabaseConfig::default(),
            replica: ReplicaConfig::default(),
            redis: RedisConfig::default(),
            cache: CacheConfig::default(),
            auth: AuthConfig::default(),
            http: HttpConfig::default(),
            conversations: ConversationsConfig::default(),
            sessions: SessionsConfig::default(),
            limits: LimitsConfig::default(),
            metrics: MetricsConfig::default(),
        }
    }
}

impl Config {
    /// Every setting once, in the order in which operators see them.
    pub(super) fn walk(&mut self, walk: &mut SettingsWalk<'_>) {
        self.walk_process(walk);
        self.database.walk(walk);
        self.replica.walk(walk);
        self.redis.walk(walk);
        self.cache.walk(walk);
        self.auth.walk(walk);
        if walk.is_reading() {
            self.http.secure_cookies = !self.bind.ip().is_loopback();
        }
        self.http.walk(walk);
        self.conversations.walk(walk);
        self.sessions.walk(walk);
        self.limits.walk(walk);
        self.metrics.walk(walk);
    }

    fn walk_process(&mut self, walk: &mut SettingsWalk<'_>) {
        walk.section("Process", "");
        walk.value(
            "BIND",
            &mut self.bind,
            "The address to listen on. Port 0 takes a free one.",
        );
        walk.value(
            "DATA_DIR",
            &mut self.data_dir,
            "Where the private database, its lock and the signing key are kept.",
        );
        walk.value(
            "LOG_FORMAT",
            &mut self.log_format,
            "`pretty` for people, `json` for machines. The log goes to standard error.",
        );
        walk.value(
            "RUST_LOG",
            &mut self.log_filter,
            "Which events are logged, for example `info,parlance=debug`.",
        );
        walk.bounded(
            "PARLANCE_SHUTDOWN_TIMEOUT",
            &mut self.shutdown_timeout,
            seconds(1, 600),
            "How long everything together may take to stop.",
        );
        walk.bounded(
            "PARLANCE_DRAIN_DELAY",
            &mut self.drain_delay,
            seconds(0, 120),
            "Before it stops: how long the node still serves while `/health/ready` already says that it will go away. \
             For a load balancer that asks there.",
        );
    }

    /// What no single setting can know.
    pub(super) fn check(&self, errors: &mut Vec<String>) {
        self.sessions.check(errors);
        self.database.check(errors);
        self.replica.check(errors);
        self.redis.check(errors);
        self.metrics.check(self.bind, errors);
        self.auth.check(errors);
        self.http.check(errors);
    }
}

/// Prints what will be used, one `NAME=value` a line, secrets masked.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut walk = SettingsWalk::looking();
        self.clone().walk(&mut walk);
        for entry in walk.entries {
            writeln!(f, "{}={}", entry.name, entry.value)?;
        }
        Ok(())
    }
}

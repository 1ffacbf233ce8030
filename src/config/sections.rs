//! The sections of the configuration: what each setting means, its default, its name and its bounds.
//!
//! Apart from the reading of them in `config/mod.rs`: this is the file to look into, or to add to, when it is about a
//! setting. When you add one, also add it to the section's `walk` and to `.env.example`; tests compare them.

use super::{Pass, Secret};
use crate::supervision::RestartPolicy;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// The connection to PostgreSQL.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// `DATABASE_URL`: a PostgreSQL of the operator's; without it the server runs a private one in `DATA_DIR`.
    pub url: Option<Secret>,
    /// `DATABASE_POOL_SIZE`: connections that are kept.
    pub pool_size: usize,
    /// `DATABASE_MAX_OVERFLOW`: connections beyond these for moments of need, closed when they come back.
    pub max_overflow: usize,
    /// `PARLANCE_DATABASE_CONNECT_TIMEOUT`: for one new connection.
    pub connect_timeout: Duration,
    /// `PARLANCE_DATABASE_ACQUIRE_TIMEOUT`: how long a request waits for a connection of the pool.
    pub acquire_timeout: Duration,
    /// `PARLANCE_DATABASE_STATEMENT_TIMEOUT`: after which PostgreSQL cancels a statement.
    pub statement_timeout: Duration,
    /// `PARLANCE_DATABASE_CONNECTION_LIFETIME`: after which a connection is replaced, give or take a tenth.
    pub connection_lifetime: Duration,
    /// `PARLANCE_MIGRATION_LOCK_TIMEOUT`: how long a migration waits for a lock, while everybody waits behind it; then it
    /// lets them pass, and tries again a few times.
    pub migration_lock_timeout: Duration,
    /// `POSTGRES_BIN_DIR`: where the private server's `postgres` and `initdb` are.
    pub postgres_bin_dir: Option<PathBuf>,
}

/// Tokens.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// `ACCESS_TOKEN_TTL`: the life of an access token.
    pub access_token_ttl: Duration,
    /// `PARLANCE_REFRESH_TOKEN_TTL`: the life of a log-in that is not used.
    pub refresh_token_ttl: Duration,
    /// `JWT_SECRET`: the signing key, at least 32 bytes; without it one is made and kept in `DATA_DIR`.
    pub jwt_secret: Option<Secret>,
}

/// The HTTP server.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// `ALLOWED_ORIGINS`: further origins (`https://chat.example.org`), separated by commas, whose pages may open sockets
    /// and read answers.
    pub allowed_origins: Vec<String>,
    /// `PARLANCE_HTTP_WORKERS`: threads that serve connections; one a core unless set.
    pub workers: usize,
    /// `PARLANCE_REQUEST_TIMEOUT`: for a client to send its request head.
    pub request_timeout: Duration,
    /// `PARLANCE_KEEP_ALIVE`: how long an idle connection stays; longer than a proxy in front keeps its own.
    pub keep_alive: Duration,
    /// `PARLANCE_REQUEST_DEADLINE`: for a request, from its head until its answer begins.
    pub request_deadline: Duration,
    /// `PARLANCE_SECURE_COOKIES`: whether people come by TLS, so that cookies are for it only and browsers are told to stay
    /// with it; unless set, they do where `BIND` is not loopback.
    pub secure_cookies: bool,
}

/// Conversations and their persistence.
#[derive(Clone, Debug)]
pub struct ConversationsConfig {
    /// `PARLANCE_PASSIVATE_AFTER`: a conversation without subscribers leaves memory after this.
    pub passivate_after: Duration,
    /// `PARLANCE_ARBITERS`: threads that run conversations; one a core unless set.
    pub arbiters: usize,
    /// `PARLANCE_ACTIVE_MAX`: conversations in memory.
    pub active_max: usize,
    /// `PARLANCE_PERSISTENCE_LANES`: writers that commit at the same time, each with a connection of its own.
    pub persistence_lanes: usize,
    /// How often a conversation that dies is started again. Not a setting.
    pub restarts: RestartPolicy,
}

/// WebSocket connections.
#[derive(Clone, Debug)]
pub struct SessionsConfig {
    /// `PARLANCE_CONNECTIONS_MAX`: on this node, as far as its limit of open files allows ([`super::Capacity`]).
    pub connections_max: usize,
    /// `PARLANCE_CONNECTIONS_PER_USER`: on this node; one more is closed with 4005 at once.
    pub connections_per_user: usize,
    /// `PARLANCE_CONNECTIONS_PER_ADDRESS`: on this node, of one client address (IPv6: of one /64); likewise 4005.
    pub connections_per_address: usize,
    /// `PARLANCE_HEARTBEAT`: between two pings of the server.
    pub heartbeat: Duration,
    /// `PARLANCE_HEARTBEAT_TIMEOUT`: a client silent for this long is cut.
    pub heartbeat_timeout: Duration,
    /// `PARLANCE_STALL_TIMEOUT`: a client that takes no bytes for this long, while some wait for it, is cut.
    pub stall_timeout: Duration,
    /// `PARLANCE_PRESENCE_GRACE`: how long a person without a connection still counts as online.
    pub presence_grace: Duration,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: None,
            pool_size: 20,
            max_overflow: 10,
            connect_timeout: Duration::from_secs(10),
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(5),
            connection_lifetime: Duration::from_hours(1),
            migration_lock_timeout: Duration::from_secs(5),
            postgres_bin_dir: None,
        }
    }
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            access_token_ttl: Duration::from_secs(900),
            refresh_token_ttl: Duration::from_hours(30 * 24),
            jwt_secret: None,
        }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            allowed_origins: Vec::new(),
            workers: cores(),
            request_timeout: Duration::from_secs(15),
            keep_alive: Duration::from_secs(90),
            request_deadline: Duration::from_secs(30),
            secure_cookies: false,
        }
    }
}

impl Default for ConversationsConfig {
    fn default() -> Self {
        Self {
            passivate_after: Duration::from_secs(300),
            arbiters: cores(),
            active_max: 100_000,
            persistence_lanes: 2,
            restarts: RestartPolicy::default(),
        }
    }
}

impl Default for SessionsConfig {
    fn default() -> Self {
        Self {
            connections_max: 50_000,
            connections_per_user: 20,
            connections_per_address: 100,
            heartbeat: Duration::from_secs(25),
            heartbeat_timeout: Duration::from_secs(35),
            stall_timeout: Duration::from_secs(10),
            presence_grace: Duration::from_secs(15),
        }
    }
}

const DAY: u64 = 24 * 3_600;

pub(super) const fn seconds(min: u64, max: u64) -> RangeInclusive<Duration> {
    Duration::from_secs(min)..=Duration::from_secs(max)
}

/// For timeouts and pauses: long enough to be one, short enough to end.
const fn short() -> RangeInclusive<Duration> {
    Duration::from_millis(10)..=Duration::from_secs(3_600)
}

impl DatabaseConfig {
    pub(super) fn walk(&mut self, pass: &mut Pass<'_>) {
        pass.value("DATABASE_URL", &mut self.url);
        pass.bounded("DATABASE_POOL_SIZE", &mut self.pool_size, 1..=1_000);
        pass.bounded("DATABASE_MAX_OVERFLOW", &mut self.max_overflow, 0..=1_000);
        pass.bounded("PARLANCE_DATABASE_CONNECT_TIMEOUT", &mut self.connect_timeout, short());
        pass.bounded("PARLANCE_DATABASE_ACQUIRE_TIMEOUT", &mut self.acquire_timeout, short());
        pass.bounded(
            "PARLANCE_DATABASE_STATEMENT_TIMEOUT",
            &mut self.statement_timeout,
            short(),
        );
        pass.bounded(
            "PARLANCE_DATABASE_CONNECTION_LIFETIME",
            &mut self.connection_lifetime,
            seconds(1, 7 * DAY),
        );
        pass.bounded(
            "PARLANCE_MIGRATION_LOCK_TIMEOUT",
            &mut self.migration_lock_timeout,
            short(),
        );
        pass.value("POSTGRES_BIN_DIR", &mut self.postgres_bin_dir);
    }
}

impl AuthConfig {
    pub(super) fn walk(&mut self, pass: &mut Pass<'_>) {
        pass.bounded("ACCESS_TOKEN_TTL", &mut self.access_token_ttl, seconds(1, DAY));
        pass.bounded(
            "PARLANCE_REFRESH_TOKEN_TTL",
            &mut self.refresh_token_ttl,
            seconds(60, 400 * DAY),
        );
        pass.value("JWT_SECRET", &mut self.jwt_secret);
    }
}

impl HttpConfig {
    pub(super) fn walk(&mut self, pass: &mut Pass<'_>) {
        pass.value("ALLOWED_ORIGINS", &mut self.allowed_origins);
        pass.bounded("PARLANCE_HTTP_WORKERS", &mut self.workers, 1..=1_024);
        pass.bounded("PARLANCE_REQUEST_TIMEOUT", &mut self.request_timeout, short());
        pass.bounded("PARLANCE_KEEP_ALIVE", &mut self.keep_alive, short());
        pass.bounded("PARLANCE_REQUEST_DEADLINE", &mut self.request_deadline, short());
        pass.value("PARLANCE_SECURE_COOKIES", &mut self.secure_cookies);
    }
}

impl ConversationsConfig {
    pub(super) fn walk(&mut self, pass: &mut Pass<'_>) {
        pass.bounded("PARLANCE_PASSIVATE_AFTER", &mut self.passivate_after, short());
        pass.bounded("PARLANCE_ARBITERS", &mut self.arbiters, 1..=1_024);
        pass.bounded("PARLANCE_ACTIVE_MAX", &mut self.active_max, 1..=10_000_000);
        pass.bounded("PARLANCE_PERSISTENCE_LANES", &mut self.persistence_lanes, 1..=64);
    }
}

impl SessionsConfig {
    pub(super) fn walk(&mut self, pass: &mut Pass<'_>) {
        pass.bounded("PARLANCE_CONNECTIONS_MAX", &mut self.connections_max, 1..=1_000_000);
        pass.bounded(
            "PARLANCE_CONNECTIONS_PER_USER",
            &mut self.connections_per_user,
            1..=100_000,
        );
        pass.bounded(
            "PARLANCE_CONNECTIONS_PER_ADDRESS",
            &mut self.connections_per_address,
            1..=1_000_000,
        );
        pass.bounded("PARLANCE_HEARTBEAT", &mut self.heartbeat, short());
        pass.bounded("PARLANCE_HEARTBEAT_TIMEOUT", &mut self.heartbeat_timeout, short());
        pass.bounded("PARLANCE_STALL_TIMEOUT", &mut self.stall_timeout, short());
        pass.bounded(
            "PARLANCE_PRESENCE_GRACE",
            &mut self.presence_grace,
            Duration::ZERO..=*short().end(),
        );
    }
}

/// The cores this process may use.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

//! What operators may change: every setting with its default, its name in the environment and its bounds.
//!
//! The environment, and a `.env` file behind it, are read here once at the start and nowhere else, so that the rest of
//! the program depends on values it was given and a test can build any of them without touching its process. One walk
//! over the settings ([`Config::walk`]) both reads and prints them: a setting that is listed there cannot be forgotten
//! by `parlance config`. Reading is a pure function of a map of variables; it reports every mistake at once, because
//! an operator who fixes one per restart is an operator who gives up, and it refuses unknown `PARLANCE_*` names,
//! because a misspelt setting that is silently ignored is found in production. Secrets never print.
//!
//! When you add a setting, also add it to `.env.example`; a test compares the two.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

mod values;

pub use values::{LogFormat, Secret};
use values::{Setting, check_origin};

/// The longest `JWT_SECRET` that is certainly too short: HS256 wants a key as long as its digest.
const JWT_SECRET_BYTES_MIN: usize = 32;

/// Everything an operator may set.
#[derive(Clone, Debug)]
pub struct Config {
    /// `BIND`: the address to listen on; port 0 takes a free one.
    pub bind: SocketAddr,
    /// `DATA_DIR`: the private database, its lock and the signing key.
    pub data_dir: PathBuf,
    /// `LOG_FORMAT`: `pretty` for people, `json` for machines.
    pub log_format: LogFormat,
    /// `RUST_LOG`: which events are logged, in the syntax of `tracing-subscriber`'s `EnvFilter`.
    pub log_filter: String,
    /// `PARLANCE_SHUTDOWN_TIMEOUT`: how long everything together may take to stop.
    pub shutdown_timeout: Duration,
    /// The connection to PostgreSQL.
    pub database: DatabaseConfig,
    /// Tokens.
    pub auth: AuthConfig,
    /// The HTTP server.
    pub http: HttpConfig,
    /// Conversations and their persistence.
    pub conversations: ConversationsConfig,
    /// WebSocket connections.
    pub sessions: SessionsConfig,
}

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
    /// `ALLOWED_ORIGINS`: further origins (`https://chat.example.org`), separated by commas, whose pages may connect.
    pub allowed_origins: Vec<String>,
    /// `PARLANCE_HTTP_WORKERS`: threads that serve connections; one a core unless set.
    pub workers: usize,
    /// `PARLANCE_REQUEST_TIMEOUT`: for a client to send its request head.
    pub request_timeout: Duration,
    /// `PARLANCE_SECURE_COOKIES`: whether cookies are for TLS only; unless set, they are where `BIND` is not loopback.
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
}

/// WebSocket connections.
#[derive(Clone, Debug)]
pub struct SessionsConfig {
    /// `PARLANCE_CONNECTIONS_MAX`: on this node.
    pub connections_max: usize,
    /// `PARLANCE_CONNECTIONS_PER_USER`: on this node; one more is closed with 4005 at once.
    pub connections_per_user: usize,
    /// `PARLANCE_HEARTBEAT`: between two pings of the server.
    pub heartbeat: Duration,
    /// `PARLANCE_HEARTBEAT_TIMEOUT`: a client silent for this long is cut.
    pub heartbeat_timeout: Duration,
    /// `PARLANCE_STALL_TIMEOUT`: a client that takes no bytes for this long, while some wait for it, is cut.
    pub stall_timeout: Duration,
    /// `PARLANCE_PRESENCE_GRACE`: how long a person without a connection still counts as online.
    pub presence_grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            data_dir: PathBuf::from("./data"),
            log_format: LogFormat::Pretty,
            log_filter: "info".to_owned(),
            shutdown_timeout: Duration::from_secs(30),
            database: DatabaseConfig::default(),
            auth: AuthConfig::default(),
            http: HttpConfig::default(),
            conversations: ConversationsConfig::default(),
            sessions: SessionsConfig::default(),
        }
    }
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
        }
    }
}

impl Default for SessionsConfig {
    fn default() -> Self {
        Self {
            connections_max: 50_000,
            connections_per_user: 20,
            heartbeat: Duration::from_secs(25),
            heartbeat_timeout: Duration::from_secs(35),
            stall_timeout: Duration::from_secs(10),
            presence_grace: Duration::from_secs(15),
        }
    }
}

impl Config {
    /// Reads the environment and, behind it, the nearest `.env` file.
    ///
    /// # Errors
    /// All mistakes found, together.
    pub fn from_env() -> Result<Self, ConfigErrors> {
        let mut vars = BTreeMap::new();
        let mut errors = Vec::new();
        match dotenvy::dotenv_iter() {
            Ok(lines) => {
                for line in lines {
                    match line {
                        Ok((name, value)) => drop(vars.insert(name, value)),
                        // The text of the error may quote a line with a secret in it.
                        Err(_) => errors.push(".env: a line is not of the form NAME=value".to_owned()),
                    }
                }
            }
            Err(error) if error.not_found() => {}
            Err(error) => errors.push(format!(".env: {error}")),
        }
        // Names and values that are not Unicode cannot be ours.
        vars.extend(std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))));
        match Self::from_vars(&vars) {
            Ok(config) if errors.is_empty() => Ok(config),
            Ok(_) => Err(ConfigErrors(errors)),
            Err(ConfigErrors(more)) => {
                errors.extend(more);
                Err(ConfigErrors(errors))
            }
        }
    }

    /// Reads a map of variables. An empty value counts as not set.
    ///
    /// # Errors
    /// All mistakes found, together.
    pub fn from_vars(vars: &BTreeMap<String, String>) -> Result<Self, ConfigErrors> {
        let mut config = Self::default();
        let mut pass = Pass {
            vars: Some(vars),
            errors: Vec::new(),
            lines: Vec::new(),
        };
        config.walk(&mut pass);
        config.check_together(&mut pass.errors);
        let known: Vec<&str> = pass.lines.iter().map(|(name, _)| *name).collect();
        for name in vars
            .keys()
            .filter(|name| name.starts_with("PARLANCE_") && !known.contains(&name.as_str()))
        {
            pass.errors.push(format!("{name}: there is no such setting"));
        }
        if pass.errors.is_empty() {
            Ok(config)
        } else {
            Err(ConfigErrors(pass.errors))
        }
    }

    /// Every setting once: its name, its place and its bounds.
    fn walk(&mut self, pass: &mut Pass<'_>) {
        const fn seconds(min: u64, max: u64) -> RangeInclusive<Duration> {
            Duration::from_secs(min)..=Duration::from_secs(max)
        }
        let short = Duration::from_millis(10)..=Duration::from_secs(3600);
        const DAY: u64 = 24 * 3600;

        pass.value("BIND", &mut self.bind);
        pass.value("DATA_DIR", &mut self.data_dir);
        pass.value("LOG_FORMAT", &mut self.log_format);
        pass.value("RUST_LOG", &mut self.log_filter);
        pass.bounded("PARLANCE_SHUTDOWN_TIMEOUT", &mut self.shutdown_timeout, seconds(1, 600));

        let database = &mut self.database;
        pass.value("DATABASE_URL", &mut database.url);
        pass.bounded("DATABASE_POOL_SIZE", &mut database.pool_size, 1..=1_000);
        pass.bounded("DATABASE_MAX_OVERFLOW", &mut database.max_overflow, 0..=1_000);
        pass.bounded(
            "PARLANCE_DATABASE_CONNECT_TIMEOUT",
            &mut database.connect_timeout,
            short.clone(),
        );
        pass.bounded(
            "PARLANCE_DATABASE_ACQUIRE_TIMEOUT",
            &mut database.acquire_timeout,
            short.clone(),
        );
        pass.bounded(
            "PARLANCE_DATABASE_STATEMENT_TIMEOUT",
            &mut database.statement_timeout,
            short.clone(),
        );
        pass.bounded(
            "PARLANCE_DATABASE_CONNECTION_LIFETIME",
            &mut database.connection_lifetime,
            seconds(1, 7 * DAY),
        );
        pass.value("POSTGRES_BIN_DIR", &mut database.postgres_bin_dir);

        pass.bounded("ACCESS_TOKEN_TTL", &mut self.auth.access_token_ttl, seconds(1, DAY));
        pass.bounded(
            "PARLANCE_REFRESH_TOKEN_TTL",
            &mut self.auth.refresh_token_ttl,
            seconds(60, 400 * DAY),
        );
        pass.value("JWT_SECRET", &mut self.auth.jwt_secret);

        if pass.vars.is_some() {
            self.http.secure_cookies = !self.bind.ip().is_loopback();
        }
        pass.value("ALLOWED_ORIGINS", &mut self.http.allowed_origins);
        pass.bounded("PARLANCE_HTTP_WORKERS", &mut self.http.workers, 1..=1_024);
        pass.bounded(
            "PARLANCE_REQUEST_TIMEOUT",
            &mut self.http.request_timeout,
            short.clone(),
        );
        pass.value("PARLANCE_SECURE_COOKIES", &mut self.http.secure_cookies);

        let conversations = &mut self.conversations;
        pass.bounded(
            "PARLANCE_PASSIVATE_AFTER",
            &mut conversations.passivate_after,
            short.clone(),
        );
        pass.bounded("PARLANCE_ARBITERS", &mut conversations.arbiters, 1..=1_024);
        pass.bounded("PARLANCE_ACTIVE_MAX", &mut conversations.active_max, 1..=10_000_000);
        pass.bounded(
            "PARLANCE_PERSISTENCE_LANES",
            &mut conversations.persistence_lanes,
            1..=64,
        );

        let sessions = &mut self.sessions;
        pass.bounded("PARLANCE_CONNECTIONS_MAX", &mut sessions.connections_max, 1..=1_000_000);
        pass.bounded(
            "PARLANCE_CONNECTIONS_PER_USER",
            &mut sessions.connections_per_user,
            1..=100_000,
        );
        pass.bounded("PARLANCE_HEARTBEAT", &mut sessions.heartbeat, short.clone());
        pass.bounded(
            "PARLANCE_HEARTBEAT_TIMEOUT",
            &mut sessions.heartbeat_timeout,
            short.clone(),
        );
        pass.bounded("PARLANCE_STALL_TIMEOUT", &mut sessions.stall_timeout, short.clone());
        pass.bounded(
            "PARLANCE_PRESENCE_GRACE",
            &mut sessions.presence_grace,
            Duration::ZERO..=*short.end(),
        );
    }

    /// What no single setting can know.
    fn check_together(&self, errors: &mut Vec<String>) {
        if self.sessions.heartbeat_timeout <= self.sessions.heartbeat {
            errors.push("PARLANCE_HEARTBEAT_TIMEOUT: must be longer than PARLANCE_HEARTBEAT".to_owned());
        }
        // The parser's own error would quote the address with its password.
        if let Some(url) = &self.database.url
            && url.expose().parse::<tokio_postgres::Config>().is_err()
        {
            errors.push("DATABASE_URL: not of the form postgres://user:password@host:5432/database".to_owned());
        }
        if let Some(secret) = &self.auth.jwt_secret
            && secret.expose().len() < JWT_SECRET_BYTES_MIN
        {
            errors.push(format!("JWT_SECRET: must have at least {JWT_SECRET_BYTES_MIN} bytes"));
        }
        for origin in &self.http.allowed_origins {
            if let Err(reason) = check_origin(origin) {
                errors.push(format!("ALLOWED_ORIGINS: {origin:?} {reason}"));
            }
        }
    }
}

/// Prints what will be used, one `NAME=value` a line, secrets masked.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut pass = Pass {
            vars: None,
            errors: Vec::new(),
            lines: Vec::new(),
        };
        self.clone().walk(&mut pass);
        for (name, value) in pass.lines {
            writeln!(f, "{name}={value}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is not usable:")?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl std::error::Error for ConfigErrors {}

/// One walk over the settings: takes values from `vars` if there are any, and notes what each setting then is.
struct Pass<'a> {
    vars: Option<&'a BTreeMap<String, String>>,
    errors: Vec<String>,
    lines: Vec<(&'static str, String)>,
}

impl Pass<'_> {
    /// A setting whose type alone says what is valid.
    fn value<T: Setting>(&mut self, name: &'static str, place: &mut T) {
        self.checked(name, place, |_| Ok(()));
    }

    /// A setting with a smallest and a largest value.
    fn bounded<T: Setting + PartialOrd>(&mut self, name: &'static str, place: &mut T, range: RangeInclusive<T>) {
        self.checked(name, place, |value| {
            if range.contains(value) {
                return Ok(());
            }
            Err(format!(
                "must be from {} to {}",
                range.start().show(),
                range.end().show()
            ))
        });
    }

    fn checked<T: Setting>(&mut self, name: &'static str, place: &mut T, check: impl FnOnce(&T) -> Result<(), String>) {
        let text = self
            .vars
            .and_then(|vars| vars.get(name))
            .map(|text| text.trim())
            .filter(|text| !text.is_empty());
        if let Some(text) = text {
            match T::parse(text).and_then(|value| check(&value).map(|()| value)) {
                Ok(value) => *place = value,
                Err(reason) => self.errors.push(format!("{name}: {reason}")),
            }
        }
        self.lines.push((name, place.show()));
    }
}

/// The cores this process may use.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests;

//! What operators may change: every setting with its default, its name in the environment and its bounds.
//!
//! The environment, and a `.env` file behind it, are read here once at the start and nowhere else, so that the rest of
//! the program depends on values it was given and a test can build any of them without touching its process. One walk
//! over the settings ([`Config::walk`]) both reads and prints them: a setting that is listed there cannot be forgotten
//! by `parlance config`. Reading is a pure function of a map of variables; it reports every mistake at once, because
//! an operator who fixes one per restart is an operator who gives up, and it refuses unknown `PARLANCE_*` names,
//! because a misspelt setting that is silently ignored is found in production. Secrets never print.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

mod cache;
mod descriptors;
mod files;
mod limits;
mod metrics;
mod redis;
mod replica;
mod sections;
mod values;

pub use cache::CacheConfig;
pub use descriptors::Capacity;
pub use limits::{FloodConfig, LimitsConfig, QuotaConfig};
pub use metrics::MetricsConfig;
pub use redis::RedisConfig;
pub use replica::ReplicaConfig;
use sections::seconds;
pub use sections::{AuthConfig, ConversationsConfig, DatabaseConfig, HttpConfig, SessionsConfig};
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
    /// `PARLANCE_DRAIN_DELAY`: how long it still serves, new sockets too, when `/health/ready` has begun to say that it
    /// goes away; for balancers that ask once in a while.
    pub drain_delay: Duration,
    /// The connection to PostgreSQL.
    pub database: DatabaseConfig,
    /// A replica of it.
    pub replica: ReplicaConfig,
    /// The connection to Redis.
    pub redis: RedisConfig,
    /// What is remembered.
    pub cache: CacheConfig,
    /// Tokens.
    pub auth: AuthConfig,
    /// The HTTP server.
    pub http: HttpConfig,
    /// Conversations and their persistence.
    pub conversations: ConversationsConfig,
    /// WebSocket connections.
    pub sessions: SessionsConfig,
    /// Quotas and the flood guard.
    pub limits: LimitsConfig,
    /// Metrics.
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
    /// Reads the environment and, behind it, the nearest `.env` file; secrets also from the files that `NAME_FILE` names.
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
        let environment = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        let environment: BTreeMap<_, _> = environment.collect();
        let secrets = Self::secrets();
        files::give_way(&mut vars, &environment, &secrets);
        vars.extend(environment);
        files::resolve(&mut vars, &secrets, &mut errors);
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
        let mut pass = Pass::over(Some(vars));
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

    /// The names of the settings that are secrets.
    fn secrets() -> Vec<&'static str> {
        let mut pass = Pass::over(None);
        Self::default().walk(&mut pass);
        pass.secrets
    }

    /// Every setting once: its name, its place and its bounds.
    fn walk(&mut self, pass: &mut Pass<'_>) {
        pass.value("BIND", &mut self.bind);
        pass.value("DATA_DIR", &mut self.data_dir);
        pass.value("LOG_FORMAT", &mut self.log_format);
        pass.value("RUST_LOG", &mut self.log_filter);
        pass.bounded("PARLANCE_SHUTDOWN_TIMEOUT", &mut self.shutdown_timeout, seconds(1, 600));
        pass.bounded("PARLANCE_DRAIN_DELAY", &mut self.drain_delay, seconds(0, 120));
        self.database.walk(pass);
        self.replica.walk(pass);
        self.redis.walk(pass);
        self.cache.walk(pass);
        self.auth.walk(pass);
        if pass.vars.is_some() {
            self.http.secure_cookies = !self.bind.ip().is_loopback();
        }
        self.http.walk(pass);
        self.conversations.walk(pass);
        self.sessions.walk(pass);
        self.limits.walk(pass);
        self.metrics.walk(pass);
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
        self.replica.check(errors);
        self.redis.check(errors);
        self.metrics.check(self.bind, errors);
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
        let mut pass = Pass::over(None);
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
    secrets: Vec<&'static str>,
}

impl<'a> Pass<'a> {
    const fn over(vars: Option<&'a BTreeMap<String, String>>) -> Self {
        Self {
            vars,
            errors: Vec::new(),
            lines: Vec::new(),
            secrets: Vec::new(),
        }
    }

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
        if T::IS_SECRET {
            self.secrets.push(name);
        }
    }
}

#[cfg(test)]
mod tests;

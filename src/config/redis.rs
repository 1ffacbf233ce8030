//! The settings of Redis: where it is, and how long anybody waits for it.

use super::{Pass, Secret};
use redis::{Client, ConnectionAddr};
use std::time::Duration;

/// The connection to Redis.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// `REDIS_URL`: `redis://user:password@host:6379/0` or `unix:///path`; without it everything it would share stays in
    /// this process.
    pub url: Option<Secret>,
    /// `REDIS_POOL_SIZE`: connections at most.
    pub pool_size: usize,
    /// `PARLANCE_REDIS_TIMEOUT`: how long a call may take, the wait for a connection included.
    pub timeout: Duration,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: None,
            pool_size: 10,
            timeout: Duration::from_millis(50),
        }
    }
}

impl RedisConfig {
    pub(super) fn walk(&mut self, pass: &mut Pass<'_>) {
        pass.value("REDIS_URL", &mut self.url);
        pass.bounded("REDIS_POOL_SIZE", &mut self.pool_size, 1..=1_000);
        // The circuit breaker counts on the upper bound: no request loses more than 250 ms to Redis.
        pass.bounded(
            "PARLANCE_REDIS_TIMEOUT",
            &mut self.timeout,
            Duration::from_millis(5)..=Duration::from_millis(50),
        );
    }

    /// What is wrong with the address. The client's own error would quote it, with its password.
    pub(super) fn check(&self, errors: &mut Vec<String>) {
        let Some(url) = &self.url else { return };
        let client = Client::open(url.expose());
        let address = client.as_ref().map(|client| client.get_connection_info().addr());
        if !matches!(address, Ok(ConnectionAddr::Tcp(..) | ConnectionAddr::Unix(_))) {
            errors.push(
                "REDIS_URL: not of the form redis://user:password@host:6379/0 or unix:///path (TLS is not spoken)"
                    .to_owned(),
            );
        }
    }
}

//! The settings of Redis: where it is, and how long anybody waits for it.

use super::values::Secret;
use super::walk::SettingsWalk;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use std::time::Duration;

/// Servers in `REDIS_URL` at most; a cluster needs one that lives to find the others.
const SEEDS_MAX: usize = 16;

#[derive(Clone, Debug)]
pub struct RedisConfig {
    pub url: Option<Secret>,
    pub pool_size: usize,
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
    pub(super) fn walk(&mut self, walk: &mut SettingsWalk<'_>) {
        walk.section("Redis", "");
        walk.value(
            "REDIS_URL",
            &mut self.url,
            "A Redis, 6 or newer: `redis://user:password@host:6379/0` or `unix:///path`. Of a Redis Cluster, 7 or newer, \
             it names any servers: `redis://:password@one:6379,two:6379`. A comma in a password is `%2C`. TLS is not \
             supported. Several nodes need it: it is the bus between them and a second level of the cache, and it counts \
             quotas for all of them. Nothing durable is in it.",
        );
        walk.unset("everything stays in the process");
        walk.bounded(
            "REDIS_POOL_SIZE",
            &mut self.pool_size,
            1..=1_000,
            "Connections at most, to each server of a cluster.",
        );
        // The circuit breaker counts on the upper bound: no request loses more than 250 ms to
        // Redis.
        walk.bounded(
            "PARLANCE_REDIS_TIMEOUT",
            &mut self.timeout,
            Duration::from_millis(5)..=Duration::from_millis(50),
            "How long a call of the cache or the quotas may take. The wait for a connection is included.",
        );
    }

    /// What is wrong with the address. The client's own error would quote it, with its password.
    pub(super) fn check(&self, errors: &mut Vec<String>) {
        if let Err(problem) = self.seeds() {
            errors.push(format!("REDIS_URL: {problem}"));
        }
    }

    /// The servers that are named, in their order. Several are those of a cluster. The first one
    /// has the credentials, and behind it `host:port` is enough. Without `REDIS_URL` there are
    /// none.
    ///
    /// # Errors
    /// What is wrong, in words that do not repeat the address: there may be a password in it.
    pub fn seeds(&self) -> Result<Vec<ConnectionInfo>, &'static str> {
        const FORM: &str = "not of the form redis://user:password@host:6379/0 or unix:///path; further servers of a \
                            cluster follow as ,host:6379, and a comma in a password is %2C";
        let Some(url) = &self.url else { return Ok(Vec::new()) };
        let mut seeds: Vec<ConnectionInfo> = Vec::new();
        for part in url.expose().split(',').map(str::trim) {
            if part.starts_with("rediss:") || part.starts_with("valkeys:") {
                return Err("TLS (rediss://) is not spoken; put a tunnel in front, as stunnel, and name that");
            }
            // As a password does that has a comma.
            if part.is_empty() || (!part.contains("://") && part.contains('@')) {
                return Err(FORM);
            }
            let full = match seeds.first() {
                Some(_) if !part.contains("://") => format!("redis://{part}"),
                _ => part.to_owned(),
            };
            let seed = full.into_connection_info().map_err(|_| FORM)?;
            match seed.addr() {
                ConnectionAddr::Tcp(..) => {}
                ConnectionAddr::Unix(_) if seeds.is_empty() => {}
                _ => return Err(FORM),
            }
            seeds.push(seed);
        }
        if seeds.len() > SEEDS_MAX {
            return Err("more than 16 servers; a cluster is found through any one of it");
        }
        Ok(seeds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seeds(url: &str) -> Result<Vec<String>, &'static str> {
        let config = RedisConfig {
            url: Some(Secret::new(url.to_owned())),
            ..RedisConfig::default()
        };
        let seeds = config.seeds()?;
        Ok(seeds.iter().map(|seed| seed.addr().to_string()).collect())
    }

    #[test]
    fn one_server_or_several_of_a_cluster() {
        assert_eq!(seeds("redis://u:p%2Cw@a:7000/2").unwrap(), ["a:7000"]);
        assert_eq!(seeds("unix:///run/redis.sock").unwrap(), ["/run/redis.sock"]);
        assert_eq!(
            seeds("redis://:p@a:7000, b:7001,redis://c").unwrap(),
            ["a:7000", "b:7001", "c:6379"]
        );
        assert_eq!(RedisConfig::default().seeds().unwrap().len(), 0);
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_repeated() {
        for url in [
            "",
            "secret",
            "http://secret",
            "redis://secret@a,",
            "redis://a,unix:///secret",
            "redis://secret,pass@a",
        ] {
            let problem = seeds(url).unwrap_err();
            assert!(
                !problem.contains("secret") && problem.contains("redis://user"),
                "{url}: {problem}"
            );
        }
        assert!(seeds("rediss://:secret@a").unwrap_err().contains("TLS"));
        assert!(seeds("redis://a,rediss://b").unwrap_err().contains("TLS"));
        assert!(seeds(&vec!["redis://a"; 17].join(",")).is_err());
    }
}

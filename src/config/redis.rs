//! The settings of Redis: where it is, how TLS is spoken to it, and how long anybody waits for it.

use super::tls::{TlsCheck, TlsConfig, TlsIdentity, TlsRoots};
use super::values::Secret;
use super::walk::SettingsWalk;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use std::path::PathBuf;
use std::time::Duration;

/// Servers in `REDIS_URL` at most; a cluster needs one that lives to find the others.
const SEEDS_MAX: usize = 16;

#[derive(Clone, Debug)]
pub struct RedisConfig {
    pub url: Option<Secret>,
    pub tls_ca: Option<PathBuf>,
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub pool_size: usize,
    pub timeout: Duration,
}

/// The servers that `REDIS_URL` names.
#[derive(Clone, Debug)]
pub struct RedisSeeds {
    /// In their order. Of several the first has the credentials.
    pub servers: Vec<ConnectionInfo>,
    /// `None` where no TLS is spoken.
    pub tls: Option<TlsConfig>,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: None,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
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
             it names any servers: `redis://:password@one:6379,two:6379`. A comma in a password is `%2C`. With `rediss://` \
             TLS is spoken, and the certificate has to be made out to the name that stands here. Several nodes need it: it is the bus between them and a second level of the cache, and it counts \
             quotas for all of them. Nothing durable is in it.",
        );
        walk.unset("everything stays in the process");
        walk.value(
            "REDIS_TLS_CA",
            &mut self.tls_ca,
            "A PEM file of the authorities that may have signed Redis' certificate. For `rediss://`.",
        );
        walk.unset("those of the system");
        walk.value(
            "REDIS_TLS_CERT",
            &mut self.tls_cert,
            "A PEM file with the certificate by which this node shows Redis who it is.",
        );
        walk.unset("it shows none");
        walk.value(
            "REDIS_TLS_KEY",
            &mut self.tls_key,
            "A PEM file with the key of that certificate.",
        );
        walk.unset("it shows none");
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

    /// What is wrong with the address and the settings of TLS.
    pub(super) fn check(&self, errors: &mut Vec<String>) {
        errors.extend(self.seeds().err());
    }

    /// The servers that are named. Several are those of a cluster. The first one has the
    /// credentials, and behind it `host:port` is enough. `None` without `REDIS_URL`.
    ///
    /// # Errors
    /// What is wrong, in words that do not repeat the address: there may be a password in it.
    pub fn seeds(&self) -> Result<Option<RedisSeeds>, String> {
        let of_url = |problem: &str| format!("REDIS_URL: {problem}");
        let (servers, is_tls) = match &self.url {
            Some(url) => parse_servers(url.expose()).map_err(of_url)?,
            None => (Vec::new(), false),
        };
        let identity = TlsIdentity::of(self.tls_cert.clone(), self.tls_key.clone())
            .map_err(|()| "REDIS_TLS_CERT, REDIS_TLS_KEY: belong together; set both or neither".to_owned())?;
        if !is_tls && (self.tls_ca.is_some() || identity.is_some()) {
            let problem = "are for REDIS_URL=rediss://…, and that speaks no TLS";
            return Err(format!("REDIS_TLS_CA, REDIS_TLS_CERT, REDIS_TLS_KEY: {problem}"));
        }
        let roots = self.tls_ca.clone().map_or(TlsRoots::System, TlsRoots::File);
        let tls = is_tls.then_some(TlsConfig {
            check: TlsCheck::AuthorityAndName(roots),
            identity,
        });
        Ok((!servers.is_empty()).then_some(RedisSeeds { servers, tls }))
    }
}

/// The servers of a `REDIS_URL`, and whether TLS is spoken to them.
///
/// The client library is given `redis://` always: it would read the files of TLS anew with each
/// connection.
fn parse_servers(url: &str) -> Result<(Vec<ConnectionInfo>, bool), &'static str> {
    const FORM: &str = "not of the form redis://user:password@host:6379/0, rediss://… or unix:///path; further servers \
                        of a cluster follow as ,host:6379, and a comma in a password is %2C";
    let (mut servers, mut is_tls): (Vec<ConnectionInfo>, bool) = (Vec::new(), false);
    for part in url.split(',').map(str::trim) {
        // As a password does that has a comma.
        if part.is_empty() || (!part.contains("://") && part.contains('@')) {
            return Err(FORM);
        }
        if part.contains('#') {
            return Err("has a # in it; a certificate is always checked, and in a password it is %23");
        }
        let with_tls = ["rediss://", "valkeys://"]
            .iter()
            .find_map(|scheme| part.strip_prefix(scheme));
        let is_bare = !servers.is_empty() && !part.contains("://");
        if servers.is_empty() {
            is_tls = with_tls.is_some();
        } else if !is_bare && is_tls != with_tls.is_some() {
            return Err("names servers with TLS and without; a cluster has to be all the one or all the other");
        }
        let full = match with_tls {
            Some(rest) => format!("redis://{rest}"),
            None if is_bare => format!("redis://{part}"),
            None => part.to_owned(),
        };
        let server = full.into_connection_info().map_err(|_unshown| FORM)?;
        match server.addr() {
            ConnectionAddr::Tcp(..) => {}
            ConnectionAddr::Unix(_) if servers.is_empty() => {}
            _ => return Err(FORM),
        }
        servers.push(server);
    }
    if servers.len() > SEEDS_MAX {
        return Err("more than 16 servers; a cluster is found through any one of it");
    }
    Ok((servers, is_tls))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> RedisConfig {
        RedisConfig {
            url: Some(Secret::new(url.to_owned())),
            ..RedisConfig::default()
        }
    }

    fn seeds(url: &str) -> Result<Vec<String>, String> {
        let seeds = config(url).seeds()?.unwrap();
        let tls = if seeds.tls.is_some() { "tls " } else { "" };
        let servers = seeds.servers.iter();
        Ok(servers.map(|server| format!("{tls}{}", server.addr())).collect())
    }

    #[test]
    fn one_server_or_several_of_a_cluster() {
        assert_eq!(seeds("redis://u:p%2Cw@a:7000/2").unwrap(), ["a:7000"]);
        assert_eq!(seeds("unix:///run/redis.sock").unwrap(), ["/run/redis.sock"]);
        assert_eq!(
            seeds("redis://:p@a:7000, b:7001,redis://c").unwrap(),
            ["a:7000", "b:7001", "c:6379"]
        );
        assert_eq!(seeds("rediss://:p@a/1").unwrap(), ["tls a:6379"]);
        assert_eq!(
            seeds("rediss://:p@a:7000,b:7001,rediss://c").unwrap(),
            ["tls a:7000", "tls b:7001", "tls c:6379"]
        );
        assert!(RedisConfig::default().seeds().unwrap().is_none());
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
        for url in ["redis://a,rediss://:secret@b", "rediss://:secret@a,redis://b"] {
            assert!(seeds(url).unwrap_err().contains("with TLS and without"), "{url}");
        }
        assert!(
            seeds("rediss://:secret@a#insecure")
                .unwrap_err()
                .contains("always checked")
        );
        assert!(seeds(&vec!["redis://a"; 17].join(",")).is_err());
    }

    #[test]
    fn settings_of_tls_are_for_tls_and_a_certificate_has_a_key() {
        let mut config = config("redis://a");
        config.tls_ca = Some("ca.pem".into());
        assert!(config.seeds().unwrap_err().contains("rediss://"));
        config.url = Some(Secret::new("rediss://a"));
        let tls = config.seeds().unwrap().unwrap().tls.unwrap();
        assert_eq!(tls.check, TlsCheck::AuthorityAndName(TlsRoots::File("ca.pem".into())));
        config.tls_key = Some("key.pem".into());
        assert!(config.seeds().unwrap_err().contains("belong together"));
        config.url = None;
        config.tls_key = None;
        assert!(config.seeds().is_err());
    }
}

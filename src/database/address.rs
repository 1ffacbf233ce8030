//! Where a PostgreSQL is, how TLS is spoken to it, and the settings of every session there.
//!
//! Used by whoever opens connections (`connect.rs`), for the database and for its replica.

use super::error::Error;
use crate::config::{DatabaseConfig, PostgresAddress, PostgresTls, TlsCheck, TlsConfig};
use crate::tls;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres_rustls::MakeRustlsConnect;

/// Our name in `pg_stat_activity`.
const APPLICATION_NAME: &str = "parlance";

/// A transaction that a stalled node leaves open holds row locks. PostgreSQL ends it after this
/// many statement timeouts.
const IDLE_IN_TRANSACTION_FACTOR: u32 = 2;

/// Settings of every session, whatever the operator has set for the server, the database or the
/// role.
///
/// * Receipts depend on `synchronous_commit`.
/// * Statements and transactions are written for `read committed`: a stricter level makes failures
///   of what merely happens at the same time.
/// * Waits are bounded here, so PostgreSQL must neither be less patient with locks nor end a
///   connection because nobody needs it at the moment.
/// * Notices are of no use here, and may quote what people write or search for.
///
/// `default_transaction_read_only` is not among them: who sets it does not want changes to be made.
const SESSION: &str = "-c synchronous_commit=on -c default_transaction_isolation=read\\ committed \
                       -c default_transaction_deferrable=off -c lock_timeout=0 -c idle_session_timeout=0 -c jit=off \
                       -c client_min_messages=warning";

/// Nothing is heard of a connection for so long before the kernel asks, and how often it asks then.
/// A firewall that forgets a connection is noticed within half a minute, and one that forgets idle
/// ones never sees one.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
/// How long what was sent may stay unacknowledged by the other kernel: as long as keep-alives take.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

/// By which protocol of the application TLS is spoken: servers that are asked for it directly insist.
const ALPN: &[u8] = b"postgresql";

/// A server, and how it is spoken to.
#[derive(Clone)]
pub(super) struct ServerAddress {
    pub(super) driver: Config,
    /// `None` where no TLS is spoken.
    pub(super) tls: Option<MakeRustlsConnect>,
    /// Where TLS is only preferred, a server that fails at it is spoken to without.
    pub(super) is_plain_allowed: bool,
}

impl ServerAddress {
    /// The address with our session settings. `name` is the setting it comes from.
    ///
    /// # Errors
    /// [`Error::Unusable`]: a file of certificates cannot be used.
    pub(super) fn new(name: &str, address: PostgresAddress, config: &DatabaseConfig) -> Result<Self, Error> {
        let unchecked = TlsConfig {
            check: TlsCheck::Nothing,
            identity: None,
        };
        let tls = match &address.tls {
            PostgresTls::Off => None,
            PostgresTls::Preferred => Some(&unchecked),
            PostgresTls::Required(tls) => Some(tls),
        };
        let unusable = |error| Error::Unusable(format!("{name}: {error}"));
        Ok(Self {
            tls: tls.map(connector).transpose().map_err(unusable)?,
            is_plain_allowed: !matches!(address.tls, PostgresTls::Required(_)),
            driver: with_session_settings(address.driver, config),
        })
    }

    /// The same for where changes are made. Of several servers the one that takes changes is meant,
    /// unless the address says otherwise.
    #[must_use]
    pub(super) fn for_changes(mut self) -> Self {
        let hosts = self.driver.get_hosts().len().max(self.driver.get_hostaddrs().len());
        if hosts > 1 && self.driver.get_target_session_attrs() == TargetSessionAttrs::Any {
            self.driver.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        self
    }

    /// The same for where nothing may be changed.
    #[must_use]
    pub(super) fn for_reads(mut self) -> Self {
        let ours = self.driver.get_options().unwrap_or_default();
        let options = format!("{ours} -c default_transaction_read_only=on");
        self.driver.options(options);
        self
    }
}

fn connector(tls: &TlsConfig) -> Result<MakeRustlsConnect, tls::Error> {
    let mut client = tls::client_config(tls)?;
    client.alpn_protocols = vec![ALPN.to_vec()];
    Ok(MakeRustlsConnect::new(client))
}

fn with_session_settings(mut driver: Config, config: &DatabaseConfig) -> Config {
    let timeout = config.statement_timeout;
    let ours = format!(
        "{SESSION} -c statement_timeout={} -c idle_in_transaction_session_timeout={}",
        timeout.as_millis(),
        (timeout * IDLE_IN_TRANSACTION_FACTOR).as_millis(),
    );
    let options = driver
        .get_options()
        .map_or_else(|| ours.clone(), |theirs| format!("{theirs} {ours}"));
    driver
        .options(options)
        .application_name(APPLICATION_NAME)
        .connect_timeout(config.connect_timeout)
        .keepalives(true)
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(KEEPALIVE_INTERVAL)
        .keepalives_retries(KEEPALIVE_RETRIES)
        .tcp_user_timeout(UNACKNOWLEDGED_MAX);
    driver
}

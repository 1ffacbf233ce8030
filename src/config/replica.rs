//! The settings of the read replica: where it is, and how old it may be.

use super::{Pass, Secret};
use std::time::Duration;

/// A streaming replica of the database, for reads that may be a little old.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// `DATABASE_REPLICA_URL`: as `DATABASE_URL`, of a streaming replica of that database; without it the database itself
    /// is read.
    pub url: Option<Secret>,
    /// `PARLANCE_REPLICA_LAG_MAX`: a replica that is further behind is not read. The protocol promises what follows from
    /// five seconds.
    pub lag_max: Duration,
}

impl Default for ReplicaConfig {
    fn default() -> Self {
        Self {
            url: None,
            lag_max: Duration::from_secs(5),
        }
    }
}

impl ReplicaConfig {
    pub(super) fn walk(&mut self, pass: &mut Pass<'_>) {
        pass.value("DATABASE_REPLICA_URL", &mut self.url);
        pass.bounded(
            "PARLANCE_REPLICA_LAG_MAX",
            &mut self.lag_max,
            Duration::from_millis(100)..=Duration::from_secs(5),
        );
    }

    /// What is wrong with the address. The parser's own error would quote it, with its password.
    pub(super) fn check(&self, errors: &mut Vec<String>) {
        if let Some(url) = &self.url
            && url.expose().parse::<tokio_postgres::Config>().is_err()
        {
            errors.push("DATABASE_REPLICA_URL: not of the form postgres://user:password@host:5432/database".to_owned());
        }
    }
}

//! The settings of the read replica: where it is, and how old it may be.

use super::postgres::PostgresAddress;
use super::values::Secret;
use super::walk::SettingsWalk;
use std::time::Duration;

/// A streaming replica of the database, for reads that may be a little old.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    pub url: Option<Secret>,
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
    pub(super) fn walk(&mut self, walk: &mut SettingsWalk<'_>) {
        walk.value(
            "DATABASE_REPLICA_URL",
            &mut self.url,
            "A streaming replica of that database, in the same form. While it is well, searches are made there.",
        );
        walk.unset("searches are made on the database");
        // The protocol promises what follows from five seconds.
        walk.bounded(
            "PARLANCE_REPLICA_LAG_MAX",
            &mut self.lag_max,
            Duration::from_millis(100)..=Duration::from_secs(5),
            "A replica that is further behind is not read.",
        );
    }

    /// What is wrong with the address.
    pub(super) fn check(&self, errors: &mut Vec<String>) {
        let address = self.url.as_ref().map(|url| PostgresAddress::parse(url.expose()));
        if let Some(Err(problem)) = address {
            errors.push(format!("DATABASE_REPLICA_URL: {problem}"));
        }
    }
}

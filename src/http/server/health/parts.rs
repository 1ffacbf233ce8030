//! The parts that readiness depends on, and how each is found out.
//!
//! All are asked at once, each for [`CHECK_TIME_MAX`] at most. The node cannot serve without its
//! database and the schema of this version. It can serve without the bus, Redis and the replica,
//! more slowly or with less.

use crate::bus::Bus;
use crate::cache::CacheHandle;
use crate::database::{self, Database};
use std::sync::Arc;
use std::time::Duration;

/// Longest that a part may take to reply.
const CHECK_TIME_MAX: Duration = Duration::from_secs(2);

/// `Err` says what is wrong with a part: for operators, and nothing that strangers should not read.
pub(super) type PartCheck = Result<(), String>;

/// The parts that readiness depends on.
#[derive(Clone)]
pub struct HealthParts {
    /// Also asked about its schema, and about its replica where it has one.
    pub database: Database,
    pub bus: Arc<dyn Bus>,
    /// Asked about Redis, where it has it.
    pub cache: CacheHandle,
}

/// How each part is.
#[derive(Clone)]
pub(super) struct PartChecks {
    pub(super) database: PartCheck,
    pub(super) migrations: PartCheck,
    pub(super) bus: PartCheck,
    /// Which bus it is: `in_process` or `redis`.
    pub(super) bus_kind: &'static str,
    /// `None` without Redis.
    pub(super) redis: Option<PartCheck>,
    /// `None` without a replica.
    pub(super) replica: Option<PartCheck>,
}

impl HealthParts {
    /// Asks all parts at once.
    pub(super) async fn check(&self) -> PartChecks {
        // Boxed: together they are large, and this is asked once a second at most.
        let (database, migrations, redis) = tokio::join!(
            Box::pin(in_time(self.check_database())),
            Box::pin(in_time(self.check_migrations())),
            Box::pin(in_time(self.cache.check())),
        );
        let replica = self.database.replica_status();
        PartChecks {
            database,
            migrations,
            bus: self.bus.trouble().map_or(Ok(()), |trouble| Err(trouble.to_owned())),
            bus_kind: self.bus.name(),
            redis: self.cache.remote().map(|_| redis),
            replica: replica.map(|replica| replica.trouble.map_or(Ok(()), Err)),
        }
    }

    async fn check_database(&self) -> PartCheck {
        self.database.check_writable().await.map_err(|error| match error {
            database::Error::NotWritable(reason) => reason.to_string(),
            other => other.code().to_string(),
        })
    }

    async fn check_migrations(&self) -> PartCheck {
        self.database.check_schema().await.map_err(|error| match error {
            database::Error::Migration(reason) => reason,
            other => other.code().to_string(),
        })
    }
}

async fn in_time(check: impl Future<Output = PartCheck>) -> PartCheck {
    let reply = tokio::time::timeout(CHECK_TIME_MAX, check).await;
    reply.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_part_that_says_nothing_fails_in_time() {
        let silent = in_time(std::future::pending()).await;
        assert_eq!(silent, Err("no answer in time".to_owned()));
    }
}

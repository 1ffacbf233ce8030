//! Waiting for replies on one connection: times them, logs the slow ones, ends the wait, and notes
//! what an error says of the connection.
//!
//! Used by `client.rs`, one for each connection that is lent or owned. PostgreSQL ends a statement
//! at `statement_timeout`. A server that does not even do that (frozen, or behind a network that
//! swallows packets) has [`REPLY_GRACE`] more. Then the caller gets [`Error::Timeout`], and the
//! connection is not used again, because its state is unknown.

use super::condition::{Fault, FaultNote, ServerCondition};
use super::error::Error;
use crate::metrics::metrics;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A statement slower than this is logged.
const SLOW: Duration = Duration::from_millis(500);

/// How long after `statement_timeout` a reply may still come.
const REPLY_GRACE: Duration = Duration::from_secs(1);

/// How long to wait for replies on one connection, and what they have told.
#[derive(Debug)]
pub(super) struct ReplyWatch {
    after: Duration,
    faults: FaultNote,
    condition: Arc<ServerCondition>,
}

impl ReplyWatch {
    pub(super) fn new(statement_timeout: Duration, condition: Arc<ServerCondition>) -> Self {
        Self {
            after: statement_timeout + REPLY_GRACE,
            faults: FaultNote::default(),
            condition,
        }
    }

    /// Waits for a reply, times it, and names the statement in the error.
    pub(super) async fn wait_for<T>(
        &self,
        statement: &'static str,
        reply: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        let started = Instant::now();
        let result = self.wait_untimed(statement, reply).await;
        time_taken(statement, started.elapsed());
        result
    }

    /// The same without counting how long it took.
    pub(super) async fn wait_untimed<T>(
        &self,
        statement: &'static str,
        reply: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        let result = match tokio::time::timeout(self.after, reply).await {
            Ok(result) => result.map_err(|source| Error::Statement { statement, source }),
            Err(_elapsed) => Err(Error::Timeout {
                statement,
                after: self.after,
            }),
        };
        if let Err(error) = &result {
            self.note(error);
        }
        result
    }

    /// Notes what an error says of the connection and of its server.
    pub(super) fn note(&self, error: &Error) {
        if let Some(fault) = error.fault() {
            self.faults.note(fault);
        }
        if let Some(state) = error.sql_state() {
            self.condition.note(state);
        }
    }

    /// Why the connection should not be used again, if so.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.faults.worst()
    }

    pub(super) fn condition(&self) -> &ServerCondition {
        &self.condition
    }

    /// After so long PostgreSQL ends a statement, unless it was told another time.
    pub(super) fn statement_timeout(&self) -> Duration {
        self.after.saturating_sub(REPLY_GRACE)
    }
}

/// Counts how long a statement took, and logs it by its name if that was long.
pub(super) fn time_taken(statement: &'static str, elapsed: Duration) {
    metrics().db_queried(statement, elapsed);
    if elapsed > SLOW {
        tracing::warn!(
            statement,
            duration_ms = elapsed.as_secs_f64() * 1e3,
            "Slow statement {statement}"
        );
    }
}

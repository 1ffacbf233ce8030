//! Running named statements: on a connection of the pool, in a transaction, or on an own
//! connection.
//!
//! Every statement has a name, is prepared once per connection, and is timed. One slower than half
//! a second is logged by its name, never with its values. PostgreSQL ends a statement at
//! `statement_timeout`. A server that does not even do that (frozen, or behind a network that
//! swallows packets) has [`REPLY_GRACE`] more. Then the caller gets [`Error::Timeout`], and the
//! connection is not used again, because its state is unknown.

use super::error::Error;
use crate::metrics::metrics;
use deadpool_postgres::{ClientWrapper, Object};
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio_postgres::types::ToSql;
use tokio_postgres::{IsolationLevel, Row};

/// A statement slower than this is logged.
const SLOW: Duration = Duration::from_millis(500);

/// How long after `statement_timeout` a reply may still come.
const REPLY_GRACE: Duration = Duration::from_secs(1);

pub type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// An SQL statement and the name it has in logs and metrics, like `users.insert`.
#[derive(Clone, Copy, Debug)]
pub struct Statement {
    /// The feature and what is done, separated by a full stop.
    pub name: &'static str,
    /// One statement, its parameters `$1`, `$2`, …
    pub sql: &'static str,
}

impl Statement {
    #[must_use]
    pub const fn new(name: &'static str, sql: &'static str) -> Self {
        Self { name, sql }
    }
}

const BEGIN: &str = "transaction.begin";
const COMMIT: &str = "transaction.commit";
const ROLLBACK: &str = "transaction.rollback";

/// How long to wait for replies on one connection.
#[derive(Debug)]
struct ReplyDeadline {
    after: Duration,
    /// A reply did not come. The state of the connection is unknown.
    passed: AtomicBool,
}

impl ReplyDeadline {
    fn new(statement_timeout: Duration) -> Self {
        Self {
            after: statement_timeout + REPLY_GRACE,
            passed: AtomicBool::new(false),
        }
    }

    /// Waits for a reply, times it, and names the statement in the error.
    async fn wait_for<T>(
        &self,
        statement: &'static str,
        reply: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        let started = Instant::now();
        let result = tokio::time::timeout(self.after, reply).await;
        let elapsed = started.elapsed();
        note(statement, elapsed);
        let Ok(result) = result else {
            self.passed.store(true, Ordering::Relaxed);
            return Err(Error::Timeout {
                statement,
                after: self.after,
            });
        };
        result.map_err(|source| Error::Statement { statement, source })
    }
}

/// Counts how long a statement took, and logs it by its name if that was long.
fn note(statement: &'static str, elapsed: Duration) {
    metrics().db_queried(statement, elapsed);
    if elapsed > SLOW {
        tracing::warn!(
            statement,
            duration_ms = elapsed.as_secs_f64() * 1e3,
            "Slow statement {statement}"
        );
    }
}

/// The four ways to run a statement, on whatever `self.connection()` is.
macro_rules! statement_methods {
    () => {
        /// Runs a statement and returns all its rows.
        ///
        /// # Errors
        /// [`Error::Statement`] or [`Error::Timeout`].
        pub async fn query(&self, statement: &Statement, params: Params<'_>) -> Result<Vec<Row>, Error> {
            let connection = self.connection()?;
            let reply = async {
                let prepared = connection.prepare_cached(statement.sql).await?;
                connection.query(&prepared, params).await
            };
            self.deadline.wait_for(statement.name, reply).await
        }

        /// Runs a statement that returns at most one row.
        ///
        /// # Errors
        /// As [`Self::query`]; also when there are more rows.
        pub async fn query_opt(&self, statement: &Statement, params: Params<'_>) -> Result<Option<Row>, Error> {
            let connection = self.connection()?;
            let reply = async {
                let prepared = connection.prepare_cached(statement.sql).await?;
                connection.query_opt(&prepared, params).await
            };
            self.deadline.wait_for(statement.name, reply).await
        }

        /// Runs a statement that returns exactly one row.
        ///
        /// # Errors
        /// As [`Self::query`]; also when there is no row, or more than one.
        pub async fn query_one(&self, statement: &Statement, params: Params<'_>) -> Result<Row, Error> {
            let connection = self.connection()?;
            let reply = async {
                let prepared = connection.prepare_cached(statement.sql).await?;
                connection.query_one(&prepared, params).await
            };
            self.deadline.wait_for(statement.name, reply).await
        }

        /// Runs a statement for its effect and returns how many rows it touched.
        ///
        /// # Errors
        /// As [`Self::query`].
        pub async fn execute(&self, statement: &Statement, params: Params<'_>) -> Result<u64, Error> {
            let connection = self.connection()?;
            let reply = async {
                let prepared = connection.prepare_cached(statement.sql).await?;
                connection.execute(&prepared, params).await
            };
            self.deadline.wait_for(statement.name, reply).await
        }
    };
}

/// A connection borrowed from the pool. It goes back when dropped.
#[derive(Debug)]
pub struct Client {
    /// `None` only while being dropped.
    object: Option<Object>,
    /// How many connections the pool keeps.
    keep_max: usize,
    deadline: ReplyDeadline,
}

impl Client {
    pub(super) fn new(object: Object, keep_max: usize, statement_timeout: Duration) -> Self {
        Self {
            object: Some(object),
            keep_max,
            deadline: ReplyDeadline::new(statement_timeout),
        }
    }

    fn connection(&self) -> Result<&ClientWrapper, Error> {
        self.object.as_deref().ok_or(Error::Closed)
    }

    statement_methods!();

    /// Begins a transaction (read committed); dropping it without [`Transaction::commit`] rolls it
    /// back.
    ///
    /// # Errors
    /// [`Error::Statement`] or [`Error::Timeout`].
    pub async fn transaction(&mut self) -> Result<Transaction<'_>, Error> {
        let connection = self.object.as_deref_mut().ok_or(Error::Closed)?;
        let inner = self.deadline.wait_for(BEGIN, connection.transaction()).await?;
        Ok(Transaction {
            inner,
            deadline: &self.deadline,
        })
    }
}

impl Client {
    /// Begins a read-only transaction in which every statement sees the same moment (repeatable
    /// read).
    ///
    /// # Errors
    /// [`Error::Statement`] or [`Error::Timeout`].
    pub async fn read_snapshot(&mut self) -> Result<Transaction<'_>, Error> {
        let connection = self.object.as_deref_mut().ok_or(Error::Closed)?;
        let begin = connection
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true);
        let inner = self.deadline.wait_for(BEGIN, begin.start()).await?;
        Ok(Transaction {
            inner,
            deadline: &self.deadline,
        })
    }
}

/// Gives the connection back to the pool. Closes it instead where its state is unknown, or where it
/// is beyond those kept.
impl Drop for Client {
    fn drop(&mut self) {
        let Some(object) = self.object.take() else { return };
        // While others wait, closing this one would only make them open another.
        let surplus =
            Object::pool(&object).is_some_and(|pool| pool.status().size > self.keep_max && pool.status().waiting == 0);
        if surplus || self.deadline.passed.load(Ordering::Relaxed) {
            drop(Object::take(object));
        }
    }
}

/// A transaction. Rolled back when dropped without [`Transaction::commit`].
pub struct Transaction<'a> {
    inner: deadpool_postgres::Transaction<'a>,
    deadline: &'a ReplyDeadline,
}

impl Transaction<'_> {
    #[allow(
        clippy::unnecessary_wraps,
        reason = "the statements are shared with `Client`, whose connection may be gone"
    )]
    fn connection(&self) -> Result<&deadpool_postgres::Transaction<'_>, Error> {
        Ok(&self.inner)
    }

    statement_methods!();

    /// After so long PostgreSQL ends a statement, unless the transaction has set another time.
    pub fn statement_timeout(&self) -> Duration {
        self.deadline.after.saturating_sub(REPLY_GRACE)
    }

    /// Makes the transaction's changes durable.
    ///
    /// # Errors
    /// [`Error::Statement`] or [`Error::Timeout`]; where the connection was lost, it is unknown
    /// whether it committed.
    pub async fn commit(self) -> Result<(), Error> {
        self.deadline.wait_for(COMMIT, self.inner.commit()).await
    }

    /// Discards the transaction's changes.
    ///
    /// # Errors
    /// [`Error::Statement`] or [`Error::Timeout`].
    pub async fn rollback(self) -> Result<(), Error> {
        self.deadline.wait_for(ROLLBACK, self.inner.rollback()).await
    }
}

/// A connection outside the pool, for one owner that keeps it: the driver's client, and prepared
/// and timed statements. Closed when dropped.
#[derive(Debug)]
pub struct Dedicated {
    wrapper: ClientWrapper,
    deadline: ReplyDeadline,
}

impl Dedicated {
    pub(super) fn new(wrapper: ClientWrapper, statement_timeout: Duration) -> Self {
        Self {
            wrapper,
            deadline: ReplyDeadline::new(statement_timeout),
        }
    }

    /// Whether the connection is lost, or its state unknown because a reply did not come. Then make
    /// another.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.wrapper.is_closed() || self.deadline.passed.load(Ordering::Relaxed)
    }

    /// The driver's prepared form of a statement, prepared at its first use on this connection.
    ///
    /// # Errors
    /// [`Error::Statement`] or [`Error::Timeout`].
    pub async fn prepare_named(&self, statement: &Statement) -> Result<tokio_postgres::Statement, Error> {
        self.deadline
            .wait_for(statement.name, self.wrapper.prepare_cached(statement.sql))
            .await
    }

    /// Times what is sent together on the bare connection as one statement; when slow, it is logged
    /// by its name.
    pub async fn time<T>(&self, statement: &Statement, flight: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let result = flight.await;
        note(statement.name, started.elapsed());
        result
    }

    /// Begins a transaction of named and timed statements, as [`Client::transaction`].
    ///
    /// # Errors
    /// [`Error::Statement`] or [`Error::Timeout`].
    pub async fn begin(&mut self) -> Result<Transaction<'_>, Error> {
        let inner = self.deadline.wait_for(BEGIN, self.wrapper.transaction()).await?;
        Ok(Transaction {
            inner,
            deadline: &self.deadline,
        })
    }
}

impl Deref for Dedicated {
    type Target = tokio_postgres::Client;

    fn deref(&self) -> &tokio_postgres::Client {
        &self.wrapper
    }
}

impl DerefMut for Dedicated {
    fn deref_mut(&mut self) -> &mut tokio_postgres::Client {
        &mut self.wrapper
    }
}

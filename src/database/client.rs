//! Running named statements: on a connection of the pool, in a transaction, or on an own
//! connection.
//!
//! Every statement has a name, is prepared once per connection, and is timed. One slower than half
//! a second is logged by its name, never with its values. No wait is without an end (`reply.rs`). A
//! connection that an error has shown to be of no use does not go back to the pool
//! (`condition.rs`).

use super::address::ServerAddress;
use super::cancel::Cancellation;
use super::condition::{Fault, ServerCondition};
use super::error::Error;
use super::reply::{ReplyWatch, time_taken};
use deadpool_postgres::{ClientWrapper, Object};
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::types::ToSql;
use tokio_postgres::{IsolationLevel, Row};

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
            self.replies.wait_for(statement.name, reply).await
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
            self.replies.wait_for(statement.name, reply).await
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
            self.replies.wait_for(statement.name, reply).await
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
            self.replies.wait_for(statement.name, reply).await
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
    replies: ReplyWatch,
    /// What to do when it is dropped in the middle of something.
    cancellation: Option<Cancellation>,
}

impl Client {
    pub(super) const fn new(object: Object, keep_max: usize, replies: ReplyWatch) -> Self {
        Self {
            object: Some(object),
            keep_max,
            replies,
            cancellation: None,
        }
    }

    /// Notes an error that was found by looking at what a statement returned.
    pub(super) fn note(&self, error: &Error) {
        self.replies.note(error);
    }

    /// From now until [`Self::settle`], a statement under way is ended in PostgreSQL when this is
    /// dropped, and the connection is closed.
    pub(super) fn cancel_if_dropped(&mut self, address: &ServerAddress) {
        self.cancellation = self.object.as_ref().map(|object| Cancellation {
            address: address.clone(),
            token: object.cancel_token(),
            runtime: tokio::runtime::Handle::current(),
        });
    }

    /// Nothing is under way any more.
    pub fn settle(&mut self) {
        self.cancellation = None;
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
        let inner = self.replies.wait_for(BEGIN, connection.transaction()).await?;
        Ok(Transaction {
            inner,
            replies: &self.replies,
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
        let inner = self.replies.wait_for(BEGIN, begin.start()).await?;
        Ok(Transaction {
            inner,
            replies: &self.replies,
        })
    }
}

/// Gives the connection back to the pool. Closes it instead where it is of no use any more, or where
/// it is beyond those kept.
impl Drop for Client {
    fn drop(&mut self) {
        let Some(object) = self.object.take() else { return };
        if let Some(cancellation) = self.cancellation.take() {
            cancellation.send();
            drop(Object::take(object));
            return;
        }
        // While others wait, closing this one would only make them open another.
        let surplus =
            Object::pool(&object).is_some_and(|pool| pool.status().size > self.keep_max && pool.status().waiting == 0);
        let fault = self
            .replies
            .fault()
            .filter(|fault| fault.ends(Object::metrics(&object).age()));
        if fault == Some(Fault::Server) {
            self.replies.condition().distrust_server(Instant::now());
        }
        if surplus || fault.is_some() {
            drop(Object::take(object));
        }
    }
}

/// A transaction. Rolled back when dropped without [`Transaction::commit`].
pub struct Transaction<'a> {
    inner: deadpool_postgres::Transaction<'a>,
    replies: &'a ReplyWatch,
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
        self.replies.statement_timeout()
    }

    /// Begins a COPY into a table; `copy.rs` writes its rows.
    pub(super) async fn copy_in(
        &self,
        statement: &Statement,
    ) -> Result<tokio_postgres::CopyInSink<bytes::Bytes>, Error> {
        self.wait_for(statement, self.inner.copy_in(statement.sql)).await
    }

    /// Waits for a part of a statement that takes long, and times it.
    pub(super) async fn wait_for<T>(
        &self,
        statement: &Statement,
        part: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        self.replies.wait_for(statement.name, part).await
    }

    /// The same for one of its many small parts, which are not timed.
    pub(super) async fn wait_untimed<T>(
        &self,
        statement: &Statement,
        part: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        self.replies.wait_untimed(statement.name, part).await
    }

    /// Makes the transaction's changes durable.
    ///
    /// # Errors
    /// [`Error::Statement`] or [`Error::Timeout`]; where the connection was lost, it is unknown
    /// whether it committed.
    pub async fn commit(self) -> Result<(), Error> {
        self.replies.wait_for(COMMIT, self.inner.commit()).await
    }

    /// Discards the transaction's changes.
    ///
    /// # Errors
    /// [`Error::Statement`] or [`Error::Timeout`].
    pub async fn rollback(self) -> Result<(), Error> {
        self.replies.wait_for(ROLLBACK, self.inner.rollback()).await
    }
}

/// A connection outside the pool, for one owner that keeps it: the driver's client, and prepared
/// and timed statements. Closed when dropped.
#[derive(Debug)]
pub struct Dedicated {
    wrapper: ClientWrapper,
    replies: ReplyWatch,
}

impl Dedicated {
    pub(super) fn new(wrapper: ClientWrapper, statement_timeout: Duration, condition: Arc<ServerCondition>) -> Self {
        Self {
            wrapper,
            replies: ReplyWatch::new(statement_timeout, condition),
        }
    }

    /// Whether the connection is lost, or of no use any more (`condition.rs`). Then make another.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.wrapper.is_closed() || self.replies.fault().is_some()
    }

    /// Notes an error of the bare connection.
    pub fn note(&self, error: &Error) {
        self.replies.note(error);
    }

    /// Whether the other side gives a sign of life within `patience`. If not, the connection counts
    /// as closed.
    pub async fn is_alive(&self, patience: Duration) -> bool {
        let alive = matches!(
            tokio::time::timeout(patience, self.wrapper.simple_query("")).await,
            Ok(Ok(_))
        );
        if !alive {
            self.replies.note(&Error::ConnectTimeout(patience));
        }
        alive
    }

    /// The driver's prepared form of a statement, prepared at its first use on this connection.
    ///
    /// # Errors
    /// [`Error::Statement`] or [`Error::Timeout`].
    pub async fn prepare_named(&self, statement: &Statement) -> Result<tokio_postgres::Statement, Error> {
        self.replies
            .wait_for(statement.name, self.wrapper.prepare_cached(statement.sql))
            .await
    }

    /// Times what is sent together on the bare connection as one statement; when slow, it is logged
    /// by its name.
    pub async fn time<T>(&self, statement: &Statement, flight: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let result = flight.await;
        time_taken(statement.name, started.elapsed());
        result
    }

    /// Begins a transaction of named and timed statements, as [`Client::transaction`].
    ///
    /// # Errors
    /// [`Error::Statement`] or [`Error::Timeout`].
    pub async fn begin(&mut self) -> Result<Transaction<'_>, Error> {
        let inner = self.replies.wait_for(BEGIN, self.wrapper.transaction()).await?;
        Ok(Transaction {
            inner,
            replies: &self.replies,
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

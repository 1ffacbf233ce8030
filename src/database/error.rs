//! What can go wrong with the database, sorted by what a caller can do about it.
//!
//! A caller asks one of two questions: would the same thing succeed a little later
//! ([`Error::is_unavailable`], [`Error::is_serialization`]), or did it break a rule of the schema
//! ([`Error::constraint`])? Everything else is a defect of ours. Neither the text nor the debug
//! form of an error holds a value of a row: PostgreSQL's `DETAIL`, which does, is left out.

use super::condition::Fault;
use crate::error::Code;
use std::fmt;
use std::time::Duration;
use tokio_postgres::error::SqlState;

/// A failure of the database or on the way to it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection of the pool became free in time.
    #[error("no database connection became free within {0:?}")]
    PoolExhausted(Duration),
    /// The pool is closed: the server is stopping.
    #[error("the database is closed")]
    Closed,
    #[error("no connection to the database: {}", Brief(.0))]
    Connect(#[source] tokio_postgres::Error),
    #[error("no connection to the database within {0:?}")]
    ConnectTimeout(Duration),
    /// There was no reply, not even of a time-out at the server. Whether the statement was carried
    /// out is unknown.
    #[error("{statement}: no reply from the database within {after:?}")]
    Timeout { statement: &'static str, after: Duration },
    #[error("{statement}: {}", Brief(.source))]
    Statement {
        statement: &'static str,
        source: tokio_postgres::Error,
    },
    /// The server at the other end cannot be used; for the operator.
    #[error("{0}")]
    Unusable(String),
    /// A migration failed; for the operator.
    #[error("migration failed: {0}")]
    Migration(String),
    /// The private server could not be started; for the operator.
    #[error("{0}")]
    Embedded(String),
    /// The database replies, and takes no changes.
    #[error("the database takes no changes: {0}")]
    NotWritable(NotWritable),
}

/// Why a database takes no changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotWritable {
    #[error("it is a standby")]
    Standby,
    #[error("it is read-only")]
    ReadOnly,
    #[error("its disk is full")]
    DiskFull,
}

impl Error {
    /// Whether nothing is wrong with the request and it may succeed later: the connection is lost,
    /// the pool is exhausted, the server is starting, stopping, overloaded, read-only or too slow.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::PoolExhausted(_)
            | Self::Closed
            | Self::ConnectTimeout(_)
            | Self::Timeout { .. }
            | Self::NotWritable(_) => true,
            Self::Connect(source) => source.code().is_none_or(is_transient),
            Self::Statement { source, .. } => source.code().map_or_else(|| lost_connection(source), is_transient),
            Self::Unusable(_) | Self::Migration(_) | Self::Embedded(_) => false,
        }
    }

    /// Whether the connection failed, or its server is stopping or starting. Not a failure of the
    /// statement, and not too many callers.
    pub(super) fn is_of_connection(&self) -> bool {
        match self {
            Self::Connect(source) => source.code().is_none_or(|state| Fault::of(state).is_some()),
            _ => self.fault().is_some(),
        }
    }

    /// What the error says of the connection on which it happened.
    pub(super) fn fault(&self) -> Option<Fault> {
        match self {
            Self::ConnectTimeout(_) | Self::Timeout { .. } => Some(Fault::Connection),
            Self::NotWritable(NotWritable::Standby | NotWritable::ReadOnly) => Some(Fault::Server),
            Self::Statement { source, .. } => match source.code() {
                Some(state) => Fault::of(state),
                None => lost_connection(source).then_some(Fault::Connection),
            },
            _ => None,
        }
    }

    /// Whether PostgreSQL ended the statement, at `statement_timeout` or on someone's request.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.sql_state() == Some(&SqlState::QUERY_CANCELED)
    }

    /// Whether PostgreSQL rolled the transaction back because of others (serialization failure or
    /// deadlock): the same transaction may simply be run again.
    #[must_use]
    pub fn is_serialization(&self) -> bool {
        self.sql_state().is_some_and(|state| {
            *state == SqlState::T_R_SERIALIZATION_FAILURE || *state == SqlState::T_R_DEADLOCK_DETECTED
        })
    }

    /// PostgreSQL's five-character code, if it was PostgreSQL that refused.
    #[must_use]
    pub fn sql_state(&self) -> Option<&SqlState> {
        self.driver_error().and_then(tokio_postgres::Error::code)
    }

    /// The name of the constraint that was broken.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        self.driver_error()
            .and_then(tokio_postgres::Error::as_db_error)
            .and_then(|error| error.constraint())
    }

    /// The public code, where a feature has nothing more precise to say.
    #[must_use]
    pub fn code(&self) -> Code {
        if self.is_unavailable() || self.is_serialization() {
            Code::Unavailable
        } else {
            Code::Internal
        }
    }

    fn driver_error(&self) -> Option<&tokio_postgres::Error> {
        match self {
            Self::Connect(source) | Self::Statement { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// For code that uses a dedicated connection's driver directly.
impl From<tokio_postgres::Error> for Error {
    fn from(source: tokio_postgres::Error) -> Self {
        Self::Statement {
            statement: "(unnamed)",
            source,
        }
    }
}

/// Whether a code of PostgreSQL is about the server's condition or the connection's, and not about
/// the statement.
fn is_transient(state: &SqlState) -> bool {
    const STATES: [&SqlState; 3] = [
        &SqlState::QUERY_CANCELED,
        &SqlState::LOCK_NOT_AVAILABLE,
        &SqlState::IO_ERROR,
    ];
    // Class 53: insufficient resources.
    STATES.contains(&state) || state.code().starts_with("53") || Fault::of(state).is_some()
}

/// Whether an error without a code of PostgreSQL is the loss of the connection and not a value of
/// the wrong type.
fn lost_connection(error: &tokio_postgres::Error) -> bool {
    error.is_closed() || std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

/// A driver error in one line: PostgreSQL's message and code, without the `DETAIL` that may quote
/// values.
pub(super) struct Brief<'a>(pub(super) &'a tokio_postgres::Error);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = self.0.as_db_error() {
            return write!(f, "{} ({})", error.message(), error.code().code());
        }
        write!(f, "{}", self.0)?;
        match std::error::Error::source(self.0) {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_postgresql_are_sorted() {
        for (state, transient) in [
            ("08006", true),
            ("53300", true),
            ("53100", true),
            ("57P01", true),
            ("57P03", true),
            ("57014", true),
            ("25006", true),
            ("25P04", true),
            ("26000", true),
            ("40001", false),
            ("23505", false),
            ("42P01", false),
            ("28P01", false),
            ("22021", false),
        ] {
            let state = SqlState::from_code(state);
            assert_eq!(is_transient(&state), transient, "{state:?}");
        }
        for (reason, fault) in [
            (NotWritable::Standby, Some(Fault::Server)),
            (NotWritable::ReadOnly, Some(Fault::Server)),
            (NotWritable::DiskFull, None),
        ] {
            let error = Error::NotWritable(reason);
            assert_eq!((error.fault(), error.code()), (fault, Code::Unavailable), "{reason}");
        }
        assert!(!Error::PoolExhausted(Duration::ZERO).is_of_connection());
        assert_eq!(Error::PoolExhausted(Duration::ZERO).code(), Code::Unavailable);
        assert_eq!(Error::Migration(String::new()).code(), Code::Internal);
    }
}

//! Why Redis gave no answer, and what that says about the layout of a cluster.

use crate::error::Code;
use redis::{ErrorKind, RedisError, ServerErrorKind};
use std::time::Duration;

/// Why Redis gave no answer. Nothing was necessarily left undone: a command whose deadline passed may have been carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `REDIS_URL` cannot be used. Its text is not repeated: there may be a password in it.
    #[error("REDIS_URL cannot be used")]
    Url,
    /// No server of the cluster has the slot of the key.
    #[error("no server of the Redis Cluster has the slot of this key")]
    Nobody,
    /// The breaker is open: Redis was not asked.
    #[error("Redis is not asked for now, after it failed several times in a row")]
    Open,
    /// No answer within the deadline.
    #[error("Redis gave no answer to {command} within {deadline:?}{}", because(.cause.as_deref()))]
    Timeout {
        /// The name the caller gave.
        command: &'static str,
        /// How long was waited.
        deadline: Duration,
        /// Why no connection could be made, if that was it.
        cause: Option<String>,
    },
    /// The connection broke, or the answer was an error or of another type than expected.
    #[error("Redis failed at {command}: {source}")]
    Failed {
        /// The name the caller gave.
        command: &'static str,
        /// What the client library says.
        source: RedisError,
    },
}

impl Error {
    /// The public code. Callers have a way to go on without Redis, so hardly anybody sees it.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Url => Code::Internal,
            Self::Nobody | Self::Open | Self::Timeout { .. } | Self::Failed { .. } => Code::Unavailable,
        }
    }

    /// Where the server says that the key is, if that is what it said.
    pub(super) fn redirection(&self) -> Option<&str> {
        match self {
            Self::Failed { source, .. } => source.redirect_node().map(|(there, _)| there),
            _ => None,
        }
    }

    /// Whether the layout may be another than is known.
    pub(super) fn is_of_another_layout(&self) -> bool {
        match self {
            Self::Nobody | Self::Timeout { .. } => true,
            Self::Open | Self::Url => false,
            Self::Failed { source, .. } => match source.kind() {
                ErrorKind::Server(kind) => matches!(
                    kind,
                    ServerErrorKind::Moved
                        | ServerErrorKind::Ask
                        | ServerErrorKind::CrossSlot
                        | ServerErrorKind::ClusterDown
                        | ServerErrorKind::MasterDown
                        | ServerErrorKind::ReadOnly
                ),
                _ => source.is_io_error(),
            },
        }
    }
}

fn because(cause: Option<&str>) -> String {
    cause.map_or_else(String::new, |cause| format!(": {cause}"))
}
